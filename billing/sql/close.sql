-- Gives holds back by id: the caller is gone, or was answered 503.
create or replace function billing_void(ids uuid[], careful boolean default false)
returns jsonb
language sql
set search_path = pg_catalog, public, pg_temp
as $$
    select billing_settle(
        coalesce(
            jsonb_agg(
                jsonb_build_object('id', id, 'state', 'voided', 'cost', 0) order by n
            ),
            '[]'
        ),
        careful
    )
    from unnest(ids) with ordinality as t (id, n)
$$;


-- Closes holds whose time is over without a charge; evidence may still charge them once.
-- `unknown` marks calls that may have been made: they are listed for staff.
create or replace function billing_expire(
    ids uuid[], careful boolean default false, unknown boolean default true
) returns jsonb
language sql
set search_path = pg_catalog, public, pg_temp
as $$
    select billing_settle(
        coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'id', id, 'state', 'expired', 'cost', 0, 'unknown', billing_expire.unknown
                )
                order by n
            ),
            '[]'
        ),
        careful
    )
    from unnest(ids) with ordinality as t (id, n)
$$;


-- Gives holds of long calls more time, in seconds from now; answers the ids that still hold.
-- Rows that are being closed are passed over: an extension never waits for a settlement.
create or replace function billing_extend(ids uuid[], ttl int)
returns uuid[]
language plpgsql
set search_path = pg_catalog, public, pg_temp
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set lock_timeout = '100ms'
as $$
declare
    open uuid[];
begin
    select array_agg(id) into open
    from (
        select id from billing_hold where id = any(ids) for no key update skip locked
    ) h;
    update billing_hold
    set expires_at = greatest(expires_at, billing_now() + make_interval(secs => ttl))
    where id = any(open);
    return coalesce(open, '{}');
end $$;

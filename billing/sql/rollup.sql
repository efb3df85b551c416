-- Adds what transactions in [since, until) wrote of days from `oldest` on.
-- Answers how many records were counted; the caller holds the mark's lock.
create or replace function billing_add_rollups(since bigint, until bigint, oldest date)
returns bigint
language plpgsql
set search_path = pg_catalog, public, pg_temp
set jit = off
as $$
declare
    -- What is summed: the last columns of `delta` and of four tables of sums, in this order.
    -- Each of their inserts names it twice: the statement is made from this one list.
    measures constant text[] := array[
        'requests', 'errors', 'cancelled', 'unknown', 'charged', 'spent', 'uncollected', 'cost',
        'upstream_cost', 'input_tokens', 'cached_tokens', 'cache_write_tokens', 'output_tokens',
        'reasoning_tokens', 'pictures', 'searches', 'first_bytes', 'first_byte_ms', 'latencies',
        'latency_ms'
    ];
    sums text;
    added text;
    counted bigint;
begin
    select string_agg(format('sum(%I)', measure), ', ' order by n),
        string_agg(format('%1$I = t.%1$I + excluded.%1$I', measure), ', ' order by n)
    into sums, added
    from unnest(measures) with ordinality as m (measure, n);
    execute format($statement$
        with delta as materialized (
            select workspace_id, day,
                extract(hour from created_at at time zone 'UTC')::smallint as hour,
                key_id, model, provider, asset,
                sum(sign) as requests,
                coalesce(sum(sign) filter (where status is null or status >= 400), 0) as errors,
                coalesce(sum(sign) filter (where cancelled), 0) as cancelled,
                coalesce(sum(sign) filter (where unknown), 0) as unknown,
                sum(sign * charged) as charged,
                sum(sign * charged * unit_nanos) as spent,
                sum(sign * uncollected) as uncollected,
                sum(sign * cost) as cost,
                sum(sign * upstream_cost) as upstream_cost,
                sum(sign * input_tokens) as input_tokens,
                sum(sign * cached_tokens) as cached_tokens,
                sum(sign * cache_write_tokens) as cache_write_tokens,
                sum(sign * output_tokens) as output_tokens,
                sum(sign * reasoning_tokens) as reasoning_tokens,
                sum(sign * pictures) as pictures,
                sum(sign * searches) as searches,
                coalesce(sum(sign) filter (where first_byte_ms is not null), 0) as first_bytes,
                coalesce(sum(sign * first_byte_ms), 0) as first_byte_ms,
                coalesce(sum(sign) filter (where latency_ms is not null), 0) as latencies,
                coalesce(sum(sign * latency_ms), 0) as latency_ms
            from billing_usageflow
            where written >= $1 and written < $2 and day >= $3
            group by 1, 2, 3, 4, 5, 6, 7
        ), hours as (
            insert into billing_usagehour as t
            select * from delta
            on conflict (workspace_id, day, hour, key_id, model, provider, asset)
            do update set %2$s
        ), days as (
            insert into billing_usageday as t
            select workspace_id, day, key_id, model, provider, asset, %1$s
            from delta
            group by 1, 2, 3, 4, 5, 6
            on conflict (workspace_id, day, key_id, model, provider, asset) do update set %2$s
        ), models as (
            insert into billing_usagemodel as t
            select workspace_id, day, model, provider, asset, %1$s
            from delta
            group by 1, 2, 3, 4, 5
            on conflict (workspace_id, day, model, provider, asset) do update set %2$s
        ), totals as (
            insert into billing_usagetotal as t
            select day, model, provider, asset, %1$s
            from delta
            group by 1, 2, 3, 4
            on conflict (day, model, provider, asset) do update set %2$s
        ), places as (
            insert into billing_usageplace as t
            select workspace_id, sum(requests), sum(spent)
            from delta
            group by 1
            on conflict (workspace_id) do update set
                requests = t.requests + excluded.requests,
                spent = t.spent + excluded.spent
        ), lives as (
            insert into billing_usagelife as t
            select workspace_id, key_id, sum(requests), sum(spent)
            from delta
            group by 1, 2
            on conflict (workspace_id, key_id) do update set
                requests = t.requests + excluded.requests,
                spent = t.spent + excluded.spent
        ), keys as (
            insert into billing_usagekey as t
            select workspace_id, day - (extract(isodow from day)::integer - 1), key_id,
                sum(requests), sum(spent)
            from delta
            group by 1, 2, 3
            on conflict (workspace_id, week, key_id) do update set
                requests = t.requests + excluded.requests,
                spent = t.spent + excluded.spent
        )
        select coalesce(sum(requests), 0) from delta
    $statement$, sums, added) into counted using since, until, oldest;
    return counted;
end $$;


-- Brings the sums up to the oldest open transaction. Answers how many records were counted;
-- null if somebody else is at it; -1 if the stamps are another server's (a restored dump):
-- then the sums have to be rebuilt.
create or replace function billing_roll_up() returns bigint
language plpgsql
set search_path = pg_catalog, public, pg_temp
as $$
declare
    since bigint;
    until bigint;
    counted bigint;
begin
    select through into since from billing_rollupmark for no key update skip locked;
    if not found then
        return null;
    end if;
    -- Statements that follow see all that transactions below it did: they have ended.
    until := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
    if since > until then
        return -1;
    end if;
    counted := billing_add_rollups(since, until, '-infinity');
    update billing_rollupmark set through = until, rolled_at = clock_timestamp();
    return counted;
end $$;


-- Sums again what is kept of usage, from `oldest` on; older sums stay.
create or replace function billing_rebuild_rollups(oldest date) returns bigint
language plpgsql
set search_path = pg_catalog, public, pg_temp
as $$
declare
    until bigint;
    counted bigint;
begin
    perform from billing_rollupmark for no key update;
    until := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
    -- After a dump was restored the stamps are those of another server's transactions.
    update billing_usage set written = 0 where written >= until;
    update billing_usagepast set written = 0 where written >= until;
    update billing_usagepast set ended = 0 where ended >= until;
    delete from billing_usagehour where day >= oldest;
    delete from billing_usageday where day >= oldest;
    delete from billing_usagemodel where day >= oldest;
    delete from billing_usagetotal where day >= oldest;
    counted := billing_add_rollups(0, until, oldest);
    -- A week may have begun before the oldest day that is summed again.
    delete from billing_usagekey;
    insert into billing_usagekey
    select workspace_id, day - (extract(isodow from day)::integer - 1), key_id, sum(requests),
        sum(spent)
    from billing_usageday
    group by 1, 2, 3;
    delete from billing_usagelife;
    insert into billing_usagelife
    select workspace_id, key_id, sum(requests), sum(spent) from billing_usageday group by 1, 2;
    delete from billing_usageplace;
    insert into billing_usageplace
    select workspace_id, sum(requests), sum(spent) from billing_usageday group by 1;
    update billing_rollupmark set through = until, rolled_at = clock_timestamp();
    return counted;
end $$;

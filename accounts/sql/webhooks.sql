-- What happened is written down in the transaction that makes it happen, with one delivery for
-- each endpoint that wants it: both are kept or neither is.

create or replace function accounts_request_form(prefix text, id uuid) returns text
language sql immutable strict parallel safe as $$
    -- 26 characters of Crockford's base32, as common.ids writes them.
    select prefix || string_agg(
        substr('0123456789abcdefghjkmnpqrstvwxyz',
               substring(bits from n * 5 + 1 for 5)::bit(5)::integer + 1, 1), '' order by n)
    from (select B'00' || ('x' || replace(id::text, '-', ''))::bit(128)::bit varying as bits) whole,
         generate_series(0, 25) n
$$;

-- Note an event; its text is what every attempt sends. Returns the event's row.
create or replace function accounts_webhook_event(place bigint, what text, facts jsonb)
returns bigint language plpgsql as $$
declare
    label text := 'evt_' || replace(gen_random_uuid()::text, '-', '');
    made bigint;
begin
    insert into accounts_webhookevent (public_id, workspace_id, kind, body)
    select label, w.id, what, json_build_object(
        'id', label,
        'type', what,
        'timestamp', to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'workspace_id', w.public_id,
        'data', facts
    )::text
    from accounts_workspace w where w.id = place
    returning accounts_webhookevent.id into strict made;
    return made;
end $$;

-- Have an event delivered to an endpoint.
create or replace function accounts_webhook_delivery(event bigint, endpoint bigint)
returns bigint language sql as $$
    insert into accounts_webhookdelivery (public_id, event_id, endpoint_id, status, log)
    values ('whd_' || replace(gen_random_uuid()::text, '-', ''), event, endpoint, 'pending', '[]')
    returning id
$$;

-- Tell every endpoint of a workspace that wants to know; returns how many.
create or replace function accounts_tell_webhooks(place bigint, what text, facts jsonb)
returns integer language plpgsql as $$
declare
    wanting bigint[];
    made bigint;
begin
    select array_agg(e.id order by e.id) into wanting
    from accounts_webhookendpoint e join accounts_workspace w on w.id = e.workspace_id
    where e.workspace_id = place and e.disabled_at is null and w.closed_at is null
        and what = any(e.events);
    if wanting is null then
        return 0;
    end if;
    made := accounts_webhook_event(place, what, facts);
    perform accounts_webhook_delivery(made, one) from unnest(wanting) one;
    return cardinality(wanting);
end $$;

-- Adds what transactions in [since, until) wrote of days from `oldest` on.
-- Answers how many records were counted; the caller holds the mark's lock.
create or replace function billing_add_rollups(since bigint, until bigint, oldest date)
returns bigint
language plpgsql
set search_path = pg_catalog, public, pg_temp
set plan_cache_mode = force_custom_plan
set jit = off
as $$
declare
    counted bigint;
begin
    with delta as materialized (
        select workspace_id, day,
            extract(hour from created_at at time zone 'UTC')::smallint as hour,
            key_id, model, provider, asset,
            sum(sign) as requests,
            sum(sign) filter (where status is null or status >= 400) as errors,
            sum(sign) filter (where cancelled) as cancelled,
            sum(sign) filter (where unknown) as unknown,
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
            sum(sign) filter (where first_byte_ms is not null) as first_bytes,
            sum(sign * first_byte_ms) as first_byte_ms,
            sum(sign) filter (where latency_ms is not null) as latencies,
            sum(sign * latency_ms) as latency_ms
        from billing_usageflow
        where written >= since and written < until and day >= oldest
        group by 1, 2, 3, 4, 5, 6, 7
    ), hours as (
        insert into billing_usagehour as t
        select workspace_id, day, hour, key_id, model, provider, asset, requests,
            coalesce(errors, 0), coalesce(cancelled, 0), coalesce(unknown, 0), charged, spent,
            uncollected, cost, upstream_cost, input_tokens, cached_tokens, cache_write_tokens,
            output_tokens, reasoning_tokens, pictures, searches,
            coalesce(first_bytes, 0), coalesce(first_byte_ms, 0),
            coalesce(latencies, 0), coalesce(latency_ms, 0)
        from delta
        on conflict (workspace_id, day, hour, key_id, model, provider, asset) do update set
            requests = t.requests + excluded.requests,
            errors = t.errors + excluded.errors,
            cancelled = t.cancelled + excluded.cancelled,
            unknown = t.unknown + excluded.unknown,
            charged = t.charged + excluded.charged,
            spent = t.spent + excluded.spent,
            uncollected = t.uncollected + excluded.uncollected,
            cost = t.cost + excluded.cost,
            upstream_cost = t.upstream_cost + excluded.upstream_cost,
            input_tokens = t.input_tokens + excluded.input_tokens,
            cached_tokens = t.cached_tokens + excluded.cached_tokens,
            cache_write_tokens = t.cache_write_tokens + excluded.cache_write_tokens,
            output_tokens = t.output_tokens + excluded.output_tokens,
            reasoning_tokens = t.reasoning_tokens + excluded.reasoning_tokens,
            pictures = t.pictures + excluded.pictures,
            searches = t.searches + excluded.searches,
            first_bytes = t.first_bytes + excluded.first_bytes,
            first_byte_ms = t.first_byte_ms + excluded.first_byte_ms,
            latencies = t.latencies + excluded.latencies,
            latency_ms = t.latency_ms + excluded.latency_ms
    ), days as (
        insert into billing_usageday as t
        select workspace_id, day, key_id, model, provider, asset, sum(requests),
            coalesce(sum(errors), 0), coalesce(sum(cancelled), 0), coalesce(sum(unknown), 0),
            sum(charged), sum(spent), sum(uncollected), sum(cost), sum(upstream_cost),
            sum(input_tokens), sum(cached_tokens), sum(cache_write_tokens),
            sum(output_tokens), sum(reasoning_tokens), sum(pictures), sum(searches),
            coalesce(sum(first_bytes), 0), coalesce(sum(first_byte_ms), 0),
            coalesce(sum(latencies), 0), coalesce(sum(latency_ms), 0)
        from delta
        group by 1, 2, 3, 4, 5, 6
        on conflict (workspace_id, day, key_id, model, provider, asset) do update set
            requests = t.requests + excluded.requests,
            errors = t.errors + excluded.errors,
            cancelled = t.cancelled + excluded.cancelled,
            unknown = t.unknown + excluded.unknown,
            charged = t.charged + excluded.charged,
            spent = t.spent + excluded.spent,
            uncollected = t.uncollected + excluded.uncollected,
            cost = t.cost + excluded.cost,
            upstream_cost = t.upstream_cost + excluded.upstream_cost,
            input_tokens = t.input_tokens + excluded.input_tokens,
            cached_tokens = t.cached_tokens + excluded.cached_tokens,
            cache_write_tokens = t.cache_write_tokens + excluded.cache_write_tokens,
            output_tokens = t.output_tokens + excluded.output_tokens,
            reasoning_tokens = t.reasoning_tokens + excluded.reasoning_tokens,
            pictures = t.pictures + excluded.pictures,
            searches = t.searches + excluded.searches,
            first_bytes = t.first_bytes + excluded.first_bytes,
            first_byte_ms = t.first_byte_ms + excluded.first_byte_ms,
            latencies = t.latencies + excluded.latencies,
            latency_ms = t.latency_ms + excluded.latency_ms
    ), models as (
        insert into billing_usagemodel as t
        select workspace_id, day, model, provider, asset, sum(requests),
            coalesce(sum(errors), 0), coalesce(sum(cancelled), 0), coalesce(sum(unknown), 0),
            sum(charged), sum(spent), sum(uncollected), sum(cost), sum(upstream_cost),
            sum(input_tokens), sum(cached_tokens), sum(cache_write_tokens),
            sum(output_tokens), sum(reasoning_tokens), sum(pictures), sum(searches),
            coalesce(sum(first_bytes), 0), coalesce(sum(first_byte_ms), 0),
            coalesce(sum(latencies), 0), coalesce(sum(latency_ms), 0)
        from delta
        group by 1, 2, 3, 4, 5
        on conflict (workspace_id, day, model, provider, asset) do update set
            requests = t.requests + excluded.requests,
            errors = t.errors + excluded.errors,
            cancelled = t.cancelled + excluded.cancelled,
            unknown = t.unknown + excluded.unknown,
            charged = t.charged + excluded.charged,
            spent = t.spent + excluded.spent,
            uncollected = t.uncollected + excluded.uncollected,
            cost = t.cost + excluded.cost,
            upstream_cost = t.upstream_cost + excluded.upstream_cost,
            input_tokens = t.input_tokens + excluded.input_tokens,
            cached_tokens = t.cached_tokens + excluded.cached_tokens,
            cache_write_tokens = t.cache_write_tokens + excluded.cache_write_tokens,
            output_tokens = t.output_tokens + excluded.output_tokens,
            reasoning_tokens = t.reasoning_tokens + excluded.reasoning_tokens,
            pictures = t.pictures + excluded.pictures,
            searches = t.searches + excluded.searches,
            first_bytes = t.first_bytes + excluded.first_bytes,
            first_byte_ms = t.first_byte_ms + excluded.first_byte_ms,
            latencies = t.latencies + excluded.latencies,
            latency_ms = t.latency_ms + excluded.latency_ms
    ), totals as (
        insert into billing_usagetotal as t
        select day, model, provider, asset, sum(requests),
            coalesce(sum(errors), 0), coalesce(sum(cancelled), 0), coalesce(sum(unknown), 0),
            sum(charged), sum(spent), sum(uncollected), sum(cost), sum(upstream_cost),
            sum(input_tokens), sum(cached_tokens), sum(cache_write_tokens),
            sum(output_tokens), sum(reasoning_tokens), sum(pictures), sum(searches),
            coalesce(sum(first_bytes), 0), coalesce(sum(first_byte_ms), 0),
            coalesce(sum(latencies), 0), coalesce(sum(latency_ms), 0)
        from delta
        group by 1, 2, 3, 4
        on conflict (day, model, provider, asset) do update set
            requests = t.requests + excluded.requests,
            errors = t.errors + excluded.errors,
            cancelled = t.cancelled + excluded.cancelled,
            unknown = t.unknown + excluded.unknown,
            charged = t.charged + excluded.charged,
            spent = t.spent + excluded.spent,
            uncollected = t.uncollected + excluded.uncollected,
            cost = t.cost + excluded.cost,
            upstream_cost = t.upstream_cost + excluded.upstream_cost,
            input_tokens = t.input_tokens + excluded.input_tokens,
            cached_tokens = t.cached_tokens + excluded.cached_tokens,
            cache_write_tokens = t.cache_write_tokens + excluded.cache_write_tokens,
            output_tokens = t.output_tokens + excluded.output_tokens,
            reasoning_tokens = t.reasoning_tokens + excluded.reasoning_tokens,
            pictures = t.pictures + excluded.pictures,
            searches = t.searches + excluded.searches,
            first_bytes = t.first_bytes + excluded.first_bytes,
            first_byte_ms = t.first_byte_ms + excluded.first_byte_ms,
            latencies = t.latencies + excluded.latencies,
            latency_ms = t.latency_ms + excluded.latency_ms
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
        select workspace_id, day - (extract(isodow from day)::integer - 1), key_id, sum(requests),
            sum(spent)
        from delta
        group by 1, 2, 3
        on conflict (workspace_id, week, key_id) do update set
            requests = t.requests + excluded.requests,
            spent = t.spent + excluded.spent
    )
    select coalesce(sum(requests), 0) into counted from delta;
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

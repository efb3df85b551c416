-- Sums of usage per hour and per day, so that no page adds up the whole table.
--
-- Usage records are read as a log that only grows: each version of a record adds its counts
-- with the transaction that wrote it and takes them back with the transaction that replaced
-- it. A roll-up adds what transactions in [through, oldest one still open) wrote, and moves
-- `through` in the same commit: nothing is counted twice or missed, in whatever order
-- transactions commit, however often and wherever it runs, wherever it is killed. The rest,
-- from `through` on, is the tail that readers add themselves, in one statement.

-- The transaction that wrote this version. Settlements pay for a default and for an index
-- that grows at its end only. Not BRIN: it would do, but its newest pages are unsummarised
-- until a vacuum comes by, and the planner then reads whole months for the last minute.
alter table billing_usage add column written bigint not null default 0;
alter table billing_usage
    alter column written set default (pg_current_xact_id()::text)::bigint;
create index billing_usage_written on billing_usage (written);

-- Replaced versions, of calls that were charged late: very few.
create table billing_usagepast (
    id uuid not null,
    written bigint not null,
    ended bigint not null,
    day date not null,
    created_at timestamptz not null,
    workspace_id bigint not null,
    key_id bigint not null,
    model text not null,
    provider text not null,
    asset varchar(64) not null,
    unit_nanos bigint not null,
    charged bigint not null,
    uncollected bigint not null,
    cost bigint not null,
    upstream_cost bigint not null,
    status smallint,
    cancelled boolean not null,
    unknown boolean not null,
    input_tokens bigint not null,
    cached_tokens bigint not null,
    cache_write_tokens bigint not null,
    output_tokens bigint not null,
    reasoning_tokens bigint not null,
    pictures bigint not null,
    searches bigint not null,
    first_byte_ms integer,
    latency_ms integer
);
create index billing_usagepast_written on billing_usagepast (written);
create index billing_usagepast_ended on billing_usagepast (ended);

create function billing_keep_past() returns trigger
language plpgsql
set search_path = pg_catalog, public, pg_temp
as $$
begin
    new.written := pg_current_xact_id()::text::bigint;
    insert into billing_usagepast values (
        old.id, old.written, new.written, old.day, old.created_at, old.workspace_id, old.key_id,
        old.model, old.provider, old.asset, old.unit_nanos, old.charged, old.uncollected,
        old.cost, old.upstream_cost, old.status, old.cancelled, old.unknown, old.input_tokens,
        old.cached_tokens, old.cache_write_tokens, old.output_tokens, old.reasoning_tokens,
        old.pictures, old.searches, old.first_byte_ms, old.latency_ms
    );
    return new;
end $$;

-- Who sets `written` is re-stamping, not changing (billing_rebuild_rollups).
create trigger billing_usage_keep_past
before update on billing_usage
for each row when (old.written = new.written) execute function billing_keep_past();


create view billing_usageflow as
select written, 1 as sign, day, created_at, workspace_id, key_id, model, provider, asset,
    unit_nanos, charged, uncollected, cost, upstream_cost, status, cancelled, unknown,
    input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
    pictures, searches, first_byte_ms, latency_ms
from billing_usage
union all
select written, 1, day, created_at, workspace_id, key_id, model, provider, asset,
    unit_nanos, charged, uncollected, cost, upstream_cost, status, cancelled, unknown,
    input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
    pictures, searches, first_byte_ms, latency_ms
from billing_usagepast
union all
select ended, -1, day, created_at, workspace_id, key_id, model, provider, asset,
    unit_nanos, charged, uncollected, cost, upstream_cost, status, cancelled, unknown,
    input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
    pictures, searches, first_byte_ms, latency_ms
from billing_usagepast;


-- One row: everything that transactions below `through` wrote is in the sums.
create table billing_rollupmark (
    id smallint primary key default 1 check (id = 1),
    through bigint not null default 0,
    rolled_at timestamptz
);
insert into billing_rollupmark default values;

-- An hour belongs to the day of its call's hold, as caps do. Months as billing_usage's.
create table billing_usagehour (
    workspace_id bigint not null,
    day date not null,
    hour smallint not null,
    key_id bigint not null,
    model text not null,
    provider text not null,
    asset varchar(64) not null,
    requests bigint not null,
    errors bigint not null,
    cancelled bigint not null,
    unknown bigint not null,
    charged bigint not null,
    spent bigint not null,
    uncollected bigint not null,
    cost bigint not null,
    upstream_cost bigint not null,
    input_tokens bigint not null,
    cached_tokens bigint not null,
    cache_write_tokens bigint not null,
    output_tokens bigint not null,
    reasoning_tokens bigint not null,
    pictures bigint not null,
    searches bigint not null,
    first_bytes bigint not null,
    first_byte_ms bigint not null,
    latencies bigint not null,
    latency_ms bigint not null,
    primary key (workspace_id, day, hour, key_id, model, provider, asset)
) partition by range (day);

create table billing_usageday (
    like billing_usagehour,
    primary key (workspace_id, day, key_id, model, provider, asset)
);
alter table billing_usageday drop column hour;
alter table billing_usageday set (fillfactor = 80);
-- What staff asks about all workspaces at once: one day, one month.
create index billing_usageday_day on billing_usageday using brin (day)
    with (pages_per_range = 32, autosummarize = on);

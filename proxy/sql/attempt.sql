-- One row per upstream call. Partitioned by month beside billing_usage, and dropped with it.
create table proxy_attempt (
    request_id uuid not null,
    day date not null,
    n smallint not null,
    provider text not null,
    route_id bigint,
    upstream_model text not null,
    price_id bigint,
    upstream_id text not null default '',
    outcome text not null,
    cause text not null default '',
    status smallint,
    cost bigint not null default 0 check (cost >= 0),
    latency_ms integer,
    primary key (request_id, day, n)
) partition by range (day);

-- One row per call whose estimate gave way to evidence: what it had been booked at, and what
-- took its place. Its transfers are linked to it by their source, the id of the call.
create table billing_revision (
    id uuid primary key,
    day date not null,
    workspace_id bigint not null,
    asset varchar(64) not null,
    unit_nanos bigint not null,
    old_state text not null,
    old_source text not null,
    old_cost bigint not null,
    old_granted bigint not null,
    old_charged bigint not null,
    old_uncollected bigint not null,
    source text not null,
    cost bigint not null,
    granted bigint not null,
    charged bigint not null,
    uncollected bigint not null,
    at timestamptz not null
);
create index billing_revision_workspace on billing_revision (workspace_id);

create trigger billing_revision_append_only
before update or delete or truncate on billing_revision
for each statement execute function billing_refuse_change();

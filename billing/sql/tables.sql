-- What Django cannot say about the tables of money.

-- Counter rows are updated in place (HOT): leave room on the page for the next version.
alter table billing_account set (fillfactor = 80);
alter table billing_keymeter set (fillfactor = 80);

-- PostgreSQL parses every CHECK of a table for every statement that writes to it, which is
-- a seventh of the cost of a request here: few and short ones. least() passes over nulls.
alter table billing_account
    add constraint billing_account_never_below_floor
        check (not bounded or credits_posted - debits_posted >= floor),
    add constraint billing_account_not_negative
        check (least(credits_posted, debits_posted, debits_pending, day_used, month_used,
                     held, day_cap, month_cap, -floor) >= 0),
    -- A customer's account is bounded; the house's keeps no counters.
    add constraint billing_account_customer_or_house
        check (bounded = (workspace_id is not null)
               and bounded = (kind in ('paid', 'granted'))
               and (bounded or credits_posted + debits_posted + debits_pending = 0)
               and (granted_id is null or kind = 'paid'));
alter table billing_keymeter
    add constraint billing_keymeter_not_negative
        check (least(day_used, month_used, held, day_cap, month_cap) >= 0);
alter table billing_hold
    add constraint billing_hold_bounds
        check (least(amount - 1, unit_nanos - 1, granted, amount - granted) >= 0);


create or replace function billing_refuse_change() returns trigger
language plpgsql as $$
begin
    raise exception '% is append-only: % refused', tg_table_name, tg_op
        using errcode = 'restrict_violation';
end $$;


-- One row moves one amount of one asset between two accounts: unbalanced money cannot be
-- written. The foreign keys take the asset along: neither can money cross assets.
create table billing_transfer (
    id bigint generated always as identity primary key,
    kind text not null check (kind <> ''),
    source uuid not null,
    debit_id bigint not null,
    credit_id bigint not null,
    asset varchar(64) not null,
    amount numeric(78, 0) not null check (amount > 0),
    reference text not null default '',
    reason text not null default '',
    created_by_id bigint references accounts_user (id),
    at timestamptz not null default clock_timestamp(),
    -- Every external object (a request, a payment, a deposit) is booked once.
    constraint billing_transfer_once unique (kind, source),
    constraint billing_transfer_two_accounts check (debit_id <> credit_id),
    constraint billing_transfer_debit foreign key (debit_id, asset)
        references billing_account (id, asset),
    constraint billing_transfer_credit foreign key (credit_id, asset)
        references billing_account (id, asset)
);
-- The ledger page of one account; its spending is listed from the usage records.
create index billing_transfer_debit_page on billing_transfer (debit_id, id)
    where kind not like 'usage.%';
create index billing_transfer_credit_page on billing_transfer (credit_id, id)
    where kind not like 'usage.%';

create trigger billing_transfer_append_only
before update or delete or truncate on billing_transfer
for each statement execute function billing_refuse_change();

create trigger billing_price_append_only
before update or delete or truncate on billing_price
for each statement execute function billing_refuse_change();


-- One row per closed hold. Partitioned by month, made ahead and attached (partitions.py);
-- no DEFAULT partition, because with one an ATTACH has to scan it under a lock.
create table billing_usage (
    id uuid not null,
    day date not null,
    workspace_id bigint not null,
    key_id bigint not null,
    account_id bigint not null,
    asset varchar(64) not null,
    unit_nanos bigint not null,
    hold bigint not null,
    granted bigint not null default 0,
    charged bigint not null default 0,
    uncollected bigint not null default 0,
    cost bigint not null default 0,
    state text not null,
    unknown boolean not null default false,
    source text not null default 'none',
    model text not null,
    served text not null default '',
    provider text not null default '',
    price_id bigint,
    surface text not null default '',
    stream boolean not null default false,
    cancelled boolean not null default false,
    status smallint,
    reason text not null default '',
    input_tokens bigint not null default 0,
    cached_tokens bigint not null default 0,
    cache_write_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    reasoning_tokens bigint not null default 0,
    pictures bigint not null default 0,
    picture_size text not null default '',
    picture_quality text not null default '',
    searches bigint not null default 0,
    created_at timestamptz not null,
    closed_at timestamptz not null,
    first_byte_ms integer,
    latency_ms integer,
    upstream_cost bigint not null default 0,
    primary key (id, day),
    constraint billing_usage_words check (
        state in ('settled', 'voided', 'expired', 'late')
        and source in ('provider', 'lookup', 'checkpoint', 'count', 'none')
    ),
    constraint billing_usage_never_above_hold
        check (least(hold - charged, charged - granted, granted, uncollected, cost) >= 0),
    constraint billing_usage_released_is_free
        check (state in ('settled', 'late') or cost + charged + uncollected = 0)
) partition by range (day);
create index billing_usage_workspace on billing_usage (workspace_id, id desc);
create index billing_usage_key on billing_usage (key_id, id desc);
-- Calls that staff has to look into; very few.
create index billing_usage_unknown on billing_usage (day) where unknown;

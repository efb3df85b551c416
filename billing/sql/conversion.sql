-- One row per conversion: the rate, where and when it was taken, and how the amounts follow.
-- Its transfers are linked to it by their source.
create table billing_conversion (
    source uuid primary key,
    debit_id bigint not null references billing_account (id),
    credit_id bigint not null references billing_account (id),
    amount numeric(78, 0) not null,
    numerator numeric(78, 0) not null,
    denominator numeric(78, 0) not null,
    spread_ppm int not null,
    gross numeric(78, 0) not null,
    spread numeric(78, 0) not null,
    rate_source text not null,
    rate_at timestamptz not null,
    created_by_id bigint references accounts_user (id),
    at timestamptz not null,
    constraint billing_conversion_terms check (
        least(amount, numerator, denominator) > 0 and spread_ppm between 0 and 999999
        and rate_source <> ''
    ),
    -- Rounded in favour of the house, both times.
    constraint billing_conversion_follows check (
        gross = div(amount * numerator, denominator)
        and spread = div(gross * spread_ppm + 999999, 1000000) and gross > spread
    )
);

create trigger billing_conversion_append_only
before update or delete or truncate on billing_conversion
for each statement execute function billing_refuse_change();

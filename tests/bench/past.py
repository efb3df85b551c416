"""
Calls of the past, made in bulk so that the books agree.

Each call is as ``billing_settle`` would have left it: a usage row, its transfer from the
customer's account to the house's revenue, its attempt. They are made in the order of time, a
batch by one statement; a few customers make most of them. Then every counter is set to the sum
of its rows, and the ledger's checkpoint of the month's beginning is made as Celery beat makes
it, and usage is rolled up after each batch. `verify_ledger` says whether all of it agrees.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

DAYS = 60
BATCH = 500_000
# Attempts are kept as long as usage; these are enough for all that is asked of them.
ATTEMPT_DAYS = 31
INDEXES = """
select indexname, indexdef from pg_indexes
where tablename = 'billing_usage' and indexdef not like '%UNIQUE%'
"""
# Of 100,000 customers one makes a tenth of all calls, a thousand make two fifths.
CALLS = """
with customer as materialized (
    select row_number() over (order by a.id) as n, a.workspace_id, a.id as account_id, k.key_id
    from billing_account a
    join accounts_apikeyworkspace k on k.workspace_id = a.workspace_id
    where a.kind = 'paid' and a.asset = 'USD'
), call as materialized (
    select %(start)s::timestamptz + %(gap)s::interval * g as at, g,
        1 + floor((select count(*) from customer) * power(random(), %(skew)s))::bigint as n,
        20 + g * 7919 %% 2000 as input, 5 + g * 104729 %% 500 as output, g %% 50 = 0 as failed
    from generate_series(%(first)s::bigint, %(last)s::bigint) as g
), made as materialized (
    select c.*, 'bench/model' || case when g %% %(models)s = 0 then '' else '-' || g %% %(models)s
            end as slug, (c.at at time zone 'UTC')::date as day, w.workspace_id, w.account_id,
        w.key_id,
        case when failed then 0 else input * 1000 + output * 2000 end as cost,
        (lpad(to_hex((extract(epoch from c.at) * 1000)::bigint), 12, '0') || '7'
            || lpad(to_hex(g / 4096 %% 4096), 3, '0') || '8' || substr(md5(g::text), 1, 15))::uuid
            as id
    from call c join customer w using (n)
), used as (
    insert into billing_usage (
        id, day, workspace_id, key_id, account_id, asset, unit_nanos, hold, charged, cost, state,
        source, model, served, provider, price_id, surface, stream, status, reason,
        input_tokens, output_tokens, created_at, closed_at, first_byte_ms, latency_ms
    )
    select id, day, workspace_id, key_id, account_id, 'USD', 1, 4000000, cost, cost,
        case when failed then 'voided' else 'settled' end,
        case when failed then 'none' else 'provider' end,
        slug, slug, 'stub', %(price)s, 'chat', g %% 3 = 0,
        case when failed then 502 else 200 end,
        case when failed then 'upstream_failed' else '' end,
        case when failed then 0 else input end, case when failed then 0 else output end,
        at, at + interval '900 ms', 300, 900
    from made
), moved as (
    insert into billing_transfer (kind, source, debit_id, credit_id, asset, amount, at)
    select 'usage.paid', id, account_id, %(revenue)s, 'USD', cost, at + interval '900 ms'
    from made where cost > 0 order by g
)
insert into proxy_attempt (request_id, day, n, provider, upstream_model, price_id, outcome,
                           cause, status, latency_ms)
select id, day, 1, 'stub', 'stub', %(price)s, case when failed then 'lost' else 'won' end,
    case when failed then 'server_error' else '' end,
    case when failed then 502 else 200 end, 880
from made where day > %(attempts)s
"""
COUNTERS = (
    """
with spent as (
    select account_id, sum(cost) as nanos, sum(cost) filter (where day = %(today)s) as today,
        sum(cost) filter (where day >= %(month)s) as month
    from billing_usage group by 1
)
update billing_account a
set debits_posted = s.nanos, day = %(today)s, day_used = coalesce(s.today, 0),
    month_used = coalesce(s.month, 0)
from spent s where s.account_id = a.id
""",
    """
with spent as (
    select key_id, sum(cost) as nanos, sum(cost) filter (where day = %(today)s) as today,
        sum(cost) filter (where day >= %(month)s) as month, max(closed_at) as at
    from billing_usage group by 1
)
update billing_keymeter m
set spent = s.nanos, day = %(today)s, day_used = coalesce(s.today, 0),
    month_used = coalesce(s.month, 0), last_used_at = s.at
from spent s where s.key_id = m.key_id
""",
)


def make(*, calls: int, models: int = 1, skew: int = 5) -> None:
    """
    Make so many calls of the last months, their counters and the ledger's checkpoint.

    The higher ``skew``, the more of them are of few keys; 1 is evenly.
    """
    from billing import invariants, ledger, partitions, rollups
    from billing.models import Price

    now = datetime.now(UTC)
    partitions.make_months(behind=DAYS // 28 + 1)
    values: dict[str, Any] = {
        "start": now - timedelta(days=DAYS),
        "gap": timedelta(days=DAYS, minutes=-5) / calls,
        "revenue": ledger.house_account(kind="revenue", asset="USD"),
        "models": models,
        "skew": skew,
        "price": Price.objects.get(subject="bench/model", role="retail").pk,
        "attempts": now.date() - timedelta(days=ATTEMPT_DAYS),
        "today": now.date(),
        "month": partitions.month_start(now.date()),
    }
    with invariants.patience(), connection.cursor() as cursor:
        # Only while these rows are made: nothing checks or repeats what the sums below prove.
        cursor.execute("set synchronous_commit = off; set session_replication_role = replica")
        cursor.execute("set work_mem = '256MB'; set maintenance_work_mem = '512MB'")
        indexes = drop_indexes(cursor)
        for first in range(1, calls + 1, BATCH):
            began = time.monotonic()
            cursor.execute(CALLS, {**values, "first": first, "last": min(first + BATCH - 1, calls)})
            rollups.roll_up()
            sys.stderr.write(f"{first + BATCH - 1:,} calls ({time.monotonic() - began:.1f} s)\n")
        for definition in indexes:
            cursor.execute(definition)
        for statement in COUNTERS:
            cursor.execute(statement, values)
        cursor.execute("reset all")
        cursor.execute("vacuum (freeze, analyze)")
    invariants.make_checkpoint(before=datetime.combine(values["month"], datetime.min.time(), UTC))


def drop_indexes(cursor: Any) -> list[str]:
    """Drop the indexes whose order is not that of time; return how to make them again."""
    cursor.execute(INDEXES)
    found = cursor.fetchall()
    for name, _ in found:
        cursor.execute(f'drop index "{name}"')
    return [definition.replace(" ON ONLY ", " ON ") for _, definition in found]

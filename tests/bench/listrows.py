"""
Rows of every list of the management API that calls alone do not fill, in the first workspace.

Each is made by one statement with the database's own constraints, in the order of time, beside
those of a neighbour: a plan that reads another customer's rows is seen in the figures.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

ROWS = int(os.environ.get("BENCH_LIST_ROWS", "300000"))
PEOPLE = 5_000
OPEN_INVITATIONS = 200
DAYS = 60
# Of so many events one is of a rare kind.
RARE = 20_000
STATEMENTS = {
    "people": """
insert into accounts_user (public_id, email, name, password, language, time_zone, is_staff,
    is_active, is_superuser, date_joined)
select 'usr_m' || g, 'm' || g || '@example.com', 'M', '!', 'en', 'UTC', false, true, false, now()
from generate_series(1, %(people)s) g
""",
    "members": """
insert into accounts_membership (public_id, workspace_id, user_id, role, created_at)
select 'mem_m' || id, %(place)s, id, 'viewer', now() from accounts_user where email like 'm%%'
""",
    "invitations": """
insert into accounts_invitation (public_id, workspace_id, email, role, digest, created_at,
    expires_at, accepted_at)
select 'inv_' || g, %(place)s, 'i' || g || '@example.com', 'viewer', sha256(g::text::bytea),
    now(), now() + interval '7 days', case when g > %(open)s then now() end
from generate_series(1, %(people)s) g
""",
    "service accounts": """
insert into accounts_serviceaccount (public_id, workspace_id, name, role, created_at)
select 'sa_' || g, %(place)s, 'robot ' || g, 'viewer', now() from generate_series(1, %(people)s) g
""",
    "audit events": """
insert into accounts_auditevent (public_id, at, workspace_id, action, actor, target, target_name,
    request_id, address)
select 'aud_' || g, %(began)s + g * %(gap)s,
    case g %% 2 when 0 then %(place)s else %(neighbour)s end,
    case when g %% %(rare)s = 0 then 'workspace.renamed' else 'key.updated' end, 'operator',
    'key_' || g %% 1000, 'k', '', ''
from generate_series(1, %(rows)s) g
""",
    "webhooks": """
insert into accounts_webhookendpoint (public_id, workspace_id, url, events, sealed, sealed_key_id,
    old_sealed_key_id, stopped)
select 'whk_' || g, case g %% 2 when 0 then %(place)s else %(neighbour)s end,
    'https://h' || g || '.example.com/', '{key.created}', 'x', 'bench', '', ''
from generate_series(1, 40) g
""",
    "events": """
insert into accounts_webhookevent (public_id, workspace_id, kind, body, created_at)
select 'evt_' || g, %(place)s, 'key.created', '{}', %(began)s + g * %(gap)s
from generate_series(1, %(rows)s) g
""",
    "deliveries": """
insert into accounts_webhookdelivery (public_id, event_id, endpoint_id, status, attempts, tries,
    next_at, error, log, created_at, ended_at)
select 'whd_' || g, e.id, w.id, 'delivered', 1, 1, now(), '', '[]',
    %(began)s + g * %(gap)s, now()
from generate_series(1, %(rows)s) g
join accounts_webhookevent e on e.public_id = 'evt_' || g
join accounts_webhookendpoint w on w.public_id = 'whk_' || case when g %% 3 = 0 then 4 else 2 end
order by g
""",
    "top-ups": """
insert into billing_topup (public_id, workspace_id, method, status, amount_cents, tax_cents,
    package, save_card, session_url, receipt_url, invoice_url, tax_calculation, fingerprint,
    failure, created_at)
select 'top_' || g, case g %% 2 when 0 then %(place)s else %(neighbour)s end, 'checkout',
    'expired', 1000, 0, '', false, '', '', '', '', '', 'expired', %(began)s + g * %(gap)s
from generate_series(1, %(rows)s) g
""",
    "refunds": """
insert into billing_refund (public_id, top_up_id, amount_cents, credit_nanos, status, failure,
    reason, created_at)
select 'ref_' || t.id, t.id, 1, 1, 'failed', '', '', now()
from billing_topup t where t.public_id like 'top_%%'
""",
    "extended key": """
insert into billing_extendedkey (sealed, sealed_with, path, fingerprint, next_index, created_at)
values ('x', 'bench', 'm', 'bench', 0, now()) on conflict do nothing
""",
    "addresses": """
insert into billing_depositaddress (workspace_id, extended_key_id, "index", address, keep,
    created_at)
select w, k.id, w, '0x' || lpad(w::text, 40, '0'), true, now()
from billing_extendedkey k, unnest(array[%(place)s, %(neighbour)s]::bigint[]) w
""",
    "deposits": """
insert into billing_deposit (address_id, chain_id, asset, tx_hash, ordinal, block_number,
    block_hash, amount, public_id, sender, units, state, doubt, found_at, credited_at)
select a.id, 1, 'bench', '0x' || md5(g::text), 0, g, '', 1, 'dep_' || g, '', 1, 'kept', '',
    %(began)s + g * %(gap)s,
    now()
from generate_series(1, %(rows)s) g
join billing_depositaddress a
    on a.workspace_id = case g %% 2 when 0 then %(place)s else %(neighbour)s end
order by g
""",
    "exports": """
insert into proxy_export (public_id, workspace_id, kind, query, status, pieces, rows, bytes,
    created_at, written_at, expires_at)
select 'exp_' || g, %(place)s, case g %% 2 when 0 then 'logs' else 'usage' end, '{}', 'completed',
    1, 1, 1, now(), now(), now() + interval '7 days'
from generate_series(1, %(people)s) g
""",
    "transfers": """
insert into billing_transfer (kind, source, debit_id, credit_id, asset, amount, at)
select 'bench', gen_random_uuid(), %(house)s, %(home)s, 'USD', 1, %(began)s + g * %(gap)s
from generate_series(1, %(rows)s) g
""",
}


def make() -> None:
    """Make them, once."""
    from accounts.models import AuditEvent, Workspace
    from billing import ledger

    if AuditEvent.objects.filter(public_id="aud_1").exists():
        return
    first = Workspace.objects.order_by("pk")[0]
    place, neighbour = first.pk, Workspace.objects.create(name="Neighbour", tier=first.tier).pk
    values: dict[str, Any] = {
        "rows": ROWS,
        "began": datetime.now(UTC) - timedelta(days=DAYS),
        "gap": timedelta(days=DAYS) / ROWS,
        "people": PEOPLE,
        "open": OPEN_INVITATIONS,
        "rare": RARE,
        "place": place,
        "neighbour": neighbour,
        "house": ledger.house_account(kind="adjustment", asset="USD"),
        "home": ledger.open_accounts(workspace_id=place).usd_id,
    }
    with connection.cursor() as cursor:
        # What triggers keep up is no part of what is timed.
        cursor.execute("set session_replication_role = replica; set synchronous_commit = off")
        for name, statement in STATEMENTS.items():
            began = time.monotonic()
            cursor.execute(statement, values)
            sys.stderr.write(f"{cursor.rowcount:,} {name} ({time.monotonic() - began:.1f} s)\n")
        cursor.execute("reset all")
        cursor.execute("vacuum (analyze)")

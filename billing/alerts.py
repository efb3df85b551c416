"""
Telling people in time: 50, 80 and 100 % of a cap, and a balance that runs low.

Each evaluation is one statement over the rows that count anyway, so whatever happened between
two runs is seen, and the hot rows need no further index; a window that has ended meanwhile is
not told of any more. What is raised is a row
under a unique constraint: told once, whoever evaluates how often. A cap counts what is
spent, not what is held: a hold is a worst case and mostly given back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from django.conf import settings
from django.db import connection, transaction

from accounts import audit, versions, workspaces
from accounts.actors import Actor
from accounts.models import Workspace
from billing import incidents
from billing.models import Alert, AlertPreference
from common import money

# Called with each new alert of a workspace, inside the transaction that raises it, so that
# what follows from it (a webhook to deliver) is written down with it or not at all.
on_raised: Final[list[Callable[[Alert], None]]] = []

# With less than half a percent left hardly any call is admitted: that is 100 %.
LEVEL: Final = """
case when spent >= cap - cap / 200 then 100 when spent >= cap - cap / 5 then 80 else 50 end
"""
CAPS: Final = f"""
with moment as (
    select (billing_now() at time zone 'UTC')::date as today
), counted as (
    select workspace_id, null::bigint as key_id, day, day_used, month_used, held, day_cap,
        month_cap
    from billing_account, moment
    where kind = 'paid' and asset = 'USD' and day >= date_trunc('month', today)
    union all
    select null, key_id, day, day_used, month_used, held, day_cap, month_cap
    from billing_keymeter, moment where day >= date_trunc('month', today)
), windows as (
    select workspace_id, key_id, 'day' as span, day::text as window,
        greatest(day_used - held, 0) as spent, day_cap as cap
    from counted, moment where day = today
    union all
    select workspace_id, key_id, 'month', to_char(day, 'YYYY-MM'),
        greatest(month_used - held, 0), month_cap
    from counted
), crossed as (
    select *, {LEVEL} as level from windows where cap > 0 and spent >= cap - cap / 2
), told as (
    select w.id as workspace_id, 'workspace:' || c.span as subject, c.window, c.level,
        jsonb_build_object('spent', c.spent, 'cap', c.cap, 'span', c.span) as facts
    from crossed c join accounts_workspace w on w.id = c.workspace_id
    where w.closed_at is null
    union all
    select w.id, 'key:' || k.public_id || ':' || c.span, c.window, c.level,
        jsonb_build_object('spent', c.spent, 'cap', c.cap, 'span', c.span,
                           'key_id', k.public_id, 'key_name', k.name)
    from crossed c
    join accounts_apikey k on k.id = c.key_id and k.deleted_at is null
    join accounts_apikeyworkspace carried on carried.key_id = k.id
    join accounts_workspace w on w.id = carried.workspace_id and w.closed_at is null
)
insert into billing_alert (workspace_id, kind, subject, "window", level, facts, told)
select workspace_id, 'cap.threshold', subject, t.window, level, facts, '{{}}'
from told t
where not exists (
    select from billing_alert a
    where a.workspace_id = t.workspace_id and a.kind = 'cap.threshold'
        and a.subject = t.subject and a.window = t.window and a.level >= t.level
        and a.closed_at is null
)
order by workspace_id, subject, t.window
on conflict do nothing
returning id
"""  # noqa: S608 - fixed texts

# What a workspace has of each asset, held or not, and below what it is low.
BALANCES: Final = """
with balance as (
    select home.workspace_id, home.asset,
        home.credits_posted - home.debits_posted
            + coalesce(g.credits_posted - g.debits_posted, 0) as units,
        home.credits_posted + coalesce(g.credits_posted, 0) as received,
        coalesce(p.low_balance_nanos, %(low)s)
            / case home.asset when 'TOK' then %(token)s else 1 end as threshold
    from billing_account home
    left join billing_account g on g.id = home.granted_id
    left join billing_alertpreference p on p.workspace_id = home.workspace_id
    where home.kind = 'paid' and home.workspace_id is not null and home.asset in ('USD', 'TOK')
)
"""
OVER: Final = (
    BALANCES
    + """
update billing_alert a set closed_at = clock_timestamp()
from balance b
where a.kind = 'balance.low' and a.closed_at is null and a.workspace_id = b.workspace_id
    and a.subject = b.asset and b.units >= b.threshold
"""
)
# Only whoever once had more, and called in the last days, is told.
LOW: Final = (
    BALANCES
    + """
insert into billing_alert (workspace_id, kind, subject, facts, told)
select b.workspace_id, 'balance.low', b.asset,
    jsonb_build_object('balance', b.units, 'threshold', b.threshold, 'asset', b.asset), '{}'
from balance b
join accounts_workspace w on w.id = b.workspace_id and w.closed_at is null
join billing_account usd
    on usd.workspace_id = b.workspace_id and usd.kind = 'paid' and usd.asset = 'USD'
where b.units < b.threshold and b.received >= b.threshold
    and usd.day >= (billing_now() at time zone 'UTC')::date - 2
    and not exists (
        select from billing_alert a
        where a.workspace_id = b.workspace_id and a.kind = 'balance.low'
            and a.subject = b.asset and a.closed_at is null
    )
order by b.workspace_id, b.asset
on conflict do nothing
returning id
"""
)

# Late evidence counts on the day of its call, so the last week is looked at.
LOST: Final = """
select day::text || ' ' || asset, asset, sum(uncollected)::bigint
from billing_usagetotal
where day > (billing_now() at time zone 'UTC')::date - 7
group by day, asset having sum(uncollected) > 0
"""


def due() -> list[Alert]:
    """Raise what has come up since the last time, each once; return what is new."""
    return _raise(CAPS, {}) + _low_balances()


def watch_losses() -> None:
    """Tell operators of what calls cost beyond what could be charged, once a day and asset."""
    with connection.cursor() as cursor:
        cursor.execute(LOST)
        lost = cursor.fetchall()
    kind = Alert.Kind.USAGE_UNCOLLECTED
    for subject, asset, units in lost:
        so_far = money.usd(units) if asset == "USD" else str(units)
        incidents.begin(kind=kind, subject=subject, facts={"asset": asset, "so_far": so_far})
    incidents.end_others(kind=kind, subjects={subject for subject, _, _ in lost})


def low_balance_nanos(*, workspace: Workspace) -> int:
    """Return below which balance a workspace is told."""
    found = AlertPreference.objects.filter(workspace=workspace).first()
    return found.low_balance_nanos if found else settings.LOW_BALANCE_NANOS


def facts(*, workspace: Workspace) -> dict[str, object]:
    """What can be changed of the alerts; None is the operator's default."""
    found = AlertPreference.objects.filter(workspace=workspace).first()
    return {"low_balance_usd": money.usd(found.low_balance_nanos) if found else None}


@transaction.atomic
def set_low_balance(
    *, workspace: Workspace, nanos: int | None, by: Actor, version: str | None = None
) -> None:
    """
    Set below which balance a workspace is told: 0 is never, None the default.

    :raises accounts.errors.Conflict: the alerts are not at the version that was asked for
    :raises ValueError: negative
    """
    Workspace.objects.select_for_update(no_key=True).get(pk=workspace.pk)
    before = facts(workspace=workspace)
    versions.require(wanted=version, current=versions.of(before))
    if nanos is None:
        AlertPreference.objects.filter(workspace=workspace).delete()
    elif nanos < 0:
        raise ValueError("A balance to be told at is 0 or more; 0 tells never.")
    else:
        AlertPreference.objects.update_or_create(
            workspace=workspace, defaults={"low_balance_nanos": nanos}
        )
    audit.record(
        action="alerts.changed",
        by=by,
        target=workspaces.target(workspace),
        workspaces=[workspace],
        before=before,
        after=facts(workspace=workspace),
    )


def _low_balances() -> list[Alert]:
    terms = {"low": settings.LOW_BALANCE_NANOS, "token": settings.TOKEN_VALUE_NANOS}
    with connection.cursor() as cursor:
        cursor.execute(OVER, terms)
    return _raise(LOW, terms)


@transaction.atomic
def _raise(statement: str, terms: dict[str, int]) -> list[Alert]:
    with connection.cursor() as cursor:
        cursor.execute(statement, terms or None)
        new = [row[0] for row in cursor.fetchall()]
    raised = list(Alert.objects.filter(pk__in=new).select_related("workspace").order_by("pk"))
    _announce(raised)
    return raised


def _announce(raised: Sequence[Alert]) -> None:
    for alert in raised:
        for hook in on_raised:
            hook(alert)

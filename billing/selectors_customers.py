"""What staff read about a customer: balances, limits, keys, what is going on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce

from accounts.models import ApiKey, AuditEvent, Membership
from billing import claims, freezing, ledger, statement
from billing.models import Account, Alert, Claim, Customer, KeyMeter, Refund, TopUp
from billing.selectors import Window
from billing.statement import Line
from common.pagination import Page, Wanted

MOST_SHOWN: Final = 20
MONEY: Final = F("credits_posted") - F("debits_posted")
# A page of the ledger that shows one kind of line looks this many pages far.
MOST_PAGES: Final = 5


@dataclass(frozen=True, slots=True)
class Funds:
    """Money of one asset, in its units; ``owed`` is what a processor took and was spent."""

    asset: str
    paid: int
    granted: int
    held: int
    available: int
    owed: int


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A key as staff see it: what names it, never what opens anything."""

    key: ApiKey
    spent: int
    last_used_at: datetime | None

    @property
    def state(self) -> str:
        """Whether it can be used."""
        if self.key.deleted_at is not None:
            return "deleted"
        return "disabled" if self.key.disabled_at is not None else "active"


@dataclass(frozen=True, slots=True)
class Card:
    """All of a customer on one page."""

    funds: Sequence[Funds]
    window: Window
    frozen: bool
    frozen_by: AuditEvent | None
    members: Sequence[Membership]
    keys: Sequence[KeyLine]
    claims: Sequence[Claim]
    top_ups: Sequence[TopUp]
    refunds: Sequence[Refund]
    alerts: Sequence[Alert]
    events: Sequence[AuditEvent]


def customers() -> QuerySet[Customer]:
    """All customers with their dollars, which the database adds up for the page's rows only."""
    return Customer.objects.select_related("tier", "personal_of").annotate(
        paid=_dollars(MONEY, kind="paid"),
        granted=_dollars(MONEY, kind="granted"),
        held=_dollars(F("held"), kind="paid"),
        owed=Coalesce(_debt(), 0),
        frozen=Exists(Account.objects.filter(workspace=OuterRef("pk"), frozen=True)),
    )


def _dollars(amount: Combinable, *, kind: str) -> Coalesce:
    rows = Account.objects.filter(workspace=OuterRef("pk"), kind=kind, asset=ledger.USD)
    return Coalesce(Subquery(rows.annotate(amount=amount).values("amount")[:1]), 0)


def owing() -> QuerySet[Customer]:
    """Customers with a debt."""
    return Customer.objects.filter(claims__owed__gt=F("claims__repaid"))


def _debt() -> Subquery:
    rows = Claim.objects.filter(workspace=OuterRef("pk"), owed__gt=F("repaid"))
    debts = rows.order_by().values("workspace").annotate(debt=Sum(F("owed") - F("repaid")))
    return Subquery(debts.values("debt"))


def card(*, customer: Customer, today: date) -> Card:
    """Everything about one customer."""
    home = Account.objects.filter(workspace=customer, kind="paid", asset=ledger.USD).first()
    return Card(
        funds=_funds(customer),
        window=Window.of(home, today=today),
        frozen=bool(home and home.frozen),
        frozen_by=freezing.frozen_by_staff(workspace=customer),
        members=list(customer.memberships.select_related("user").order_by("id")[:MOST_SHOWN]),
        keys=_keys(customer),
        claims=list(customer.claims.order_by("-id")[:MOST_SHOWN]),
        top_ups=list(customer.top_ups.order_by("-id")[:MOST_SHOWN]),
        refunds=list(
            Refund.objects.filter(top_up__workspace=customer)
            .select_related("top_up")
            .order_by("-id")[:MOST_SHOWN]
        ),
        alerts=list(customer.alerts.filter(closed_at=None).order_by("-id")[:MOST_SHOWN]),
        events=_events(customer),
    )


def _events(customer: Customer) -> list[AuditEvent]:
    """What was changed; what staff did with the reason that only their own log has."""
    theirs = Q(workspace=customer) & ~Q(action__in=freezing.ACTIONS)
    ours = Q(workspace=None, target=customer.public_id)
    same = {name: OuterRef(name) for name in ("action", "target", "request_id")}
    why = AuditEvent.objects.filter(workspace=None, **same).values("after__reason")[:1]
    events = AuditEvent.objects.filter(theirs | ours).select_related("user").annotate(why=why)
    return list(events.order_by("-id")[:MOST_SHOWN])


def _funds(customer: Customer) -> list[Funds]:
    found = Account.objects.filter(workspace=customer, kind=Account.Kind.PAID)
    others = found.exclude(asset__in=ledger.ASSETS).order_by("asset")
    assets = [*ledger.ASSETS, *others.values_list("asset", flat=True)]
    return [_funds_of(customer, asset) for asset in assets]


def _funds_of(customer: Customer, asset: str) -> Funds:
    balance = ledger.balance(workspace_id=customer.pk, asset=asset)
    return Funds(
        asset=asset,
        paid=balance.paid,
        granted=balance.granted,
        held=balance.held,
        available=balance.available,
        owed=claims.debt(workspace_id=customer.pk) if asset == ledger.USD else 0,
    )


def _keys(customer: Customer) -> list[KeyLine]:
    keys = list(customer.api_keys.order_by("-id")[:MOST_SHOWN])
    meters = KeyMeter.objects.in_bulk([key.pk for key in keys])
    return [_key_line(key, meters.get(key.pk)) for key in keys]


def _key_line(key: ApiKey, meter: KeyMeter | None) -> KeyLine:
    return KeyLine(
        key=key,
        spent=meter.spent if meter else 0,
        last_used_at=meter.last_used_at if meter else None,
    )


def ledger_page(
    *, customer: Customer, asset: str, only: str, wanted: Wanted, now: datetime
) -> Page:
    """A page of a customer's ledger: all of it, ``only`` calls, or ``only`` money."""
    lines: list[Line] = []
    after = wanted.after
    for _ in range(MOST_PAGES if only else 1):
        page = statement.read(
            workspace=customer, asset=asset, wanted=Wanted(wanted.limit, after), now=now
        )
        lines += [line for line in page.rows if not only or _is(line, only)]
        after = page.next
        if after is None or len(lines) >= wanted.limit:
            break
    return Page(lines, after)


def _is(line: Line, only: str) -> bool:
    return (line.kind == statement.USAGE) == (only == "calls")

"""What setting money aside for a refund must do."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.db import DatabaseError, connection, transaction

from billing.models import Account
from common import ids
from tests.billing import bank
from tests.billing.bank import Customer
from tests.billing.twin import Twin
from tests.mutations.locking import free, ours
from tests.mutations.steps import Scenario, rolled_back

RESERVE: Final = "select billing_reserve(%s, %s, %s)"
RELEASE: Final = "select billing_release(%s)"


def refusal(statement: str, *parameters: Any) -> str:
    """Return the code with which a call is refused; nothing if it is not."""
    try:
        with transaction.atomic():
            bank.run_django(statement, list(parameters))
            transaction.set_rollback(True)
    except DatabaseError as error:
        return str(getattr(error.__cause__, "sqlstate", ""))
    return ""


def exactly_what_nothing_holds_is_set_aside(t: Twin) -> None:
    """Paid money that no call and no other refund holds, to the unit, whatever the floor."""
    a, _, _ = t.customers
    t.part()
    t.hold(a, 400)
    left = 900
    for floor in (0, -50):
        t.change(a.usd, floor=floor)
        with rolled_back():
            first, second = ids.request_id(), ids.request_id()
            assert refusal(RESERVE, first, a.usd, left + 1) == "TG002"
            assert bank.run_django(RESERVE, [first, a.usd, left - 1]) is True
            assert Account.objects.get(pk=a.usd).debits_pending == 100 + left - 1
            assert refusal(RESERVE, second, a.usd, 2) == "TG002"
            assert bank.run_django(RESERVE, [second, a.usd, 1]) is True
            # Money that has gone out is not there twice.
            assert bank.run_django(RELEASE, [first]) == left - 1
            assert Account.objects.get(pk=a.usd).debits_pending == 101
    t.change(a.usd, floor=0)
    t.bill(t.known[-1], 400)
    assert refusal(RESERVE, ids.request_id(), a.usd, 901) == "TG002"
    assert bank.run_django(RESERVE, [ids.request_id(), a.usd, 900]) is True


def a_source_is_set_aside_once(t: Twin) -> None:
    """Twice changes nothing; another amount or account is a conflict; it ends once."""
    a, b, _ = t.customers
    t.part()
    source, other = ids.request_id(), ids.request_id()
    assert bank.run_django(RESERVE, [source, a.usd, 1]) is True
    assert bank.run_django(RESERVE, [other, b.usd, 7]) is True
    before = {row.pk: row.debits_pending for row in Account.objects.all()}
    assert bank.run_django(RESERVE, [source, a.usd, 1]) is False
    assert {row.pk: row.debits_pending for row in Account.objects.all()} == before
    assert refusal(RESERVE, source, a.usd, 2) == "TG001"
    assert refusal(RESERVE, source, b.usd, 1) == "TG001"
    assert bank.run_django(RELEASE, [source]) == 1
    after = {row.pk: row.debits_pending for row in Account.objects.all()}
    assert after == before | {a.usd: before[a.usd] - 1}
    assert bank.run_django(RELEASE, [source]) == 0
    assert {row.pk: row.debits_pending for row in Account.objects.all()} == after
    with connection.cursor() as cursor:
        cursor.execute("select source, account_id, amount from billing_fundhold")
        assert cursor.fetchall() == [(other, b.usd, 7)]


def what_cannot_be_set_aside(t: Twin) -> None:
    """Nothing, and what is no customer's paid account."""
    a, _, _ = t.customers
    t.part()
    for amount in (0, -1, None):
        assert refusal(RESERVE, ids.request_id(), a.usd, amount) == "TG003"
    for account in (t.granted(a).id, t.clearing, -1, None):
        assert refusal(RESERVE, ids.request_id(), account, 1) == "TG003"


def its_row_is_locked_before_it_is_read(t: Twin) -> None:
    """The home is ours, also where nothing is written; others are not."""
    a, b, c = t.customers
    t.part()
    home = f"id = {c.usd}"
    others = (f"id = {a.usd}", f"id = {b.usd}", f"id = {t.granted(c).id}", f"id = {c.tok}")
    source = ids.request_id()
    with rolled_back():
        writes_down(ids.request_id(), b)
        bank.run_django(RESERVE, [source, c.usd, 1])
        ours(home)
        free(*others)
        bank.run_django(RELEASE, [source])
        ours(home)
        free(*others)
    writes_down(source, c)
    assert bank.run_django(RESERVE, [source, c.usd, 5]) is False
    ours(home)


def writes_down(source: UUID, one: Customer) -> None:
    """Set money aside without a lock on the account."""
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into billing_fundhold (source, account_id, amount) values (%s, %s, 5)",
            [source, one.usd],
        )


FUNDING: Final[tuple[Scenario, ...]] = (
    a_source_is_set_aside_once,
    exactly_what_nothing_holds_is_set_aside,
    what_cannot_be_set_aside,
    its_row_is_locked_before_it_is_read,
)

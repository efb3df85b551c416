"""What several scenarios do: roll back, post, refuse."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from django.db import DatabaseError, connection, transaction

from billing import ledger
from billing.models import Hold, Usage
from common import ids
from tests.billing.bank import Customer
from tests.billing.twin import Twin

Scenario = Callable[[Twin], None]


class rolled_back:
    """A block whose rows and locks go away."""

    def __enter__(self) -> None:
        self.sid = transaction.savepoint()

    def __exit__(self, *_: object) -> None:
        transaction.savepoint_rollback(self.sid)


class rolled_back_twin:
    """A block after which database and model are as before."""

    def __init__(self, twin: Twin) -> None:
        self.twin = twin

    def __enter__(self) -> None:
        self.before = deepcopy(self.twin.model)
        self.sid = transaction.savepoint()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.twin.agree()
            transaction.savepoint_rollback(self.sid)
            self.twin.model = self.before


def leg(kind: str, debit: int, credit: int, amount: int, **changes: Any) -> ledger.Transfer:
    """Return one transfer of dollars."""
    given: dict[str, Any] = {"source": ids.request_id(), "asset": "USD"} | changes
    return ledger.Transfer(kind=kind, debit=debit, credit=credit, amount=amount, **given)


def refuses(error: type[Exception], *legs: ledger.Transfer) -> None:
    """Post what must be refused with this error."""
    try:
        with transaction.atomic():
            ledger.post(*legs)
    except error:
        return
    raise AssertionError(f"{legs} should have raised {error.__name__}")


def writes(statement: str) -> None:
    """Run a statement; what is checked at the end is checked at once."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        cursor.execute("set constraints all immediate")


def refused(statement: str) -> str:
    """Return the code with which a statement is refused; nothing if it is not."""
    try:
        with transaction.atomic():
            writes(statement)
            transaction.set_rollback(True)
    except DatabaseError as error:
        return str(getattr(error.__cause__, "sqlstate", ""))
    return ""


def committed(one: Customer) -> list[str]:
    """Return a customer's open call and ended ones, in dollars and tokens, seen by everybody."""
    closed = Usage.objects.filter(workspace=one.workspace)
    return [
        str(Hold.objects.get(workspace_id=one.workspace.pk).pk),
        str(closed.get(asset="USD").pk),
        str(closed.get(asset="TOK").pk),
    ]

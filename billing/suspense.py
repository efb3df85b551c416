"""
Suspense: money that arrived and is nobody's, until staff say whose it is.

It is credited to a workspace, or goes back to where it came from; once, whichever it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from accounts import approvals, audit
from accounts.actors import Staff, person_id
from accounts.approvals import Order, Submitted
from accounts.errors import Invalid
from accounts.models import Workspace
from accounts.workspaces import whom
from billing import claims, incidents, ledger
from billing.models import Alert, Suspended, Transfer
from common import money

SUSPENSE: Final = "suspense"
RESOLVED: Final = "suspense.resolved"
DECIDED: Final = "It was credited or given back already: refuse what still asks for it."


def register() -> None:
    """Tell approvals how suspended money is credited."""
    approvals.register(kind=SUSPENSE, execute=_credit)


def waiting() -> QuerySet[Suspended]:
    """What nobody has decided yet."""
    resolved = Transfer.objects.filter(kind=RESOLVED, source=OuterRef("source"))
    return Suspended.objects.filter(~Exists(resolved), kind=SUSPENSE)


def words(row: Transfer) -> str:
    """How much it is."""
    amount = money.usd(int(row.amount)) if row.asset == ledger.USD else str(int(row.amount))
    return f"{amount} {row.asset}"


def credit(
    *, row: Transfer, workspace: Workspace, reason: str, by: Staff, source: UUID
) -> Submitted:
    """
    Credit suspended money to a workspace, or ask for approval; once per source.

    What is not in dollars always takes a second person: nobody says here what it is worth.

    :raises accounts.errors.Refused: it is resolved, or no second factor
    """
    asked: dict[str, Any] = {
        "kind": SUSPENSE,
        "payload": {"transfer": row.pk},
        "summary": f"Credit {words(row)} from suspense ({row.reference}) to {whom(workspace)}",
        "reason": reason,
        "by": by,
        "workspace": workspace,
        "source": source,
    }
    if row.asset != ledger.USD:
        return Submitted(approval=approvals.ask(**asked))
    return approvals.submit(**asked, amount_nanos=int(row.amount))


def _credit(order: Order) -> Mapping[str, Any]:
    row = Transfer.objects.get(pk=order.payload["transfer"], kind=SUSPENSE)
    workspace = order.workspace
    if workspace is None or workspace.closed_at is not None:
        raise Invalid("That workspace is closed by now: refuse this, and credit another one.")
    ledger.open_accounts(workspace_id=workspace.pk)
    if row.asset not in ledger.ASSETS:
        ledger.open_account(workspace_id=workspace.pk, asset=row.asset)
    [home] = ledger.lock_homes(workspace_id=workspace.pk, assets=(row.asset,))
    _resolve(row, to=home.pk, reason=order.reason, by=order.by, workspace=workspace)
    if row.asset == ledger.USD:
        claims.repay(workspace_id=workspace.pk)
    return {"workspace": workspace.public_id, "amount": words(row)}


@transaction.atomic
def give_back(*, row: Transfer, reason: str, by: Staff) -> None:
    """
    Book suspended money back to where it came from; it is paid back there by hand.

    :raises accounts.errors.Invalid: it is resolved
    """
    _resolve(row, to=row.debit_id, reason=reason, by=by, workspace=None)


def _resolve(
    row: Transfer, *, to: int, reason: str, by: Staff, workspace: Workspace | None
) -> None:
    if not waiting().filter(pk=row.pk).exists():
        raise Invalid(DECIDED)
    try:
        [new] = ledger.post(
            ledger.Transfer(
                kind=RESOLVED,
                source=row.source,
                debit=row.credit_id,
                credit=to,
                asset=row.asset,
                amount=int(row.amount),
                reference=row.reference,
                reason=reason,
                created_by=person_id(by),
            )
        )
    except ledger.Conflict:
        raise Invalid(DECIDED) from None
    if not new:
        raise Invalid(DECIDED)
    incidents.end(kind=Alert.Kind.PAYMENT_UNMATCHED, subject=row.reference[:128])
    audit.decided(
        action="suspense.credited" if workspace else "suspense.given_back",
        by=by,
        target=audit.Target(str(row.source), row.reference or "suspense"),
        workspace=workspace,
        before={"waiting": words(row)},
        after={"waiting": None},
        reason=reason,
    )

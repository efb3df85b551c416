"""Corrections: paid money that staff put right, in either direction, with a reason."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from django.db import transaction

from accounts import audit
from accounts.actors import Actor, person_id
from accounts.models import Workspace
from billing import ledger

CORRECTION: Final = "correction"


@transaction.atomic
def correct(
    *, workspace: Workspace, asset: str, amount: int, reason: str, by: Actor, source: UUID
) -> bool:
    """
    Add to a workspace's paid money, or take from it what nothing holds; once per source.

    :raises billing.ledger.InsufficientFunds: less is there than is to be taken
    :raises billing.ledger.Conflict: the source was booked with another amount
    :raises ValueError: nothing to correct, or an asset without accounts
    """
    if amount == 0 or asset not in ledger.ASSETS:
        raise ValueError("A correction has an amount, of USD or TOK.")
    ledger.open_accounts(workspace_id=workspace.pk)
    home = ledger.lock_homes(workspace_id=workspace.pk, assets=(asset,))[0]
    house = ledger.house_account(kind="adjustment", asset=asset)
    before = ledger.balance(workspace_id=workspace.pk, asset=asset).paid
    debit, credit = (house, home.pk) if amount > 0 else (home.pk, house)
    [new] = ledger.post(
        ledger.Transfer(
            kind=CORRECTION,
            source=source,
            debit=debit,
            credit=credit,
            asset=asset,
            amount=abs(amount),
            reason=reason,
            created_by=person_id(by),
        )
    )
    if new:
        audit.record(
            action="money.corrected",
            by=by,
            target=audit.Target(workspace.public_id, workspace.name),
            workspaces=[workspace],
            before={"asset": asset, "paid": str(before), "reason": None},
            after={"asset": asset, "paid": str(before + amount), "reason": reason},
        )
    return new

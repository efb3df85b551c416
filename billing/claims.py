"""
What a processor takes back after it was credited, and the debt where it is spent already.

A claim takes what the paid account still has and no call holds; the rest is owed, in
`receivable`, and later payments pay it first. A dispute or a fraud warning freezes the
workspace until all of them are decided in its favour, or staff let it call again. What operators
were told of a claim is over when it is decided, by whomever.
"""

from __future__ import annotations

from typing import Final

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from billing import incidents, ledger
from billing.ledger import Transfer
from billing.models import Account, Alert
from billing.models_funding import Claim, TopUp
from common import ids

FREEZING: Final = (Claim.Kind.DISPUTE, Claim.Kind.WARNING)
# A warning takes nothing from us yet: what it claims is kept ready for the dispute.
HOUSES: Final = {
    Claim.Kind.DISPUTE: "clearing:stripe",
    Claim.Kind.REFUND: "clearing:stripe",
    Claim.Kind.WARNING: "reserve:fraud",
}


@transaction.atomic
def take(
    *, kind: Claim.Kind, external_id: str, top_up: TopUp, amount_nanos: int, tax_nanos: int = 0
) -> Claim:
    """
    Take back what was credited and is still there; the rest becomes a debt. Once per object.

    :raises billing.ledger.Conflict: the object claimed another amount before
    """
    home = _lock(top_up.workspace_id)
    before = Claim.objects.filter(external_id=external_id).first()
    if before is not None:
        if (before.amount_nanos, before.tax_nanos) != (amount_nanos, tax_nanos):
            raise ledger.Conflict(f"{external_id} claimed another amount before.")
        return before
    froze = kind in FREEZING and _may_freeze(top_up.workspace_id, home)
    if kind is not Claim.Kind.WARNING:
        froze |= _end_warnings(top_up)
    home = _lock(top_up.workspace_id)
    claim = Claim(
        external_id=external_id,
        kind=kind,
        top_up=top_up,
        workspace_id=top_up.workspace_id,
        amount_nanos=amount_nanos,
        tax_nanos=tax_nanos,
        taken=min(amount_nanos, _free(home)),
        owed=max(0, amount_nanos - _free(home)),
        froze=froze,
    )
    claim.save(force_insert=True)
    _move(claim, "taken", debit=home.pk, credit=_house(claim), amount=claim.taken)
    _move(claim, "owed", debit=_named("receivable"), credit=_house(claim), amount=claim.owed)
    _move(claim, "tax", debit=_named("tax_payable"), credit=_house(claim), amount=tax_nanos)
    if claim.froze:
        Account.objects.filter(pk=home.pk).update(frozen=True)
    return claim


@transaction.atomic
def reverse(*, external_id: str) -> bool:
    """Give back what a claim took, with its debt; let the workspace call again. Once."""
    claim = Claim.objects.filter(external_id=external_id).first()
    if claim is None:
        return False
    home = _lock(claim.workspace_id)
    claim = Claim.objects.get(pk=claim.pk)
    if claim.status == Claim.Status.REVERSED:
        return False
    _give_back(claim)
    _thaw(claim, home)
    repay(workspace_id=claim.workspace_id)
    return True


def decide(*, workspace_id: int) -> None:
    """Staff let a workspace call again: what claims froze it until now keeps it no longer."""
    Claim.objects.filter(workspace_id=workspace_id, froze=True).update(froze=False)


@transaction.atomic
def lose(*, external_id: str) -> None:
    """Note that a claim stands; the workspace stays frozen until staff decide."""
    Claim.objects.filter(external_id=external_id, status=Claim.Status.OPEN).update(
        status=Claim.Status.LOST, closed_at=timezone.now()
    )
    _tell_it_is_over(external_id)


@transaction.atomic
def repay(*, workspace_id: int) -> int:
    """Pay a workspace's debts, the oldest first, from what is free; return how much was paid."""
    home = _lock(workspace_id)
    free, paid = _free(home), 0
    for claim in Claim.objects.filter(workspace_id=workspace_id, owed__gt=F("repaid")):
        part = min(claim.owed - claim.repaid, free - paid)
        if part <= 0:
            break
        ledger.post(
            Transfer(
                kind="debt.paid",
                # A debt can be paid in several parts.
                source=ids.source("debt", f"{claim.external_id}:{claim.repaid}"),
                debit=home.pk,
                credit=_named("receivable"),
                asset=ledger.USD,
                amount=part,
                reference=claim.external_id,
                reason="Debt",
            )
        )
        Claim.objects.filter(pk=claim.pk).update(repaid=F("repaid") + part)
        paid += part
    return paid


def debt(*, workspace_id: int) -> int:
    """What a workspace owes, in nano-dollars."""
    rows = Claim.objects.filter(workspace_id=workspace_id, owed__gt=F("repaid"))
    return sum(claim.owed - claim.repaid for claim in rows)


def _may_freeze(workspace_id: int, home: Account) -> bool:
    """Whether a claim is why a workspace is frozen: not where something else froze it before."""
    froze = Claim.objects.filter(workspace_id=workspace_id, froze=True)
    return not home.frozen or froze.exists()


def _give_back(claim: Claim) -> None:
    home = Account.objects.get(
        workspace_id=claim.workspace_id, kind=Account.Kind.PAID, asset=ledger.USD
    )
    house, forgiven = _house(claim), claim.owed - claim.repaid
    _move(claim, "returned", debit=house, credit=home.pk, amount=claim.taken + claim.repaid)
    _move(claim, "forgiven", debit=house, credit=_named("receivable"), amount=forgiven)
    _move(claim, "tax_returned", debit=house, credit=_named("tax_payable"), amount=claim.tax_nanos)
    Claim.objects.filter(pk=claim.pk).update(
        status=Claim.Status.REVERSED, closed_at=timezone.now(), repaid=claim.owed
    )
    _tell_it_is_over(claim.external_id)


def _tell_it_is_over(external_id: str) -> None:
    incidents.end(kind=Alert.Kind.PAYMENT_DISPUTED, subject=external_id)


def _thaw(claim: Claim, home: Account) -> None:
    froze = Claim.objects.filter(workspace_id=claim.workspace_id, froze=True)
    if not froze.filter(pk=claim.pk).update(froze=False):
        return
    # Another claim, or staff who have not decided yet, may keep it frozen.
    if not froze.exists():
        Account.objects.filter(pk=home.pk).update(frozen=False)


def _end_warnings(top_up: TopUp) -> bool:
    """Give back what fraud warnings of a payment kept; True where one of them had frozen."""
    warnings = Claim.objects.filter(top_up=top_up, kind=Claim.Kind.WARNING)
    # One that staff accepted keeps its money as well: the payment is taken back once.
    standing = list(warnings.exclude(status=Claim.Status.REVERSED))
    for warning in standing:
        _give_back(warning)
    warnings.update(froze=False)
    return any(warning.froze for warning in standing)


def _move(claim: Claim, step: str, *, debit: int, credit: int, amount: int) -> None:
    if amount:
        ledger.post(
            Transfer(
                kind=f"{claim.kind}.{step}",
                source=ids.source("claim", claim.external_id),
                debit=debit,
                credit=credit,
                asset=ledger.USD,
                amount=amount,
                reference=claim.external_id,
            )
        )


def _house(claim: Claim) -> int:
    return _named(HOUSES[Claim.Kind(claim.kind)])


def _named(kind: str) -> int:
    return ledger.house_account(kind=kind, asset=ledger.USD)


def _lock(workspace_id: int) -> Account:
    ledger.open_accounts(workspace_id=workspace_id)
    return ledger.lock_homes(workspace_id=workspace_id, assets=(ledger.USD,))[0]


def _free(home: Account) -> int:
    return max(0, home.credits_posted - home.debits_posted - home.debits_pending)

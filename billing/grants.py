"""
Money that is given: lots with an expiry, allocated lazily.

Spending is not booked lot by lot. It is allocated to lots in the order of their expiry
whenever the set of lots changes, under the account's lock; between two changes the set is
constant, so the result is the same as if every call had been allocated at once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F

from accounts import audit
from accounts.actors import Actor, person_id
from accounts.models import User, Workspace
from billing import ledger
from billing.models import Account, Lot
from billing.models import Transfer as TransferRow
from common import ids

GRANT: Final = "grant"
CREDIT: Final = "credit"
EXPIRED: Final = "grant.expired"


def give(
    *,
    workspace: Workspace,
    asset: str,
    amount: int,
    reason: str,
    expires_at: datetime | None = None,
    paid: bool = False,
    by: Actor = None,
    source: UUID | None = None,
) -> bool:
    """
    Give a workspace money: a lot of granted money, or paid money that an operator received.

    Inside a transaction of the caller's. The same source is given once; False says that it
    had been.

    :raises billing.ledger.Conflict: the source was given before with another amount
    :raises billing.ledger.NotATransfer: not a positive amount
    :raises ValueError: paid money with an expiry, or an asset without accounts
    """
    _require(asset=asset, paid=paid, expires_at=expires_at)
    home = _lock_home(workspace_id=workspace.pk, asset=asset)
    source = source or ids.request_id()
    account_id = home.pk if paid else _granted(home).pk
    house = ledger.house_account(kind="adjustment" if paid else "promo_expense", asset=asset)
    if not paid:
        _allocate(account_id=account_id)
    transfer = ledger.Transfer(
        kind=CREDIT if paid else GRANT,
        source=source,
        debit=house,
        credit=account_id,
        asset=asset,
        amount=amount,
        reason=reason,
        created_by=person_id(by),
    )
    [new] = ledger.post(transfer)
    if new:
        if not paid:
            _open_lot(transfer, expires_at=expires_at)
        _record(transfer, workspace=workspace, by=by)
    return new


def _require(*, asset: str, paid: bool, expires_at: datetime | None) -> None:
    if paid and expires_at is not None:
        raise ValueError("Paid money does not expire.")
    if asset not in ledger.ASSETS:
        raise ValueError(f"{asset!r} is no asset of a workspace; it is one of {ledger.ASSETS}.")


def _open_lot(transfer: ledger.Transfer, *, expires_at: datetime | None) -> None:
    Lot.objects.create(
        account_id=transfer.credit,
        amount=transfer.amount,
        expires_at=expires_at,
        reason=transfer.reason,
        source=transfer.source,
        created_by_id=transfer.created_by,
    )


def _record(transfer: ledger.Transfer, *, workspace: Workspace, by: Actor) -> None:
    audit.record(
        action="money.paid_in" if transfer.kind == CREDIT else "money.granted",
        by=by,
        target=audit.Target(workspace.public_id, workspace.name),
        workspaces=[workspace],
        after={
            "asset": transfer.asset,
            "units": str(transfer.amount),
            "reason": transfer.reason,
        },
    )


# In a transaction of its own; as a part of another one it would make a savepoint, and those
# are dear round hot rows.
grant = transaction.atomic(give)


def welcome(user: User) -> None:
    """Give a person whose address is proved the sign-up grant, once."""
    amount = settings.SIGNUP_GRANT_NANOS
    source = ids.source("signup_grant", user.public_id)
    workspace = Workspace.objects.filter(personal_of=user).first()
    if amount <= 0 or workspace is None or _given(source):
        return
    grant(
        workspace=workspace, asset=ledger.USD, amount=amount, reason="Sign-up grant", source=source
    )


def _given(source: UUID) -> bool:
    return TransferRow.objects.filter(kind=GRANT, source=source).exists()


def give_back(*, workspace_id: int, asset: str, amount: int, source: UUID) -> None:
    """
    Make a lot of granted money that a corrected call gave back, in the transaction that did.

    It lasts as long as the one of the account's lots that lasts longest.
    """
    account_id = _granted(_lock_home(workspace_id=workspace_id, asset=asset)).pk
    _allocate(account_id=account_id)
    lots = Lot.objects.filter(account_id=account_id).order_by(
        F("expires_at").desc(nulls_first=True)
    )
    last = lots.first()
    Lot.objects.create(
        account_id=account_id,
        amount=amount,
        expires_at=last.expires_at if last else None,
        reason="Correction of a call",
        source=source,
    )


def expire_due(*, now: datetime) -> int:
    """Take back what is left of lots whose time is over; return how many gave something."""
    accounts = (
        Lot.objects.filter(expires_at__lte=now, amount__gt=F("consumed") + F("expired"))
        .order_by("account_id")
        .values_list("account_id", flat=True)
        .distinct()
    )
    return sum(_expire_lots(account_id=account_id, now=now) for account_id in list(accounts))


@transaction.atomic
def _expire_lots(*, account_id: int, now: datetime) -> int:
    # The home row first, as everywhere: its lock covers the granted account.
    Account.objects.select_for_update(no_key=True).get(granted=account_id)
    _allocate(account_id=account_id)
    account = Account.objects.get(pk=account_id)
    # What calls in flight have set aside stays until they are closed; the next run asks again.
    free = account.credits_posted - account.debits_posted - account.debits_pending
    ended = 0
    for lot in Lot.objects.filter(account_id=account_id, expires_at__lte=now).order_by(
        "expires_at", "id"
    ):
        left = min(lot.amount - lot.consumed - lot.expired, free)
        if left > 0:
            _expire(lot=lot, account=account, amount=left)
            free -= left
            ended += 1
    return ended


def _expire(*, lot: Lot, account: Account, amount: int) -> None:
    ledger.post(
        ledger.Transfer(
            kind=EXPIRED,
            # A lot can end in several steps, as the calls that held it close.
            source=ids.source("lot_expiry", f"{lot.pk}:{lot.expired}"),
            debit=account.pk,
            credit=ledger.house_account(kind="breakage", asset=account.asset),
            asset=account.asset,
            amount=amount,
            reference=f"lot {lot.pk}",
        )
    )
    Lot.objects.filter(pk=lot.pk).update(expired=F("expired") + amount)


def _lock_home(*, workspace_id: int, asset: str) -> Account:
    ledger.open_accounts(workspace_id=workspace_id)
    return ledger.lock_homes(workspace_id=workspace_id, assets=(asset,))[0]


def _granted(home: Account) -> Account:
    return Account.objects.get(home=home)


def _allocate(*, account_id: int) -> None:
    """Write what was spent since the last time on lots, the first to expire first."""
    account = Account.objects.get(pk=account_id)
    lots = list(
        Lot.objects.filter(account_id=account_id).order_by(
            F("expires_at").asc(nulls_last=True), "id"
        )
    )
    spent = account.debits_posted - sum(lot.consumed + lot.expired for lot in lots)
    for lot in lots:
        part = min(spent, lot.amount - lot.consumed - lot.expired)
        if part > 0:
            Lot.objects.filter(pk=lot.pk).update(consumed=F("consumed") + part)
            spent -= part

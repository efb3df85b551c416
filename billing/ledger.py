"""
The ledger: the only module that makes accounts and moves money.

    LedgerError
    ├── Conflict            booked before with another amount or other accounts
    ├── InsufficientFunds   a customer account would fall below what its holds leave
    └── NotATransfer        amount, accounts or asset make no sense

The gateway calls ADMIT and SETTLE itself, in batches over its own connections; both
answer a batch in one round trip and are safe to repeat.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q
from django.db.utils import DatabaseError

from accounts.models import Tier, Workspace
from billing.models import Account, KeyMeter

USD: Final = "USD"
TOK: Final = "TOK"
ASSETS: Final = (USD, TOK)

# A workspace's home accounts of USD and TOK, null where not opened yet, and whether a key has
# its meter; parameters: the workspace twice, the key.
OPENED: Final = """
select (select id from billing_account
        where workspace_id = %s and kind = 'paid' and asset = 'USD'),
       (select id from billing_account
        where workspace_id = %s and kind = 'paid' and asset = 'TOK'),
       exists (select from billing_keymeter where key_id = %s)
"""
ADMIT: Final = "select billing_admit(%s::jsonb, %s)::text"
SETTLE: Final = "select billing_settle(%s::jsonb, %s)::text"
VOID: Final = "select billing_void(%s::uuid[], %s)::text"
EXPIRE: Final = "select billing_expire(%s::uuid[], %s, %s)::text"
EXTEND: Final = "select billing_extend(%s::uuid[], %s)"
POST: Final = "select billing_post(%s::jsonb)::text"
REVISE: Final = "select billing_revise(%s::jsonb)::text"
REPEAT: Final = "select billing_repeat(%s, %s)"


class LedgerError(Exception):
    """The ledger refused to move money; nothing was moved."""


class Conflict(LedgerError):
    """The same kind and source was booked before with another amount or other accounts."""


class InsufficientFunds(LedgerError):
    """A customer account has less than that which no call holds; credit is for calls only."""


class NotATransfer(LedgerError):
    """The amount, the accounts or the asset of a transfer make no sense."""


ERRORS: Final[dict[str, type[LedgerError]]] = {
    "TG001": Conflict,
    "TG002": InsufficientFunds,
    "TG003": NotATransfer,
    "22003": NotATransfer,  # out of range
    "23503": NotATransfer,  # no such account, or of another asset
    "23514": InsufficientFunds,  # below the floor: the CHECK of the account
}


@dataclass(frozen=True, slots=True)
class Accounts:
    """The home accounts of a workspace."""

    usd_id: int
    tok_id: int


@dataclass(frozen=True, slots=True)
class Balance:
    """Money of one asset: held is set aside for calls in flight."""

    paid: int
    granted: int
    held: int
    floor: int = 0

    @property
    def total(self) -> int:
        """Paid and granted together."""
        return self.paid + self.granted

    @property
    def available(self) -> int:
        """What a new call can use."""
        return self.total - self.held - self.floor


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One movement to book: amount in units of the asset, once per (kind, source)."""

    kind: str
    source: UUID
    debit: int
    credit: int
    asset: str
    amount: int
    reference: str = ""
    reason: str = ""
    created_by: int | None = None


def open_accounts(*, workspace_id: int) -> Accounts:
    """Make a workspace's accounts on the first call, with its tier's caps; return its homes.

    :raises accounts.models.Workspace.DoesNotExist: there is no such workspace
    """
    homes = _homes(workspace_id)
    if len(homes) < len(ASSETS):
        tier = Workspace.objects.select_related("tier").get(pk=workspace_id).tier
        for asset in ASSETS:
            if asset not in homes:
                _open(workspace_id=workspace_id, asset=asset, tier=tier)
        homes = _homes(workspace_id)
    return Accounts(usd_id=homes[USD], tok_id=homes[TOK])


def _homes(workspace_id: int) -> dict[str, int]:
    rows = Account.objects.filter(workspace_id=workspace_id, kind="paid", asset__in=ASSETS)
    return dict(rows.values_list("asset", "id"))


def _open(*, workspace_id: int, asset: str, tier: Tier) -> None:
    # The caps of all assets are counted on the USD home.
    caps = (tier.default_daily_nanos, tier.default_monthly_nanos) if asset == USD else (None, None)
    with connection.cursor() as cursor:
        cursor.execute("select billing_open_account(%s, %s, %s, %s)", [workspace_id, asset, *caps])


def open_account(*, workspace_id: int, asset: str) -> int:
    """Make a workspace's accounts of one more asset on the first call; return the home's id."""
    homes = Account.objects.filter(workspace_id=workspace_id, kind="paid", asset=asset)
    found = homes.values_list("id", flat=True).first()
    if found is None:
        with connection.cursor() as cursor:
            cursor.execute("select billing_open_account(%s, %s, null, null)", [workspace_id, asset])
        found = homes.values_list("id", flat=True).get()
    return found


def open_meter(*, key_id: int) -> None:
    """Make a key's meter on the first call, with the smallest caps of its workspaces' tiers."""
    if KeyMeter.objects.filter(key_id=key_id).exists():
        return
    tiers = Tier.objects.filter(workspaces__api_keys=key_id)
    daily = [tier.default_daily_nanos for tier in tiers if tier.default_daily_nanos is not None]
    monthly = [
        tier.default_monthly_nanos for tier in tiers if tier.default_monthly_nanos is not None
    ]
    meter = KeyMeter(
        key_id=key_id, day_cap=min(daily, default=None), month_cap=min(monthly, default=None)
    )
    KeyMeter.objects.bulk_create([meter], ignore_conflicts=True)


def house_account(*, kind: str, asset: str) -> int:
    """Return the house's account of a kind and an asset, made when it is first needed."""
    with connection.cursor() as cursor:
        cursor.execute("select billing_house_account(%s, %s)", [kind, asset])
        return int(cursor.fetchone()[0])


def post(*transfers: Transfer) -> list[bool]:
    """
    Book transfers, all or none; True where one is new, False where it was booked before.

    :raises Conflict: the same kind and source was booked with another amount
    :raises InsufficientFunds: a customer account would fall below what its holds leave
    :raises NotATransfer: an amount that is not positive, or an account of another asset
    """
    items = [
        {
            "kind": each.kind,
            "source": str(each.source),
            "debit": each.debit,
            "credit": each.credit,
            "asset": each.asset,
            "amount": each.amount,
            "reference": each.reference,
            "reason": each.reason,
            "created_by": each.created_by,
        }
        for each in transfers
    ]
    with refusals(), connection.cursor() as cursor:
        cursor.execute(POST, [json.dumps(items)])
        return [answer["v"] == "ok" for answer in json.loads(cursor.fetchone()[0])]


@contextmanager
def refusals() -> Iterator[None]:
    """Turn the database's refusals into errors of this module."""
    try:
        yield
    except DatabaseError as error:
        refusal = ERRORS.get(getattr(error.__cause__, "sqlstate", None) or "")
        if refusal is None:
            raise
        raise refusal(str(error).partition("\n")[0]) from error


def balance(*, workspace_id: int, asset: str) -> Balance:
    """Return what a workspace has of an asset; nothing if it never had any."""
    rows = Account.objects.filter(workspace_id=workspace_id, asset=asset)
    paid = granted = held = floor = 0
    for row in rows:
        money = row.credits_posted - row.debits_posted
        held += row.debits_pending
        if row.kind == Account.Kind.PAID:
            paid, floor = money, row.floor
        else:
            granted = money
    return Balance(paid=paid, granted=granted, held=held, floor=floor)


def freeze(*, workspace_id: int) -> None:
    """Refuse every new call of a workspace; calls in flight are settled as usual."""
    _set_frozen(workspace_id, frozen=True)


def unfreeze(*, workspace_id: int) -> None:
    """Let a workspace call again."""
    _set_frozen(workspace_id, frozen=False)


def _set_frozen(workspace_id: int, *, frozen: bool) -> None:
    open_accounts(workspace_id=workspace_id)
    with transaction.atomic():
        home = lock_homes(workspace_id=workspace_id, assets=(USD,))[0]
        Account.objects.filter(pk=home.pk).update(frozen=frozen)


def lock_homes(*, workspace_id: int, assets: Sequence[str] = ASSETS) -> list[Account]:
    """
    Lock and return a workspace's home accounts in the one lock order, inside a transaction.

    Whoever changes an account or meter row takes this first: home accounts by id, their
    granted accounts by id, key meters by id, FOR NO KEY UPDATE.
    """
    homes = Q(workspace_id=workspace_id, kind=Account.Kind.PAID, asset__in=list(assets))
    return list(Account.objects.filter(homes).order_by("id").select_for_update(no_key=True))


def reserve(*, source: UUID, home: int, amount: int) -> bool:
    """Set paid money aside for a refund under way, once per source; True where it is new.

    :raises InsufficientFunds: the paid money that nothing holds does not suffice
    :raises Conflict: the source set another amount aside
    """
    with refusals(), connection.cursor() as cursor:
        cursor.execute("select billing_reserve(%s, %s, %s)", [source, home, amount])
        return bool(cursor.fetchone()[0])


def release(*, source: UUID) -> int:
    """End what was set aside; return how much, 0 where nothing was."""
    with connection.cursor() as cursor:
        cursor.execute("select billing_release(%s)", [source])
        return int(cursor.fetchone()[0])

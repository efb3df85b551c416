"""
Money that comes in: the one way to credit it, and what every processor of payments offers.

Whoever books outside money (cards, chains) calls ``credit_once``: the same source is credited
once, and what the workspace owes is paid first. A processor of cards is one class that offers
``Processor``; the setting PAYMENT_PROCESSOR names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from accounts import audit, signup
from accounts.actors import Actor, person_id
from accounts.errors import Invalid
from accounts.models import User, Workspace
from accounts.templatetags.show import grouped
from billing import claims, incidents, ledger, notices, velocity
from billing.ledger import Transfer
from billing.models import Alert
from billing.models_funding import Refund, SavedCard, TopUp
from billing.models_tokens import TokenPackage
from common import ids, money
from common.errors import ApiError

NANOS_PER_CENT: Final = 10**7


class Processor(Protocol):
    """A processor of payments by card; whatever is called again changes nothing twice."""

    def missing(self) -> str:
        """What an operator has to do before cards can be taken; empty if nothing."""

    def open(self, *, top_up: TopUp) -> str:
        """Return the address where a payment is made."""

    def charge(self, *, top_up: TopUp) -> None:
        """Charge a saved card for a payment, without its owner."""

    def sync(self, *, top_up: TopUp) -> None:
        """Ask what became of a payment, and book it."""

    def refund(self, *, refund: Refund) -> None:
        """Send money back, or ask what became of it."""

    def save_card(self, *, workspace: Workspace) -> str:
        """Return the address where a card is saved without a payment."""

    def forget_card(self, *, card: SavedCard, by: Actor) -> None:
        """Never charge a card again."""

    def portal(self, *, workspace: Workspace) -> str:
        """Return the address where billing address, VAT id and invoices are."""


@cache
def processor() -> Processor:
    """The processor that the settings name."""
    made: Processor = import_string(settings.PAYMENT_PROCESSOR)()
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Income:
    """Money that arrived for a workspace, in units of the asset; the house's account has it."""

    workspace_id: int
    kind: str
    source: UUID
    house: str
    amount: int
    asset: str = ledger.USD
    reference: str = ""
    reason: str = ""
    tax: int = 0


@transaction.atomic
def credit_once(income: Income) -> bool:
    """
    Credit what arrived to the workspace's paid account, once per source; True where it is new.

    The account is made when it is first needed. Debts are paid from new dollars at once.

    :raises billing.ledger.Conflict: the source was credited with another amount or elsewhere
    :raises billing.ledger.NotATransfer: not a positive amount
    """
    home = _home(workspace_id=income.workspace_id, asset=income.asset)
    house = ledger.house_account(kind=income.house, asset=income.asset)
    legs = [_leg(income, debit=house, credit=home, amount=income.amount)]
    if income.tax:
        payable = ledger.house_account(kind="tax_payable", asset=income.asset)
        legs.append(
            _leg(income, debit=house, credit=payable, amount=income.tax, kind=f"{income.kind}.tax")
        )
    new = ledger.post(*legs)[0]
    if new and income.asset == ledger.USD:
        claims.repay(workspace_id=income.workspace_id)
    if new:
        notices.tell_top_up(
            workspace_id=income.workspace_id,
            method="card",
            asset=income.asset,
            amount=notices.amount(income.amount, income.asset),
            reference=income.reference,
        )
    return new


def suspend(*, source: UUID, house: str, asset: str, amount: int, reference: str, why: str) -> bool:
    """Keep money that is nobody's in suspense, and tell the operators; once per source."""
    with transaction.atomic():
        [new] = ledger.post(
            Transfer(
                kind="suspense",
                source=source,
                debit=ledger.house_account(kind=house, asset=asset),
                credit=ledger.house_account(kind="suspense", asset=asset),
                asset=asset,
                amount=amount,
                reference=reference,
                reason=why,
            )
        )
        incidents.begin(
            kind=Alert.Kind.PAYMENT_UNMATCHED,
            subject=reference[:128],
            facts={"why": why, "asset": asset, "amount": str(amount)},
        )
    return new


def _home(*, workspace_id: int, asset: str) -> int:
    ledger.open_accounts(workspace_id=workspace_id)
    if asset not in ledger.ASSETS:
        ledger.open_account(workspace_id=workspace_id, asset=asset)
    return ledger.lock_homes(workspace_id=workspace_id, assets=(asset,))[0].pk


def _leg(income: Income, *, debit: int, credit: int, amount: int, kind: str = "") -> Transfer:
    return Transfer(
        kind=kind or income.kind,
        source=income.source,
        debit=debit,
        credit=credit,
        asset=income.asset,
        amount=amount,
        reference=income.reference,
        reason=income.reason,
    )


@transaction.atomic
def ask(
    *,
    workspace: Workspace,
    amount_cents: int,
    by: Actor,
    card: SavedCard | None = None,
    package: str = "",
    save_card: bool = False,
) -> TopUp:
    """
    Note that somebody wants to pay; nothing is charged yet.

    :raises accounts.errors.NotVerified: their address is not proved
    :raises accounts.errors.Invalid: an amount out of bounds, or a package that is not sold
    :raises common.errors.ApiError: too many attempts, or more than a new customer may pay a day
    """
    _require_ready()
    require_verified(by)
    home = ledger.lock_homes(workspace_id=workspace.pk, assets=(ledger.USD,))[0]
    if home.frozen:
        raise ApiError("workspace_frozen", _("The workspace is frozen; ask the operator."))
    amount_cents = _priced(package) if package else amount_cents
    check_amount(amount_cents)
    velocity.check(
        workspace=workspace, amount_cents=amount_cents, person_id=person_id(by), card=card
    )
    made = TopUp.objects.create(
        workspace=workspace,
        method=TopUp.Method.CARD if card else TopUp.Method.CHECKOUT,
        amount_cents=amount_cents,
        package=package,
        card=card,
        save_card=save_card,
        created_by_id=person_id(by),
    )
    record(made, action="top_up.asked", by=by)
    return made


def record(top_up: TopUp, *, action: str, by: Actor) -> None:
    """Write in the audit log what happened to a payment."""
    facts: dict[str, Any] = {
        "amount_usd": money.usd(top_up.amount_cents * NANOS_PER_CENT),
        "method": top_up.method,
    }
    audit.record(
        action=action,
        by=by,
        target=audit.Target(top_up.public_id, "top-up"),
        workspaces=[top_up.workspace_id],
        after=facts,
    )


def check_amount(amount_cents: int) -> None:
    """
    Refuse an amount out of bounds.

    :raises accounts.errors.Invalid: with the bounds
    """
    least, most = settings.TOPUP_MIN_CENTS, settings.TOPUP_MAX_CENTS
    if not least <= amount_cents <= most:
        raise Invalid(
            _("A top-up is %(least)s to %(most)s USD.")
            % {"least": _usd(least), "most": _usd(most)},
            param="amount_usd",
        )


def _require_ready() -> None:
    if missing := processor().missing():
        raise Invalid(_("Cards are not taken here. %(missing)s") % {"missing": missing})


def require_verified(by: Actor) -> None:
    """
    Stop a person who has not proved their address.

    :raises accounts.errors.NotVerified: they have not
    """
    who = person_id(by)
    if who is not None:
        signup.require_verified(User.objects.get(pk=who))


def _priced(package: str) -> int:
    # Compared here: a form may send what the database cannot even be asked for.
    on_sale = TokenPackage.objects.filter(enabled=True)
    found = next((each for each in on_sale if each.slug == package), None)
    if found is None:
        words = _("No package %(package)r is on sale.")
        raise Invalid(words % {"package": package}, param="package")
    return money.ceil_div(found.price_nanos, NANOS_PER_CENT)


def _usd(cents: int) -> str:
    return grouped(money.usd(cents * NANOS_PER_CENT))


def source_of(payment: str) -> UUID:
    """The ledger's id of a payment, by the processor's name of it."""
    return ids.source("stripe", payment)

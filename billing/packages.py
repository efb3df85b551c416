"""
Platform tokens for US dollars.

Tokens are bought with paid money and are paid themselves; granted money buys calls, not
tokens, or what may expire and may not be paid back would become what does neither. A bonus is
granted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.actors import Actor, person_id
from accounts.models import Workspace
from billing import conversions, grants, ledger
from billing.models import Account, Lot
from billing.models_tokens import Conversion, TokenPackage
from common import ids, money


class NotForSale(LookupError):
    """There is no such package, or it is sold no more."""


class PriceChanged(ValueError):
    """The package costs something else than the buyer was shown."""


class WorkspaceFrozen(ledger.LedgerError):
    """A frozen workspace buys nothing."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """What was bought; `new` is false where the source had bought before."""

    package: str
    tokens: int
    bonus_tokens: int
    price_nanos: int
    new: bool


def listed() -> list[TokenPackage]:
    """Return the packages on sale, the cheapest first."""
    return list(TokenPackage.objects.filter(enabled=True).order_by("price_nanos", "slug"))


@transaction.atomic
def buy(
    *,
    workspace: Workspace,
    slug: str,
    source: UUID,
    by: Actor = None,
    price_nanos: int | None = None,
    most_nanos: int | None = None,
) -> Purchase:
    """
    Buy a package from the workspace's paid dollars; the same source buys once.

    `price_nanos` is what the buyer was shown; `most_nanos` what was paid for it.

    :raises NotForSale: there is no such package, or it is sold no more
    :raises PriceChanged: it costs something else by now, or more than was paid for it
    :raises WorkspaceFrozen: the workspace is frozen
    :raises billing.ledger.InsufficientFunds: the paid dollars that no call holds do not suffice
    :raises billing.ledger.Conflict: the source bought something else, or for somebody else
    """
    ledger.open_accounts(workspace_id=workspace.pk)
    homes = {home.asset: home for home in ledger.lock_homes(workspace_id=workspace.pk)}
    before = conversions.find(source=source)
    if before is not None:
        return _bought(before=before, homes=homes, slug=slug)
    package = TokenPackage.objects.filter(slug=slug, enabled=True).first()
    if package is None:
        raise NotForSale(f"No package {slug!r} is on sale.")
    dearer = most_nanos is not None and package.price_nanos > most_nanos
    if dearer or price_nanos not in (None, package.price_nanos):
        raise PriceChanged(f"{package.name} costs {package.price_nanos} nano-dollars now.")
    if homes[ledger.USD].frozen:
        raise WorkspaceFrozen("The workspace is frozen.")
    _convert(package=package, homes=homes, source=source, by=by)
    _give_bonus(package=package, workspace=workspace, source=source, by=by)
    _record(package=package, workspace=workspace, by=by)
    return Purchase(slug, package.tokens, package.bonus_tokens, package.price_nanos, new=True)


def _bought(*, before: Conversion, homes: dict[str, Account], slug: str) -> Purchase:
    if (before.debit_id, before.rate_source) != (homes[ledger.USD].pk, _terms(slug)):
        raise ledger.Conflict(f"{before.source} bought something else before.")
    bonus = Lot.objects.filter(source=_bonus(before.source)).first()
    return Purchase(slug, before.received, bonus.amount if bonus else 0, before.amount, new=False)


def _convert(*, package: TokenPackage, homes: dict[str, Account], source: UUID, by: Actor) -> None:
    conversions.convert(
        source=source,
        debit=homes[ledger.USD].pk,
        credit=homes[ledger.TOK].pk,
        amount=package.price_nanos,
        rate=conversions.Rate(
            value=Fraction(package.tokens, package.price_nanos),
            source=_terms(package.slug),
            at=timezone.now(),
        ),
        reason=package.name,
        created_by=person_id(by),
    )


def _record(*, package: TokenPackage, workspace: Workspace, by: Actor) -> None:
    audit.record(
        action="tokens.bought",
        by=by,
        target=audit.Target(workspace.public_id, workspace.name),
        workspaces=[workspace],
        after={
            "package": package.slug,
            "tokens": package.tokens,
            "price_usd": money.usd(package.price_nanos),
        },
    )


def _give_bonus(*, package: TokenPackage, workspace: Workspace, source: UUID, by: Actor) -> None:
    if package.bonus_tokens == 0:
        return
    days = package.bonus_days
    grants.give(
        workspace=workspace,
        asset=ledger.TOK,
        amount=package.bonus_tokens,
        reason=f"Bonus of {package.name}",
        expires_at=None if days is None else timezone.now() + timedelta(days=days),
        by=by,
        source=_bonus(source),
    )


def _terms(slug: str) -> str:
    return f"package:{slug}"


def _bonus(source: UUID) -> UUID:
    return ids.source("package_bonus", str(source))

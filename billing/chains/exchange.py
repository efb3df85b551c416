"""
Coins of a workspace into its US dollars: by itself, or when it says so.

A workspace may keep its coins; deposits that arrive while it does are converted only when it
asks for it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit, versions
from accounts.actors import Actor, person_id
from accounts.models import Workspace
from accounts.templatetags.show import grouped
from billing import claims, conversions, incidents, ledger
from billing.chains import config, rates
from billing.chains.config import Token, written
from billing.conversions import Converted, Rate
from billing.models import Alert, Deposit, DepositAddress
from common import ids, money

log = structlog.get_logger(__name__)

CONVERSION: Final = "deposit.conversion"
ROUND: Final = 500


class NothingToConvert(ValueError):
    """The workspace does not have that much of the asset to convert."""


class UnknownAsset(LookupError):
    """No chain has such an asset."""


def convert_due(*, now: datetime) -> int:
    """Convert what was credited to workspaces that do not keep it; return how many deposits."""
    due = Deposit.objects.filter(state=Deposit.State.CREDITED)
    tokens = config.tokens()
    held: dict[str, str] = {}
    done = 0
    for asset in due.values_list("asset", flat=True).distinct().order_by("asset"):
        token = tokens.get(asset)
        if token is None:
            held[asset] = f"{asset} is accepted no more: it has no market."
            continue
        try:
            rate = rates.rate(token=token, now=now)
        except rates.Unavailable as trouble:
            held[token.symbol] = str(trouble)
            continue
        waiting = due.filter(asset=asset).order_by("id").values_list("id", flat=True)[:ROUND]
        done += sum(_convert(deposit_id, token, rate) for deposit_id in list(waiting))
    for subject, why in held.items():
        incidents.begin(kind=Alert.Kind.CONVERSION_HELD, subject=subject, facts={"what": why})
    incidents.end_others(kind=Alert.Kind.CONVERSION_HELD, subjects=set(held))
    return done


@transaction.atomic
def _convert(deposit_id: int, token: Token, rate: Rate) -> bool:
    deposit = Deposit.objects.select_related("address").get(pk=deposit_id)
    DepositAddress.objects.select_for_update(no_key=True).get(pk=deposit.address_id)
    deposit.refresh_from_db(fields=["state"])
    if deposit.state != Deposit.State.CREDITED:
        return False
    workspace_id = deposit.address.workspace_id
    try:
        with transaction.atomic():
            _exchange(
                workspace_id=workspace_id,
                token=token,
                units=deposit.units,
                rate=rate,
                source=ids.source(CONVERSION, deposit.public_id),
                reason=f"{written(deposit.amount, token.decimals)} {token.symbol}",
            )
        state = Deposit.State.CONVERTED
    except ledger.NotATransfer:
        # Worth less than a nano-dollar: it stays in the balance, with what comes.
        state = Deposit.State.KEPT
    Deposit.objects.filter(pk=deposit.pk).update(state=state)
    return state == Deposit.State.CONVERTED


@transaction.atomic
def convert(
    *,
    workspace: Workspace,
    asset: str,
    units: int | None,
    source: UUID,
    by: Actor = None,
) -> Converted:
    """
    Convert kept coins at the last price; all of them where `units` is None.

    :raises UnknownAsset: no chain has it
    :raises NothingToConvert: there is not so much, or it is worth nothing
    :raises billing.chains.rates.Unavailable: it has no price that can be trusted now
    """
    token = config.tokens().get(asset)
    if token is None:
        raise UnknownAsset(_("No chain has an asset %(asset)r.") % {"asset": asset})
    rate = rates.rate(token=token, now=timezone.now())
    wanted = _wanted(workspace, token, units)
    amount = written(wanted, token.ledger_decimals)
    try:
        done = _exchange(
            workspace_id=workspace.pk,
            token=token,
            units=wanted,
            rate=rate,
            source=source,
            reason=f"{amount} {token.symbol}",
            by=by,
        )
    except ledger.NotATransfer:
        raise NothingToConvert(_("So little is worth no nano-dollar.")) from None
    audit.record(
        action="crypto.converted",
        by=by,
        target=audit.Target(workspace.public_id, workspace.name),
        workspaces=[workspace],
        after={"asset": asset, "amount": amount, "usd": money.usd(done.received)},
    )
    return done


def _wanted(workspace: Workspace, token: Token, units: int | None) -> int:
    """Lock the workspace's address; return how much is to be converted."""
    addresses = DepositAddress.objects.select_for_update(no_key=True)
    address = addresses.filter(workspace=workspace).first()
    most = 0 if address is None else convertible(address=address, asset=token.asset)
    wanted = most if units is None else units
    if not 0 < wanted <= most:
        raise NothingToConvert(
            _("%(amount)s %(coin)s can be converted.")
            % {"amount": grouped(written(most, token.ledger_decimals)), "coin": token.symbol}
        )
    return wanted


def convertible(*, address: DepositAddress, asset: str) -> int:
    """Return the ledger's units that are not waiting to be converted by themselves."""
    waiting = Deposit.objects.filter(address=address, asset=asset, state=Deposit.State.CREDITED)
    soon = int(waiting.aggregate(units=Sum("units"))["units"] or 0)
    return ledger.balance(workspace_id=address.workspace_id, asset=asset).available - soon


@transaction.atomic
def set_keep(
    *, address: DepositAddress, keep: bool, by: Actor = None, version: str | None = None
) -> DepositAddress:
    """
    Say whether deposits from now on stay what they are until they are converted.

    :raises accounts.errors.Conflict: that is not at the version that was asked for
    """
    found = DepositAddress.objects.select_for_update(no_key=True).get(pk=address.pk)
    versions.require(wanted=version, current=versions.of(facts(keep=found.keep)))
    if found.keep != keep:
        before, found.keep = found.keep, keep
        found.save(update_fields=["keep"])
        audit.record(
            action="crypto.conversion_set",
            by=by,
            target=audit.Target(found.workspace.public_id, found.workspace.name),
            workspaces=[found.workspace],
            before=facts(keep=before),
            after=facts(keep=keep),
        )
    return found


def facts(*, keep: bool) -> dict[str, object]:
    """What can be changed of an address, as it is written down."""
    return {"keep": keep}


def _exchange(
    *,
    workspace_id: int,
    token: Token,
    units: int,
    rate: Rate,
    source: UUID,
    reason: str,
    by: Actor = None,
) -> Converted:
    done = conversions.convert(
        source=source,
        debit=ledger.open_account(workspace_id=workspace_id, asset=token.asset),
        credit=ledger.open_accounts(workspace_id=workspace_id).usd_id,
        amount=units,
        rate=rate,
        spread_ppm=config.current().spread_ppm,
        reason=reason,
        created_by=person_id(by),
    )
    # As from a card: what is owed is paid before anything can be spent.
    claims.repay(workspace_id=workspace_id)
    return done

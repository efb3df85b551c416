"""The crypto section of the Billing page: it brings itself up to date."""

from __future__ import annotations

from typing import Any

import segno
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts.errors import Forbidden
from accounts.models import Workspace
from accounts.scopes import Scope
from accounts.seats import Seat, seated
from billing import ledger
from billing.chains import config, exchange, holdings, rates, wallets
from common import ids

LATEST = 10


@require_safe
@seated
def section(request: HttpRequest, seat: Seat) -> HttpResponse:
    """The section alone, asked for by the page itself every few seconds."""
    seat.require(Scope.BILLING_READ)
    shown = {
        "crypto": crypto(seat.workspace),
        "may_pay": seat.may(Scope.BILLING_MANAGE),
        "apart": True,
        "usd": ledger.balance(workspace_id=seat.workspace.pk, asset=ledger.USD),
        "tokens": ledger.balance(workspace_id=seat.workspace.pk, asset=ledger.TOK),
    }
    return render(request, "billing/crypto_live.html", shown)


@require_safe
@seated
def pay_panel(request: HttpRequest, seat: Seat) -> HttpResponse:
    """What to send where, for the coin that was chosen; only who pays is shown it."""
    seat.require(Scope.BILLING_MANAGE)
    shown = crypto(seat.workspace, coin=request.GET.get("coin", ""))
    if shown is None or shown["address"] is None:
        raise Http404
    return render(request, "billing/crypto_pay.html", {"crypto": shown})


@require_POST
@seated
def give_address(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Give the workspace its address."""
    seat.require(Scope.BILLING_MANAGE)
    try:
        wallets.give(workspace=seat.workspace, by=seat.user)
    except wallets.NoWallet as refusal:
        messages.error(request, str(refusal))
    except Forbidden as refusal:
        messages.error(request, refusal.message)
    return redirect("/dashboard/billing#crypto")


@require_POST
@seated
def set_conversion(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Convert by itself, or keep."""
    seat.require(Scope.BILLING_MANAGE)
    address = wallets.find(workspace=seat.workspace)
    if address is not None:
        exchange.set_keep(address=address, keep="keep" in request.POST, by=seat.user)
        messages.success(request, _("Saved. It holds for deposits from now on."))
    return redirect("/dashboard/billing#crypto")


@require_POST
@seated
def convert(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Convert all that is kept of one asset."""
    seat.require(Scope.BILLING_MANAGE)
    try:
        exchange.convert(
            workspace=seat.workspace,
            asset=request.POST.get("asset", ""),
            units=None,
            source=ids.request_id(),
            by=seat.user,
        )
    except (
        exchange.UnknownAsset, exchange.NothingToConvert, rates.Unavailable,
        ledger.InsufficientFunds,
    ) as refusal:  # fmt: skip
        messages.error(request, str(refusal.args[0]))
    else:
        messages.success(request, _("Converted to US dollars."))
    return redirect("/dashboard/billing#crypto")


def crypto(workspace: Workspace, *, coin: str = "") -> dict[str, Any] | None:
    """Return what the section shows, for a coin to send; None where no chain is configured."""
    if not config.configured():
        return None
    address = wallets.find(workspace=workspace)
    # Somebody who could change the row could have all deposits.
    if address is not None and not wallets.is_ours(address=address):
        raise RuntimeError(f"the address of workspace {workspace.public_id} is not from its key")
    assets = holdings.holdings(address=address)
    chosen = next((each for each in assets if each.asset == coin), assets[0])
    return {
        "available": wallets.available(),
        "address": address,
        "chosen": chosen,
        "minutes": max(round(chosen.finality_s / 60), 1),
        "qr": "" if address is None else qr(address.address),
        "networks": list(dict.fromkeys(asset.chain for asset in assets)),
        "assets": assets,
        "underway": holdings.underway(address=address) if address else [],
        "deposits": [holdings.row(each) for each in holdings.arrived(address=address)[:LATEST]],
    }


def qr(text: str) -> str:
    """Return a text as a QR code, SVG to put into a page."""
    code = segno.make(text, error="m", micro=False)
    return str(code.svg_inline(scale=4, border=4, dark="#000", light="#fff", title=text))

"""The Billing page: balances, payments by card, what came and went."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import msgspec
import structlog
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts import once
from accounts.callers import Caller
from accounts.scopes import Scope
from accounts.seats import Seat, seated
from billing import api_topups, autotopups, claims, ledger, packages, queue, statement, topups
from billing.forms_billing import AutoTopUpForm, TopUpForm
from billing.models_funding import AutoTopUp, SavedCard, TopUp
from billing.stripe import booking
from billing.stripe.client import StripeError
from billing.views_crypto import crypto
from common import money, pagination
from common.errors import ApiError
from common.pagination import Wanted

log = structlog.get_logger(__name__)
PAGE = 20


@require_safe
@seated
def billing(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Everything about money on one page."""
    seat.require(Scope.BILLING_READ)
    if name := request.GET.get("card", ""):
        _settle_card(name)
    return _page(request, seat)


def _page(request: HttpRequest, seat: Seat, **forms: Any) -> HttpResponse:
    workspace, cards = seat.workspace, _cards(seat)
    wishes = autotopups.of(workspace=workspace)
    asset = request.GET.get("asset", ledger.USD)
    shown = {
        "usd": ledger.balance(workspace_id=workspace.pk, asset=ledger.USD),
        "tokens": ledger.balance(workspace_id=workspace.pk, asset=ledger.TOK),
        "debt": claims.debt(workspace_id=workspace.pk),
        "missing": topups.processor().missing(),
        "may_pay": seat.may(Scope.BILLING_MANAGE),
        "verified": seat.verified,
        "cards": cards,
        "form": forms.get("form") or TopUpForm(cards=cards),
        "auto_form": forms.get("auto_form") or _auto_form(wishes, cards),
        "wishes": wishes,
        "packages": packages.listed(),
        "top_ups": list(TopUp.objects.filter(workspace=workspace)[:PAGE]),
        "page": _lines(request, seat, asset if asset in ledger.ASSETS else ledger.USD),
        "crypto": crypto(workspace, coin=request.GET.get("coin", "")),
    }
    return render(request, "billing/billing.html", shown, status=400 if forms else 200)


def _lines(request: HttpRequest, seat: Seat, asset: str) -> dict[str, Any]:
    cursor = request.GET.get("after", "")
    try:
        after = pagination.unseal("billing", cursor) if cursor else None
    except ApiError:
        raise Http404 from None
    page = statement.read(
        workspace=seat.workspace, asset=asset, wanted=Wanted(PAGE, after), now=timezone.now()
    )
    following = pagination.seal("billing", page.next) if page.next else ""
    digits = money.decimals(part for line in page.rows for part in (line.amount, line.balance))
    return {
        "asset": asset,
        "lines": page.rows,
        "digits": digits,
        "next": following,
        "first": not cursor,
    }


def _cards(seat: Seat) -> list[SavedCard]:
    return list(SavedCard.objects.filter(workspace=seat.workspace, detached_at=None))


def _auto_form(wishes: AutoTopUp, cards: list[SavedCard]) -> AutoTopUpForm:
    return AutoTopUpForm(
        cards=cards,
        initial={
            "enabled": wishes.enabled,
            "threshold": wishes.threshold_nanos,
            "amount": wishes.amount_cents,
            "monthly_limit": wishes.monthly_limit_cents,
            "auto_card": wishes.card.public_id if wishes.card else "",
        },
    )


@require_POST
@seated
def top_up(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Begin a payment, and show where it is made."""
    seat.require(Scope.BILLING_MANAGE)
    form = TopUpForm(request.POST, cards=_cards(seat))
    if not form.is_valid():
        return _page(request, seat, form=form)
    try:
        made = _ask_once(seat, form.cleaned_data, package=request.POST.get("package", ""))
    except ApiError as refusal:
        form.add_error(None, refusal.message)
        return _page(request, seat, form=form)
    return redirect("top_up" if made.card_id else "top_up_pay", made.public_id)


@transaction.atomic
def _ask_once(seat: Seat, wanted: dict[str, Any], *, package: str) -> TopUp:
    """The payment a form asks for: one, however often the form is sent with the same in it."""
    asked = {**wanted, "once": str(wanted["once"] or uuid4()), "package": package}
    said = msgspec.json.encode(asked, order="sorted")
    word = f"{asked['once']} {hashlib.sha256(said).hexdigest()}"
    sent = once.Sent(Caller(seat.user, frozenset(), seat.workspace).name, "top_up_new", word, said)
    kept = once.begin(sent, now=timezone.now())
    if isinstance(kept, once.Answer):
        return TopUp.objects.get(workspace=seat.workspace, public_id=kept.body.decode())
    made = topups.ask(
        workspace=seat.workspace,
        amount_cents=wanted["amount"],
        by=seat.user,
        card=api_topups.find_card(seat.workspace, wanted["card"]),
        package=package,
        save_card=wanted["save_card"],
    )
    once.finish(kept, once.Answer(HTTPStatus.FOUND, made.public_id.encode()))
    if made.card_id:
        queue.after_commit("charge_card", made.pk)
    return made


@require_safe
def pay(request: HttpRequest, public_id: str) -> HttpResponse:
    """Lead whoever has the link to the processor's page."""
    found = TopUp.objects.select_related("workspace").filter(public_id=public_id).first()
    if found is None:
        raise Http404
    try:
        return redirect(topups.processor().open(top_up=found))
    except ApiError as refusal:
        messages.error(request, refusal.message)
    except StripeError as error:
        log.warning("The page of a payment cannot be opened", why=str(error))
        messages.error(request, _("The payment page cannot be reached. Try again in a minute."))
    return redirect("billing")


@require_safe
@seated
def show(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """What became of a payment; the page asks until it is known."""
    seat.require(Scope.BILLING_READ)
    found = TopUp.objects.filter(workspace=seat.workspace, public_id=public_id).first()
    if found is None:
        raise Http404
    if found.status == TopUp.Status.PENDING and (found.session_id or found.intent_id):
        _quietly(lambda: topups.processor().sync(top_up=found))
        found.refresh_from_db()
    shown = {
        "top_up": found,
        "amount": found.amount_cents * topups.NANOS_PER_CENT,
        "usd": ledger.balance(workspace_id=seat.workspace.pk, asset=ledger.USD),
    }
    part = bool(request.headers.get("hx-request"))
    return render(request, "billing/top_up_state.html" if part else "billing/top_up.html", shown)


def _quietly(ask: Callable[[], object]) -> None:
    """What cannot be asked now is asked again by polling."""
    try:
        ask()
    except StripeError as error:
        log.warning("A payment's state is not known yet", why=str(error))


def _settle_card(session_id: str) -> None:
    _quietly(lambda: booking.book_session(session_id))


@require_POST
@seated
def set_auto(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Switch automatic top-ups on or off, or change them."""
    seat.require(Scope.BILLING_MANAGE)
    form = AutoTopUpForm(request.POST, cards=_cards(seat))
    if not form.is_valid():
        return _page(request, seat, auto_form=form)
    wanted = form.cleaned_data
    try:
        autotopups.choose(
            workspace=seat.workspace,
            enabled=wanted["enabled"],
            threshold_nanos=wanted["threshold"],
            amount_cents=wanted["amount"],
            monthly_limit_cents=wanted["monthly_limit"],
            card=api_topups.find_card(seat.workspace, wanted["auto_card"]),
            by=seat.user,
        )
    except ApiError as refusal:
        form.add_error(None, refusal.message)
        return _page(request, seat, auto_form=form)
    messages.success(request, _("Saved."))
    return redirect("billing")


@require_POST
@seated
def save_card(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Lead to where a card is saved without a payment."""

    def save() -> str:
        topups.require_verified(seat.user)
        return topups.processor().save_card(workspace=seat.workspace)

    return _away(request, seat, save)


@require_POST
@seated
def portal(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Lead to billing address, VAT id and invoices."""
    return _away(request, seat, lambda: topups.processor().portal(workspace=seat.workspace))


@require_POST
@seated
def forget_card(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """Never charge a card again."""

    def forget() -> str:
        card = api_topups.find_card(seat.workspace, public_id)
        if card is not None:
            topups.processor().forget_card(card=card, by=seat.user)
        return "billing"

    return _away(request, seat, forget)


def _away(request: HttpRequest, seat: Seat, find: Callable[[], str]) -> HttpResponse:
    seat.require(Scope.BILLING_MANAGE)
    try:
        return redirect(find())
    except ApiError as refusal:
        messages.error(request, refusal.message)
    except StripeError as error:
        log.warning("Stripe did not do it", why=str(error))
        messages.error(request, _("The payment service cannot be reached. Try again in a minute."))
    return redirect("billing")

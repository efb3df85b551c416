"""Pages of Stripe where people pay, save a card, or see their invoices."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.errors import Invalid
from accounts.models import Workspace
from billing import ledger, velocity
from billing.models_funding import StripeCustomer, TopUp
from billing.stripe import booking, customers
from billing.stripe.client import Refused, connect, refusals
from common import ids

log = structlog.get_logger(__name__)

# A link is good that long. Stripe closes its page by itself, and wants that to be at least half an
# hour and at most a day ahead; it is a fixed time, so that the same call gives the same page.
LINK_LASTS: Final = timedelta(hours=23)
PAGE_CLOSES_AFTER: Final = timedelta(hours=23, minutes=45)


def open_page(*, top_up: TopUp) -> str:
    """Return the address where a payment is made; the same one however often it is asked for.

    :raises accounts.errors.Invalid: the payment is over
    :raises common.errors.ApiError: more than may be paid a day
    :raises billing.stripe.client.StripeError: there is no page now
    """
    if top_up.status != TopUp.Status.PENDING or top_up.method != TopUp.Method.CHECKOUT:
        raise _over(top_up)
    if top_up.session_url:
        return top_up.session_url
    expire(top_up=top_up)
    top_up.refresh_from_db(fields=["status"])
    if top_up.status != TopUp.Status.PENDING:
        raise _over(top_up)
    make_room(top_up=top_up)
    try:
        return _open(top_up)
    except Refused as refusal:
        if refusal.code != "resource_missing":
            raise
    # The customer was deleted at Stripe meanwhile: it takes another one.
    gone = StripeCustomer.objects.filter(workspace=top_up.workspace).first()
    if gone is not None:
        customers.forget(customer_id=gone.customer_id)
    return _open(top_up)


def _over(top_up: TopUp) -> Invalid:
    words = _("This payment is over (%(status)s); begin another one.")
    return Invalid(words % {"status": top_up.get_status_display()})


def make_room(*, top_up: TopUp) -> None:
    """
    Close the workspace's other open pages, as far as the day has no room for both.

    :raises common.errors.ApiError: more is paid than leaves room
    :raises billing.stripe.client.StripeError: a page could not be closed
    """
    velocity.check_day(top_up=top_up, with_pages=False)
    for page in velocity.in_the_way(top_up=top_up):
        _close(page)
    # A page that could not be closed may be paid by now.
    velocity.check_day(top_up=top_up, with_pages=False)


def _close(page: TopUp) -> None:
    session_id = page.session_id or ""
    try:
        with refusals():
            connect().v1.checkout.sessions.expire(session_id)
    except Refused as refusal:
        if refusal.code == "key":
            raise
        log.info("A page is over already", top_up=page.public_id)
    booking.book_session(session_id)


def _open(top_up: TopUp) -> str:
    customer = customers.ensure(workspace=top_up.workspace)
    with refusals():
        # A key holds for one customer: another one is another call.
        made = connect().v1.checkout.sessions.create(
            _payment(top_up, customer),  # type: ignore[arg-type]  # a plain dict
            {"idempotency_key": f"{top_up.public_id}-{customer}"},
        )
    _give_out(top_up, session_id=made.id, url=made.url or "")
    return made.url or ""


@transaction.atomic
def _give_out(top_up: TopUp, *, session_id: str, url: str) -> None:
    """Note a page before anybody has its address; of several at once each counts the others."""
    ledger.lock_homes(workspace_id=top_up.workspace_id, assets=(ledger.USD,))
    velocity.check_day(top_up=top_up, with_pages=True)
    waiting = TopUp.objects.filter(pk=top_up.pk, status=TopUp.Status.PENDING)
    if not waiting.update(session_id=session_id, session_url=url):
        raise _over(TopUp.objects.get(pk=top_up.pk))


def marks(top_up: TopUp) -> dict[str, str]:
    """What Stripe's objects say of us, for finding them again."""
    return {"top_up": top_up.public_id, "workspace": top_up.workspace.public_id}


def _payment(top_up: TopUp, customer: str) -> dict[str, Any]:
    taxed = settings.TAX_AT == "topup"
    intent: dict[str, Any] = {"metadata": marks(top_up)}
    if top_up.save_card:
        intent["setup_future_usage"] = "off_session"
    return {
        "mode": "payment",
        "customer": customer,
        "client_reference_id": top_up.public_id,
        "metadata": marks(top_up),
        "payment_intent_data": intent,
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": "usd",
                    "unit_amount": top_up.amount_cents,
                    "tax_behavior": "exclusive",
                    "product_data": {"name": "Prepaid credit"},
                },
            }
        ],
        "invoice_creation": {"enabled": True},
        "adaptive_pricing": {"enabled": False},
        "automatic_tax": {"enabled": taxed},
        "billing_address_collection": "required" if taxed else "auto",
        "tax_id_collection": {"enabled": True},
        "customer_update": {"name": "auto", "address": "auto"},
        "expires_at": int((top_up.created_at + PAGE_CLOSES_AFTER).timestamp()),
        "success_url": f"{settings.BASE_URL}/dashboard/billing/top-ups/{top_up.public_id}",
        "cancel_url": f"{settings.BASE_URL}/dashboard/billing",
    }


def open_card_page(*, workspace: Workspace) -> str:
    """
    Return the address where a card is saved without a payment.

    :raises common.errors.ApiError: too many cards were saved within a day
    """
    velocity.check_saving(workspace=workspace)
    customer = customers.ensure(workspace=workspace)
    marked = {"workspace": workspace.public_id}
    back = f"{settings.BASE_URL}/dashboard/billing"
    # The tax of a later charge depends on where the card's owner is.
    address = "required" if settings.TAX_AT == "topup" else "auto"
    with refusals():
        made = connect().v1.checkout.sessions.create(
            {
                "mode": "setup",
                "billing_address_collection": address,
                "currency": "usd",
                "customer": customer,
                "metadata": marked,
                "setup_intent_data": {"metadata": marked},
                "success_url": back + "?card={CHECKOUT_SESSION_ID}",
                "cancel_url": back,
            },
            {"idempotency_key": f"card-{ids.request_id()}"},
        )
    return made.url or ""


def open_portal(*, workspace: Workspace) -> str:
    """Return the address of invoices, billing address and VAT id."""
    customer = customers.ensure(workspace=workspace)
    with refusals():
        made = connect().v1.billing_portal.sessions.create(
            {"customer": customer, "return_url": f"{settings.BASE_URL}/dashboard/billing"}
        )
    return made.url


def expire(*, top_up: TopUp) -> None:
    """End a payment whose page nobody ever opened, when it could not be opened any more."""
    if timezone.now() - top_up.created_at > LINK_LASTS:
        waiting = TopUp.objects.filter(pk=top_up.pk, status=TopUp.Status.PENDING)
        waiting.filter(session_id=None).update(status=TopUp.Status.EXPIRED, failure="expired")

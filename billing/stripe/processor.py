"""Stripe as a processor of payments."""

from __future__ import annotations

from django.conf import settings
from django.utils.translation import gettext as _

from accounts.actors import Actor
from accounts.models import Workspace
from billing.models_funding import Refund, SavedCard, TopUp
from billing.stripe import booking, cards, checkout, customers, returns


class Stripe:
    """See billing.topups.Processor."""

    def missing(self) -> str:
        """What an operator has to do before cards can be taken; empty if nothing."""
        if not settings.STRIPE_SECRET_KEY:
            return _("Set STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRETS; see docs/billing.md.")
        if not settings.STRIPE_WEBHOOK_SECRETS:
            return _("Set STRIPE_WEBHOOK_SECRETS; see docs/billing.md.")
        return ""

    def open(self, *, top_up: TopUp) -> str:
        """Return the address where a payment is made."""
        return checkout.open_page(top_up=top_up)

    def charge(self, *, top_up: TopUp) -> None:
        """Charge a saved card for a payment, without its owner."""
        cards.charge(top_up=top_up)

    def sync(self, *, top_up: TopUp) -> None:
        """Ask what became of a payment, and book it."""
        if top_up.session_id:
            booking.book_session(top_up.session_id)
        elif top_up.intent_id:
            booking.book_intent(top_up.intent_id)
        elif top_up.card_id:
            cards.charge(top_up=top_up)
        else:
            checkout.expire(top_up=top_up)

    def refund(self, *, refund: Refund) -> None:
        """Send money back, or ask what became of it."""
        returns.send(refund=refund)

    def save_card(self, *, workspace: Workspace) -> str:
        """Return the address where a card is saved without a payment."""
        return checkout.open_card_page(workspace=workspace)

    def forget_card(self, *, card: SavedCard, by: Actor) -> None:
        """Never charge a card again."""
        customers.forget_card(card=card, by=by)

    def portal(self, *, workspace: Workspace) -> str:
        """Return the address where billing address, VAT id and invoices are."""
        return checkout.open_portal(workspace=workspace)

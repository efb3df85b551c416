"""Words of the API, as pages say them: states, kinds and outcomes in the reader's language."""

from __future__ import annotations

from typing import Final

from django import template
from django.utils.translation import gettext_lazy as _

register = template.Library()

WORDS: Final = {
    # How far a payment or a file is
    "pending": _("pending"),
    "paid": _("paid"),
    "failed": _("failed"),
    "expired": _("expired"),
    "completed": _("ready"),
    # Why a card did not pay
    "authentication_required": _("the bank asks for its owner"),
    "card_declined": _("declined by the bank"),
    "card_removed": _("the card was removed"),
    "expired_card": _("the card has expired"),
    "insufficient_funds": _("not enough money on it"),
    "refused": _("refused"),
    # Lines of the ledger
    "usage": _("calls"),
    "top_up": _("top-up"),
    "credit": _("credit"),
    "grant": _("granted credit"),
    "grant.expired": _("granted credit expired"),
    "correction": _("correction"),
    "deposit": _("crypto deposit"),
    "debt.paid": _("debt paid"),
    "conversion.in": _("received in exchange"),
    "conversion.out": _("given in exchange"),
    "refund": _("refund"),
    "refund.failed": _("refund that failed"),
    "refund.taken": _("refund"),
    "refund.returned": _("refund taken back"),
    "dispute.taken": _("disputed payment"),
    "dispute.returned": _("dispute won"),
    "warning.taken": _("warning of fraud"),
    "warning.returned": _("warning of fraud withdrawn"),
    # Kinds of models and of files
    "chat": _("chat"),
    "embedding": _("embedding"),
    "image": _("image"),
    "logs": _("logs"),
    "transactions": _("ledger"),
    "audit_events": _("audit log"),
    # What became of a call to a provider
    "won": _("answered"),
    "lost": _("lost"),
    "unknown": _("unknown"),
}


@register.filter
def word(code: str) -> str:
    """What a code of the API is called; one that has no word stays as it is."""
    return str(WORDS.get(str(code), code))

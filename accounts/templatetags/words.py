"""Words of the API, as pages say them: states, kinds and outcomes in the reader's language."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from django import template
from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from accounts.scopes import Role
from accounts.seats import role_name
from accounts.templatetags.show import dollars, grouped, utc

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
    "top-up": _("top-up"),
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
    # Reasons that the ledger writes by itself
    "Card": _("card"),
    "Debt": _("debt"),
    "Sign-up grant": _("for signing up"),
    "Correction of a call": _("of a call"),
    # Kinds of models and of files
    "chat": _("chat"),
    "embedding": _("embedding"),
    "image": _("image"),
    # What goes in and out of them
    "text": _("text"),
    "logs": _("logs"),
    "transactions": _("ledger"),
    "audit_events": _("audit log"),
    "prompts": _("prompts"),
    # What became of a call to a provider
    "won": _("answered"),
    "lost": _("lost"),
    "unknown": _("unknown"),
}

# Why a webhook was not delivered, as its log keeps it; "15" and "500" stand for the number.
COMPLAINTS: Final = (
    gettext_noop("It answered %(number)s."),
    gettext_noop("It answered with a redirect, which is not followed."),
    gettext_noop("No answer within %(number)s seconds."),
    gettext_noop("The TLS certificate is not valid for this host, or TLS failed."),
    gettext_noop("The connection broke off, or the answer was not HTTP."),
    gettext_noop("The connection was refused."),
    gettext_noop("The name has no address."),
    gettext_noop("The name leads to an address that is not public."),
    gettext_noop("The secret cannot be read; rotate it."),
)
NUMBER: Final = re.compile(r"\d+")
# What the ledger writes by itself beside a line: so many coins, and the bonus of a package.
COINS: Final = re.compile(r"(\d+(?:\.\d+)?) (\S+)")
BONUS: Final = re.compile(r"Bonus of (.+)")
AMOUNT: Final = re.compile(r"-?\d+(\.\d+)?")
ROLES: Final = frozenset(Role)
PLACE: Final = "%(number)s"


@register.filter
def complaint(text: str) -> str:
    """The same in the reader's language; what is not known stays as it is."""
    number = NUMBER.search(text)
    pattern = NUMBER.sub(PLACE, text, count=1)
    if pattern not in COMPLAINTS:
        return text
    return gettext(pattern).replace(PLACE, number[0] if number else "")


@register.filter
def reason(text: str) -> str:
    """Why the ledger has a line; what people wrote themselves stays as it is."""
    if coins := COINS.fullmatch(text):
        return f"{grouped(coins[1])} {coins[2]}"
    if bonus := BONUS.fullmatch(text):
        return gettext("bonus of %(package)s") % {"package": bonus[1]}
    return word(text)


@register.filter
def word(code: str) -> str:
    """What a code of the API is called; one that has no word stays as it is."""
    return str(WORDS.get(str(code), code))


@register.filter
def fact(value: object, name: str) -> str:
    """What an entry of the audit log says of one thing, in the reader's language."""
    if value is None or value in ("", []):
        return gettext("none")
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    if isinstance(value, list):
        return ", ".join(fact(each, name) for each in value)
    text = str(value)
    if name.endswith("usd") and AMOUNT.fullmatch(text):
        return dollars(grouped(text))
    if isinstance(value, int) or (name == "units" and AMOUNT.fullmatch(text)):
        return grouped(text)
    if name.endswith("_at"):
        return utc(datetime.fromisoformat(text))
    return role_name(Role(text)) if name == "role" and text in ROLES else text

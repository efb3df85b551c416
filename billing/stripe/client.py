"""
The connection to Stripe, and its failures in our words.

    StripeError
    ├── Away       not reached, or it failed: the same call may be made again, with its key
    ├── Declined   the card was refused; the intent and the reason are told
    └── Refused    it will not do this; asking again changes nothing
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, Final

import stripe
from django.conf import settings

API_VERSION: Final = "2026-10-28.endive"
TIMEOUT_S: Final = 15.0
# Stripe forgets an idempotency key after a day: until then the same call is the same thing.
KEY_LASTS: Final = timedelta(hours=23)
Body = dict[str, Any]
# Each call is a line at INFO; what fails is told by ourselves.
logging.getLogger("stripe").setLevel(logging.WARNING)


class StripeError(Exception):
    """Stripe did not do what was asked."""


class Away(StripeError):
    """Stripe was not reached or failed; whether it did it is not known."""


class Declined(StripeError):
    """A card was refused."""

    def __init__(self, code: str, intent_id: str) -> None:
        super().__init__(code)
        self.code = code
        self.intent_id = intent_id


class Refused(StripeError):
    """Stripe will not do this."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@cache
def _client(key: str, base: str) -> stripe.StripeClient:
    return stripe.StripeClient(
        key,
        stripe_version=API_VERSION,
        base_addresses={"api": base},
        max_network_retries=2,
        http_client=stripe.HTTPXClient(timeout=TIMEOUT_S, allow_sync_methods=True),
    )


def connect() -> stripe.StripeClient:
    """The client of the configured account."""
    return _client(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE)


def is_live() -> bool:
    """Whether the configured key moves real money."""
    return str(settings.STRIPE_SECRET_KEY).startswith(("sk_live_", "rk_live_"))


def plain(found: Any) -> Body:
    """One of Stripe's objects as a dict: attributes that are missing there are errors."""
    body: Body = found.to_dict()
    return body


@contextmanager
def refusals() -> Iterator[None]:
    """Turn the library's errors into those of this module."""
    try:
        yield
    except stripe.CardError as error:
        raise Declined(_reason(error), _intent(error)) from error
    except stripe.InvalidRequestError as error:
        raise Refused(str(error.user_message or error), error.code or "") from error
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        raise Refused("Stripe does not accept the secret key.", "key") from error
    except stripe.StripeError as error:
        raise Away(type(error).__name__) from error


def _reason(error: stripe.CardError) -> str:
    # A decline that asks for the owner says so in either place.
    body = error.json_body["error"] if isinstance(error.json_body, dict) else {}
    found = {error.code or "", body.get("decline_code") or ""}
    if "authentication_required" in found:
        return "authentication_required"
    return body.get("decline_code") or error.code or "card_declined"


def _intent(error: stripe.CardError) -> str:
    body = error.json_body["error"] if isinstance(error.json_body, dict) else {}
    return str((body.get("payment_intent") or {}).get("id") or "")


def id_of(value: Any) -> str:
    """The id in a field that is an id, a whole object or nothing."""
    if isinstance(value, dict):
        return str(value.get("id") or "")
    return str(value or "")

"""
Webhooks: verified and stored, answered, then booked by a task that asks Stripe again.

An event says only where to look. It may come twice, late, in any order or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import stripe
import structlog
from django.conf import settings
from django.db.models import F
from django.utils import timezone

from billing import incidents
from billing.models import Alert
from billing.models_funding import StripeEvent
from billing.stripe import booking, customers, payouts, returns
from billing.stripe.client import (
    Body,
    Refused,
    StripeError,
    connect,
    id_of,
    is_live,
    plain,
    refusals,
)

log = structlog.get_logger(__name__)

TOLERANCE_S: Final = 300
LARGEST_BODY: Final = 512 * 1024
MOST_PAGES: Final = 50
MOST_WAIT: Final = timedelta(hours=1)
# As long as Stripe itself can be asked for an event (its reference, "Retrieve an event").
KEPT_FOR: Final = timedelta(days=30)
MOST_EMPTIED: Final = 5000
# From then on somebody should look: it has been tried for about a day.
WORRYING: Final = 12


class Forged(Exception):
    """The body was not signed by Stripe, for us, just now."""


def receive(*, body: bytes, signature: str) -> StripeEvent | None:
    """
    Store an event; None where it was stored before or has nothing to book.

    :raises Forged: no valid signature with any of our secrets, or not of now
    """
    _verify(body, signature)
    try:
        row = _row(msgspec.json.decode(body))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        raise Forged("This is no event.") from None
    made = StripeEvent.objects.bulk_create([row], ignore_conflicts=True)
    fresh = StripeEvent.objects.filter(pk=made[0].pk, outcome=StripeEvent.Outcome.WAITING)
    return fresh.first()


def _row(found: Body) -> StripeEvent:
    return StripeEvent(
        id=found["id"],
        kind=found["type"],
        object_id=id_of(found["data"]["object"]),
        api_version=found.get("api_version") or "",
        livemode=bool(found["livemode"]),
        body=_storable(found),
        outcome=_outcome(found),
    )


def _storable(value: Any) -> Any:
    """What people wrote may hold the one character that PostgreSQL does not keep."""
    if isinstance(value, dict):
        return {name: _storable(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_storable(each) for each in value]
    return value.replace("\0", "") if isinstance(value, str) else value


def _outcome(found: Body) -> str:
    # A test's event at a live endpoint, or the other way round, means nothing here.
    if bool(found["livemode"]) != is_live() or _booker(found["type"]) is None:
        return StripeEvent.Outcome.IGNORED
    return StripeEvent.Outcome.WAITING


def _verify(body: bytes, signature: str) -> None:
    if len(body) > LARGEST_BODY:
        raise Forged("The body is too large.")
    for secret in settings.STRIPE_WEBHOOK_SECRETS[:2]:
        try:
            stripe.WebhookSignature.verify_header(body, signature, secret, TOLERANCE_S)
        # TypeError: a signature with letters that no signature has cannot be compared.
        except (stripe.SignatureVerificationError, UnicodeDecodeError, TypeError):
            continue
        _refuse_future(signature)
        return
    raise Forged("The signature is not valid.")


def _refuse_future(signature: str) -> None:
    # The library refuses what is old and takes what is of tomorrow.
    stamps = [part[2:] for part in signature.split(",") if part.startswith("t=")]
    if int(stamps[0]) > time.time() + TOLERANCE_S:
        raise Forged("The signature is of the future.")


def book(*, event_id: str) -> bool:
    """Book what an event points to; False where it has to wait."""
    event = StripeEvent.objects.filter(pk=event_id, outcome=StripeEvent.Outcome.WAITING).first()
    if event is None:
        return True
    try:
        _act(event)
    except Refused as refusal:
        return _wait(event, str(refusal))
    except StripeError as refusal:
        return _wait(event, f"{type(refusal).__name__}: {refusal}")
    except Exception as error:
        # One event that breaks what books it keeps no other from being booked.
        log.exception("An event could not be booked", event_id=event.pk, kind=event.kind)
        _alert(event, type(error).__name__)
        return _wait(event, type(error).__name__)
    StripeEvent.objects.filter(pk=event.pk).update(
        outcome=StripeEvent.Outcome.BOOKED, attempts=F("attempts") + 1, failure=""
    )
    incidents.end(kind=Alert.Kind.PAYMENT_UNMATCHED, subject=event.pk)
    return True


def _wait(event: StripeEvent, why: str) -> bool:
    tried = event.attempts + 1
    pause = min(timedelta(seconds=15 * 2 ** min(tried, 12)), MOST_WAIT)
    StripeEvent.objects.filter(pk=event.pk).update(
        attempts=tried, failure=why[:200], due_at=timezone.now() + pause
    )
    log.warning("An event has to wait", event_id=event.pk, kind=event.kind, why=why[:200])
    if tried >= WORRYING:
        _alert(event, why)
    return False


def _alert(event: StripeEvent, why: str) -> None:
    facts = {"why": why[:200], "kind": event.kind, "object": event.object_id}
    incidents.begin(kind=Alert.Kind.PAYMENT_UNMATCHED, subject=event.pk, facts=facts)


def due(*, now: datetime, limit: int = 200) -> list[str]:
    """Events that wait to be booked, the oldest first."""
    waiting = StripeEvent.objects.filter(outcome=StripeEvent.Outcome.WAITING, due_at__lte=now)
    return list(waiting.order_by("due_at").values_list("pk", flat=True)[:limit])


def fetch_missed() -> list[str]:
    """Store events that Stripe could not deliver; return those that are new."""
    fresh = list(_undelivered())
    # All at once: a page that is known says that everything before it is.
    StripeEvent.objects.bulk_create(fresh, ignore_conflicts=True)
    return [row.pk for row in fresh]


def _undelivered() -> Iterator[StripeEvent]:
    """Events that are not known here, the newest first, as far back as there are such."""
    after: dict[str, str] = {}
    for _page in range(MOST_PAGES):
        with refusals():
            wanted = {"delivery_success": False, "limit": 100, **after}
            found = connect().v1.events.list(wanted)  # type: ignore[arg-type]  # a plain dict
        rows = [_row(plain(each)) for each in found.data]
        ours = [row for row in rows if row.outcome == StripeEvent.Outcome.WAITING]
        stored = StripeEvent.objects.filter(pk__in=[row.pk for row in ours])
        known = set(stored.values_list("pk", flat=True))
        yield from (row for row in ours if row.pk not in known)
        if not found.has_more or (ours and len(known) == len(ours)):
            return
        after = {"starting_after": rows[-1].pk}


def forget_old(*, now: datetime) -> int:
    """Empty events that are done with and past their time; return how many.

    The row stays: by its id the same event is known when it comes again.
    """
    done = StripeEvent.objects.exclude(outcome=StripeEvent.Outcome.WAITING)
    old = done.filter(received_at__lt=now - KEPT_FOR, body__isnull=False)
    pks = list(old.order_by("received_at").values_list("pk", flat=True)[:MOST_EMPTIED])
    return done.filter(pk__in=pks).update(body=None)


def _act(event: StripeEvent) -> None:
    book_object = _booker(event.kind)
    if book_object is not None and event.object_id:
        book_object(event.object_id)


BOOKERS: Final[tuple[tuple[str, Callable[[str], object]], ...]] = (
    ("checkout.session.", booking.book_session),
    ("payment_intent.", booking.book_intent),
    ("refund.", returns.book_refund),
    ("charge.refund.updated", returns.book_refund),
    ("charge.refunded", returns.book_refunds_of),
    ("charge.dispute.", returns.book_dispute),
    ("radar.early_fraud_warning.", returns.book_warning),
    ("setup_intent.succeeded", booking.book_setup),
    ("payment_method.", lambda name: customers.sync_card(method_id=name)),
    ("customer.deleted", lambda name: customers.sync_customer(customer_id=name)),
    ("payout.", payouts.book_payout),
)


def _booker(kind: str) -> Callable[[str], object] | None:
    return next((book_object for prefix, book_object in BOOKERS if kind.startswith(prefix)), None)

"""
Requests that are made once however often they are sent.

The answer is stored in the transaction that makes the change: either both are there or
neither. A second request waits at the unique index until the first has ended.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import IntegrityError, OperationalError, connection, transaction

from accounts.models import KeptAnswer
from common import crypto
from common.errors import NO_RETRY, ApiError, bad_parameter, retry_headers

KEPT_FOR: Final = timedelta(hours=24)
LONGEST: Final = 255
MOST_DELETED: Final = 1000
LOCK_NOT_AVAILABLE: Final = "55P03"


@dataclass(frozen=True, slots=True)
class Sent:
    """One request: who sent it, where to, under which word, and what it says."""

    caller: str
    endpoint: str
    word: str
    says: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered."""

    status: int
    body: bytes


def begin(sent: Sent, *, now: datetime) -> KeptAnswer | Answer:
    """
    Take a request's place, inside the transaction of its change, or find what was answered.

    :raises ApiError: 400 no such word, 409 another request has it
    """
    if not (0 < len(sent.word) <= LONGEST and sent.word.isascii() and sent.word.isprintable()):
        raise bad_parameter(
            f"An Idempotency-Key has 1 to {LONGEST} visible ASCII characters.",
            param="Idempotency-Key",
        )
    place = {
        "caller": sent.caller,
        "endpoint": sent.endpoint,
        "digest": hashlib.sha256(sent.word.encode()).digest(),
    }
    fingerprint = hashlib.sha256(sent.says).digest()
    KeptAnswer.objects.filter(**place, expires_at__lte=now).delete()
    try:
        with transaction.atomic():
            _wait_at_most("5s")
            return KeptAnswer.objects.create(
                **place, fingerprint=fingerprint, expires_at=now + KEPT_FOR
            )
    except IntegrityError:
        return _answered(KeptAnswer.objects.get(**place), fingerprint=fingerprint)
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", "") != LOCK_NOT_AVAILABLE:
            raise
        raise ApiError(
            "idempotency_in_progress",
            "A request with this Idempotency-Key is under way.",
            headers=retry_headers(after_ms=1000),
        ) from None
    finally:
        if not connection.needs_rollback:
            _wait_at_most("0")


def _wait_at_most(text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select set_config('lock_timeout', %s, true)", [text])


def _answered(kept: KeptAnswer, *, fingerprint: bytes) -> Answer:
    if bytes(kept.fingerprint) != fingerprint:
        raise ApiError(
            "idempotency_key_reused",
            "This Idempotency-Key was used with another request. Use a new key.",
            headers=NO_RETRY,
        )
    body = crypto.unseal(bytes(kept.sealed), kept.sealed_key_id)
    return Answer(status=kept.status, body=body)


def finish(kept: KeptAnswer, answer: Answer) -> None:
    """Keep what is answered."""
    kept.status = answer.status
    kept.sealed, kept.sealed_key_id = crypto.seal(answer.body)
    kept.save(update_fields=["status", "sealed", "sealed_key_id"])


def forget_expired(*, now: datetime) -> int:
    """Delete answers that are past their time; return how many."""
    old = KeptAnswer.objects.filter(expires_at__lte=now).order_by("expires_at")
    deleted, _ = KeptAnswer.objects.filter(
        pk__in=list(old.values_list("pk", flat=True)[:MOST_DELETED])
    ).delete()
    return deleted

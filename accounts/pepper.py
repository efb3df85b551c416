"""
Whether this process has the pepper that the database's keys were made with.

Without it every key would be refused as unknown, which looks like an attack and not like the
wrong file of settings. So the database keeps a fingerprint (never the pepper), and every
start compares. The record stays with a pepper until it is configured nowhere and no key needs it.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import Count, QuerySet

from accounts import keytext
from accounts.models import ApiKey, SecretFingerprint

LABEL: Final = "tollgate key pepper fingerprint"


class PepperError(Exception):
    """The database was made with a pepper that is not configured."""


def fingerprint(pepper: bytes) -> bytes:
    """A digest that tells peppers apart and is of no use to whoever reads it."""
    return keytext.digest(LABEL, pepper=pepper)


def current() -> str:
    """The id of the pepper that new keys are hashed under."""
    return next(iter(settings.KEY_PEPPERS))


def keys_by_pepper() -> dict[str, int]:
    """How many living keys need each pepper; each moves to the current one when it is used."""
    return dict(_living().values_list("pepper_id").annotate(number=Count("pk")))


def _living() -> QuerySet[ApiKey]:
    return ApiKey.objects.filter(deleted_at=None)


def check(*, peppers: Mapping[str, bytes] | None = None) -> None:
    """Compare the configured peppers with the database's record, which the first call makes.

    :raises PepperError: there is no pepper, or one that keys need is not among them
    """
    peppers = settings.KEY_PEPPERS if peppers is None else peppers
    if not peppers:
        raise PepperError("KEY_PEPPER is not set.")
    recorded = SecretFingerprint.objects.filter(id=1).first() or _record(peppers)
    if recorded_pepper(recorded, peppers=peppers) is None:
        _replace(peppers)


def missing(*, peppers: Mapping[str, bytes]) -> dict[str, int]:
    """How many living keys need each pepper that is not configured: they are refused."""
    known = set(peppers)
    recorded = SecretFingerprint.objects.filter(id=1).first()
    if recorded is not None and recorded_pepper(recorded, peppers=peppers):
        known.add(recorded.pepper_id)
    return {name: number for name, number in keys_by_pepper().items() if name not in known}


def recorded_pepper(recorded: SecretFingerprint, *, peppers: Mapping[str, bytes]) -> str | None:
    """The id under which the recorded pepper is configured; None if it is not."""
    for pepper_id, pepper in peppers.items():
        if hmac.compare_digest(bytes(recorded.fingerprint), fingerprint(pepper)):
            return pepper_id
    return None


def _record(peppers: Mapping[str, bytes]) -> SecretFingerprint:
    facts = {"pepper_id": (name := _oldest(peppers)), "fingerprint": fingerprint(peppers[name])}
    return SecretFingerprint.objects.get_or_create(id=1, defaults=facts)[0]


def _oldest(peppers: Mapping[str, bytes]) -> str:
    # A first look may come when the old one already stands behind a new one.
    oldest = _living().order_by("pk").values_list("pepper_id", flat=True).first()
    return oldest if oldest is not None and oldest in peppers else next(iter(peppers))


@transaction.atomic
def _replace(peppers: Mapping[str, bytes]) -> None:
    """Record another pepper, where the recorded one was rightly taken out."""
    recorded = SecretFingerprint.objects.select_for_update(no_key=True).get(id=1)
    if recorded_pepper(recorded, peppers=peppers) is not None:
        return
    needed = _living().filter(pepper_id=recorded.pepper_id).count()
    if needed or recorded.pepper_id in peppers:
        raise PepperError(
            f"This database was made with another KEY_PEPPER (id {recorded.pepper_id!r}), which "
            f"{needed} API keys need: put that one back, or add it behind the new one."
        )
    recorded.pepper_id = _oldest(peppers)
    recorded.fingerprint = fingerprint(peppers[recorded.pepper_id])
    recorded.save(update_fields=["pepper_id", "fingerprint"])

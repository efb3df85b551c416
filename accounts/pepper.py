"""
Whether this process has the pepper that the database's keys were made with.

Without it every key would be refused as unknown, which looks like an attack and not like the
wrong file of settings. So the database keeps a fingerprint (never the pepper), and every
start compares.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final

from django.db import transaction

from accounts import keytext
from accounts.models import ApiKey, SecretFingerprint

LABEL: Final = "tollgate key pepper fingerprint"


class PepperError(Exception):
    """The database was made with a pepper that is not configured."""


def fingerprint(pepper: bytes) -> bytes:
    """A digest that tells peppers apart and is of no use to whoever reads it."""
    return keytext.digest(LABEL, pepper=pepper)


@transaction.atomic
def check(*, peppers: Mapping[str, bytes]) -> None:
    """Compare with the database's record, which the first call makes.

    :raises PepperError: there is no pepper, or the recorded one is not among them
    """
    if not peppers:
        raise PepperError("KEY_PEPPER is not set.")
    pepper_id, pepper = next(iter(peppers.items()))
    SecretFingerprint.objects.get_or_create(
        id=1, defaults={"pepper_id": pepper_id, "fingerprint": fingerprint(pepper)}
    )
    recorded = SecretFingerprint.objects.select_for_update(no_key=True).get(id=1)
    known = recorded_pepper(recorded, peppers=peppers)
    if known is None:
        raise PepperError(
            f"This database was made with another KEY_PEPPER (id {recorded.pepper_id!r}): "
            "put that one back, or add it behind the new one."
        )
    _advance(recorded, to=pepper_id, pepper=pepper)


def recorded_pepper(recorded: SecretFingerprint, *, peppers: Mapping[str, bytes]) -> str | None:
    """The id under which the recorded pepper is configured; None if it is not."""
    for pepper_id, pepper in peppers.items():
        if hmac.compare_digest(bytes(recorded.fingerprint), fingerprint(pepper)):
            return pepper_id
    return None


def _advance(recorded: SecretFingerprint, *, to: str, pepper: bytes) -> None:
    # Once no living key needs the old pepper, the record moves on and it may be dropped.
    old = ApiKey.objects.filter(deleted_at=None).exclude(pepper_id=to)
    if recorded.pepper_id != to and not old.exists():
        recorded.pepper_id = to
        recorded.fingerprint = fingerprint(pepper)
        recorded.save(update_fields=["pepper_id", "fingerprint"])

"""
API keys that still need an older pepper: nobody has used them since it was replaced.

Each moves to the current pepper when it is used. Those that nobody uses keep the old one in the
environment, until an operator disables them, for their owners to see, and then deletes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import QuerySet

from accounts import audit, keys, keystore, pepper
from accounts.errors import Invalid
from accounts.models import ApiKey
from billing.models import KeyMeter

STOPS: Final[Mapping[str, Callable[..., ApiKey]]] = {
    "disabled": keys.disable,
    "deleted": keys.delete,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleKey:
    """One of them, as an operator reads it."""

    id: str
    name: str
    hint: str
    pepper: str
    owner: str
    workspaces: list[str]
    created_at: str
    last_used_at: str | None
    disabled_at: str | None


def find(*, unused_since: datetime) -> list[tuple[ApiKey, IdleKey]]:
    """The keys under an older pepper that nobody has used since then, nor made."""
    found = list(_older().order_by("pk"))
    meters = KeyMeter.objects.filter(key__in=found).values_list("key_id", "last_used_at")
    used = dict(meters)
    return [
        (key, _told(key, used.get(key.pk)))
        for key in found
        if max(key.created_at, used.get(key.pk) or key.created_at) <= unused_since
    ]


def stop(*, how: str, unused_since: datetime, reason: str) -> list[IdleKey]:
    """
    Disable them, or delete those that are disabled, each in a transaction of its own.

    :raises Invalid: no reason
    """
    if not reason.strip():
        raise Invalid("Say why with --reason: it is kept in the audit log.", param="reason")
    done = []
    for key, told in find(unused_since=unused_since):
        if (key.disabled_at is None) == (how == "disabled") and _stop(key, how, reason):
            done.append(told)
    return done


@transaction.atomic
def _stop(key: ApiKey, how: str, reason: str) -> bool:
    # Used meanwhile, it needs the old pepper no more.
    if not _older().select_for_update(of=("self",), no_key=True).filter(pk=key.pk).exists():
        return False
    stopped = STOPS[how](key=key, by=None)
    audit.record(
        action=f"key.{how}",
        by=None,
        target=keystore.target(key=stopped),
        workspaces=[None],
        after={"pepper": key.pepper_id, "reason": reason},
    )
    return True


def since(*, now: datetime, days: int) -> datetime:
    """The time before which a key was used last that counts as unused."""
    return now - timedelta(days=days)


def _older() -> QuerySet[ApiKey]:
    living = ApiKey.objects.filter(deleted_at=None).exclude(pepper_id=pepper.current())
    return living.select_related("user", "service_account").prefetch_related("workspaces")


def _told(key: ApiKey, last_used_at: datetime | None) -> IdleKey:
    return IdleKey(
        id=key.public_id,
        name=key.name,
        hint=key.hint,
        pepper=key.pepper_id,
        owner=key.owner.public_id,
        workspaces=[place.public_id for place in key.workspaces.all()],
        created_at=key.created_at.isoformat(),
        last_used_at=last_used_at.isoformat() if last_used_at else None,
        disabled_at=key.disabled_at.isoformat() if key.disabled_at else None,
    )

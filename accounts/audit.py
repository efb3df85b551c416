"""
The audit log: who changed what, written in the transaction that makes the change.

Values are masked by what callers pass: never a secret, never a key's text or digest. Of a
change only the fields that differ are kept; a change that changes nothing is no event. Of URLs
scheme and host are kept: user names, paths and queries hold tokens of customers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.db.models import QuerySet

from accounts.actors import Actor, Staff
from accounts.keyrecord import KeyRecord
from accounts.models import AuditEvent, ServiceAccount, User, Workspace
from common import origin

Facts = Mapping[str, Any]


class Stranger:
    """Somebody who did not sign in: nobody knows who."""


By = Actor | Stranger
STRANGER: Final = Stranger()
KEY: Final = ("name", "scopes", "models", "rpm", "tpm", "max_streams", "ips", "expires_at")
URL: Final = re.compile(
    r"([a-z][a-z0-9+.-]*://)((?:[^/?#\s]*@)?)([^/?#\s]*)((?:[/?#]\S*)?)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Target:
    """What was changed: its public id, and the name it had."""

    id: str
    name: str


def record(
    *,
    action: str,
    by: By,
    target: Target,
    workspaces: Iterable[Workspace | int | None],
    before: Facts | None = None,
    after: Facts | None = None,
) -> int:
    """
    Write a change down, once in each workspace that it touches; return how many events.

    What touches none (None) is for staff to read.

    :raises RuntimeError: outside a transaction, where the change could be kept without it
    """
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("The audit log is written in the transaction of the change.")
    was, became = differing(before, after)
    if before is not None and after is not None and not became:
        return 0
    where = origin.current()
    events = [
        AuditEvent(
            workspace_id=place.pk if isinstance(place, Workspace) else place,
            action=action,
            target=target.id,
            target_name=_masked(target.name)[:254],
            before=was,
            after=became,
            request_id=where.request_id,
            address=where.address,
            impersonator_id=where.impersonator_id,
            **_actor(by),
        )
        for place in workspaces
    ]
    AuditEvent.objects.bulk_create(events)
    return len(events)


def decided(
    *,
    action: str,
    by: By,
    target: Target,
    workspace: Workspace | int | None,
    before: Facts,
    after: Facts,
    reason: str,
) -> None:
    """
    Write a decision of staff down: what changed for its workspace, and why for staff to read.

    :raises RuntimeError: outside a transaction, where the change could be kept without it
    """
    if workspace is not None:
        record(
            action=action,
            by=by,
            target=target,
            workspaces=[workspace],
            before=before,
            after=after,
        )
    record(
        action=action,
        by=by,
        target=target,
        workspaces=[None],
        before={**before, "reason": None},
        after={**after, "reason": reason},
    )


def differing(
    before: Facts | None, after: Facts | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Both sides of a change, reduced to what differs, as JSON can hold it."""
    if before is None or after is None:
        return _plain(before), _plain(after)
    names = [name for name in after if before.get(name) != after[name]]
    return (
        _plain({name: before.get(name) for name in names}),
        _plain({name: after[name] for name in names}),
    )


def facts(row: object, *names: str) -> dict[str, Any]:
    """Some fields of a row as they are now."""
    return {name: getattr(row, name) for name in names}


def _plain(values: Facts | None) -> dict[str, Any] | None:
    if values is None:
        return None
    return {name: _value(value) for name, value in values.items()}


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, set | frozenset):
        return _value(sorted(value))
    if isinstance(value, Mapping):
        return {name: _value(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_value(each) for each in value]
    return _masked(value) if isinstance(value, str) else value


def _masked(text: str) -> str:
    """The text, with what may be secret in its URLs replaced."""
    return URL.sub(_shortened, text)


def _shortened(found: re.Match[str]) -> str:
    scheme, user, host, rest = found.groups()
    return f"{scheme}{'***@' if user else ''}{host}{'/***' if len(rest) > 1 else rest}"


def _actor(by: By) -> dict[str, Any]:
    kinds = AuditEvent.Actor
    if isinstance(by, Stranger):
        return {"actor": kinds.STRANGER}
    if isinstance(by, KeyRecord):
        owners = {"user_id": by.user_id, "service_account_id": by.service_account_id}
        return {"actor": kinds.KEY, "key_id": by.id, **owners}
    if isinstance(by, Staff):
        return {"actor": kinds.STAFF, "user_id": by.user.pk}
    if isinstance(by, User):
        return {"actor": kinds.USER, "user_id": by.pk}
    if isinstance(by, ServiceAccount):
        return {"actor": kinds.SERVICE_ACCOUNT, "service_account_id": by.pk}
    return {"actor": kinds.OPERATOR}


def events(*, workspace: Workspace) -> QuerySet[AuditEvent]:
    """The events of one workspace, the newest first."""
    found = AuditEvent.objects.filter(workspace=workspace).order_by("-at", "-id")
    return found.select_related("user", "key", "service_account")

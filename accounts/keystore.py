"""
How a key is written down: proved terms, the workspaces it carries, its audit event.

Who may make or change one is in keyrights and keybounds, what can be done with one in keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.conf import settings
from django.db import IntegrityError
from django.utils.translation import gettext as _

from accounts import audit, keytext, scopes, webhookevents
from accounts.actors import Actor, person_id
from accounts.errors import ForeignWorkspace, Invalid
from accounts.models import ApiKey, ApiKeyWorkspace, ServiceAccount, User, Workspace
from accounts.scopes import Scope

CHANGEABLE: Final = (
    *("name", "scopes", "models", "rpm", "tpm", "max_streams", "ips", "expires_at"),
    "prompt_logging",
)

# Called inside the transaction that makes a key, so that what a layer above needs for it (its
# meter) is there from the first call or the key is not. A rotated key names what it replaces.
on_created: Final[list[Callable[[ApiKey], None]]] = []


@dataclass(frozen=True, slots=True)
class Terms:
    """Everything on a key that was proved against the rules."""

    name: str
    scopes: frozenset[Scope]
    models: list[str] | None
    rpm: int | None
    ips: list[str]
    expires_at: datetime | None
    tpm: int | None = None
    max_streams: int | None = None
    prompt_logging: bool = True


def store(
    *,
    text: str,
    owner: User | ServiceAccount,
    carried: Sequence[Workspace],
    terms: Terms,
    kind: str,
    by: Actor,
    replaces: ApiKey | None = None,
) -> ApiKey:
    """Write a proved key. Call it inside a transaction; the text itself is not kept."""
    pepper_id, digest = keytext.current_digest(text, peppers=settings.KEY_PEPPERS)
    key = ApiKey.objects.create(
        name=terms.name,
        kind=kind,
        prefix=keytext.shown_prefix(text),
        last4=text[-4:],
        digest=digest,
        pepper_id=pepper_id,
        user=owner if isinstance(owner, User) else None,
        service_account=owner if isinstance(owner, ServiceAccount) else None,
        scopes=sorted(terms.scopes),
        models=terms.models,
        rpm=terms.rpm,
        tpm=terms.tpm,
        max_streams=terms.max_streams,
        prompt_logging=terms.prompt_logging,
        ips=terms.ips,
        expires_at=terms.expires_at,
        created_by_id=person_id(by),
        replaces=replaces,
    )
    attach(key=key, workspace_ids={workspace.pk for workspace in carried})
    for hook in on_created:
        hook(key)
    key.refresh_from_db(fields=["version"])
    _record_new(key, by=by, carried=carried)
    return key


def _record_new(key: ApiKey, *, by: Actor, carried: Sequence[Workspace]) -> None:
    # The playground's keys live for minutes and are made by opening a page.
    if key.kind == ApiKey.Kind.PLAYGROUND:
        return
    action = "key.imported" if key.kind == ApiKey.Kind.IMPORTED else "key.created"
    told = facts(key=key) | {"owner": key.owner.public_id, "hint": key.hint}
    if key.replaces is not None:
        action, told = "key.rotated", told | {"replaces": key.replaces.public_id}
    audit.record(action=action, by=by, target=target(key=key), workspaces=carried, after=told)
    kind = "key.rotated" if key.replaces is not None else "key.created"
    webhookevents.tell_of_key(key, kind=kind)


def facts(*, key: ApiKey) -> dict[str, object]:
    """What can be changed of a key."""
    return audit.facts(key, *CHANGEABLE)


def target(*, key: ApiKey) -> audit.Target:
    """A key as the audit log names it."""
    return audit.Target(key.public_id, key.name)


def record(
    *,
    action: str,
    key: ApiKey,
    by: Actor,
    before: dict[str, object],
    after: dict[str, object] | None = None,
) -> None:
    """Write a change of a key down, in each workspace that it carries."""
    if key.kind == ApiKey.Kind.PLAYGROUND:
        return
    places = ApiKeyWorkspace.objects.filter(key=key).values_list("workspace_id", flat=True)
    audit.record(
        action=action,
        by=by,
        target=target(key=key),
        workspaces=list(places),
        before=before,
        after=facts(key=key) if after is None else after,
    )


def proved_scopes(wanted: Iterable[str]) -> frozenset[Scope]:
    """The scopes of one key.

    :raises Invalid: none, an unknown one, or inference mixed with management
    """
    try:
        return scopes.check(wanted)
    except scopes.ScopeError as error:
        raise Invalid(str(error), param="scopes") from None


def open_workspaces(wanted: Iterable[Workspace]) -> list[Workspace]:
    """The workspaces of a key as they are now, with their tiers.

    :raises Invalid: none, or one that is closed
    """
    ids = {workspace.pk for workspace in wanted}
    if not ids:
        raise Invalid(_("A key carries at least one workspace."), param="workspaces")
    found = list(Workspace.objects.select_related("tier").filter(pk__in=ids).order_by("pk"))
    if any(workspace.closed_at is not None for workspace in found):
        raise Invalid(_("The workspace is closed."), param="workspaces")
    return found


def lock(*, key: ApiKey) -> ApiKey:
    """The key as it is now, locked.

    :raises Invalid: it is deleted
    """
    current = ApiKey.objects.select_for_update(no_key=True).get(pk=key.pk)
    if current.deleted_at is not None:
        raise Invalid(_("The key is deleted."))
    return current


def save(*, key: ApiKey, fields: Iterable[str]) -> ApiKey:
    """Save what was changed of a locked key; it has a new version."""
    key.save(update_fields=list(fields))
    key.refresh_from_db(fields=["version"])
    return key


def attach(*, key: ApiKey, workspace_ids: Iterable[int]) -> None:
    """Let a key carry these workspaces too.

    :raises ForeignWorkspace: the owner of the key has no place there
    """
    try:
        for workspace_id in sorted(workspace_ids):
            ApiKeyWorkspace.objects.create(key=key, workspace_id=workspace_id)
    except IntegrityError:
        # Proved a moment ago: the owner has left since, and the database noticed.
        raise ForeignWorkspace(_("The key's owner just left the workspace.")) from None

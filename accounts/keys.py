"""
API keys: made, changed, rotated, stopped.

The text of a key leaves `create` and `rotate` once and is stored nowhere; how it is made and
recognised is in keytext, what a gateway reads of it in keyrecord, who may do what in keyrights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import (
    audit,
    keybounds,
    keylimits,
    keyrights,
    keytext,
    scopes,
    webhookevents,
    workspaces,
)
from accounts.actors import is_operator, person_id, rights
from accounts.errors import ForeignWorkspace, Invalid, Missing
from accounts.keyrecord import FIND, KeyRecord, KeyWorkspace, digests, find, from_row, read_version
from accounts.keyrights import Actor
from accounts.keytext import mint, well_formed
from accounts.models import ApiKey, ApiKeyWorkspace, Membership, ServiceAccount, User, Workspace
from accounts.scopes import ROLE_SCOPES, Scope

__all__ = [
    "FIND",
    "UNCHANGED",
    "Actor",
    "KeyRecord",
    "KeyWorkspace",
    "create",
    "delete",
    "detach",
    "digests",
    "disable",
    "enable",
    "find",
    "from_row",
    "get",
    "mint",
    "on_created",
    "read_version",
    "rotate",
    "update",
    "visible",
    "well_formed",
]

MAX_OVERLAP: Final = timedelta(days=90)
CHANGEABLE: Final = (
    *("name", "scopes", "models", "rpm", "tpm", "max_streams", "ips", "expires_at"),
)

# Called inside the transaction that makes a key, so that what a layer above needs for it (its
# meter) is there from the first call or the key is not. A rotated key names what it replaces.
on_created: Final[list[Callable[[ApiKey], None]]] = []


class Unchanged:
    """The type of UNCHANGED."""


UNCHANGED: Final = Unchanged()


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


@transaction.atomic
def create(
    *,
    name: str,
    workspaces: Sequence[Workspace],
    by: Actor,
    user: User | None = None,
    service_account: ServiceAccount | None = None,
    scopes: Iterable[str],
    models: Iterable[str] | None = None,
    rpm: int | None = None,
    tpm: int | None = None,
    max_streams: int | None = None,
    ips: Iterable[str] = (),
    expires_at: datetime | None = None,
    kind: str = ApiKey.Kind.STANDARD,
) -> tuple[ApiKey, str]:
    """A new key and its text, which nobody can read again.

    :raises Invalid: a value that no key may have
    :raises ForeignWorkspace: maker or owner has no place in one of the workspaces
    :raises Forbidden: more rights than maker or owner has, or a person who is not verified
    """
    carried = open_workspaces(workspaces)
    owner = _one_owner(user, service_account)
    terms = Terms(
        name=_name(name),
        scopes=proved_scopes(scopes),
        models=keylimits.models(models),
        rpm=keylimits.rpm(rpm, carried=carried, past_tier=is_operator(by)),
        ips=keylimits.ips(ips),
        expires_at=keylimits.expiry(expires_at, now=timezone.now()),
        tpm=keylimits.tpm(tpm),
        max_streams=keylimits.max_streams(max_streams),
    )
    keyrights.require_to_make(by=by, owner=owner, carried=carried, wanted=terms.scopes)
    terms = keybounds.inherit(terms, by=by)
    text = mint(prefix=settings.API_KEY_PREFIX)
    key = store(text=text, owner=owner, carried=carried, terms=terms, kind=kind, by=by)
    keybounds.hand_on(by=by, key=key, new=True)
    return key, text


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
        ips=terms.ips,
        expires_at=terms.expires_at,
        created_by_id=person_id(by),
        replaces=replaces,
    )
    _attach(key, {workspace.pk for workspace in carried})
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
    facts = _facts(key) | {"owner": key.owner.public_id, "hint": key.hint}
    if key.replaces is not None:
        action, facts = "key.rotated", facts | {"replaces": key.replaces.public_id}
    audit.record(action=action, by=by, target=_target(key), workspaces=carried, after=facts)
    kind = "key.rotated" if key.replaces is not None else "key.created"
    webhookevents.tell_of_key(key, kind=kind)


def _facts(key: ApiKey) -> dict[str, object]:
    return audit.facts(key, *CHANGEABLE)


def _target(key: ApiKey) -> audit.Target:
    return audit.Target(key.public_id, key.name)


def _record(
    action: str,
    key: ApiKey,
    *,
    by: Actor,
    before: dict[str, object],
    after: dict[str, object] | None = None,
) -> None:
    if key.kind == ApiKey.Kind.PLAYGROUND:
        return
    places = ApiKeyWorkspace.objects.filter(key=key).values_list("workspace_id", flat=True)
    audit.record(
        action=action,
        by=by,
        target=_target(key),
        workspaces=list(places),
        before=before,
        after=_facts(key) if after is None else after,
    )


def _one_owner(user: User | None, service_account: ServiceAccount | None) -> User | ServiceAccount:
    if user is not None and service_account is None:
        return user
    if service_account is not None and user is None:
        return service_account
    raise Invalid("A key belongs to one user or one service account.", param="user")


def proved_scopes(wanted: Iterable[str]) -> frozenset[Scope]:
    """The scopes of one key.

    :raises Invalid: none, an unknown one, or inference mixed with management
    """
    try:
        return scopes.check(wanted)
    except scopes.ScopeError as error:
        raise Invalid(str(error), param="scopes") from None


def _name(name: str) -> str:
    return workspaces.clean_name(name)


def open_workspaces(wanted: Iterable[Workspace]) -> list[Workspace]:
    """The workspaces of a key as they are now, with their tiers.

    :raises Invalid: none, or one that is closed
    """
    ids = {workspace.pk for workspace in wanted}
    if not ids:
        raise Invalid("A key carries at least one workspace.", param="workspaces")
    found = list(Workspace.objects.select_related("tier").filter(pk__in=ids).order_by("pk"))
    if any(workspace.closed_at is not None for workspace in found):
        raise Invalid("The workspace is closed.", param="workspaces")
    return found


@transaction.atomic
def update(
    *,
    key: ApiKey,
    by: Actor,
    name: str | Unchanged = UNCHANGED,
    workspaces: Sequence[Workspace] | Unchanged = UNCHANGED,
    scopes: Iterable[str] | Unchanged = UNCHANGED,
    models: Iterable[str] | Unchanged | None = UNCHANGED,
    rpm: int | Unchanged | None = UNCHANGED,
    tpm: int | Unchanged | None = UNCHANGED,
    max_streams: int | Unchanged | None = UNCHANGED,
    ips: Iterable[str] | Unchanged = UNCHANGED,
    expires_at: datetime | Unchanged | None = UNCHANGED,
) -> ApiKey:
    """Change what is given, leave the rest; new rights are proved as for a new key.

    :raises Invalid: a value that no key may have, or a deleted key
    :raises ForeignWorkspace: maker or owner has no place in one of the workspaces
    :raises Forbidden: not theirs to change, or more than they have or are bound to
    """
    current = _locked(key)
    keyrights.require_to_change(by=by, key=current)
    before, had = _facts(current), frozenset(current.scopes)
    ended = current.expires_at is not None and current.expires_at <= timezone.now()
    carried = list(Workspace.objects.select_related("tier").filter(key_workspaces__key=current))
    if not isinstance(workspaces, Unchanged):
        carried = open_workspaces(workspaces)
    if not isinstance(scopes, Unchanged):
        current.scopes = sorted(proved_scopes(scopes))
    wider = False
    if not (isinstance(workspaces, Unchanged) and isinstance(scopes, Unchanged)):
        keyrights.require_to_make(
            by=by, owner=current.owner, carried=carried, wanted=proved_scopes(current.scopes)
        )
        wider = _carry(current, carried, by=by) or not had.issuperset(current.scopes)
    if not isinstance(name, Unchanged):
        current.name = _name(name)
    if not isinstance(models, Unchanged):
        current.models = keylimits.models(models)
    if not isinstance(rpm, Unchanged):
        current.rpm = keylimits.rpm(rpm, carried=carried, past_tier=is_operator(by))
    if not isinstance(tpm, Unchanged):
        current.tpm = keylimits.tpm(tpm)
    if not isinstance(max_streams, Unchanged):
        current.max_streams = keylimits.max_streams(max_streams)
    if not isinstance(ips, Unchanged):
        current.ips = keylimits.ips(ips)
    if not isinstance(expires_at, Unchanged):
        current.expires_at = keylimits.expiry(expires_at, now=timezone.now())
    changed = [name for name in keybounds.BOUND if getattr(current, name) != before[name]]
    keybounds.require(by=by, terms=current, carried=carried, names=changed)
    saved = _saved(current, *CHANGEABLE)
    if wider or (ended and "expires_at" in changed):
        keybounds.hand_on(by=by, key=saved)
    _record("key.updated", saved, by=by, before=before)
    return saved


def _locked(key: ApiKey) -> ApiKey:
    current = ApiKey.objects.select_for_update(no_key=True).get(pk=key.pk)
    if current.deleted_at is not None:
        raise Invalid("The key is deleted.")
    return current


def _saved(key: ApiKey, *fields: str) -> ApiKey:
    key.save(update_fields=fields)
    key.refresh_from_db(fields=["version"])
    return key


def _carry(key: ApiKey, carried: Sequence[Workspace], *, by: Actor) -> bool:
    """Give a key these workspaces; return whether it had not had one of them."""
    wanted = {workspace.pk for workspace in carried}
    kept = set(ApiKeyWorkspace.objects.filter(key=key).values_list("workspace_id", flat=True))
    ApiKeyWorkspace.objects.filter(key=key).exclude(workspace_id__in=wanted).delete()
    _attach(key, wanted - kept)
    # Each workspace is told of itself only: the others may be another customer's.
    for action, places in (
        ("key.workspace_added", wanted - kept),
        ("key.workspace_removed", kept - wanted),
    ):
        audit.record(action=action, by=by, target=_target(key), workspaces=sorted(places))
    return bool(wanted - kept)


def _attach(key: ApiKey, workspace_ids: set[int]) -> None:
    try:
        for workspace_id in sorted(workspace_ids):
            ApiKeyWorkspace.objects.create(key=key, workspace_id=workspace_id)
    except IntegrityError:
        # Proved a moment ago: the owner has left since, and the database noticed.
        raise ForeignWorkspace("The key's owner just left the workspace.") from None


@transaction.atomic
def rotate(*, key: ApiKey, overlap: timedelta, by: Actor) -> tuple[ApiKey, str]:
    """A key like this one with another text; this one ends after the overlap.

    :raises Invalid: an overlap out of bounds, or a key that works no more
    :raises Forbidden: whoever asks may not make a key with these rights and bounds
    """
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise Invalid("The old key may live on for up to 90 days.", param="overlap")
    old = _locked(key)
    # Read after the lock: whoever waited for another rotation must see the key as ended.
    now = timezone.now()
    if old.disabled_at is not None or (old.expires_at is not None and old.expires_at <= now):
        raise Invalid("This key works no more; create a new one.")
    carried = open_workspaces(Workspace.objects.filter(key_workspaces__key=old))
    terms = _terms(old)
    keyrights.require_to_make(by=by, owner=old.owner, carried=carried, wanted=terms.scopes)
    text = mint(prefix=settings.API_KEY_PREFIX)
    kind = ApiKey.Kind.STANDARD if old.kind == ApiKey.Kind.IMPORTED else old.kind
    new = store(
        text=text, owner=old.owner, carried=carried, terms=terms, kind=kind, by=by, replaces=old
    )
    keybounds.hand_on(by=by, key=new)
    end = now + overlap
    old.expires_at = end if old.expires_at is None else min(old.expires_at, end)
    _saved(old, "expires_at")
    return new, text


def _terms(key: ApiKey) -> Terms:
    return Terms(
        name=key.name,
        scopes=proved_scopes(key.scopes),
        models=key.models,
        rpm=key.rpm,
        ips=key.ips,
        expires_at=key.expires_at,
        tpm=key.tpm,
        max_streams=key.max_streams,
    )


@transaction.atomic
def disable(*, key: ApiKey, by: Actor) -> ApiKey:
    """Stop a key until it is enabled again; the next request with it is refused.

    :raises Forbidden: not theirs to change
    :raises Invalid: the key is deleted
    """
    current = _locked(key)
    keyrights.require_to_change(by=by, key=current)
    before = audit.facts(current, "disabled_at")
    current.disabled_at = current.disabled_at or timezone.now()
    saved = _saved(current, "disabled_at")
    _record("key.disabled", saved, by=by, before=before, after=audit.facts(saved, "disabled_at"))
    if before["disabled_at"] is None:
        webhookevents.tell_of_key(saved, kind="key.disabled")
    return saved


@transaction.atomic
def enable(*, key: ApiKey, by: Actor) -> ApiKey:
    """Let a disabled key work again.

    :raises Forbidden: not theirs to change
    :raises Invalid: the key is deleted
    """
    current = _locked(key)
    keyrights.require_to_change(by=by, key=current)
    before = audit.facts(current, "disabled_at")
    current.disabled_at = None
    saved = _saved(current, "disabled_at")
    keybounds.hand_on(by=by, key=saved)
    _record("key.enabled", saved, by=by, before=before, after=audit.facts(saved, "disabled_at"))
    return saved


@transaction.atomic
def delete(*, key: ApiKey, by: Actor) -> ApiKey:
    """Stop a key for good. The row stays: usage and audit name it.

    :raises Forbidden: not theirs to change
    :raises Invalid: the key is deleted already
    """
    current = _locked(key)
    keyrights.require_to_change(by=by, key=current)
    before = audit.facts(current, "deleted_at")
    current.deleted_at = timezone.now()
    saved = _saved(current, "deleted_at")
    _record("key.deleted", saved, by=by, before=before, after=audit.facts(saved, "deleted_at"))
    return saved


@transaction.atomic
def detach(*, key: ApiKey, workspace: Workspace, by: Actor) -> ApiKey:
    """Take a workspace away from a key, which goes on in its others.

    :raises Forbidden: neither the owner nor someone who manages the workspace's keys
    :raises Invalid: the key is deleted
    """
    current = _locked(key)
    keyrights.require_to_detach(by=by, key=current, workspace=workspace)
    removed, _ = ApiKeyWorkspace.objects.filter(key=current, workspace=workspace).delete()
    if removed:
        audit.record(
            action="key.workspace_removed",
            by=by,
            target=_target(current),
            workspaces=[workspace],
        )
    current.refresh_from_db(fields=["version"])
    return current


def visible(*, workspace: Workspace, by: Actor) -> QuerySet[ApiKey]:
    """The keys of a workspace that someone may see listed: all, or only a person's own."""
    found = ApiKey.objects.filter(key_workspaces__workspace=workspace, deleted_at=None)
    found = found.exclude(kind=ApiKey.Kind.PLAYGROUND).select_related("user", "service_account")
    try:
        everything = Scope.KEYS_READ in rights(by=by, workspace=workspace)
    except ForeignWorkspace:
        return found.none()
    own = found.filter(user_id=by.pk) if isinstance(by, User) else found.none()
    return (found if everything else own).order_by("-pk")


def get(*, public_id: str, by: User) -> ApiKey:
    """The key with this key_… id, if the person may see it.

    :raises Missing: there is none, or it is none of theirs
    """
    readers = [role for role, allowed in ROLE_SCOPES.items() if Scope.KEYS_READ in allowed]
    places = Membership.objects.filter(user=by, role__in=readers).values("workspace")
    found = ApiKey.objects.filter(public_id=public_id, deleted_at=None)
    own = found.filter(user=by).first()
    key = own or found.filter(key_workspaces__workspace__in=places).first()
    if key is None:
        raise Missing("There is no such key.")
    return key

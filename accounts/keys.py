"""
API keys: made, changed, rotated, stopped.

The text of a key leaves `create` and `rotate` once and is stored nowhere; how it is made and
recognised is in keytext, how it is written down in keystore, its rotation in keyrotation, what a
gateway reads of it in keyrecord, who may do what in keyrights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import (
    audit,
    keybounds,
    keylimits,
    keyrights,
    keystore,
    promptlogging,
    webhookevents,
    workspaces,
)
from accounts.actors import Staff, is_operator, rights
from accounts.errors import ForeignWorkspace, Invalid, Missing
from accounts.keyrecord import FIND, KeyRecord, KeyWorkspace, digests, find, from_row, read_version
from accounts.keyrights import Actor
from accounts.keyrotation import rotate
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
    "read_version",
    "rotate",
    "update",
    "visible",
    "well_formed",
]


class Unchanged:
    """The type of UNCHANGED."""


UNCHANGED: Final = Unchanged()
STOPPED: Final = ("disabled_at", "disabled_by_staff")


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
    prompt_logging: bool = True,
    kind: str = ApiKey.Kind.STANDARD,
) -> tuple[ApiKey, str]:
    """A new key and its text, which nobody can read again.

    :raises Invalid: a value that no key may have
    :raises ForeignWorkspace: maker or owner has no place in one of the workspaces
    :raises Forbidden: more rights than maker or owner has, or a person who is not verified
    """
    carried = keystore.open_workspaces(workspaces)
    owner = _one_owner(user, service_account)
    terms = keystore.Terms(
        name=_name(name),
        scopes=keystore.proved_scopes(scopes),
        models=keylimits.models(models),
        rpm=keylimits.rpm(rpm, carried=carried, past_tier=is_operator(by)),
        ips=keylimits.ips(ips),
        expires_at=keylimits.expiry(expires_at, now=timezone.now()),
        tpm=keylimits.tpm(tpm),
        max_streams=keylimits.max_streams(max_streams),
        prompt_logging=prompt_logging,
    )
    keyrights.require_to_make(by=by, owner=owner, carried=carried, wanted=terms.scopes)
    terms = keybounds.inherit(terms, by=by, carried=carried)
    text = mint(prefix=settings.API_KEY_PREFIX)
    key = keystore.store(text=text, owner=owner, carried=carried, terms=terms, kind=kind, by=by)
    keybounds.hand_on(by=by, key=key, new=True)
    return key, text


def _one_owner(user: User | None, service_account: ServiceAccount | None) -> User | ServiceAccount:
    if user is not None and service_account is None:
        return user
    if service_account is not None and user is None:
        return service_account
    raise Invalid(_("A key belongs to one user or one service account."), param="user")


def _name(name: str) -> str:
    return workspaces.clean_name(name)


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
    prompt_logging: bool | Unchanged = UNCHANGED,
) -> ApiKey:
    """Change what is given, leave the rest; new rights are proved as for a new key.

    :raises Invalid: a value that no key may have, or a deleted key
    :raises ForeignWorkspace: maker or owner has no place in one of the workspaces
    :raises Forbidden: not theirs to change, or more than they have or are bound to
    """
    current = keystore.lock(key=key)
    keyrights.require_to_change(by=by, key=current)
    before = keystore.facts(key=current)
    ended = current.expires_at is not None and current.expires_at <= timezone.now()
    carried, wider = _change_rights(current, workspaces, scopes, by=by)
    terms = {"name": name, "models": models, "rpm": rpm, "tpm": tpm, "max_streams": max_streams}
    others = {"ips": ips, "expires_at": expires_at, "prompt_logging": prompt_logging}
    _change_terms(current, terms | others, carried, by=by)
    changed = [name for name in keybounds.BOUND if getattr(current, name) != before[name]]
    keybounds.require(by=by, terms=current, carried=carried, names=changed)
    saved = keystore.save(key=current, fields=keystore.CHANGEABLE)
    if wider or (ended and "expires_at" in changed):
        keybounds.hand_on(by=by, key=saved)
    keystore.record(action="key.updated", key=saved, by=by, before=before)
    return saved


def _change_rights(
    key: ApiKey,
    wanted: Sequence[Workspace] | Unchanged,
    granted: Iterable[str] | Unchanged,
    *,
    by: Actor,
) -> tuple[Sequence[Workspace], bool]:
    """Set workspaces and scopes, proved; return the workspaces, and whether it has more now."""
    carried = list(Workspace.objects.select_related("tier").filter(key_workspaces__key=key))
    if isinstance(wanted, Unchanged) and isinstance(granted, Unchanged):
        return carried, False
    had = frozenset(key.scopes)
    if not isinstance(wanted, Unchanged):
        carried = keystore.open_workspaces(wanted)
    if not isinstance(granted, Unchanged):
        key.scopes = sorted(keystore.proved_scopes(granted))
    keyrights.require_to_make(
        by=by, owner=key.owner, carried=carried, wanted=keystore.proved_scopes(key.scopes)
    )
    return carried, _carry(key, carried, by=by) or not had.issuperset(key.scopes)


def _change_terms(
    key: ApiKey, given: Mapping[str, Any], carried: Sequence[Workspace], *, by: Actor
) -> None:
    """Set what is given of the other terms, each proved."""
    prove: dict[str, Callable[[Any], Any]] = {
        "name": workspaces.clean_name,
        "models": keylimits.models,
        "rpm": lambda rpm: keylimits.rpm(rpm, carried=carried, past_tier=is_operator(by)),
        "tpm": keylimits.tpm,
        "max_streams": keylimits.max_streams,
        "ips": keylimits.ips,
        "expires_at": lambda moment: keylimits.expiry(moment, now=timezone.now()),
        "prompt_logging": bool,
    }
    for name, value in given.items():
        if not isinstance(value, Unchanged):
            setattr(key, name, prove[name](value))


def _carry(key: ApiKey, carried: Sequence[Workspace], *, by: Actor) -> bool:
    """Give a key these workspaces; return whether it had not had one of them."""
    wanted = {workspace.pk for workspace in carried}
    kept = set(ApiKeyWorkspace.objects.filter(key=key).values_list("workspace_id", flat=True))
    ApiKeyWorkspace.objects.filter(key=key).exclude(workspace_id__in=wanted).delete()
    keystore.attach(key=key, workspace_ids=wanted - kept)
    # Each workspace is told of itself only: the others may be another customer's.
    for action, places in (
        ("key.workspace_added", wanted - kept),
        ("key.workspace_removed", kept - wanted),
    ):
        audit.record(
            action=action, by=by, target=keystore.target(key=key), workspaces=sorted(places)
        )
    return bool(wanted - kept)


@transaction.atomic
def disable(*, key: ApiKey, by: Actor) -> ApiKey:
    """Stop a key until it is enabled again; the next request with it is refused.

    What staff stop only staff let work again, also where its owner had stopped it before. An
    operator's command stops it as its owner would: keys that nobody used are told that way.

    :raises Forbidden: not theirs to change
    :raises Invalid: the key is deleted
    """
    current = keystore.lock(key=key)
    keyrights.require_to_change(by=by, key=current)
    before = audit.facts(current, *STOPPED)
    current.disabled_at = current.disabled_at or timezone.now()
    current.disabled_by_staff = current.disabled_by_staff or isinstance(by, Staff)
    saved = keystore.save(key=current, fields=STOPPED)
    keystore.record(
        action="key.disabled",
        key=saved,
        by=by,
        before=before,
        after=audit.facts(saved, *STOPPED),
    )
    if before["disabled_at"] is None:
        webhookevents.tell_of_key(saved, kind="key.disabled")
    return saved


@transaction.atomic
def enable(*, key: ApiKey, by: Actor) -> ApiKey:
    """Let a disabled key work again.

    :raises Forbidden: not theirs to change, or staff disabled it
    :raises Invalid: the key is deleted
    """
    current = keystore.lock(key=key)
    keyrights.require_to_change(by=by, key=current)
    keyrights.require_not_stopped_by_staff(by=by, key=current)
    before = audit.facts(current, *STOPPED)
    current.disabled_at, current.disabled_by_staff = None, False
    saved = keystore.save(key=current, fields=STOPPED)
    keybounds.hand_on(by=by, key=saved)
    keystore.record(
        action="key.enabled",
        key=saved,
        by=by,
        before=before,
        after=audit.facts(saved, *STOPPED),
    )
    return saved


@transaction.atomic
def delete(*, key: ApiKey, by: Actor) -> ApiKey:
    """Stop a key for good. The row stays: usage and audit name it.

    :raises Forbidden: not theirs to change
    :raises Invalid: the key is deleted already
    """
    current = keystore.lock(key=key)
    keyrights.require_to_change(by=by, key=current)
    before = audit.facts(current, "deleted_at")
    current.deleted_at = timezone.now()
    saved = keystore.save(key=current, fields=["deleted_at"])
    promptlogging.forget(key=saved)
    keystore.record(
        action="key.deleted",
        key=saved,
        by=by,
        before=before,
        after=audit.facts(saved, "deleted_at"),
    )
    return saved


@transaction.atomic
def detach(*, key: ApiKey, workspace: Workspace, by: Actor) -> ApiKey:
    """Take a workspace away from a key, which goes on in its others.

    :raises Forbidden: neither the owner nor someone who manages the workspace's keys
    :raises Invalid: the key is deleted
    """
    current = keystore.lock(key=key)
    keyrights.require_to_detach(by=by, key=current, workspace=workspace)
    removed, _ = ApiKeyWorkspace.objects.filter(key=current, workspace=workspace).delete()
    if removed:
        audit.record(
            action="key.workspace_removed",
            by=by,
            target=keystore.target(key=current),
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
        raise Missing(_("There is no such key."))
    return key

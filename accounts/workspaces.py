"""Workspaces: made, named, found and closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import actors, audit, promptlogging, tiers, versions
from accounts.actors import Actor, is_operator
from accounts.actors import role_in as role_in
from accounts.errors import Forbidden, ForeignWorkspace, Invalid, Missing
from accounts.models import Membership, Tier, User, Workspace
from accounts.scopes import Role

# Called inside the transaction that makes a workspace, so that what a layer above needs for
# it (accounts for its money) is there from the first moment or the workspace is not.
on_created: Final[list[Callable[[Workspace], None]]] = []
# Called inside the transaction that moves a workspace to another tier.
on_tier_changed: Final[list[Callable[[Workspace], None]]] = []


@transaction.atomic
def create(
    *,
    owner: User,
    name: str,
    external_id: str | None = None,
    tier: Tier | None = None,
    by: Actor = None,
) -> Workspace:
    """A new workspace with its first owner.

    :raises Invalid: the name is empty or too long, or the external id is taken or malformed
    """
    workspace = _save(
        Workspace(
            name=clean_name(name),
            external_id=_clean_external_id(external_id),
            tier=tier or tiers.default(),
        )
    )
    opened = _open(workspace, owner)
    _record_new(opened, owner=owner, by=by)
    return opened


def whom(workspace: Workspace) -> str:
    """Whose it is, for people who decide: many are called the same."""
    return f"{workspace.name[:80]} ({workspace.public_id})"


def _record_new(workspace: Workspace, *, owner: User, by: Actor) -> None:
    audit.record(
        action="workspace.created",
        by=by,
        target=target(workspace),
        workspaces=[workspace],
        after=facts(workspace) | {"owner": owner.public_id},
    )


def target(workspace: Workspace) -> audit.Target:
    """A workspace as the audit log names it."""
    return audit.Target(workspace.public_id, workspace.name)


def facts(workspace: Workspace) -> dict[str, object]:
    """What can be changed of a workspace."""
    return audit.facts(workspace, "name", "external_id", "closed_at")


@transaction.atomic
def personal(*, user: User) -> Workspace:
    """The workspace that a person has from sign-up on, made on the first call."""
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    found = Workspace.objects.filter(personal_of=user).first()
    if found is not None:
        return found
    workspace = Workspace(name=_("Personal"), personal_of=user, tier=tiers.default())
    opened = _open(_save(workspace), user)
    _record_new(opened, owner=user, by=user)
    return opened


def _save(workspace: Workspace) -> Workspace:
    try:
        with transaction.atomic():
            workspace.save(force_insert=True)
    except IntegrityError:
        raise Invalid(
            _("The external id %(id)r is taken.") % {"id": workspace.external_id},
            param="external_id",
        ) from None
    return workspace


def _open(workspace: Workspace, owner: User) -> Workspace:
    Membership.objects.create(workspace=workspace, user=owner, role=Role.OWNER)
    for hook in on_created:
        hook(workspace)
    return workspace


def clean_name(name: str) -> str:
    """A name that fits a page and a column.

    :raises Invalid: it is empty or longer than 100 characters
    """
    cleaned = " ".join(name.split())
    if not 1 <= len(cleaned) <= 100 or not cleaned.isprintable():
        raise Invalid(_("A name has 1 to 100 printable characters."), param="name")
    return cleaned


def _clean_external_id(text: str | None) -> str | None:
    if text is None:
        return None
    if not 1 <= len(text) <= 128 or not text.isascii() or not text.isprintable() or " " in text:
        raise Invalid(_("An external id has 1 to 128 ASCII characters."), param="external_id")
    if text.startswith("ws_"):
        raise Invalid(_("An external id may not start with ws_."), param="external_id")
    return text


def resolve(*, user: User, text: str) -> Workspace:
    """The open workspace with this ws_… or external id, if the person is a member.

    :raises ForeignWorkspace: there is none, or the person is no member of it
    """
    field = "public_id" if text.startswith("ws_") else "external_id"
    workspace = Workspace.objects.filter(
        **{field: text}, memberships__user=user, closed_at=None
    ).first()
    if workspace is None:
        raise ForeignWorkspace
    return workspace


def named(*, text: str) -> Workspace:
    """Any workspace by its ws_… or external id, for operators.

    :raises Missing: there is none
    """
    field = "public_id" if text.startswith("ws_") else "external_id"
    workspace = Workspace.objects.filter(**{field: text}).first()
    if workspace is None:
        raise Missing(_("There is no workspace %(id)s.") % {"id": text})
    return workspace


@transaction.atomic
def rename(*, workspace: Workspace, name: str, by: Actor, version: str | None = None) -> Workspace:
    """Give a workspace another name.

    :raises Conflict: the workspace is not at the version that was asked for
    :raises Forbidden: the person is neither owner nor admin
    :raises Invalid: the name is empty or too long
    """
    _require(by, workspace, Role.OWNER, Role.ADMIN)
    current = _locked(workspace)
    before = facts(current)
    versions.require(wanted=version, current=versions.of(before))
    current.name = workspace.name = clean_name(name)
    current.save(update_fields=["name"])
    _record("workspace.renamed", current, by=by, before=before)
    return current


@transaction.atomic
def close(*, workspace: Workspace, by: Actor) -> Workspace:
    """Stop a workspace for good: its keys are refused there at once, its records stay.

    :raises Forbidden: the person is no owner
    :raises Invalid: it is someone's personal workspace
    """
    _require(by, workspace, Role.OWNER)
    if workspace.personal_of_id is not None:
        raise Invalid(_("A personal workspace is closed with its account."))
    current = _locked(workspace)
    before = facts(current)
    if current.closed_at is None:
        current.closed_at = timezone.now()
        current.save(update_fields=["closed_at"])
        promptlogging.forget(workspace=current)
        _record("workspace.closed", current, by=by, before=before)
    workspace.closed_at = current.closed_at
    return current


@transaction.atomic
def close_personal(*, user: User) -> None:
    """Close a person's personal workspace, because their account ends."""
    found = Workspace.objects.select_for_update(no_key=True)
    current = found.filter(personal_of=user, closed_at=None).first()
    if current is None:
        return
    before = facts(current)
    current.closed_at = timezone.now()
    current.save(update_fields=["closed_at"])
    promptlogging.forget(workspace=current)
    _record("workspace.closed", current, by=user, before=before)


@transaction.atomic
def move_to_tier(*, workspace: Workspace, tier: Tier, by: Actor = None) -> None:
    """Give a workspace another standing, and the layers above the caps that go with it."""
    before = Workspace.objects.select_related("tier").get(pk=workspace.pk).tier.slug
    workspace.tier = tier
    workspace.save(update_fields=["tier"])
    audit.record(
        action="workspace.tier_changed",
        by=by,
        target=target(workspace),
        workspaces=[workspace],
        before={"tier": before},
        after={"tier": tier.slug},
    )
    for hook in on_tier_changed:
        hook(workspace)


def _locked(workspace: Workspace) -> Workspace:
    return Workspace.objects.select_for_update(no_key=True).get(pk=workspace.pk)


def _record(action: str, workspace: Workspace, *, by: Actor, before: dict[str, object]) -> None:
    audit.record(
        action=action,
        by=by,
        target=target(workspace),
        workspaces=[workspace],
        before=before,
        after=facts(workspace),
    )


def _require(by: Actor, workspace: Workspace, *roles: Role) -> None:
    if is_operator(by):
        return
    own = actors.role(by=by, workspace=workspace)
    if own not in roles:
        allowed = _(" or ").join(_(each) for each in roles)
        raise Forbidden(_("Only %(roles)s may do this.") % {"roles": allowed})
    actors.require_people_rights(by=by, workspace=workspace)

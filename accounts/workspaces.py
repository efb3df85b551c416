"""Workspaces: made, named, found and closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import tiers
from accounts.errors import Forbidden, ForeignWorkspace, Invalid, Missing
from accounts.models import Membership, Tier, User, Workspace
from accounts.scopes import Role

PERSONAL_NAME: Final = "Personal"

# Called inside the transaction that makes a workspace, so that what a layer above needs for
# it (accounts for its money) is there from the first moment or the workspace is not.
on_created: Final[list[Callable[[Workspace], None]]] = []
# Called inside the transaction that moves a workspace to another tier.
on_tier_changed: Final[list[Callable[[Workspace], None]]] = []


@transaction.atomic
def create(
    *, owner: User, name: str, external_id: str | None = None, tier: Tier | None = None
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
    return _open(workspace, owner)


@transaction.atomic
def personal(*, user: User) -> Workspace:
    """The workspace that a person has from sign-up on, made on the first call."""
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    found = Workspace.objects.filter(personal_of=user).first()
    if found is not None:
        return found
    workspace = Workspace(name=PERSONAL_NAME, personal_of=user, tier=tiers.default())
    return _open(_save(workspace), user)


def _save(workspace: Workspace) -> Workspace:
    try:
        with transaction.atomic():
            workspace.save(force_insert=True)
    except IntegrityError:
        raise Invalid(
            f"The external id {workspace.external_id!r} is taken.", param="external_id"
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
        raise Invalid("A name has 1 to 100 printable characters.", param="name")
    return cleaned


def _clean_external_id(text: str | None) -> str | None:
    if text is None:
        return None
    if not 1 <= len(text) <= 128 or not text.isascii() or not text.isprintable() or " " in text:
        raise Invalid("An external id has 1 to 128 ASCII characters.", param="external_id")
    if text.startswith("ws_"):
        raise Invalid("An external id may not start with ws_.", param="external_id")
    return text


def role_in(*, user: User, workspace: Workspace) -> Role | None:
    """The person's role; None for someone who is no member."""
    role = (
        Membership.objects.filter(user=user, workspace=workspace)
        .values_list("role", flat=True)
        .first()
    )
    return None if role is None else Role(role)


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
        raise Missing(f"There is no workspace {text}.")
    return workspace


def rename(*, workspace: Workspace, name: str, by: User | None) -> None:
    """Give a workspace another name.

    :raises Forbidden: the person is neither owner nor admin
    :raises Invalid: the name is empty or too long
    """
    _require(by, workspace, Role.OWNER, Role.ADMIN)
    workspace.name = clean_name(name)
    workspace.save(update_fields=["name"])


def close(*, workspace: Workspace, by: User | None) -> None:
    """Stop a workspace for good: its keys are refused there at once, its records stay.

    :raises Forbidden: the person is no owner
    :raises Invalid: it is someone's personal workspace
    """
    _require(by, workspace, Role.OWNER)
    if workspace.personal_of_id is not None:
        raise Invalid("A personal workspace is closed with its account.")
    if workspace.closed_at is None:
        workspace.closed_at = timezone.now()
        workspace.save(update_fields=["closed_at"])


@transaction.atomic
def move_to_tier(*, workspace: Workspace, tier: Tier) -> None:
    """Give a workspace another standing, and the layers above the caps that go with it."""
    workspace.tier = tier
    workspace.save(update_fields=["tier"])
    for hook in on_tier_changed:
        hook(workspace)


def _require(by: User | None, workspace: Workspace, *roles: Role) -> None:
    # None is an operator at the command line.
    if by is None:
        return
    role = role_in(user=by, workspace=workspace)
    if role is None:
        raise ForeignWorkspace
    if role not in roles:
        raise Forbidden(f"Only {' or '.join(roles)} may do this.")

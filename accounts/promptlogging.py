"""
Whether a workspace keeps the words of its calls, for how long, and who may read them.

Off unless an owner switches it on, within what the operator allows (`PROMPT_LOG_MAX_DAYS`). What
is kept, and where, is known by a layer above; it is told here when words are to go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from accounts import actors, audit, versions
from accounts.actors import Actor, person_id
from accounts.errors import Forbidden, Invalid
from accounts.models import MOST_PROMPT_DAYS, ApiKey, User, Workspace
from accounts.scopes import Role, Scope
from common import origin

# Called inside the transaction after which a workspace's, or a key's, words are to be gone.
on_forgotten: Final[list[Callable[[Workspace | None, ApiKey | None], None]]] = []


@dataclass(frozen=True, slots=True)
class Wish:
    """What an owner chooses; ``forget``: what is kept already goes now."""

    enabled: bool
    days: int
    forget: bool = False


def allowed() -> bool:
    """Whether the operator allows workspaces to keep words at all."""
    return bool(settings.PROMPT_LOG_MAX_DAYS)


def days(workspace: Workspace) -> int:
    """How many days a workspace's words are kept; 0 where the operator forbids it."""
    most: int = settings.PROMPT_LOG_MAX_DAYS
    return min(workspace.prompt_days, most)


def facts(workspace: Workspace) -> dict[str, object]:
    """What can be changed."""
    return audit.facts(workspace, "prompt_logging", "prompt_days")


def version(workspace: Workspace) -> str:
    """The version that a change is made to."""
    return versions.of(facts(workspace))


@transaction.atomic
def change(*, workspace: Workspace, wish: Wish, by: Actor, version: str | None = None) -> Workspace:
    """
    Switch the keeping of words on or off, or choose another time.

    :raises Conflict: the workspace is not at the version that was asked for
    :raises Forbidden: whoever asks is no owner, or the operator's staff
    :raises Invalid: more days than the operator allows
    """
    _require_owner(by, workspace)
    _require_days(wish)
    current = Workspace.objects.select_for_update(no_key=True).get(pk=workspace.pk)
    before = facts(current)
    versions.require(wanted=version, current=versions.of(before))
    current.prompt_logging, current.prompt_days = wish.enabled, wish.days
    current.save(update_fields=["prompt_logging", "prompt_days"])
    _record("workspace.prompt_logging_changed", current, by=by, before=before, after=facts(current))
    if wish.forget:
        forget(workspace=current)
        _record("workspace.prompts_deleted", current, by=by)
    return current


def forget(*, workspace: Workspace | None = None, key: ApiKey | None = None) -> None:
    """Have the words of a workspace's, or a key's, calls deleted; inside the change's own."""
    for hook in on_forgotten:
        hook(workspace, key)


def may_read(*, workspace: Workspace, by: Actor) -> bool:
    """Whether someone may read a workspace's words: its own people, in their own name."""
    if actors.is_operator(by) or origin.current().impersonator_id is not None or _is_staff(by):
        return False
    return Scope.AUDIT_READ in actors.rights(by=by, workspace=workspace)


def require_reader(*, workspace: Workspace, by: Actor) -> None:
    """
    Prove that someone may read a workspace's words.

    :raises Forbidden: the role or key does not include it, or they act for the operator
    """
    if not may_read(workspace=workspace, by=by):
        raise Forbidden(
            _("Prompts are read by owners and admins of their workspace alone, never by staff.")
        )


def note_read(*, request_id: str, workspace: Workspace, by: Actor) -> None:
    """Write down who read the words of a call; inside the transaction that reads them."""
    target = audit.Target(request_id, "")
    audit.record(action="prompt.read", by=by, target=target, workspaces=[workspace])


def _require_owner(by: Actor, workspace: Workspace) -> None:
    if actors.is_operator(by) or _is_staff(by):
        raise Forbidden(_("Staff does not decide this for a workspace."))
    if actors.role(by=by, workspace=workspace) is not Role.OWNER:
        raise Forbidden(_("Only %(roles)s may do this.") % {"roles": _("owner")})
    actors.require_people_rights(by=by, workspace=workspace)


def _is_staff(by: Actor) -> bool:
    person = person_id(by)
    return person is not None and User.objects.filter(pk=person, is_staff=True).exists()


def _require_days(wish: Wish) -> None:
    if wish.enabled and not allowed():
        raise Invalid(_("The operator of this service keeps no prompts."), param="enabled")
    most = settings.PROMPT_LOG_MAX_DAYS if wish.enabled else MOST_PROMPT_DAYS
    if not 1 <= wish.days <= most:
        words = _("Prompts are kept for 1 to %(days)d days.")
        raise Invalid(words % {"days": most}, param="days")


def _record(
    action: str,
    workspace: Workspace,
    *,
    by: Actor,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    target = audit.Target(workspace.public_id, workspace.name)
    audit.record(
        action=action, by=by, target=target, workspaces=[workspace], before=before, after=after
    )

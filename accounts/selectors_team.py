"""What the page of the team reads: people, invitations, service accounts, and the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit, invitations
from accounts.models import AuditEvent, Membership, ServiceAccount, Workspace
from accounts.scopes import SERVICE_ROLES, Role, Scope
from accounts.seats import Seat, role_name
from common import pagination
from common.pagination import Page, Wanted


@dataclass(frozen=True, slots=True)
class MemberRow:
    """One member as the page shows them."""

    public_id: str
    name: str
    email: str
    role: str
    role_name: str
    since: datetime
    myself: bool
    roles: tuple[tuple[str, str], ...]
    may_remove: bool


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """One service account as the page shows it."""

    account: ServiceAccount
    role_name: str
    roles: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class EventRow:
    """One change as a line of the audit log."""

    event: AuditEvent
    actor: str
    changes: list[tuple[str, str, str]]


def roles_to_give(seat: Seat) -> tuple[tuple[str, str], ...]:
    """The roles that someone may give here."""
    if not seat.may(Scope.MEMBERS_MANAGE):
        return ()
    roles = [role for role in Role if role is not Role.OWNER or seat.role is Role.OWNER]
    return tuple((str(role), role_name(role)) for role in roles)


def service_roles() -> tuple[tuple[str, str], ...]:
    """The roles that a service account can have."""
    return tuple((str(role), role_name(role)) for role in SERVICE_ROLES)


def members_of(seat: Seat, wanted: Wanted) -> Page:
    """A page of the members of a workspace: whoever looks, then the newest first."""
    found = Membership.objects.filter(workspace=seat.workspace).select_related("user")
    rows, following = pagination.by_id(found.exclude(user=seat.user), wanted)
    own = found.filter(user=seat.user) if wanted.after is None else ()
    roles = roles_to_give(seat)
    return Page([_member(row, seat, roles) for row in (*own, *rows)], following)


def _member(row: Membership, seat: Seat, roles: tuple[tuple[str, str], ...]) -> MemberRow:
    reachable = bool(roles) and row.role in dict(roles)
    personal = seat.workspace.personal_of_id == row.user_id
    return MemberRow(
        public_id=row.public_id,
        name=row.user.name,
        email=row.user.email,
        role=row.role,
        role_name=role_name(Role(row.role)),
        since=row.created_at,
        myself=row.user_id == seat.user.pk,
        roles=roles if reachable else (),
        may_remove=reachable and not personal,
    )


def invitations_of(workspace: Workspace, wanted: Wanted) -> Page:
    """A page of open invitations, each with its role's name and whether its time is over."""
    now = timezone.now()
    rows, following = pagination.by_id(invitations.pending(workspace=workspace), wanted)
    shown = [(row, role_name(Role(row.role)), row.expires_at <= now) for row in rows]
    return Page(shown, following)


def services_of(seat: Seat, wanted: Wanted) -> Page:
    """A page of the service accounts of a workspace, the newest first."""
    roles = service_roles() if seat.may(Scope.MEMBERS_MANAGE) else ()
    found = ServiceAccount.objects.filter(workspace=seat.workspace)
    rows, following = pagination.by_id(found, wanted)
    return Page([ServiceRow(row, role_name(Role(row.role)), roles) for row in rows], following)


def events_of(*, workspace: Workspace, query: Mapping[str, Any], wanted: Wanted) -> Page:
    """One page of the audit log; ``query`` narrows it by action and target."""
    found = audit.events(workspace=workspace).filter(**query)
    rows, following = pagination.by_time(found, wanted)
    return Page([EventRow(row, _actor(row), _changes(row)) for row in rows], following)


def _actor(event: AuditEvent) -> str:
    kinds = AuditEvent.Actor
    if event.actor in (kinds.STAFF, kinds.OPERATOR):
        return _("the operator")
    owner = event.user.email if event.user else str(event.service_account or "")
    if event.impersonator_id is not None:
        return f"{owner} ({_('the operator')})"
    if event.actor == kinds.KEY and event.key is not None:
        return _("%(owner)s, with the key %(key)s") % {"owner": owner, "key": event.key.name}
    return owner


def _changes(event: AuditEvent) -> list[tuple[str, str, str]]:
    was, became = event.before or {}, event.after or {}
    names = list(dict.fromkeys([*was, *became]))
    return [(name, _text(was.get(name)), _text(became.get(name))) for name in names]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return _("none") if value is None else str(value)

"""What the page of the team reads: people, invitations, service accounts, and the audit log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit, invitations
from accounts.models import AuditEvent, Membership, ServiceAccount, User, Workspace
from accounts.scopes import SERVICE_ROLES, Role, Scope
from accounts.seats import Seat, role_name
from common import money, pagination
from common.pagination import Page, Wanted

# Amounts that are written down in the units of their asset, and what they are called in dollars.
NANOS = {"units": "amount_usd", "paid": "paid_usd"}


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
    changes: list[tuple[str, object, object]]


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
    names = _names(workspace, rows)
    return Page([EventRow(row, _actor(row), _changes(row, names)) for row in rows], following)


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


def _changes(event: AuditEvent, names: Mapping[str, str]) -> list[tuple[str, object, object]]:
    was, became = _facts(event.before), _facts(event.after)
    return [
        (name, _named(was.get(name), names), _named(became.get(name), names))
        for name in dict.fromkeys([*was, *became])
    ]


def _facts(facts: dict[str, Any] | None) -> dict[str, Any]:
    """What was written down; dollars instead of nano-dollars."""
    if not facts or facts.get("asset") != "USD":
        return facts or {}
    rest = {name: value for name, value in facts.items() if name not in ("asset", *NANOS)}
    amounts = {
        called: money.usd(int(facts[name]), at_least=2)
        for name, called in NANOS.items()
        if name in facts
    }
    return {**amounts, **rest}


def _named(value: Any, names: Mapping[str, str]) -> Any:
    return names.get(value, value) if isinstance(value, str) else value


def _names(workspace: Workspace, events: Iterable[AuditEvent]) -> dict[str, str]:
    """What the people and service accounts are called whose ids events hold."""
    facts = [each for event in events for each in (event.before, event.after) if each]
    held = {value for each in facts for value in each.values() if isinstance(value, str)}
    people = User.objects.filter(
        public_id__in=[each for each in held if each.startswith("usr_")],
        memberships__workspace=workspace,
    )
    services = ServiceAccount.objects.filter(
        public_id__in=[each for each in held if each.startswith("sa_")], workspace=workspace
    )
    return {
        **dict(people.values_list("public_id", "email")),
        **dict(services.values_list("public_id", "name")),
    }

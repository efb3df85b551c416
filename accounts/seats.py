"""Where a signed-in person sits: the workspace the dashboard shows, and the role there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _

from accounts import signup
from accounts.models import Membership, User, Workspace
from accounts.scopes import Role, Scope, of_role
from common import pagination

P = ParamSpec("P")
SESSION_KEY = "workspace"


def role_name(role: Role) -> str:
    """A role in the reader's language."""
    return {
        Role.OWNER: _("owner"),
        Role.ADMIN: _("admin"),
        Role.DEVELOPER: _("developer"),
        Role.BILLING: _("billing"),
        Role.VIEWER: _("viewer"),
    }[role]


@dataclass(frozen=True, slots=True)
class Seat:
    """One person in one workspace."""

    user: User
    workspace: Workspace
    role: Role
    verified: bool

    @property
    def role_name(self) -> str:
        """The role in the reader's language."""
        return role_name(self.role)

    @property
    def makes_keys(self) -> bool:
        """Whether pages make keys for this person: whoever calls models does."""
        return self.may(Scope.CHAT)

    @property
    def sees_keys(self) -> bool:
        """Whether the keys of others are shown; one's own always are."""
        return self.may(Scope.KEYS_READ)

    @property
    def pays(self) -> bool:
        """Whether pages ask this person for money."""
        return self.may(Scope.BILLING_MANAGE)

    def may(self, scope: Scope) -> bool:
        """Whether the role grants this right here."""
        return scope in of_role(self.role)

    def require(self, scope: Scope) -> None:
        """
        Stop a page that is not for this role.

        :raises PermissionDenied: the role does not grant the right
        """
        if not self.may(scope):
            words = _("Your role here is %(role)s, which does not include this (%(right)s).")
            raise PermissionDenied(words % {"role": self.role_name, "right": str(scope)})


def seats_of(*, user: User) -> list[Seat]:
    """Every open workspace of a person, the personal one first."""
    memberships = Membership.objects.filter(user=user, workspace__closed_at=None).select_related(
        "workspace__tier"
    )
    verified = signup.is_verified(user)
    return sorted(
        [Seat(user, row.workspace, Role(row.role), verified) for row in memberships],
        key=lambda seat: (
            seat.workspace.personal_of_id != user.pk,
            seat.workspace.name.lower(),
            seat.workspace.pk,
        ),
    )


def seats(request: HttpRequest) -> list[Seat]:
    """The workspaces of whoever asks, read once per request."""
    cached: list[Seat] | None = getattr(request, "_seats", None)
    if cached is None:
        user = request.user
        cached = seats_of(user=user) if isinstance(user, User) else []
        request._seats = cached  # type: ignore[attr-defined]
    return cached


def current(request: HttpRequest) -> Seat | None:
    """The seat the session points at, else the first one; none for a person without any."""
    mine = seats(request)
    chosen = request.session.get(SESSION_KEY)
    return next((seat for seat in mine if seat.workspace.public_id == chosen), None) or (
        mine[0] if mine else None
    )


def choose(request: HttpRequest, *, public_id: str) -> Seat:
    """
    Make a workspace the current one of this session.

    :raises Http404: there is no such workspace, or the person is not a member
    """
    for seat in seats(request):
        if seat.workspace.public_id == public_id:
            request.session[SESSION_KEY] = public_id
            return seat
    raise Http404


def seated(
    view: Callable[Concatenate[HttpRequest, Seat, P], HttpResponseBase],
) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """Give a dashboard page the seat of whoever asks; strangers sign in first."""

    @login_required
    @wraps(view)
    def page(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        seat = current(request)
        if seat is None:
            return render(request, "dashboard/no_workspace.html", status=200)
        try:
            return view(request, seat, *args, **kwargs)
        except pagination.BadCursor as refusal:
            raise BadRequest(refusal.message) from None

    return page

"""Who calls the management API: a key, or a person with a session; where, and with what rights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.http import HttpRequest

from accounts import impersonation, keys, keyuse, rehashing, scopes, seats, staffdoor, workspaces
from accounts.keyrecord import KeyRecord
from accounts.models import User, Workspace
from accounts.scopes import Scope
from common import origin
from common.errors import ApiError


@dataclass(frozen=True, slots=True)
class Access:
    """
    Who may use an endpoint.

    A key always needs the scope. Where ``people`` is true a signed-in person does not: what
    they see and may do there is decided by what is theirs. Without ``workspace`` the endpoint
    is about the caller and in no workspace. Without ``keys`` it is for people only.
    """

    scope: Scope | None = None
    people: bool = False
    workspace: bool = True
    keys: bool = True


@dataclass(frozen=True, slots=True)
class Caller:
    """Someone who was let in."""

    by: User | KeyRecord
    rights: frozenset[Scope]
    workspace: Workspace | None = None

    @property
    def name(self) -> str:
        """A name that no other caller has, in this workspace."""
        who = f"key:{self.by.id}" if isinstance(self.by, KeyRecord) else f"user:{self.by.pk}"
        return f"{who}@{self.workspace.pk if self.workspace else 0}"

    @property
    def person(self) -> User | None:
        """The person who calls, or who owns the key that calls."""
        if isinstance(self.by, User):
            return self.by
        return User.objects.filter(pk=self.by.user_id).first() if self.by.user_id else None


def brings_key(request: HttpRequest) -> bool:
    """Whether a request is a program's: then no cookie counts."""
    return "HTTP_AUTHORIZATION" in request.META or "HTTP_X_API_KEY" in request.META


def admit(request: HttpRequest, *, access: Access, place: str | None = None) -> Caller:
    """
    Let a caller in; ``place`` is a workspace named in the address.

    :raises ApiError: 400, 401 or 403 with its reason
    """
    headers = _headers(request, place=place)
    if brings_key(request):
        return _key_caller(headers, access)
    return _session_caller(request, headers, access)


def _headers(request: HttpRequest, *, place: str | None) -> dict[bytes, bytes]:
    named = {
        b"authorization": request.META.get("HTTP_AUTHORIZATION", ""),
        b"x-api-key": request.META.get("HTTP_X_API_KEY", ""),
        b"x-workspace-id": place or request.META.get("HTTP_X_WORKSPACE_ID", ""),
    }
    return {name: text.encode("latin-1", "replace") for name, text in named.items()}


def _key_caller(headers: Mapping[bytes, bytes], access: Access) -> Caller:
    text = keyuse.presented_key(headers)
    record = keys.find(text=text)
    if record is None:
        raise ApiError("invalid_api_key", keyuse.BAD_KEY)
    keyuse.check_state(record, address=origin.current().address)
    rehashing.on_use(text=text, record=record)
    if not access.keys:
        raise ApiError("scope_missing", "This is for a person who is signed in, not for a key.")
    if not access.workspace:
        own = frozenset(Scope(scope) for scope in record.scopes)
        _require(access.scope, own, "This key")
        return Caller(by=record, rights=own)
    carried = keyuse.choose_workspace(record, headers)
    own = frozenset(Scope(scope) for scope in carried.scopes)
    _require(access.scope, own, "This key")
    workspace = Workspace.objects.select_related("tier").get(pk=carried.id)
    return Caller(by=record, rights=own, workspace=workspace)


def _session_caller(request: HttpRequest, headers: Mapping[bytes, bytes], access: Access) -> Caller:
    user = request.user
    if not (isinstance(user, User) and user.is_active):
        raise ApiError(
            "invalid_api_key",
            "No API key was given. Send it as 'Authorization: Bearer <key>', or sign in.",
        )
    if staffdoor.is_shut(request):
        raise ApiError(
            "second_factor_required",
            "Staff use their second factor first: open /admin/ in this browser.",
        )
    if impersonation.SESSION_KEY in request.session:
        raise ApiError("scope_missing", "Stop looking as a customer first: the API knows no such.")
    if not access.workspace:
        return Caller(by=user, rights=frozenset())
    workspace = _seat(request, user, headers[b"x-workspace-id"].decode("latin-1").strip())
    role = workspaces.role_in(user=user, workspace=workspace)
    own = scopes.of_role(role) if role else frozenset()
    if not access.people:
        _require(access.scope, own, f"Your role {role} in this workspace")
    return Caller(by=user, rights=own, workspace=workspace)


def _seat(request: HttpRequest, user: User, named: str) -> Workspace:
    if named:
        return workspaces.resolve(user=user, text=named)
    seat = seats.current(request)
    if seat is None:
        raise ApiError("workspace_forbidden", "You are in no workspace any more.")
    return seat.workspace


def _require(scope: Scope | None, own: frozenset[Scope], whose: str) -> None:
    if scope is not None and scope not in own:
        raise ApiError("scope_missing", f"{whose} does not have the scope '{scope}'.")

"""Workspaces: listed, made, renamed, left, closed."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts import actors, members, signup, versions, workspaces
from accounts.api import (
    MEMBER,
    SIGNED_IN,
    Call,
    Endpoint,
    Page,
    Strict,
    VersionField,
    needs,
    operation,
)
from accounts.errors import Forbidden
from accounts.keyrecord import KeyRecord
from accounts.models import Membership, User, Workspace
from accounts.scopes import Role, Scope, of_role
from common import pagination


class WorkspaceSerializer(serializers.Serializer[Any]):
    """One workspace, and what the caller is in it."""

    id = serializers.CharField(source="workspace.public_id")
    name = serializers.CharField(source="workspace.name")
    external_id = serializers.CharField(source="workspace.external_id", allow_null=True)
    tier = serializers.CharField(source="workspace.tier.slug")
    personal = serializers.BooleanField()
    role = serializers.ChoiceField(choices=list(Role))
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=list(Scope)))
    created_at = serializers.DateTimeField(source="workspace.created_at")
    version = serializers.CharField()


class NewWorkspaceSerializer(Strict):
    """A workspace to make."""

    name = serializers.CharField(max_length=100)
    external_id = serializers.CharField(
        max_length=128, required=False, help_text="An id of yours, accepted wherever ws_… is."
    )


class WorkspaceChangeSerializer(Strict):
    """What can be changed of a workspace."""

    name = serializers.CharField(max_length=100)
    version = VersionField()


class WorkspacesView(Endpoint):
    """``/workspaces``"""

    @operation(name="list_workspaces", access=SIGNED_IN, answer=WorkspaceSerializer, paged=True)
    def get(self, call: Call) -> Page:
        """The caller's open workspaces."""
        found = Workspace.objects.filter(closed_at=None).select_related("tier")
        if isinstance(call.by, KeyRecord):
            found = found.filter(pk__in=[place.id for place in call.by.workspaces])
        else:
            found = found.filter(memberships__user=call.by)
        rows, following = pagination.by_id(found, call.page)
        roles = _roles(call, rows)
        return Page([_shown(call, row, roles[row.pk]) for row in rows], following)

    @operation(
        name="create_workspace",
        access=needs(Scope.MEMBERS_MANAGE, people=True, workspace=False),
        body=NewWorkspaceSerializer,
        answer=WorkspaceSerializer,
        status=201,
        once=True,
    )
    def post(self, call: Call) -> dict[str, Any]:
        """Make a workspace that the person owns; a key does not carry it until it is updated."""
        person = call.caller.person
        if person is None:
            raise Forbidden("A service account belongs to its workspace; a person makes others.")
        signup.require_verified(person)
        made = workspaces.create(
            owner=person,
            name=call.body["name"],
            external_id=call.body.get("external_id"),
            by=call.by,
        )
        return _shown(call, made, Role.OWNER)


class WorkspaceView(Endpoint):
    """``/workspaces/{workspace_id}``"""

    @operation(
        name="get_workspace", access=MEMBER, answer=WorkspaceSerializer, place="workspace_id"
    )
    def get(self, call: Call, workspace_id: str) -> dict[str, Any]:
        """One workspace."""
        return _one(call, call.workspace)

    @operation(
        name="update_workspace",
        access=needs(Scope.MEMBERS_MANAGE),
        body=WorkspaceChangeSerializer,
        answer=WorkspaceSerializer,
        place="workspace_id",
    )
    def patch(self, call: Call, workspace_id: str) -> dict[str, Any]:
        """Give it another name."""
        renamed = workspaces.rename(
            workspace=call.workspace, name=call.body["name"], by=call.by, version=call.version
        )
        return _one(call, renamed)


class WorkspaceLeaveView(Endpoint):
    """``/workspaces/{workspace_id}/leave``"""

    @operation(
        name="leave_workspace",
        access=needs(Scope.MEMBERS_MANAGE, people=True),
        status=204,
        place="workspace_id",
    )
    def post(self, call: Call, workspace_id: str) -> None:
        """Stop being a member; the person's keys lose the workspace at once."""
        person = call.caller.person
        if person is None:
            raise Forbidden("A service account does not leave its workspace.")
        membership = Membership.objects.get(workspace=call.workspace, user=person)
        leaves = call.by if isinstance(call.by, User) else person
        members.remove(membership=membership, by=leaves)


class WorkspaceCloseView(Endpoint):
    """``/workspaces/{workspace_id}/close``"""

    @operation(
        name="close_workspace",
        access=needs(Scope.MEMBERS_MANAGE),
        status=204,
        place="workspace_id",
    )
    def post(self, call: Call, workspace_id: str) -> None:
        """Close it for good; only an owner may."""
        workspaces.close(workspace=call.workspace, by=call.by)


def _roles(call: Call, rows: list[Workspace]) -> dict[int, str]:
    if isinstance(call.by, KeyRecord):
        return {place.id: place.role for place in call.by.workspaces}
    mine = Membership.objects.filter(user=call.by, workspace__in=rows)
    return dict(mine.values_list("workspace_id", "role"))


def _one(call: Call, workspace: Workspace) -> dict[str, Any]:
    return _shown(call, workspace, actors.role(by=call.by, workspace=workspace))


def _shown(call: Call, workspace: Workspace, role: str) -> dict[str, Any]:
    return {
        "workspace": workspace,
        "personal": workspace.personal_of_id is not None,
        "role": role,
        "scopes": sorted(_scopes(call, workspace, role)),
        "version": versions.of(workspaces.facts(workspace)),
    }


def _scopes(call: Call, workspace: Workspace, role: str) -> frozenset[str]:
    if not isinstance(call.by, KeyRecord):
        return frozenset(of_role(role))
    carried = call.by.workspace(workspace.public_id)
    return carried.scopes if carried else frozenset()

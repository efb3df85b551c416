"""Members of a workspace: listed, given another role, removed."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts import members, versions
from accounts.api import Call, Endpoint, Page, Strict, VersionField, needs, operation
from accounts.errors import Missing
from accounts.models import Membership
from accounts.scopes import Role, Scope
from common import pagination

# People see who is here with them; a program sees names and addresses only to manage them.
READ = needs(Scope.MEMBERS_MANAGE, people=True)


class MemberSerializer(serializers.Serializer[Any]):
    """One person in one workspace."""

    id = serializers.CharField(source="public_id")
    user_id = serializers.CharField(source="user.public_id")
    email = serializers.CharField(source="user.email")
    name = serializers.CharField(source="user.name")
    role = serializers.ChoiceField(choices=list(Role))
    created_at = serializers.DateTimeField()
    version = serializers.SerializerMethodField()

    def get_version(self, row: Membership) -> str:
        """The version that a change is made to."""
        return versions.of(members.facts(row))


class MemberChangeSerializer(Strict):
    """What can be changed of a member."""

    role = serializers.ChoiceField(choices=list(Role))
    version = VersionField()


class MembersView(Endpoint):
    """``/members``"""

    @operation(name="list_members", access=READ, answer=MemberSerializer, paged=True)
    def get(self, call: Call) -> Page:
        """Everyone in the workspace."""
        found = Membership.objects.filter(workspace=call.workspace).select_related("user")
        return Page(*pagination.by_id(found, call.page))


class MemberView(Endpoint):
    """``/members/{member_id}``"""

    @operation(name="get_member", access=READ, answer=MemberSerializer)
    def get(self, call: Call, member_id: str) -> Membership:
        """One member."""
        return _member(call, member_id)

    @operation(
        name="update_member",
        access=needs(Scope.MEMBERS_MANAGE),
        body=MemberChangeSerializer,
        answer=MemberSerializer,
    )
    def patch(self, call: Call, member_id: str) -> Membership:
        """Give a member another role; their keys follow at once."""
        return members.change_role(
            membership=_member(call, member_id),
            role=call.body["role"],
            by=call.by,
            version=call.version,
        )

    @operation(name="remove_member", access=needs(Scope.MEMBERS_MANAGE), status=204)
    def delete(self, call: Call, member_id: str) -> None:
        """End a membership; the person's keys lose the workspace at once."""
        members.remove(membership=_member(call, member_id), by=call.by)


def _member(call: Call, member_id: str) -> Membership:
    found = Membership.objects.select_related("user", "workspace")
    member = found.filter(workspace=call.workspace, public_id=member_id).first()
    if member is None:
        raise Missing("There is no such member in this workspace.")
    return member

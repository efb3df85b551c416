"""Invitations: sent, listed, taken back, accepted."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts import invitations
from accounts.api import PERSON, Call, Endpoint, Page, Strict, needs, operation
from accounts.api_members import MemberSerializer
from accounts.errors import Missing
from accounts.models import Invitation, Membership
from accounts.scopes import Role, Scope
from common import pagination


class InvitationSerializer(serializers.Serializer[Any]):
    """One open invitation."""

    id = serializers.CharField(source="public_id")
    email = serializers.CharField()
    role = serializers.ChoiceField(choices=list(Role))
    invited_by = serializers.CharField(source="invited_by.public_id", allow_null=True, default=None)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()


class NewInvitationSerializer(Strict):
    """Somebody to invite."""

    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(choices=list(Role))


class AcceptanceSerializer(Strict):
    """The token in the link of the mail."""

    token = serializers.CharField(max_length=128)


class InvitationsView(Endpoint):
    """``/invitations``"""

    @operation(
        name="list_invitations",
        access=needs(Scope.MEMBERS_MANAGE),
        answer=InvitationSerializer,
        paged=True,
    )
    def get(self, call: Call) -> Page:
        """The open invitations."""
        found = invitations.pending(workspace=call.workspace).select_related("invited_by")
        return Page(*pagination.by_id(found, call.page))

    @operation(
        name="create_invitation",
        access=needs(Scope.MEMBERS_MANAGE),
        body=NewInvitationSerializer,
        answer=InvitationSerializer,
        status=201,
        once=True,
    )
    def post(self, call: Call) -> Invitation:
        """Send a link that makes whoever reads that mail a member; an earlier link dies."""
        return invitations.create(
            workspace=call.workspace,
            email=call.body["email"],
            role=call.body["role"],
            by=call.by,
        )


class InvitationView(Endpoint):
    """``/invitations/{invitation_id}``"""

    @operation(
        name="get_invitation", access=needs(Scope.MEMBERS_MANAGE), answer=InvitationSerializer
    )
    def get(self, call: Call, invitation_id: str) -> Invitation:
        """One open invitation."""
        return _invitation(call, invitation_id)

    @operation(name="revoke_invitation", access=needs(Scope.MEMBERS_MANAGE), status=204)
    def delete(self, call: Call, invitation_id: str) -> None:
        """Take it back; its link is dead at once."""
        invitations.revoke(invitation=_invitation(call, invitation_id), by=call.by)


class InvitationResendView(Endpoint):
    """``/invitations/{invitation_id}/resend``"""

    @operation(
        name="resend_invitation",
        access=needs(Scope.MEMBERS_MANAGE),
        answer=InvitationSerializer,
        once=True,
    )
    def post(self, call: Call, invitation_id: str) -> Invitation:
        """Send another link, good for a week again; the one before is dead."""
        return invitations.resend(invitation=_invitation(call, invitation_id), by=call.by)


class AcceptanceView(Endpoint):
    """``/invitations/accept``"""

    @operation(
        name="accept_invitation",
        access=PERSON,
        body=AcceptanceSerializer,
        answer=MemberSerializer,
    )
    def post(self, call: Call) -> Membership:
        """Become a member; only the person that is signed in can."""
        return invitations.accept(token=call.body["token"], user=call.by)


def _invitation(call: Call, invitation_id: str) -> Invitation:
    found = invitations.pending(workspace=call.workspace).select_related("invited_by")
    invitation = found.filter(public_id=invitation_id).first()
    if invitation is None:
        raise Missing("There is no such open invitation in this workspace.")
    return invitation

"""The audit log of a workspace, for who may read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers

from accounts import audit
from accounts.api import Call, Endpoint, Listing, Page, needs, operation
from accounts.errors import Missing
from accounts.models import AuditEvent
from accounts.scopes import Scope
from common import pagination


class AuditActorSerializer(serializers.Serializer[Any]):
    """Who made a change."""

    kind = serializers.ChoiceField(choices=AuditEvent.Actor.values)
    user_id = serializers.CharField(allow_null=True)
    email = serializers.CharField(allow_null=True)
    key_id = serializers.CharField(allow_null=True)
    service_account_id = serializers.CharField(allow_null=True)


class AuditEventSerializer(serializers.Serializer[Any]):
    """One change: of what differs, what it was and what it is."""

    id = serializers.CharField(source="public_id")
    at = serializers.DateTimeField()
    action = serializers.CharField()
    actor = serializers.SerializerMethodField()
    target = serializers.CharField()
    target_name = serializers.CharField()
    before = serializers.DictField(allow_null=True)
    after = serializers.DictField(allow_null=True)
    operator_in_place = serializers.BooleanField(
        help_text="Whether it was the operator's staff, looking as the person."
    )
    request_id = serializers.CharField()
    address = serializers.CharField()

    def get_fields(self) -> dict[str, Any]:
        """The fields; the actor is an object of its own."""
        found = super().get_fields()
        return {name: found[name] if name != "actor" else AuditActorSerializer() for name in found}

    def to_representation(self, instance: AuditEvent) -> dict[str, Any]:
        """Write one event; staff is not named."""
        staff = instance.actor == AuditEvent.Actor.STAFF
        in_place = instance.impersonator_id is not None
        user = None if staff else instance.user
        account = instance.service_account
        return {
            "id": instance.public_id,
            "at": serializers.DateTimeField().to_representation(instance.at),
            "action": instance.action,
            "actor": {
                "kind": instance.actor,
                "user_id": user.public_id if user else None,
                "email": user.email if user else None,
                "key_id": instance.key.public_id if instance.key else None,
                "service_account_id": account.public_id if account else None,
            },
            "target": instance.target,
            "target_name": instance.target_name,
            "before": instance.before,
            "after": instance.after,
            "operator_in_place": in_place,
            "request_id": instance.request_id,
            "address": "" if staff or in_place else instance.address,
        }


class AuditFilter(Listing):
    """What of the log is wanted."""

    action = serializers.CharField(required=False, max_length=64)
    target = serializers.CharField(required=False, max_length=64)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)


NARROWING = {"action": "action", "target": "target", "since": "at__gte", "until": "at__lt"}


def narrowed(found: QuerySet[AuditEvent], query: Mapping[str, Any]) -> QuerySet[AuditEvent]:
    """The events that a filter leaves."""
    given = {NARROWING[name]: query[name] for name in NARROWING if name in query}
    return found.filter(**given)


class AuditEventsView(Endpoint):
    """``/audit-events``"""

    @operation(
        name="list_audit_events",
        access=needs(Scope.AUDIT_READ),
        answer=AuditEventSerializer,
        query=AuditFilter,
        paged=True,
    )
    def get(self, call: Call) -> Page:
        """What was changed, the newest first."""
        found = narrowed(audit.events(workspace=call.workspace), call.query)
        return Page(*pagination.by_time(found, call.page))


class AuditEventView(Endpoint):
    """``/audit-events/{event_id}``"""

    @operation(name="get_audit_event", access=needs(Scope.AUDIT_READ), answer=AuditEventSerializer)
    def get(self, call: Call, event_id: str) -> AuditEvent:
        """One change."""
        event = audit.events(workspace=call.workspace).filter(public_id=event_id).first()
        if event is None:
            raise Missing("There is no such event in this workspace.")
        return event

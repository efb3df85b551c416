"""Webhooks: made, changed, tested, given another secret; what was delivered, and once more."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from rest_framework import serializers

from accounts import webhookdeliveries, webhooks
from accounts.api import Call, Endpoint, Page, Strict, VersionField, needs, operation
from accounts.models import WebhookDelivery, WebhookEndpoint
from accounts.models_webhook import KINDS, TEST
from accounts.scopes import Scope
from common import pagination

MANAGE = needs(Scope.WEBHOOKS_MANAGE)
ABOUT_URL = "https:// on port 443 or 8443 of a public host."


class WebhookSerializer(serializers.Serializer[Any]):
    """An address that is told what happens in the workspace."""

    id = serializers.CharField(source="public_id")
    url = serializers.CharField()
    events = serializers.ListField(child=serializers.ChoiceField(choices=KINDS))
    enabled = serializers.SerializerMethodField()
    disabled_at = serializers.DateTimeField(allow_null=True)
    disabled_because = serializers.SerializerMethodField()
    failing_since = serializers.DateTimeField(allow_null=True)
    old_secret_until = serializers.DateTimeField(source="old_until", allow_null=True)
    created_at = serializers.DateTimeField()
    version = serializers.SerializerMethodField()

    def get_enabled(self, row: WebhookEndpoint) -> bool:
        """Whether events are sent."""
        return row.disabled_at is None

    def get_disabled_because(self, row: WebhookEndpoint) -> str | None:
        """`person`, `failing` (every attempt of days failed) or `gone` (it answered 410)."""
        return row.stopped or None

    def get_version(self, row: WebhookEndpoint) -> str:
        """The version that a change is made to."""
        return webhooks.version(row)


class WebhookWithSecretSerializer(WebhookSerializer):
    """A webhook and its new secret."""

    secret = serializers.CharField(
        help_text="What signs (Standard Webhooks, `whsec_…`); it is shown here only."
    )


class NewWebhookSerializer(Strict):
    """A webhook to make."""

    url = serializers.CharField(max_length=2000, help_text=ABOUT_URL)
    events = serializers.ListField(
        child=serializers.ChoiceField(choices=KINDS), allow_empty=False, max_length=len(KINDS)
    )


class WebhookChangeSerializer(Strict):
    """What can be changed of a webhook."""

    url = serializers.CharField(required=False, max_length=2000, help_text=ABOUT_URL)
    events = serializers.ListField(
        child=serializers.ChoiceField(choices=KINDS),
        required=False,
        allow_empty=False,
        max_length=len(KINDS),
    )
    enabled = serializers.BooleanField(required=False)
    version = VersionField()


class SecretRotationSerializer(Strict):
    """How long the old secret signs as well."""

    overlap_hours = serializers.IntegerField(required=False, min_value=0, max_value=168, default=24)


class AttemptSerializer(serializers.Serializer[Any]):
    """One attempt to deliver."""

    at = serializers.DateTimeField()
    code = serializers.IntegerField(allow_null=True, help_text="None where nothing answered.")
    error = serializers.CharField()
    latency_ms = serializers.IntegerField(allow_null=True)


class DeliverySerializer(serializers.Serializer[Any]):
    """One event on its way to a webhook."""

    id = serializers.CharField(source="public_id")
    event_id = serializers.CharField(source="event.public_id")
    event = serializers.ChoiceField(source="event.kind", choices=[*KINDS, TEST])
    status = serializers.ChoiceField(choices=WebhookDelivery.Status.values)
    attempts = serializers.IntegerField()
    code = serializers.IntegerField(allow_null=True)
    error = serializers.CharField()
    latency_ms = serializers.IntegerField(allow_null=True)
    created_at = serializers.DateTimeField()
    next_at = serializers.SerializerMethodField()
    ended_at = serializers.DateTimeField(allow_null=True)

    def get_next_at(self, row: WebhookDelivery) -> datetime | None:
        """When it is attempted next."""
        if row.status != WebhookDelivery.Status.PENDING:
            return None
        return row.next_at


class DeliveryDetailSerializer(DeliverySerializer):
    """A delivery with what is sent and every attempt."""

    body = serializers.CharField(source="event.body")
    log = AttemptSerializer(many=True)


class WebhooksView(Endpoint):
    """``/webhooks``"""

    @operation(name="list_webhooks", access=MANAGE, answer=WebhookSerializer, paged=True)
    def get(self, call: Call) -> Page:
        """Every webhook of the workspace."""
        return Page(*pagination.by_id(webhooks.of(workspace=call.workspace), call.page))

    @operation(
        name="create_webhook",
        access=MANAGE,
        body=NewWebhookSerializer,
        answer=WebhookWithSecretSerializer,
        status=201,
        once=True,
    )
    def post(self, call: Call) -> WebhookEndpoint:
        """Make a webhook; its secret is in this answer and nowhere else."""
        endpoint, secret = webhooks.create(
            workspace=call.workspace, url=call.body["url"], events=call.body["events"], by=call.by
        )
        return _with(endpoint, secret)


class WebhookView(Endpoint):
    """``/webhooks/{webhook_id}``"""

    @operation(name="get_webhook", access=MANAGE, answer=WebhookSerializer)
    def get(self, call: Call, webhook_id: str) -> WebhookEndpoint:
        """One webhook."""
        return _endpoint(call, webhook_id)

    @operation(
        name="update_webhook",
        access=MANAGE,
        body=WebhookChangeSerializer,
        answer=WebhookSerializer,
    )
    def patch(self, call: Call, webhook_id: str) -> WebhookEndpoint:
        """Change it, disable it, enable it; what waits for a disabled one is dropped."""
        return webhooks.update(
            endpoint=_endpoint(call, webhook_id),
            by=call.by,
            url=call.body.get("url"),
            events=call.body.get("events"),
            enabled=call.body.get("enabled"),
            version=call.version,
        )

    @operation(name="delete_webhook", access=MANAGE, status=204)
    def delete(self, call: Call, webhook_id: str) -> None:
        """Delete it with its log."""
        webhooks.delete(endpoint=_endpoint(call, webhook_id), by=call.by)


class WebhookSecretView(Endpoint):
    """``/webhooks/{webhook_id}/rotate-secret``"""

    @operation(
        name="rotate_webhook_secret",
        access=MANAGE,
        body=SecretRotationSerializer,
        answer=WebhookWithSecretSerializer,
        once=True,
    )
    def post(self, call: Call, webhook_id: str) -> WebhookEndpoint:
        """Give it another secret; for a while the old one signs as well."""
        endpoint, secret = webhooks.rotate_secret(
            endpoint=_endpoint(call, webhook_id),
            by=call.by,
            overlap=timedelta(hours=call.body["overlap_hours"]),
        )
        return _with(endpoint, secret)


class WebhookTestView(Endpoint):
    """``/webhooks/{webhook_id}/test``"""

    @operation(
        name="test_webhook", access=MANAGE, answer=DeliveryDetailSerializer, status=202, once=True
    )
    def post(self, call: Call, webhook_id: str) -> WebhookDelivery:
        """Send it an event of the type `webhook.test`, attempted once."""
        return webhooks.send_test(endpoint=_endpoint(call, webhook_id), by=call.by)


class DeliveriesView(Endpoint):
    """``/webhooks/{webhook_id}/deliveries``"""

    @operation(name="list_webhook_deliveries", access=MANAGE, answer=DeliverySerializer, paged=True)
    def get(self, call: Call, webhook_id: str) -> Page:
        """What was and is to be delivered to it within the last 30 days."""
        found = webhookdeliveries.of(endpoint=_endpoint(call, webhook_id))
        return Page(*pagination.by_id(found, call.page))


class DeliveryView(Endpoint):
    """``/webhooks/{webhook_id}/deliveries/{delivery_id}``"""

    @operation(name="get_webhook_delivery", access=MANAGE, answer=DeliveryDetailSerializer)
    def get(self, call: Call, webhook_id: str, delivery_id: str) -> WebhookDelivery:
        """One delivery with every attempt."""
        return _delivery(call, webhook_id, delivery_id)


class DeliveryResendView(Endpoint):
    """``/webhooks/{webhook_id}/deliveries/{delivery_id}/resend``"""

    @operation(
        name="resend_webhook_delivery",
        access=MANAGE,
        answer=DeliveryDetailSerializer,
        status=202,
        once=True,
    )
    def post(self, call: Call, webhook_id: str, delivery_id: str) -> WebhookDelivery:
        """Send it once more, with the same id and the same body."""
        delivery = _delivery(call, webhook_id, delivery_id)
        return webhookdeliveries.resend(delivery=delivery, by=call.by)


def _endpoint(call: Call, webhook_id: str) -> WebhookEndpoint:
    return webhooks.get(workspace=call.workspace, public_id=webhook_id)


def _delivery(call: Call, webhook_id: str, delivery_id: str) -> WebhookDelivery:
    return webhookdeliveries.get(endpoint=_endpoint(call, webhook_id), public_id=delivery_id)


def _with(endpoint: WebhookEndpoint, secret: str) -> WebhookEndpoint:
    endpoint.secret = secret  # type: ignore[attr-defined]  # only for this one answer
    return endpoint

"""The requests of a workspace, and the receipt of each."""

from __future__ import annotations

from typing import Any

import msgspec
from django.http import HttpResponse
from rest_framework import serializers

from accounts.api import Call, Endpoint, Listing, Page, needs, operation
from accounts.errors import Missing
from accounts.scopes import Scope
from billing import ledger
from billing.models import Usage
from common import ids, money
from proxy import logs, prompts, receipts
from proxy.prompts import Kept

READ = needs(Scope.USAGE_READ)


class LogSerializer(serializers.Serializer[Any]):
    """One request; its words are kept apart, and only where the workspace chose so."""

    id = serializers.CharField()
    created_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField()
    key_id = serializers.CharField()
    key_name = serializers.CharField()
    model = serializers.CharField()
    served = serializers.CharField()
    provider = serializers.CharField()
    surface = serializers.CharField()
    state = serializers.ChoiceField(choices=Usage.State.values)
    status = serializers.IntegerField(allow_null=True)
    reason = serializers.CharField()
    stream = serializers.BooleanField()
    cancelled = serializers.BooleanField()
    latency_ms = serializers.IntegerField(allow_null=True)
    first_byte_ms = serializers.IntegerField(allow_null=True)
    input_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    cache_write_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    reasoning_tokens = serializers.IntegerField()
    images = serializers.IntegerField()
    asset = serializers.ChoiceField(choices=list(ledger.ASSETS))
    charged = serializers.CharField(help_text="In units of the asset: dollars, or tokens.")
    charged_usd = serializers.CharField()

    def to_representation(self, instance: Usage) -> dict[str, Any]:
        """Write one request."""
        dollars = money.usd(instance.charged * instance.unit_nanos, at_least=6)
        when = serializers.DateTimeField().to_representation
        return {
            "id": ids.form("req_", instance.id),
            "created_at": when(instance.created_at),
            "closed_at": when(instance.closed_at),
            "key_id": instance.key.public_id,
            "key_name": instance.key.name,
            **{name: getattr(instance, name) for name in AS_THEY_ARE},
            "images": instance.pictures,
            "asset": instance.asset,
            "charged": dollars if instance.asset == ledger.USD else str(instance.charged),
            "charged_usd": dollars,
        }


AS_THEY_ARE = (
    *("model", "served", "provider", "surface", "state", "status", "reason", "stream"),
    *("cancelled", "latency_ms", "first_byte_ms", "input_tokens", "cached_tokens"),
    *("cache_write_tokens", "output_tokens", "reasoning_tokens"),
)


class LogFilter(Listing):
    """Which requests are wanted."""

    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    key_id = serializers.CharField(required=False, max_length=32)
    model = serializers.CharField(required=False, max_length=128)
    provider = serializers.CharField(required=False, max_length=64)
    surface = serializers.CharField(required=False, max_length=64)
    asset = serializers.ChoiceField(choices=list(ledger.ASSETS), required=False)
    status = serializers.ChoiceField(choices=["ok", "failed"], required=False)


class PromptFilter(Listing):
    """Which calls' words are wanted."""

    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    key_id = serializers.CharField(required=False, max_length=32)


class ReceiptSerializer(serializers.Serializer[Any]):
    """What the gateway's `GET generation?id=` answers; its document has every field."""

    data = serializers.DictField()  # type: ignore[assignment]  # a field: it leaves the class


class PromptSerializer(serializers.Serializer[Any]):
    """What was sent and answered in one call: texts of JSON, cut off where they are too long."""

    id = serializers.CharField()
    key_id = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    request = serializers.CharField(allow_null=True, help_text="Null: it cannot be unsealed.")
    answer = serializers.CharField(allow_null=True)
    request_cut = serializers.BooleanField()
    answer_cut = serializers.BooleanField()

    def to_representation(self, instance: Kept) -> dict[str, Any]:
        """Write the words of one call."""
        words, when = instance.words, serializers.DateTimeField().to_representation
        return {
            "id": ids.form("req_", instance.id),
            "key_id": instance.key_id,
            "created_at": when(instance.created_at),
            "expires_at": when(instance.expires_at),
            "request": words.request if words else None,
            "answer": words.answer if words else None,
            "request_cut": bool(words and words.request_cut),
            "answer_cut": bool(words and words.answer_cut),
        }


class LogsView(Endpoint):
    """``/logs``"""

    @operation(name="list_logs", access=READ, answer=LogSerializer, query=LogFilter, paged=True)
    def get(self, call: Call) -> Page:
        """Requests, the newest first. A page may be short and still be followed by another."""
        return logs.read(workspace=call.workspace, query=call.query, wanted=call.page)


class LogView(Endpoint):
    """``/logs/{request_id}``"""

    @operation(name="get_log", access=READ, answer=ReceiptSerializer)
    def get(self, call: Call, request_id: str) -> HttpResponse:
        """The receipt of one request, by its id in any form."""
        found = ids.parse_request(request_id)
        if found is None:
            raise Missing("There is no such request in this workspace.")
        receipt = receipts.read(request_id=found, workspace_id=call.workspace.pk)
        body = msgspec.json.encode({"data": receipts.describe(receipt)})
        return HttpResponse(body, content_type="application/json")


class LogPromptView(Endpoint):
    """``/logs/{request_id}/prompt``"""

    @operation(name="get_log_prompt", access=needs(Scope.AUDIT_READ), answer=PromptSerializer)
    def get(self, call: Call, request_id: str) -> Kept:
        """The words of one request, where the workspace keeps them; who reads is written down."""
        found = ids.parse_request(request_id)
        if found is None:
            raise Missing("There is no such request in this workspace.")
        return prompts.read(request_id=found, workspace=call.workspace, by=call.by)

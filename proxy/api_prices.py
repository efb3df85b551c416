"""What is for sale, and for how much."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework import serializers

from accounts.api import Call, Endpoint, Page, needs, operation
from accounts.scopes import Scope
from proxy.models import Model
from proxy.selectors_models import ModelRow, models_for_sale


class TokenPricesSerializer(serializers.Serializer[Any]):
    """US dollars per million tokens."""

    prompt = serializers.CharField(allow_null=True)
    completion = serializers.CharField(allow_null=True)
    cached_prompt = serializers.CharField(allow_null=True)


class ImagePriceSerializer(serializers.Serializer[Any]):
    """US dollars per picture."""

    size = serializers.CharField()
    quality = serializers.CharField()
    usd = serializers.CharField()


class PriceSerializer(serializers.Serializer[Any]):
    """One model with its price now."""

    id = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=Model.Kind.values)
    owned_by = serializers.CharField()
    aliases = serializers.ListField(child=serializers.CharField())
    input_modalities = serializers.ListField(child=serializers.CharField())
    output_modalities = serializers.ListField(child=serializers.CharField())
    capabilities = serializers.ListField(child=serializers.CharField())
    context_length = serializers.IntegerField(allow_null=True)
    max_output_tokens = serializers.IntegerField(allow_null=True)
    usd_per_million_tokens = TokenPricesSerializer()
    usd_per_call = serializers.CharField(allow_null=True)
    usd_per_image = ImagePriceSerializer(many=True)

    def to_representation(self, instance: ModelRow) -> dict[str, Any]:
        """Write one model as its public twin does."""
        return instance.twin()


class PricesView(Endpoint):
    """``/prices``"""

    @operation(
        name="list_prices", access=needs(Scope.MODELS_READ), answer=PriceSerializer, paged=True
    )
    def get(self, call: Call) -> Page:
        """Every model that is for sale, by its slug."""
        rows = models_for_sale(now=timezone.now())
        start: int = call.page.after or 0
        end = start + call.page.limit
        return Page(rows[start:end], end if len(rows) > end else None)

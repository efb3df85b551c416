"""What pages read about models and their prices; nothing here writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from billing.models import Price
from common import money
from proxy.models import Model

TOKENS_PER_MILLION = 10**6
GIVEN = {Model.Kind.CHAT: "text", Model.Kind.EMBEDDING: "embedding", Model.Kind.IMAGE: "image"}
FREE_TO_TRY = "sandbox/"


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model that is for sale, with its price now as exact decimal strings in dollars."""

    slug: str
    name: str
    kind: str
    owned_by: str
    aliases: list[str]
    capabilities: list[str]
    context_length: int | None
    max_output_tokens: int | None
    prompt: str | None
    completion: str | None
    cached_prompt: str | None
    per_call: str | None
    images: list[tuple[str, str, str]]

    @property
    def takes(self) -> list[str]:
        """What a prompt may be made of."""
        return ["text", "image"] if "vision" in self.capabilities else ["text"]

    @property
    def gives(self) -> list[str]:
        """What an answer is."""
        return [GIVEN[Model.Kind(self.kind)]]

    def twin(self) -> dict[str, Any]:
        """The same facts for programs; prices of tokens are per million."""
        return {
            "id": self.slug,
            "name": self.name,
            "kind": self.kind,
            "owned_by": self.owned_by,
            "aliases": self.aliases,
            "input_modalities": self.takes,
            "output_modalities": self.gives,
            "capabilities": self.capabilities,
            "context_length": self.context_length,
            "max_output_tokens": self.max_output_tokens,
            "usd_per_million_tokens": {
                "prompt": self.prompt,
                "completion": self.completion,
                "cached_prompt": self.cached_prompt,
            },
            "usd_per_call": self.per_call,
            "usd_per_image": [
                {"size": size, "quality": quality, "usd": usd} for size, quality, usd in self.images
            ],
        }


def on_sale() -> QuerySet[Model]:
    """Every model that is switched on and has a working route, by slug."""
    rows = Model.objects.filter(enabled=True, routes__enabled=True, routes__provider__enabled=True)
    return rows.distinct().order_by("slug")


def models_for_sale(*, now: datetime) -> list[ModelRow]:
    """Every model that is switched on, has a working route and a price."""
    models = on_sale().prefetch_related("aliases")
    prices = _prices(slugs=[model.slug for model in models], now=now)
    return [_row(model, prices[model.slug]) for model in models if model.slug in prices]


def model_to_try(*, now: datetime) -> str | None:
    """A chat model for a first call: one of the sandbox's if there is one."""
    chats = [row.slug for row in models_for_sale(now=now) if row.kind == Model.Kind.CHAT]
    return next((slug for slug in chats if slug.startswith(FREE_TO_TRY)), None) or next(
        iter(chats), None
    )


def _prices(*, slugs: Sequence[str], now: datetime) -> dict[str, Price]:
    current = (
        Price.objects.filter(subject__in=slugs, role=Price.Role.RETAIL, effective_from__lte=now)
        .order_by("subject", "-effective_from")
        .distinct("subject")
    )
    return {price.subject: price for price in current}


def _row(model: Model, price: Price) -> ModelRow:
    tokens = model.kind != Model.Kind.IMAGE
    return ModelRow(
        slug=model.slug,
        name=model.name,
        kind=model.kind,
        owned_by=model.owned_by,
        aliases=sorted(alias.alias for alias in model.aliases.all()),
        capabilities=sorted(model.capabilities),
        context_length=model.context_length,
        max_output_tokens=model.max_output_tokens,
        prompt=_per_million(price.prompt) if tokens else None,
        completion=_per_million(price.completion) if tokens else None,
        cached_prompt=_per_million(price.cached_prompt) if tokens else None,
        per_call=money.usd_from_pico(price.per_call) if price.per_call else None,
        images=_images(price),
    )


def _per_million(pico: int | None) -> str | None:
    return None if pico is None else money.usd_from_pico(pico * TOKENS_PER_MILLION)


def _images(price: Price) -> list[tuple[str, str, str]]:
    return [
        (size, quality, money.usd_from_pico(int(pico)))
        for size, qualities in sorted((price.image or {}).items())
        for quality, pico in sorted(qualities.items(), key=lambda each: int(each[1]))
    ]

"""Which routes may serve a call, in which order, and what the call can cost at most."""

from __future__ import annotations

import time

from django.conf import settings
from msgspec import Struct

from accounts.keyrecord import KeyRecord
from billing import pricing
from common.errors import ApiError, bad_parameter
from proxy.catalogue import Catalogue, Model, Route
from proxy.wire.chat import Call

BREAKER_FAILURES = 5
BREAKER_REST_S = 10.0


class Breaker(Struct):
    """Failures in a row of one provider's model, and when it may be tried again."""

    failures: int = 0
    open_until: float = 0.0


class Breakers:
    """Keeps routes that fail again and again out of the way for a moment."""

    def __init__(self) -> None:
        self.by_route: dict[tuple[str, str], Breaker] = {}

    def healthy(self, route: Route) -> bool:
        """Tell whether a route is not resting."""
        breaker = self.by_route.get((route.provider.slug, route.upstream_model))
        return breaker is None or breaker.open_until <= time.monotonic()

    def note(self, route: Route, *, failed: bool) -> None:
        """Count a failure, or forget all of them after a success."""
        name = (route.provider.slug, route.upstream_model)
        if not failed:
            self.by_route.pop(name, None)
            return
        breaker = self.by_route.setdefault(name, Breaker())
        breaker.failures += 1
        if breaker.failures >= BREAKER_FAILURES:
            breaker.open_until = time.monotonic() + BREAKER_REST_S


class Offer(Struct, frozen=True):
    """A call that can be served: its model, its routes in order, its bounds in tokens."""

    model: Model
    routes: tuple[Route, ...]
    prompt_tokens: int
    output_tokens: int
    least_output_tokens: int
    choices: int

    def nanos(self, output_tokens: int) -> int:
        """Return the most that the prompt and so much output per choice can cost."""
        output = output_tokens * self.choices
        return max(
            1,
            *(
                pricing.worst_nanos(
                    rates=route.rates, prompt_tokens=self.prompt_tokens, output_tokens=output
                )
                for route in self.routes
            ),
        )

    def affordable(self, nanos: int) -> int:
        """Return the output tokens per choice that an amount can pay on every route."""
        output = min(
            pricing.affordable_output(
                rates=route.rates, prompt_tokens=self.prompt_tokens, nanos=nanos
            )
            for route in self.routes
        )
        return min(self.output_tokens, output // self.choices)


def find_model(catalogue: Catalogue, name: str, key: KeyRecord) -> Model:
    """
    Return the model of a slug or alias.

    :raises ApiError: 404 unknown, 403 not on the key's list
    """
    model = catalogue.find(name)
    if model is None:
        raise ApiError("model_not_found", f"The model {name!r} does not exist.", param="model")
    if not key.allows_model(model.slug, *model.aliases):
        message = f"This key may not use the model {model.slug!r}."
        raise ApiError("model_not_allowed", message, param="model")
    return model


def offer(*, model: Model, call: Call, breakers: Breakers, may_clamp: bool) -> Offer:
    """
    Return how a call can be served.

    :raises ApiError: no route is in use, or the output limit is beyond the model's
    """
    if model.kind != "chat" or not model.routes:
        raise ApiError(
            "model_not_found", f"The model {model.slug!r} does not serve chats.", param="model"
        )
    most = model.max_output_tokens or model.context_length or 1
    limit = call.request.output_limit
    if limit is not None and limit > most:
        raise bad_parameter(
            f"max_tokens is too large: {limit}. {model.slug} gives at most {most} tokens.",
            param="max_tokens",
        )
    output = limit or most
    clampable = may_clamp and limit is None
    least = min(output, settings.MIN_OUTPUT_TOKENS) if clampable else output
    return Offer(
        model=model,
        routes=tuple(sorted(model.routes, key=lambda route: not breakers.healthy(route))),
        prompt_tokens=bounded_prompt(model, call),
        output_tokens=output,
        least_output_tokens=least,
        choices=call.request.choices,
    )


def bounded_prompt(model: Model, call: Call) -> int:
    """Return a bound of the prompt's tokens: a token has at least one byte of text."""
    tokens = call.prompt_bytes + call.pictures * model.max_image_tokens
    tokens += model.prompt_overhead_tokens
    return min(tokens, model.context_length) if model.context_length else tokens

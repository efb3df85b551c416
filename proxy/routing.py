"""Which routes may serve a call, in which order, and what the call can cost at most."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from msgspec import Struct, structs

from accounts.keyrecord import KeyRecord
from billing import pricing
from billing.pricing import Rates
from common.errors import ApiError, bad_parameter
from proxy import pictures, upstreams
from proxy.breakers import Breakers
from proxy.catalogue import Catalogue, Model, Provider, Route, sample
from proxy.wire.call import Call, Preferences

# What an output limit is called in a body, by surface.
LIMITS = ("max_output_tokens", "max_completion_tokens", "max_tokens")
# What only the sandbox takes: how it is to fail.
SANDBOX = frozenset({"sandbox"})


class Leg(Struct, frozen=True):
    """One way to serve a call: a route of a model, and the call's bounds on it in tokens."""

    model: Model
    route: Route
    call: Call
    prompt_tokens: int
    output_tokens: int

    @property
    def provider(self) -> Provider:
        """Return the provider."""
        return self.route.provider

    @property
    def rates(self) -> Rates:
        """Return the price for the customer."""
        return self.route.rates

    def worst_nanos(self, *, limit: int | None = None) -> int:
        """Return the most that this leg can cost, with so many output tokens per choice."""
        output = self.output_tokens if limit is None else min(limit, self.output_tokens)
        listed = self.call.images and self.rates.image
        size, quality = pictures.asked(self.rates, self.call) if listed else ("", "")
        return pricing.worst_nanos(
            rates=self.rates,
            prompt_tokens=self.prompt_tokens,
            output_tokens=output * self.call.choices,
            pictures=self.call.images,
            size=size,
            quality=quality,
            searches=self.searches,
        )

    @property
    def searches(self) -> int:
        """Return the most web searches that the call may make here; 0 where nothing bounds them."""
        if not self.call.searches:
            return 0
        bounded = upstreams.of(self.provider.kind).BOUNDS_SEARCHES
        return self.route.max_searches or int(bounded)

    def searched(self, told: int | None) -> int:
        """Return the searches to charge: those told, or where none are told all that were held."""
        if not self.call.searches:
            return 0
        return self.searches if told is None else told

    def plan(self) -> str:
        """Return what a hold keeps of it: its route, its price, the searches held if any."""
        plan = f"{self.route.id}:{self.route.price_id}"
        return f"{plan}:{self.searches}" if self.call.searches else plan

    def affordable_output(self, nanos: int) -> int:
        """Return the output tokens per choice that an amount can pay."""
        output = pricing.affordable_output(
            rates=self.rates,
            prompt_tokens=self.prompt_tokens,
            nanos=nanos,
            searches=self.searches,
        )
        return min(self.output_tokens, output // self.call.choices)

    @property
    def lacking(self) -> frozenset[str]:
        """Return the parameters that this leg cannot take."""
        undeclared = self.call.undeclared
        if undeclared:
            undeclared -= self.model.capabilities & undeclared
        if self.provider.kind != "sandbox":
            undeclared |= SANDBOX
        return self.model.unsupported | upstreams.of(self.provider.kind).UNSUPPORTED | undeclared

    def ignored(self) -> list[str]:
        """Return what the caller sent and this leg cannot take."""
        lacking = self.lacking - self.call.assumed
        dropped = (name for name in lacking if self.call.fields.get(name) is not None)
        return sorted({*dropped, *self.call.unheard})


class Offer(Struct, frozen=True):
    """A call that can be served: its legs in order; ``least`` is the output that is of use."""

    legs: tuple[Leg, ...]
    least: int | None

    @property
    def model(self) -> Model:
        """Return the model that is tried first."""
        return self.legs[0].model

    def plan(self) -> str:
        """Return the legs as a hold keeps them: ``route:price:searches`` of each, in order."""
        return " ".join([leg.plan() for leg in self.legs])

    def nanos(self, limit: int | None = None) -> int:
        """Return the most that the call can cost on any leg."""
        return max(1, *(leg.worst_nanos(limit=limit) for leg in self.legs))

    @property
    def least_nanos(self) -> int:
        """Return the least amount with which the call is worth making."""
        return self.nanos(self.least)

    def affordable(self, nanos: int) -> int:
        """Return the output tokens per choice that an amount can pay on every leg."""
        return min(leg.affordable_output(nanos) for leg in self.legs)


def find_model(catalogue: Catalogue, name: str, key: KeyRecord, *, kind: str) -> Model:
    """
    Return the model of a slug or alias.

    :raises ApiError: 404 unknown or of another kind, 403 not on the key's list
    """
    model = catalogue.find(name)
    if model is None or model.kind != kind:
        what = "does not exist" if model is None else f"does not serve {kind} requests"
        raise ApiError("model_not_found", f"The model {name!r} {what}.", param="model")
    if not key.allows_model(model.slug, *model.aliases):
        message = f"This key may not use the model {model.slug!r}."
        raise ApiError("model_not_allowed", message, param="model")
    return model


def offer(
    *, catalogue: Catalogue, key: KeyRecord, call: Call, breakers: Breakers, may_clamp: bool
) -> Offer:
    """
    Return how a call can be served.

    :raises ApiError: unknown model, no route that may take it, a limit beyond the model's
    """
    named = [find_model(catalogue, name, key, kind=call.kind) for name in asked(call)]
    # An alias and its slug are one model.
    models = list({model.slug: model for model in named}.values())
    legs = [leg for model in models for leg in _legs(model, call, breakers)]
    if call.preferences.across_models:
        legs.sort(key=lambda leg: _rank(leg, call.preferences, breakers))
    if not legs:
        raise ApiError(
            "model_not_found", f"No route serves {call.model!r} right now.", param="model"
        )
    legs = list(_permitted(legs, call))
    if not call.preferences.allow_fallbacks:
        legs = legs[:1]
    clampable = may_clamp and call.kind == "chat" and call.output_limit is None
    least = min(settings.MIN_OUTPUT_TOKENS, *(leg.output_tokens for leg in legs), 2**31)
    return Offer(legs=tuple(legs), least=least if clampable else None)


def awake(offer: Offer, breakers: Breakers) -> Offer:
    """
    Return an offer without its routes that rest.

    Where all of them rest, the one that has rested longest is left: its call is a probe.
    """
    if not breakers.by_name:
        return offer
    legs = [leg for leg in offer.legs if breakers.healthy(leg.route)]
    if len(legs) == len(offer.legs):
        return offer
    if not legs:
        legs = [min(offer.legs, key=lambda leg: breakers.opened_at(leg.route))]
    return structs.replace(offer, legs=tuple(legs))


def asked(call: Call) -> list[str]:
    """Return the models a caller names, in order, each once."""
    return list(dict.fromkeys((call.model, *call.models)))


def _legs(model: Model, call: Call, breakers: Breakers) -> list[Leg]:
    legs = [leg_of(model, route, call) for route in model.routes if _serves(route, call)]
    return sorted(legs, key=lambda leg: _rank(leg, call.preferences, breakers))


def leg_of(model: Model, route: Route, call: Call) -> Leg:
    """Return a way to serve a call, with the most tokens that it can take."""
    leg = Leg(model, route, call, _prompt_bound(model, call), _output_bound(model, call))
    if not leg.searches:
        return leg
    # What a search finds goes into the prompt, which the model then reads again.
    found = leg.searches * (model.context_length or 0)
    return structs.replace(leg, prompt_tokens=leg.prompt_tokens + found)


def _serves(route: Route, call: Call) -> bool:
    adapter = upstreams.BY_KIND.get(route.provider.kind)
    return adapter is not None and call.kind in adapter.KINDS


def _rank(leg: Leg, wishes: Preferences, breakers: Breakers) -> tuple[int, bool, float]:
    """
    Sort by the caller's order, then health, then what the caller asks for.

    What is equal stays as the catalogue has it: cheapest first.
    """
    slug = leg.provider.slug
    place = wishes.order.index(slug) if slug in wishes.order else len(wishes.order)
    return place, not breakers.healthy(leg.route), _figure(leg, wishes, breakers)


def _figure(leg: Leg, wishes: Preferences, breakers: Breakers) -> float:
    """Return what a caller sorts by, least first; a route that was not measured goes before."""
    if wishes.sort == "latency":
        return breakers.paces.first_byte_ms(leg.route) or 0.0
    if wishes.sort == "throughput":
        flow = breakers.paces.tokens_per_s(leg.route)
        return float("-inf") if flow is None else -flow
    return float(sample(leg.rates)) if wishes.sort == "price" else 0.0


def _permitted(legs: list[Leg], call: Call) -> Iterator[Leg]:
    """
    Pass the legs on that the call's parameters and the caller's wishes allow.

    :raises ApiError: none is left; says which wish or parameter excluded the last
    """
    refusals = [(leg, _refusal(leg, call)) for leg in legs]
    if all(refusal is not None for _, refusal in refusals):
        refusal = refusals[0][1]
        if refusal is not None:
            raise refusal
    yield from (leg for leg, refusal in refusals if refusal is None)


def _refusal(leg: Leg, call: Call) -> ApiError | None:
    """Return why a leg may not serve a call."""
    wishes, slug = call.preferences, leg.provider.slug
    if (wishes.only and slug not in wishes.only) or slug in wishes.ignore or _too_dear(leg, wishes):
        message = f"No route of {leg.model.slug!r} fits what you ask in provider."
        return bad_parameter(message, param="provider")
    if call.searches and (leg.rates.web_search is None or not leg.searches):
        missing = "price" if leg.rates.web_search is None else "bound"
        message = f"web_search_options has no {missing} for {leg.model.slug!r}."
        return ApiError("unpriced_parameter", message, param="web_search_options")
    if (misfit := upstreams.of(leg.provider.kind).misfit(call)) is not None:
        return ApiError(misfit.reason, misfit.message, param=misfit.param)
    most = leg.route.max_stop
    if most is not None and call.stops > most:
        message = f"stop takes at most {most} sequences with {leg.model.slug!r}."
        return bad_parameter(message, param="stop")
    if call.images and (refusal := _picture_refusal(leg, call)) is not None:
        return refusal
    if wishes.require_parameters and (ignored := leg.ignored()):
        message = f"No route of {leg.model.slug!r} takes {ignored[0]}."
        return ApiError("unsupported_parameter", message, param=ignored[0])
    return _beyond_limit(leg, call)


def _picture_refusal(leg: Leg, call: Call) -> ApiError | None:
    if (param := pictures.unpriced(leg.rates, call)) is not None:
        value = call.size if param == "size" else call.quality
        message = f"{leg.model.slug!r} makes no pictures of {param} {value!r}."
        return bad_parameter(message, param=param)
    if call.images > 1 and "n" in leg.model.unsupported:
        return bad_parameter(f"{leg.model.slug!r} makes one picture a request.", param="n")
    return None


def _beyond_limit(leg: Leg, call: Call) -> ApiError | None:
    limit, most = call.output_limit, leg.model.max_output_tokens
    if limit is None or most is None or limit <= most:
        return None
    sent = call.fields | call.asked
    name = next((name for name in LIMITS if sent.get(name) is not None), LIMITS[-1])
    message = f"{name} is too large: {limit}. {leg.model.slug} gives at most {most} tokens."
    return bad_parameter(message, param=name)


def _too_dear(leg: Leg, wishes: Preferences) -> bool:
    """Tell whether a leg costs more than the caller's ceilings."""
    rates = leg.rates
    ceilings = (
        (wishes.max_prompt, max(rates.prompt, rates.cached, rates.written)),
        (wishes.max_completion, rates.completion),
        (wishes.max_request, (rates.per_call or 0) * max(1, leg.call.images)),
    )
    if any(most is not None and pico > most for most, pico in ceilings):
        return True
    if wishes.max_image is None or not (leg.call.images and rates.image):
        return False
    if pictures.unpriced(rates, leg.call) is not None:
        return False
    size, quality = pictures.asked(rates, leg.call)
    return pricing.picture_picos(rates=rates, size=size, quality=quality) > wishes.max_image


def _prompt_bound(model: Model, call: Call) -> int:
    """Return a bound of the prompt's tokens: a token has at least one byte of text."""
    if call.kind == "image":
        return 0
    if call.kind == "embedding":
        tokens = call.prompt_bytes + call.inputs * model.prompt_overhead_tokens
        most = (model.context_length or tokens) * call.inputs
        return min(tokens, most)
    tokens = call.prompt_bytes + call.pictures * model.max_image_tokens
    tokens += model.prompt_overhead_tokens
    return min(tokens, model.context_length) if model.context_length else tokens


def _output_bound(model: Model, call: Call) -> int:
    if call.kind != "chat":
        return 0
    return call.output_limit or model.max_output_tokens or model.context_length or 1


def next_leg(legs: tuple[Leg, ...], tried: Leg, *, longer: bool) -> Leg | None:
    """Return the leg after one that failed; ``longer`` asks for a longer context."""
    rest = legs[next(i for i, leg in enumerate(legs) if leg is tried) + 1 :]
    if not longer:
        return rest[0] if rest else None
    length = tried.model.context_length or 0
    return next((leg for leg in rest if (leg.model.context_length or 0) > length), None)

"""What is left of each route's price after what the provider takes, in hundredths of the price."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from billing import prices
from billing.models import Price
from billing.prices import Version
from billing.pricing import Rates
from common import money
from proxy.models import Model, Route

PIECES: Final = ("per_call", "web_search")
PER_MILLION: Final = 10**6


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is priced, in pico-dollars."""

    name: str
    sale: int
    cost: int
    per_token: bool

    @property
    def percent(self) -> Decimal | None:
        """What is left of the sale; None where it is given away."""
        if self.sale == 0:
            return None
        return (Decimal(self.sale - self.cost) * 100 / self.sale).quantize(Decimal("0.01"))

    @property
    def sale_usd(self) -> str:
        """The price in dollars: per million tokens, or each."""
        return self._usd(self.sale)

    @property
    def cost_usd(self) -> str:
        """The cost in dollars: per million tokens, or each."""
        return self._usd(self.cost)

    def _usd(self, pico: int) -> str:
        return money.usd_from_pico(pico * PER_MILLION if self.per_token else pico)

    @property
    def loses(self) -> bool:
        """Whether each of it is a loss."""
        return self.cost > self.sale


@dataclass(frozen=True, slots=True)
class Margin:
    """One route: what it is sold for and what it costs; None where there is no such price."""

    route: Route
    sale: Version | None
    cost: Version | None
    parts: Sequence[Part]

    @property
    def least(self) -> Decimal | None:
        """The smallest part's margin in per cent."""
        known = [part.percent for part in self.parts if part.percent is not None]
        return min(known, default=None)

    @property
    def loses(self) -> bool:
        """Whether some part is sold for less than it costs."""
        return any(part.loses for part in self.parts)


def of_models(*, models: Iterable[Model], now: datetime) -> dict[int, list[Margin]]:
    """The margins of some models' routes as prices are at a time, by the model's id."""
    found = list(models)
    routes = Route.objects.filter(model__in=found).select_related("model", "provider")
    subjects = {each.slug for each in found} | {route.subject for route in routes}
    in_force = prices.all_rates_at(now=now, subjects=subjects)
    margins: dict[int, list[Margin]] = {model.pk: [] for model in found}
    for route in routes:
        margins[route.model_id].append(_of_route(route, in_force))
    return margins


def _of_route(route: Route, in_force: Mapping[tuple[str, str], Version]) -> Margin:
    subject = route.subject if route.own_price else route.model.slug
    sale = in_force.get((subject, Price.Role.RETAIL))
    cost = in_force.get((route.subject, Price.Role.COST))
    parts = list(_parts(sale.rates, cost.rates)) if sale and cost else []
    return Margin(route, sale, cost, parts)


def _parts(sale: Rates, cost: Rates) -> Iterator[Part]:
    """What either side prices; what it leaves open costs what its prompt costs, or nothing."""
    for name, sold, costs in (
        ("prompt", sale.prompt, cost.prompt),
        ("completion", sale.completion, cost.completion),
        ("cached_prompt", sale.cached, cost.cached),
        ("cache_write", sale.written, cost.written),
    ):
        if sold or costs:
            yield Part(name, sold, costs, per_token=True)
    for name in PIECES:
        sold, costs = getattr(sale, name) or 0, getattr(cost, name) or 0
        if sold or costs:
            yield Part(name, sold, costs, per_token=False)
    yield from _pictures(sale, cost)


def _pictures(sale: Rates, cost: Rates) -> Iterator[Part]:
    for size, qualities in (cost.image or {}).items():
        for quality, costs in qualities.items():
            sold = (sale.image or {}).get(size, {}).get(quality)
            if sold is not None:
                yield Part(f"{size} {quality}", sold, costs, per_token=False)

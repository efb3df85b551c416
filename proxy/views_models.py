"""The public list of models and prices, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from proxy.models import Model
from proxy.selectors_models import ModelRow, models_for_sale

NAME: Final = "name"


def _price(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


COLUMNS: Final[dict[str, tuple[str | Promise, Callable[[ModelRow], Any]]]] = {
    NAME: (_("Model"), lambda row: row.slug),
    "context": (_("Context"), lambda row: Decimal(row.context_length or 0) or None),
    "input": (_("Input, per 1M tokens"), lambda row: _price(row.prompt)),
    "cached": (_("Cached input"), lambda row: _price(row.cached_prompt)),
    "output": (_("Output, per 1M tokens"), lambda row: _price(row.completion)),
}


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a column: where a click leads, and how it is sorted now."""

    name: str
    title: str | Promise
    query: str
    sorted: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Which models, in which order; what cannot be read is not asked."""

    sought: str
    kind: str
    column: str
    falling: bool

    @classmethod
    def read(cls, request: HttpRequest) -> Choice:
        """Read it from the address."""
        kind, sort = request.GET.get("kind", ""), request.GET.get("sort", NAME)
        column = sort.removeprefix("-")
        known = column in COLUMNS
        return cls(
            sought=request.GET.get("q", "").strip()[:100],
            kind=kind if kind in Model.Kind.values else "",
            column=column if known else NAME,
            falling=known and sort.startswith("-"),
        )

    @property
    def narrows(self) -> bool:
        """Whether some models may be left out."""
        return bool(self.sought or self.kind)

    @property
    def sort(self) -> str:
        """The order as the address says it."""
        return f"-{self.column}" if self.falling else self.column

    def query(self, *, sort: str) -> str:
        """The same models in another order, as an address says it."""
        asked = {"q": self.sought, "kind": self.kind, "sort": sort}
        return urlencode({name: value for name, value in asked.items() if value})

    def columns(self) -> list[Column]:
        """The heads of all columns that can be sorted; a second click turns the order round."""
        return [self._head(name) for name in COLUMNS]

    def orders(self) -> list[tuple[str, str | Promise, bool]]:
        """Every order, for where the heads of columns are not shown: its name, column and turn."""
        return [
            (f"-{name}" if falls else name, title, falls)
            for name, (title, _key) in COLUMNS.items()
            for falls in (False, True)
        ]

    def _head(self, name: str) -> Column:
        now = name == self.column
        turned = f"-{name}" if now and not self.falling else name
        order = ("descending" if self.falling else "ascending") if now else ""
        return Column(name, COLUMNS[name][0], self.query(sort=turned), order)

    def of(self, rows: Sequence[ModelRow]) -> list[ModelRow]:
        """The models that fit, in order; those without a value come last."""
        key = COLUMNS[self.column][1]
        fitting = [row for row in rows if self._fits(row)]
        valued = [row for row in fitting if key(row) is not None]
        valued.sort(key=key, reverse=self.falling)
        return valued + [row for row in fitting if key(row) is None]

    def _fits(self, row: ModelRow) -> bool:
        told = (row.slug, row.name, row.owned_by, *row.aliases, *row.capabilities)
        text = " ".join(told).casefold()
        words = self.sought.casefold().split()
        return self.kind in ("", row.kind) and all(word in text for word in words)


@require_GET
def models(request: HttpRequest) -> HttpResponse:
    """All models that are for sale, with their prices; those that are sought, in any order."""
    choice, rows = Choice.read(request), models_for_sale(now=timezone.now())
    shown = {
        "choice": choice,
        "kinds": Model.Kind.values,
        "any": bool(rows),
        "models": choice.of(rows),
        "query": choice.query(sort="" if choice.sort == NAME else choice.sort),
    }
    return render(request, "public/models.html", shown)


@require_GET
def models_json(request: HttpRequest) -> HttpResponse:
    """The same as JSON."""
    rows = Choice.read(request).of(models_for_sale(now=timezone.now()))
    return JsonResponse({"data": [row.twin() for row in rows]})

"""How rows of money look in the admin site."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html

from common import ids, money

if TYPE_CHECKING:
    RowAdmin = admin.ModelAdmin[Any]
    RowPaginator = Paginator[Any]
else:
    RowAdmin, RowPaginator = admin.ModelAdmin, Paginator  # Django's own cannot be subscripted

# Nobody pages further; a search or a filter leads there.
MOST_COUNTED: Final = 10_000
# Nano-dollars in one unit.
SCALES: Final = {"USD": 1, "nanos": 1, "cents": 10**7, "usd": 10**7}
# Pico-dollars are of one piece: a token, of which prices name a million, or something else.
PIECES: Final = {"picos_per_token": 10**6, "picos": 1}
# What the integers of the database are, beside the dollars.
NAMES: Final = {
    "USD": "nano-dollars",
    "nanos": "nano-dollars",
    "cents": "cents",
    "usd": "cents",
    "picos_per_token": "pico-dollars per token",
    "picos": "pico-dollars",
}

CALL_UNITS: Final = {
    **dict.fromkeys(("hold", "granted", "charged", "uncollected"), "asset"),
    **dict.fromkeys(("cost", "upstream_cost"), "nanos"),
}


def amount(name: str, label: str, *, unit: str = "asset") -> Callable[[Any], str | bool]:
    """
    A column of a list: an amount as people read it, dollars exact.

    ``unit`` is "nanos", "cents", "picos" or "picos_per_token", else where the row tells its
    asset, e.g. "account__asset".
    """

    def shown(row: Any) -> str | bool:
        value = getattr(row, name)
        return "-" if value is None else in_words(value, _unit(row, unit))

    shown.__name__ = name
    shown.unit = unit  # type: ignore[attr-defined]  # for the row's own page
    return admin.display(description=label, ordering=name)(shown)


def call(name: str = "id") -> Callable[[Any], str]:
    """A column of a list: a call's id, as its caller was told it."""

    def shown(row: Any) -> str:
        return ids.form("req_", getattr(row, name))

    shown.__name__ = f"call_{name}"
    return admin.display(description="Request", ordering=name)(shown)


@admin.display(description="Customer", ordering="workspace_id")
def customer(row: Any) -> str:
    """A column of a list: the number of a workspace, leading to all about it."""
    if row.workspace_id is None:
        return "-"
    url = reverse("admin:billing_customer_change", args=[row.workspace_id])
    return format_html('<a href="{}">{}</a>', url, row.workspace_id)


def detail(name: str, label: str, *, unit: str) -> Callable[[Any], str]:
    """The same on a row's own page, with the integer that the database has beside it."""

    def shown(row: Any) -> str:
        value = getattr(row, name)
        if value is None:
            return "-"
        of = _unit(row, unit)
        words = in_words(value, of)
        if of not in NAMES:
            return words
        return format_html("{} <small>({} {})</small>", words, value, NAMES[of])

    shown.__name__ = name
    return admin.display(description=label)(shown)


def in_words(value: int, unit: str) -> str:
    """An amount with the name of its asset."""
    if unit in SCALES:
        return f"{money.usd(value * SCALES[unit])} USD"
    if unit in PIECES:
        per = " per million" if unit == "picos_per_token" else ""
        return f"{money.usd_from_pico(value * PIECES[unit])} USD{per}"
    return f"{value} {unit}"


def _unit(row: Any, unit: str) -> str:
    if unit in NAMES:
        return unit
    for part in unit.split("__"):
        row = getattr(row, part)
    return str(row)


class BoundedPaginator(RowPaginator):
    """Counts no further than anybody pages: a list costs the same however long it is."""

    @cached_property
    def count(self) -> int:
        """How many rows can be paged through."""
        rows: Any = self.object_list
        return int(rows.order_by()[:MOST_COUNTED].count())


class InDollars(RowAdmin):
    """Rows whose amounts are read in dollars, in the list and on the row's own page."""

    # The units of integers whose names do not say them and which no column of the list tells.
    units: ClassVar[Mapping[str, str]] = {}

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Write amounts in words."""
        return [self._told(name, amount) for name in super().get_list_display(request)]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Write amounts in words, where nothing can be changed."""
        names: Iterable[Any] = super().get_fields(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return list(names)
        return [self._told(name, detail) for name in names]

    def _told(self, name: Any, how: Callable[..., Any]) -> Any:
        unit = self._unit_of(name) if isinstance(name, str) else ""
        if not unit:
            return name
        try:
            label = str(self.opts.get_field(name).verbose_name)  # type: ignore[union-attr]  # amounts relate to nothing
        except FieldDoesNotExist:
            return name
        for ending in (" nanos", " cents"):
            label = label.removesuffix(ending)
        return how(name, label[:1].upper() + label[1:], unit=unit)

    def _unit_of(self, name: str) -> str:
        columns = {getattr(each, "__name__", ""): each for each in self.list_display}
        ending = name.rpartition("_")[2]
        known = self.units.get(name) or getattr(columns.get(name), "unit", "")
        return known or (ending if ending in ("nanos", "cents") else "")


class OneChoice(admin.SimpleListFilter):
    """A filter of a list that is on or off: the rows that it asks for, or all."""

    choice: ClassVar[tuple[str, str]]
    wanted: ClassVar[Q]

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]
    ) -> list[tuple[str, str]]:
        """Return the one choice."""
        return [self.choice]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows it is on for."""
        return queryset.filter(self.wanted) if self.value() else queryset


class ReadOnlyAdmin(InDollars):
    """Rows that only the ledger writes."""

    # Counting millions of rows for a page of a hundred is not worth it.
    show_full_result_count = False
    paginator = BoundedPaginator

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """Find a call by its id also as its caller was told it: ``req_…``, ``chatcmpl-…``."""
        told = ids.parse_request(search_term.strip())
        return super().get_search_results(request, queryset, str(told or search_term))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds money here."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody changes money here."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody deletes money here."""
        return False

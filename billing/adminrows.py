"""How rows of money look in the admin site."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model
from django.http import HttpRequest
from django.utils.functional import cached_property

from common import ids, money

if TYPE_CHECKING:
    RowAdmin = admin.ModelAdmin[Any]
    RowPaginator = Paginator[Any]
else:
    RowAdmin, RowPaginator = admin.ModelAdmin, Paginator  # Django's own cannot be subscripted

# Nobody pages further; a search or a filter leads there.
MOST_COUNTED: Final = 10_000
# Nano-dollars in one unit.
SCALES: Final = {"USD": 1, "nanos": 1, "cents": 10**7}


def amount(name: str, label: str, *, unit: str = "asset") -> Callable[[Any], str | bool]:
    """
    A column of a list: an amount as people read it, dollars exact.

    ``unit`` is "nanos" or "cents", else where the row tells its asset, e.g. "account__asset".
    """

    def shown(row: Any) -> str | bool:
        value = getattr(row, name)
        return "-" if value is None else in_words(value, _unit(row, unit))

    shown.__name__ = name
    return admin.display(description=label, ordering=name)(shown)


def in_words(value: int, unit: str) -> str:
    """An amount with the name of its asset."""
    if unit in SCALES:
        return f"{money.usd(value * SCALES[unit])} USD"
    return f"{value} {unit}"


def _unit(row: Any, unit: str) -> str:
    if unit in SCALES:
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


class ReadOnlyAdmin(RowAdmin):
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

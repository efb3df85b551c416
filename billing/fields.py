"""Column types that money needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    IntField = models.Field[int, int]
else:
    IntField = models.Field  # Django's own class cannot be subscripted


class UnitsField(IntField):
    """
    An exact whole number of an asset's smallest unit, up to 78 digits.

    A bigint holds nine billion dollars in nano-dollars, but only nine ether in wei.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        """Return the column type; 78 digits hold any uint256."""
        return "numeric(78, 0)"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> int | None:
        """Return a Python int, also for sums."""
        return None if value is None else int(value)

    def to_python(self, value: Any) -> int | None:
        """Return a Python int."""
        return None if value is None else int(value)

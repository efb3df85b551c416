"""
Pages of lists: each goes on where the last one ended, by position, never by count.

A cursor is opaque: it is sealed, so that nobody reads or makes up a position.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
from django.db.models import Model, Q, QuerySet

from common import crypto
from common.errors import ApiError

DEFAULT_LIMIT: Final = 20
LARGEST_LIMIT: Final = 100

PURPOSE: Final = "cursor"

# What the next page needs to know, as JSON can hold it.
Position = Any
Row = TypeVar("Row", bound=Model)


class BadCursor(ApiError):
    """A place that is none in this list."""

    def __init__(self, message: str = "This is no cursor of this list.") -> None:
        super().__init__("invalid_parameter", message, param="cursor")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The page that is asked for."""

    limit: int
    after: Position | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and where the next page begins; None at the end."""

    rows: Sequence[Any]
    next: Position | None = None


def by_id(rows: QuerySet[Row], wanted: Wanted) -> tuple[list[Row], Position | None]:
    """One page of rows that are ordered by descending id, and the next position."""
    if wanted.after is not None:
        rows = rows.filter(pk__lt=wanted.after)
    found = list(rows.order_by("-pk")[: wanted.limit + 1])
    return cut(found, limit=wanted.limit, position=lambda row: row.pk)


def by_time(rows: QuerySet[Row], wanted: Wanted) -> tuple[list[Row], Position | None]:
    """One page of rows that are ordered by descending ``at``, then id, and the next position."""
    if isinstance(wanted.after, int):
        # The position of a file that was begun when these were ids.
        rows = rows.filter(pk__lt=wanted.after)
    elif wanted.after is not None:
        at = datetime.fromisoformat(wanted.after[0])
        # The first bound is where an index is entered; the second parts what has one time.
        rows = rows.filter(at__lte=at).filter(Q(at__lt=at) | Q(pk__lt=wanted.after[1]))
    found = list(rows.order_by("-at", "-pk")[: wanted.limit + 1])
    return cut(found, limit=wanted.limit, position=_moment)


def _moment(row: Any) -> Position:
    return [row.at.isoformat(), row.pk]


def cut(
    found: list[Any], *, limit: int, position: Callable[[Any], Position]
) -> tuple[list[Any], Position | None]:
    """Part one row too many from a page: it says that there is a next one."""
    if len(found) <= limit:
        return found, None
    return found[:limit], position(found[limit - 1])


def seal(name: str, position: Position) -> str:
    """The cursor of a position in the list of that name."""
    sealed, key_id = crypto.seal(msgspec.json.encode([name, position]), purpose=PURPOSE)
    return base64.urlsafe_b64encode(key_id.encode() + b":" + sealed).decode().rstrip("=")


def unseal(name: str, cursor: str) -> Position:
    """
    The position in a cursor.

    :raises BadCursor: not a cursor of this list
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        key_id, _, sealed = text.partition(b":")
        plain = crypto.unseal(sealed, key_id.decode(), purpose=PURPOSE)
        found, position = msgspec.json.decode(plain)
    except (binascii.Error, ValueError, crypto.UnreadableSecret, msgspec.DecodeError):
        raise BadCursor from None
    if found != name:
        raise BadCursor("This is a cursor of another list.")
    return position

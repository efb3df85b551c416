"""Lists as CSV: everything that a filter finds, page after page, as it is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from rest_framework import serializers

from common import csvtext
from common.pagination import Page, Wanted

ROWS_AT_ONCE: Final = 1000

# Reads one page of a list.
Reader = Callable[[Wanted], Page]


def csv_response(
    name: str, rows: serializers.Serializer[Any], call: Any, act: Callable[[Any], Page]
) -> StreamingHttpResponse:
    """A list as a file to save."""

    def read(wanted: Wanted) -> Page:
        return act(replace(call, page=wanted))

    first = Wanted(limit=ROWS_AT_ONCE, after=call.page.after)
    chunks = texts(rows, read, first)
    streamed = _asynchronous(chunks) if isinstance(call.request, ASGIRequest) else chunks
    return StreamingHttpResponse(
        streamed,
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )


def texts(rows: serializers.Serializer[Any], read: Reader, wanted: Wanted) -> Iterator[str]:
    """The head, then the text of each page."""
    names = columns(rows)
    yield csvtext.lines([names])
    while True:
        page = read(wanted)
        shown = [csvtext.flat(rows.to_representation(row), names) for row in page.rows]
        yield csvtext.lines(shown)
        if page.next is None:
            return
        wanted = replace(wanted, after=page.next)


def columns(serializer: serializers.Serializer[Any], prefix: str = "") -> list[str]:
    """The dotted names of all that a row has."""
    found: list[str] = []
    for name, field in serializer.fields.items():
        if isinstance(field, serializers.Serializer):
            found += columns(field, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found


async def _asynchronous(chunks: Iterator[str]) -> AsyncIterator[str]:
    # A thread per page: Django would read a plain iterator to its end before it sends any.
    def following() -> str | None:
        return next(chunks, None)

    while (chunk := await sync_to_async(following)()) is not None:
        yield chunk

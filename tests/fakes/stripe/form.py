"""Bodies as Stripe takes them: ``a[b][0][c]=1`` and back into objects."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

Body = dict[str, Any]


def parse(text: str) -> Body:
    """Read a form or a query with nested names."""
    found: Body = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        head, *rest = name.replace("]", "").split("[")
        _put(found, [head, *rest], value)
    return {name: _lists(value) for name, value in found.items()}


def _put(place: Body, path: list[str], value: str) -> None:
    for part in path[:-1]:
        place = place.setdefault(part, {})
    last = path[-1] or str(len(place))
    place[last] = value


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {name: _lists(each) for name, each in value.items()}
    if inner and all(name.isdigit() for name in inner):
        return [inner[name] for name in sorted(inner, key=int)]
    return inner


def is_true(value: Any) -> bool:
    """Whether a field says true."""
    return value in ("true", True)

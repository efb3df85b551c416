"""No endpoint of the management API without an explicit policy: checked before a start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.urls import URLPattern, URLResolver, get_resolver

BASE = "api/v1/"


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one address; ``operation`` is None where nobody declared a policy."""

    path: str
    method: str
    operation: Any


def routes() -> list[Route]:
    """Every method of every address below /api/v1/."""
    found = []
    for path, view in _views(get_resolver().url_patterns, ""):
        endpoint = getattr(view, "cls", None)
        if endpoint is None:
            found.append(Route(f"/{path}", "ANY", None))
            continue
        found += [
            Route(f"/{path}", name.upper(), getattr(getattr(endpoint, name), "operation", None))
            for name in endpoint.http_method_names
            if name != "head" and hasattr(endpoint, name)
        ]
    return found


def _views(patterns: Sequence[Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver) and (BASE.startswith(path) or path.startswith(BASE)):
            yield from _views(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern) and path.startswith(BASE):
            yield path, pattern.callback


def problems() -> list[str]:
    """One sentence for each endpoint that may not be served."""
    without = [
        f"{route.method} {route.path} has no policy; decorate it with accounts.api.operation."
        for route in routes()
        if route.operation is None
    ]
    slashes = {route.path for route in routes() if route.path.endswith("/")}
    return without + [f"{path} ends with a slash; no address of the API does." for path in slashes]


@register(Tags.security)
def check_policies(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report the same problems through ``manage.py check``."""
    return [Error(text, id=f"tollgate.E{number}") for number, text in enumerate(problems(), 101)]

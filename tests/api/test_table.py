"""The table of docs/api.md: each page and form of the dashboard, and the calls that do the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from django.conf import settings
from django.urls import URLPattern, URLResolver, get_resolver

from proxy import gateway as gateway_app
from tests.api.conftest import Tenant

# What is no page of the dashboard: machines ask for it, or it is there for everybody to read.
OTHERS: Final = (
    *(
        "admin/",
        "api/v1",
        "csp-report",
        "docs",
        "impersonation/",
        "staff/",
        "legal/",
        "openapi/",
        "readyz",
        "status",
        "webhooks/stripe",
    ),
)
NONE: Final = "none: "
ELSEWHERE: Final = ("every page", "(by the API alone)")


def rows() -> list[tuple[str, str]]:
    """Page and call of each line."""
    text = (settings.BASE_DIR / "docs" / "api.md").read_text()
    table = text.partition("| in the dashboard |")[2].partition("\n\n")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert {len(line) for line in lines} == {4}
    return [(page, call) for _, page, call, _ in lines]


def named(cell: str, *, start: str = "") -> set[tuple[str, str]]:
    """Method and address of everything that a cell names."""
    found = re.findall(r"`([A-Z]+(?: [A-Z]+)*) (" + start + r"[^` ]+)`", cell)
    return {(method, bare(path)) for methods, path in found for method in methods.split()}


def bare(path: str) -> str:
    """An address without the names of its parameters."""
    return re.sub(r"{\w+}", "{}", path)


def pages() -> Iterator[tuple[str, Any]]:
    """Every address of the dashboard, without the names of its parameters, and its view."""
    for path, view in views(get_resolver().url_patterns, ""):
        address = re.sub(r"\(\?P<\w+>(?:[^()]|\([^()]*\))*\)|<[^>]+>", "{}", path)
        address = re.sub(r"[\^$]", "", address).removesuffix("(?:/.*)?")
        if address and not address.startswith(OTHERS):
            yield f"/{address}", view


def views(patterns: list[Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from views(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern):
            yield path, pattern.callback


def taken(alice: Tenant, address: str, view: Any) -> set[str]:
    """Which of GET and POST a page takes; one that refuses no method takes both."""
    kind = getattr(view, "view_class", None)
    if kind is not None:
        return {name for name in ("GET", "POST") if hasattr(kind, name.lower())}
    path = address.replace("/dashboard/keys/{}", "/dashboard/keys/key_1").replace("{}", "x")
    response = alice.session().client.generic("LOCK", path)
    allowed = response.headers.get("Allow", "GET, POST") if response.status_code == 405 else ""
    return {"GET", "POST"} & set((allowed or "GET, POST").split(", "))


class TestPages:
    def test_every_page_and_every_form_has_a_row(self, alice: Tenant) -> None:
        told = {each for page, _ in rows() for each in named(page, start="/")}
        there = {
            (method, address) for address, view in pages() for method in taken(alice, address, view)
        }

        assert not there - told, "give each of them a row in the table of docs/api.md"
        assert not told - there, "docs/api.md names pages that are gone"
        assert len(there) > 80

    def test_every_row_has_a_page_or_says_that_there_is_none(self) -> None:
        assert [page for page, _ in rows() if not named(page, start="/")] == [
            page for page, _ in rows() if page in ELSEWHERE
        ]


class TestCalls:
    def test_every_call_is_in_the_document_and_the_other_way_round(self) -> None:
        path = settings.BASE_DIR / "static" / "openapi" / "management.json"
        served = {
            (method.upper(), bare(address.removeprefix("/api/v1/")))
            for address, methods in json.loads(path.read_text())["paths"].items()
            for method in methods
        }
        told = {each for _, call in rows() for each in named(call, start="[^/`]")}

        assert not served - told, "name each of them in the table of docs/api.md"
        assert not told - served, "docs/api.md names calls that there are not"

    def test_every_call_of_the_gateway_is_one_of_its_own(self) -> None:
        told = {each for _, call in rows() for each in named(call, start="/")}
        served = {(method, path) for path, (method, _) in gateway_app.SURFACES.items()}

        assert told
        assert told <= served

    def test_every_row_has_a_call_or_says_why_there_is_none(self) -> None:
        for page, call in rows():
            assert bool(named(call)) != call.startswith(NONE), page

"""
Every page of the admin site, with rows, in a real browser.

The pages are those of the site's own addresses, each asked for once without a browser; the browser
gets what was answered, headers included. It looks at pages until it has seen every kind of element
(tag and classes) that any of them has: lists of the same build differ in their words only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib import admin
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import URLPattern, reverse
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, sync_playwright

from billing.adminsteps import Stepping
from tests.pages import Inline
from tests.peers.browsing import FLAGS, faults
from tests.staff import rows
from tests.staff.desk import desk

ORIGIN = "http://localhost"
# Of a row, but for its steps.
OF_A_ROW = ("change", "history", "delete", "ledger", "impersonate", "password_change")
# They answer with something else than a page, or only to a form.
NO_PAGE = {"login", "logout", "password_change", "password_change_done", "view_on_site",
           "autocomplete", "accounts_approval_approve", "accounts_approval_refuse"}  # fmt: skip
MOST_SEEN = 60


@dataclass(frozen=True, slots=True)
class Shown:
    """What the site answered."""

    headers: Mapping[str, str]
    text: str


class Kinds(HTMLParser):
    """The kinds of elements of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: set[tuple[str, str]] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        named = dict(attrs)
        words = (named.get("class") or "").split()
        # Each model and each field has a class of its own, which says nothing about looks.
        plain = {word for word in words if not word.startswith(("model-", "app-", "field-", "col"))}
        self.found |= {(tag, word) for word in plain or {named.get("type") or ""}}


def addresses() -> Iterator[str]:
    """Where every page of the site is; those of rows with the first row that they take."""
    yield from (reverse(f"admin:{name}") for name in ("index", "jsi18n"))
    yield from (
        reverse("admin:app_list", args=[label]) for label in ("accounts", "billing", "proxy")
    )
    for page in admin.site._registry.values():
        label = f"{page.opts.app_label}_{page.opts.model_name}"
        for pattern in page.get_urls():
            if isinstance(pattern, URLPattern) and pattern.name and pattern.name not in NO_PAGE:
                yield from _address(page, pattern.name, label)


def _address(page: Any, name: str, label: str) -> Iterator[str]:
    word = name.removeprefix(f"{label}_")
    found = list(page.get_queryset(None)[:20])
    steps = {step.name: step for step in getattr(page, "steps", ())}
    if word in steps:
        assert isinstance(page, Stepping)
        takes = [row for row in found if not steps[word].refusal(row)]
        yield from (page.step_url(steps[word], row) for row in takes[:1])
    elif name == "auth_user_password_change":
        yield reverse(f"admin:{name}", args=[found[0].pk])
    elif word in OF_A_ROW:
        yield from (reverse(f"admin:{name}", args=[row.pk]) for row in _telling(found))
    else:
        yield reverse(f"admin:{name}")


def _telling(found: list[Any]) -> list[Any]:
    """Of people a customer, of requests one that waits; of all others the first."""
    return sorted(found, key=_last)[:1]


def _last(row: Any) -> bool:
    return bool(getattr(row, "is_staff", False)) or getattr(row, "state", "pending") != "pending"


def ask_for_all() -> dict[str, Shown]:
    """Every page as the site answers it."""
    client: Client = desk(rows.fill())
    found = {}
    for address in sorted(set(addresses())):
        answer = client.get(address)
        # Not even whoever may do all of it deletes what is kept.
        if answer.status_code != 403:
            assert answer.status_code == 200, (address, answer.status_code)
            found[address] = Shown(dict(answer.items()), answer.content.decode())
    return found


def answer(route: Route, shown: Mapping[str, Shown]) -> None:
    """Give the browser what the site answered, and its files."""
    path = urlsplit(route.request.url).path
    if path in shown:
        route.fulfill(headers=dict(shown[path].headers), body=shown[path].text)
    elif path.startswith("/static/") and (found := finders.find(path.removeprefix("/static/"))):
        route.fulfill(path=Path(str(found)))
    else:
        route.fulfill(status=404)


def open_page(browser: Browser, shown: Mapping[str, Shown], complaints: list[str]) -> Page:
    """A page that writes down what the browser complains of."""
    context = browser.new_context(
        reduced_motion="reduce", color_scheme="light", viewport={"width": 1280, "height": 900}
    )
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.route("**/*", lambda route: answer(route, shown))

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{page.url}: {message.text}")

    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
    return page


def telling(shown: Mapping[str, Shown]) -> list[str]:
    """Pages that together have every kind of element there is."""
    kinds = {address: Kinds(each.text).found for address, each in shown.items()}
    seen: set[tuple[str, str]] = set()
    chosen = []
    while new := {address: found - seen for address, found in kinds.items() if found - seen}:
        best = max(new, key=lambda address: len(new[address]))
        chosen.append(best)
        seen |= kinds[best]
    return chosen


def small_and_dark(page: Page) -> list[str]:
    """What is too wide for a telephone, or cannot be read by night; axe-core is there already."""
    page.set_viewport_size({"width": 360, "height": 900})
    page.emulate_media(color_scheme="dark")
    found = []
    if page.evaluate("document.documentElement.scrollWidth") > 360:
        found.append(f"{page.url} is wider than 360 px")
    asked = "axe.run({runOnly: ['color-contrast'], resultTypes: ['violations']})"
    for violation in page.evaluate(asked)["violations"]:
        found.append(f"{page.url}: {[node['html'][:200] for node in violation['nodes']]}")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")
    return found


def look_at(shown: Mapping[str, Shown], *, program: str, axe: str) -> list[str]:
    """What a browser and axe-core complain of, in each look."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        page = open_page(browser, shown, complaints)
        for address in telling(shown):
            page.goto(ORIGIN + address)
            # What axe-core itself brings is refused as well, and is no fault of the page.
            heard = len(complaints)
            complaints[heard:] = faults(page, width=1280, axe=axe) + small_and_dark(page)
        browser.close()
    return complaints


@pytest.mark.django_db
def test_every_page_is_well_in_a_browser(chromium: str, axe: str) -> None:
    shown = ask_for_all()
    assert len(shown) > 2 * len(admin.site._registry)
    for address, each in shown.items():
        assert Inline(each.text).found == [], address
        policy = each.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    assert 10 < len(telling(shown)) < MOST_SEEN
    # A thread of its own: the browser's loop would keep this one from the database.
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(look_at, shown, program=chromium, axe=axe).result() == []

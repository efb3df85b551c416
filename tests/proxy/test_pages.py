"""What holds on every page: a strict policy, nothing inline, nothing from elsewhere."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from html import unescape
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.urls import URLPattern

import accounts.urls
import billing.urls
import proxy.urls
from accounts import webhooks
from accounts.models import User
from tests import pages

pytestmark = pytest.mark.django_db
OURS = [*accounts.urls.urlpatterns, *billing.urls.urlpatterns, *proxy.urls.urlpatterns]
ALLAUTH = [
    "/accounts/email/",
    "/accounts/password/change/",
    "/accounts/password/reset/",
    "/accounts/reauthenticate/",
    "/accounts/2fa/",
    "/accounts/2fa/totp/activate/",
    "/accounts/2fa/webauthn/",
    "/accounts/sessions/",
]
OF_THE_DASHBOARD = [
    "/dashboard",
    "/dashboard/quickstart",
    "/dashboard/playground",
    "/dashboard/keys",
    "/dashboard/keys/new",
    "/dashboard/usage",
    "/dashboard/logs",
    "/dashboard/exports",
    "/dashboard/limits",
    "/dashboard/billing",
    "/dashboard/pricing",
    "/dashboard/team",
    "/dashboard/team/audit",
    "/dashboard/settings",
    "/dashboard/settings/delete",
]
POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "report-uri /csp-report",
)


def addresses(key_id: str) -> Iterator[str]:
    """Every address of ours, with the id of a real key where one is asked."""
    for pattern in OURS:
        assert isinstance(pattern, URLPattern)
        yield "/" + str(pattern.pattern).replace("<key:public_id>", key_id)


@pytest.fixture
def alice() -> User:
    return pages.person("alice")


def refused(html: str) -> list[str]:
    return pages.Inline(html).found


class TestEveryPage:
    def test_nothing_is_inline_and_nothing_comes_from_elsewhere(self, alice: User) -> None:
        pages.sell("test/model")
        key = pages.make_key(alice)
        pages.closed_request(key, pages.home(alice))
        browser = pages.browser(alice)

        for path in [*addresses(key.public_id), *ALLAUTH, "/no-such-page"]:
            answer = browser.get(path, follow=True)
            assert refused(answer.content.decode()) == [], path
            for directive in POLICY:
                assert directive in answer["Content-Security-Policy"], path

    @pytest.mark.parametrize("path", ["/", "/models", "/login", "/signup", "/no-such-page"])
    def test_strangers_get_the_same_policy(self, path: str) -> None:
        answer = pages.browser().get(path)

        assert refused(answer.content.decode()) == []
        assert POLICY[0] in answer["Content-Security-Policy"]

    def test_every_address_of_the_dashboard_asks_strangers_to_sign_in(self) -> None:
        client = pages.browser()

        for path in addresses("key_1"):
            if not path.startswith("/dashboard"):
                continue
            answers = [client.get(path), client.post(path)]
            assert {answer.status_code for answer in answers} <= {302, 405}, path
            assert any(answer.status_code == 302 for answer in answers), path

    def test_signed_in_pages_are_not_kept_by_the_browser(self, alice: User) -> None:
        assert pages.browser(alice).get("/dashboard")["Cache-Control"] == "no-store"

    @pytest.mark.parametrize(
        "path",
        [
            "/dashboard/keys?cursor=abc",
            "/dashboard/logs?cursor=abc",
            "/dashboard/limits?cursor=abc",
            "/dashboard/team?members=abc",
            "/dashboard/team/audit?cursor=abc",
            "/dashboard/settings/webhooks/{webhook}?cursor=abc",
        ],
    )
    def test_a_place_that_is_none_in_a_list_has_a_page_of_its_own(
        self, alice: User, path: str
    ) -> None:
        hook, _ = webhooks.create(
            workspace=pages.home(alice),
            url="https://hooks.example.com/in",
            events=["key.created"],
            by=alice,
        )

        answer = pages.browser(alice).get(path.format(webhook=hook.public_id))

        assert answer.status_code == 400
        assert 'data-testid="request-id"' in answer.content.decode()

    def test_who_is_signed_in_is_told_what_a_page_took(self, alice: User) -> None:
        took = pages.browser(alice).get("/dashboard")["Server-Timing"]

        assert float(took.removeprefix("app;dur=")) > 0
        assert "Server-Timing" not in pages.browser().get("/login")

    def test_every_page_has_a_title_a_heading_and_a_language(self, alice: User) -> None:
        browser = pages.browser(alice)

        for path in (*OF_THE_DASHBOARD, *ALLAUTH):
            page = browser.get(path, follow=True).content.decode()
            assert page.count("<h1") == 1, path
            assert '<html lang="en">' in page, path
            assert "<title> ·" not in page, path


LISTS = {
    "/dashboard": ("no-requests", "no-spend"),
    "/dashboard/keys": ("no-keys",),
    "/dashboard/usage": ("no-usage",),
    "/dashboard/logs": ("no-requests",),
    "/dashboard/exports": ("no-exports",),
    "/dashboard/limits": ("no-keys",),
    "/dashboard/billing": ("no-payments", "no-ledger"),
    "/dashboard/team": ("no-invitations", "no-services"),
    "/dashboard/settings/webhooks": ("no-webhooks",),
    "/models": ("no-models",),
    "/pricing": ("no-models",),
}


class TestEmptyStates:
    @pytest.mark.parametrize("path", LISTS)
    def test_every_list_says_what_it_is_and_what_to_do_next(self, alice: User, path: str) -> None:
        page = pages.browser(alice).get(path).content.decode()

        for testid in LISTS[path]:
            empty = page.partition(f'<div class="empty" data-testid="{testid}">')[2]
            assert empty.count("<p", 0, empty.find("</div>")) == 2, testid

    def test_no_list_is_left_out(self) -> None:
        """A page of ours that has a list includes the component, itself or by its parts."""
        folder = settings.BASE_DIR / "templates"
        for path in (folder / "dashboard").rglob("*.html"):
            words = path.read_text()
            if "divide-y" not in words or "{% for" not in words:
                continue
            assert "components/empty.html" in words, path


CHARTED = ["/dashboard", "/dashboard?show=latency"] + [
    f"/dashboard/usage?by={by}&show={show}"
    for by, show in (
        ("model", "cost"),
        ("key", "tokens"),
        ("workspace", "requests"),
        ("day", "cost"),
    )
]


class TestCharts:
    @pytest.mark.parametrize("path", CHARTED)
    def test_a_chart_is_also_a_table_a_file_and_an_api(self, alice: User, path: str) -> None:
        key, home = pages.make_key(alice), pages.home(alice)
        for model, charged in (("a/one", 5_000), ("b/two", 7_000)):
            pages.closed_request(key, home, model=model, charged=charged, cost=charged)
        browser = pages.browser(alice)
        page = browser.get(path).content.decode()
        figures = page.count("<figure data-chart=")
        panels = page.split("data-chart-panel>")[1:]

        assert len(panels) == figures > 0
        for panel in panels:
            facts = json.loads(panel.split('type="application/json">')[1].split("</script>")[0])
            table = panel.split('data-testid="chart-table"')[1].split("</table>")[0]
            assert table.count("<tr>") == len(facts["days"]) + 1
            assert table.count('scope="col"') == len(facts["series"]) + 1
            csv, api = (link(panel, testid) for testid in ("chart-csv", "chart-api"))
            lines = browser.get(csv).content.decode().splitlines()
            told = browser.get(api).json()["data"]
            assert len(lines) - 1 == len(told) > 0
            assert sum(Decimal(line.split(",")[-1]) for line in lines[1:]) == Decimal("0.000012")
            assert sum(Decimal(row["cost_usd"]) for row in told) == Decimal("0.000012")

    def test_no_template_draws_one_in_another_way(self) -> None:
        folder = settings.BASE_DIR / "templates"
        drawing = [
            path.name for path in folder.rglob("*.html") if "data-chart=" in path.read_text()
        ]

        assert drawing == ["chart.html"]


def link(html: str, testid: str) -> str:
    """Where the link of that name leads."""
    element = html.split(f'data-testid="{testid}"')[0].rpartition("<a ")[2]
    return unescape(element.split('href="')[1].split('"')[0])


MOST_BYTES = 150_000
OPEN = ["/", "/models", "/pricing", "/status", "/docs/errors", "/docs/api", "/login"]


class TestWeight:
    @pytest.mark.parametrize("path", [*OPEN, *OF_THE_DASHBOARD])
    def test_no_page_is_heavy_on_first_load(self, alice: User, path: str) -> None:
        key = pages.make_key(alice)
        for number in range(60):
            pages.closed_request(key, pages.home(alice), model=f"m/{number % 8}")
        browser = pages.browser(None if path == "/login" else alice)
        page = browser.get(path, follow=True).content
        named = re.findall(r'(?:src|href)="/static/([^"?]+)"', page.decode())

        sizes = {name: packed(static_file(name)) for name in named} | {path: packed(page)}

        assert len(sizes) > 2
        assert sum(sizes.values()) <= MOST_BYTES, sizes


def static_file(name: str) -> bytes:
    """A file that a page names, as it is served: by its own name or with a digest in it."""
    plain = re.sub(r"\.[0-9a-f]{12}(?=\.[a-z0-9]+$)", "", name)
    found = finders.find(plain)
    assert found, name
    return Path(str(found)).read_bytes()


def packed(body: bytes) -> int:
    """How much travels."""
    return len(gzip.compress(body, 6))

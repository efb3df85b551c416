"""The list of requests, and the receipt of one."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User, Workspace
from billing import prices
from billing.pricing import Rates
from common import ids
from proxy import views_logs
from tests import pages
from tests.billing import bank

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return pages.person("alice")


@pytest.fixture
def home(alice: User) -> Workspace:
    return pages.home(alice)


def text(user: User, query: str = "", *, status: int = 200) -> str:
    """The page as its reader gets it."""
    answer = pages.browser(user).get(f"/dashboard/logs{query}")
    assert answer.status_code == status
    return answer.content.decode()


def shown(page: str) -> list[str]:
    """The ids of the requests on a page."""
    return re.findall(r'data-testid="request-id">([^<]+)<', page)


class TestLog:
    def test_nothing_asked_says_what_comes_here_and_what_to_do(self, alice: User) -> None:
        page = text(alice)

        assert 'data-testid="no-requests"' in page
        assert 'href="/dashboard/quickstart"' in page

    def test_the_newest_is_first(self, alice: User, home: Workspace) -> None:
        key = pages.make_key(alice)
        made = [pages.closed_request(key, home) for _ in range(3)]

        wanted = [ids.form("req_", row.id) for row in reversed(made)]
        assert shown(text(alice)) == wanted

    def test_each_request_is_on_one_page(
        self, alice: User, home: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(views_logs, "ROWS", 2)
        key = pages.make_key(alice)
        made = {ids.form("req_", pages.closed_request(key, home).id) for _ in range(5)}

        found: list[str] = []
        query = ""
        for _ in range(3):
            page = text(alice, query)
            found += shown(page)
            link = re.search(r'href="/dashboard/logs(\?[^"]+)" data-testid="next-page"', page)
            query = link[1].replace("&amp;", "&") if link else ""

        assert (len(found), set(found), query) == (5, made, "")

    def test_a_page_is_no_endless_roll_of_cards_on_a_telephone(
        self, alice: User, home: Workspace
    ) -> None:
        key = pages.make_key(alice)
        for _ in range(26):
            pages.closed_request(key, home)

        assert len(shown(text(alice))) == 25

    def test_all_prices_of_a_page_have_as_many_decimals(self, alice: User, home: Workspace) -> None:
        key = pages.make_key(alice)
        for charged in (60_000_000, 97_500, 0):
            pages.closed_request(key, home, charged=charged, cost=charged)

        prices_shown = re.findall(r'data-testid="price">([^<]+)<', text(alice))

        assert prices_shown == ["$0.0000000", "$0.0000975", "$0.0600000"]

    def test_filters_narrow(self, alice: User, home: Workspace) -> None:
        one, two = pages.make_key(alice, name="one"), pages.make_key(alice, name="two")
        first = pages.closed_request(one, home, model="a/one", status=502)
        second = pages.closed_request(two, home, model="b/two")
        today = timezone.now().date()

        for query, wanted in (
            ("?model=a/one", first),
            ("?status=failed", first),
            ("?status=ok", second),
            (f"?key_id={two.public_id}", second),
        ):
            assert shown(text(alice, query)) == [ids.form("req_", wanted.id)], query
        assert len(shown(text(alice, f"?since={today}&until={today}"))) == 2
        page = text(alice, f"?until={today - timedelta(days=1)}")
        assert 'data-testid="none-fit"' in page

    @pytest.mark.parametrize("prefix", ["req_", "gen_", "chatcmpl-"])
    def test_an_id_in_any_form_leads_to_its_receipt(
        self, alice: User, home: Workspace, prefix: str
    ) -> None:
        row = pages.closed_request(pages.make_key(alice), home)

        answer = pages.browser(alice).get(f"/dashboard/logs?id={ids.form(prefix, row.id)}")

        assert answer["Location"] == f"/dashboard/logs/{ids.form('req_', row.id)}"

    def test_what_is_no_id_is_told(self, alice: User) -> None:
        assert "This is no id of a request" in text(alice, "?id=hello")

    def test_a_range_that_is_none_is_refused_at_its_field_and_kept(self, alice: User) -> None:
        page = text(alice, "?since=2026-02-02&until=2026-02-01&model=a%2Fb&status=ok", status=400)

        assert "The first day is after the last." in page
        for kept in ('value="2026-02-02"', 'value="2026-02-01"', 'value="a/b"', '"ok" selected'):
            assert kept in page
        assert 'aria-invalid="true"' in page

    def test_a_range_of_one_day_is_none_to_be_refused(self, alice: User) -> None:
        text(alice, "?since=2026-02-01&until=2026-02-01")

    def test_a_cursor_of_somewhere_else_is_refused(self, alice: User) -> None:
        text(alice, "?cursor=abc", status=400)

    def test_a_strangers_key_finds_nothing(self, alice: User) -> None:
        bob = pages.person("bob")
        key = pages.make_key(bob)
        pages.closed_request(key, pages.home(bob))

        assert shown(text(alice)) == []
        text(alice, f"?key_id={key.public_id}", status=400)


class TestReceipt:
    def test_its_parts_add_up_to_what_was_charged(self, alice: User, home: Workspace) -> None:
        rates = Rates(prompt=1_000_001, completion=2_000_000, cached_prompt=500_000)
        now = timezone.now()
        price = prices.set_price(subject="test/model", role="retail", rates=rates, now=now)
        assert price is not None
        facts = {"input_tokens": 7, "cached_tokens": 4, "output_tokens": 5, "price_id": price.pk}
        row = pages.closed_request(
            pages.make_key(alice), home, cost=19_001, charged=19_001, **facts
        )

        page = text(alice, f"/{ids.form('req_', row.id)}")

        for amount in ("$0.000007000007", "$0.000002", "$0.000010"):
            assert amount in page
        assert re.search(r'receipt-total">\$0.000019001000<', page)
        assert re.search(rf'receipt-key">{row.key.name}<', page)
        assert re.search(r'receipt-price">\$0.000019001<', page)

    def test_a_corrected_call_shows_what_was_charged_at_first(
        self, alice: User, home: Workspace
    ) -> None:
        guess = {"source": "checkpoint", "reason": "swept", "cost": 41_000, "charged": 41_000}
        row = pages.closed_request(pages.make_key(alice), home, **guess)
        proof = bank.bill(str(row.id), 16_000, day=row.day.isoformat(), reason="")
        assert bank.revise(proof)["v"] == "corrected"

        page = text(alice, f"/{ids.form('req_', row.id)}")

        assert re.search(r'receipt-price">\$0.000016<', page)
        assert re.search(r'receipt-corrected">\$0.000041 ', page)

    def test_a_call_that_cost_nothing_says_so(self, alice: User, home: Workspace) -> None:
        row = pages.closed_request(pages.make_key(alice), home, cost=0, charged=0, status=502)

        page = text(alice, f"/{ids.form('req_', row.id)}")

        assert "The request failed, so it costs nothing." in page
        assert "still running" not in page
        assert 'badge-error">502<' in page

    def test_a_strangers_receipt_is_not_found(self, alice: User) -> None:
        bob = pages.person("bob")
        row = pages.closed_request(pages.make_key(bob), pages.home(bob))

        assert "no-receipt" in text(alice, f"/{ids.form('req_', row.id)}", status=404)
        text(alice, "/req_nonsense", status=404)

    def test_a_refused_call_has_none_and_is_told_why(self, alice: User) -> None:
        page = text(alice, f"/{ids.form('req_', ids.request_id())}", status=404)

        assert 'data-testid="no-receipt"' in page
        assert "/docs/errors" in page

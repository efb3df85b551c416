"""The Overview."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import keys, members
from accounts.models import ApiKey, User, Workspace
from billing import grants, ledger, limits
from tests import pages

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return pages.person("alice")


@pytest.fixture
def home(alice: User) -> Workspace:
    return pages.home(alice)


def text(user: User, path: str = "/dashboard") -> str:
    """A page as its reader gets it."""
    answer = pages.browser(user).get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def shown(page: str, testid: str) -> str:
    """The words in one element."""
    found = re.search(rf'data-testid="{testid}"[^>]*>([^<]*)<', page)
    assert found is not None, f"{testid} is not on the page"
    return found[1].strip()


def give(workspace: Workspace, *, nanos: int) -> None:
    grants.grant(workspace=workspace, asset="USD", amount=nanos, reason="test", paid=True)


class TestOverview:
    def test_a_new_workspace_says_what_is_empty_and_what_to_do_next(self, alice: User) -> None:
        page = text(alice)

        assert 'data-testid="no-requests"' in page
        assert 'data-testid="no-spend"' in page
        assert 'data-testid="banner-empty-balance"' in page
        assert 'href="/dashboard/quickstart"' in page

    def test_the_balance_has_two_decimals(self, alice: User, home: Workspace) -> None:
        give(home, nanos=1_234_567_890_000)

        assert shown(text(alice), "available") == "$1,234.56"

    def test_a_request_is_shown_with_its_exact_price(self, alice: User, home: Workspace) -> None:
        give(home, nanos=5 * 10**9)
        pages.closed_request(pages.make_key(alice), home, charged=123, cost=123)

        assert shown(text(alice), "price") == "$0.000000123"

    def test_a_round_price_has_six_decimals(self, alice: User, home: Workspace) -> None:
        pages.closed_request(pages.make_key(alice), home, charged=10**7, cost=10**7)

        assert shown(text(alice), "price") == "$0.010000"

    def test_tokens_are_not_called_dollars(self, alice: User, home: Workspace) -> None:
        pages.closed_request(
            pages.make_key(alice), home, asset="TOK", unit_nanos=2_500_000, charged=4, hold=10
        )

        page = text(alice)

        assert shown(page, "price") == "4 TOK"
        assert shown(page, "spent-today") == "$0.01"

    def test_failed_requests_make_the_error_rate(self, alice: User, home: Workspace) -> None:
        key = pages.make_key(alice)
        pages.closed_request(key, home)
        pages.closed_request(key, home, status=502, charged=0, cost=0, reason="upstream_failed")

        assert shown(text(alice), "error-rate") == "50.0%"

    def test_requests_of_another_workspace_are_not_shown(self, alice: User) -> None:
        bob = pages.person("bob")
        pages.closed_request(pages.make_key(bob), pages.home(bob), model="bob/secret-model")

        assert "bob/secret-model" not in text(alice)

    def test_a_low_balance_is_said(self, alice: User, home: Workspace) -> None:
        give(home, nanos=10**8)

        page = text(alice)

        assert 'data-testid="banner-low-balance"' in page
        assert 'data-testid="banner-empty-balance"' not in page

    def test_a_cap_that_allows_nothing_is_said(self, alice: User, home: Workspace) -> None:
        limits.set_workspace_caps(by=None, workspace=home, daily=0, monthly=10**9, past_tier=True)

        page = text(alice)

        assert 'data-testid="banner-day-cap"' in page
        assert 'data-testid="banner-month-cap"' not in page

    def test_a_frozen_workspace_is_said(self, alice: User, home: Workspace) -> None:
        ledger.freeze(workspace_id=home.pk)

        assert 'data-testid="banner-frozen"' in text(alice)

    def test_someone_who_is_not_verified_may_look_and_is_told(self) -> None:
        assert 'data-testid="banner-unverified"' in text(pages.person("new", verified=False))

    def test_names_are_words_never_markup(self, alice: User, home: Workspace) -> None:
        Workspace.objects.filter(pk=home.pk).update(name="<b>bold</b>")
        key = pages.make_key(alice, name="<script>alert(1)</script>")
        pages.closed_request(key, home, model="<img src=x>", reason="<i>")

        page = text(alice)

        assert "<b>bold" not in page
        assert "<script>alert" not in page
        assert "<img src=x" not in page

    def test_the_chart_is_exact_in_its_table(self, alice: User, home: Workspace) -> None:
        pages.closed_request(pages.make_key(alice), home, charged=123, cost=123)

        table = text(alice).split('data-testid="chart-table"')[1].split("</table>")[0]

        assert "$0.000000123" in table
        assert "test/model" in table

    def test_the_dearest_models_and_keys_are_ranked(self, alice: User, home: Workspace) -> None:
        cheap, dear = pages.make_key(alice, name="cheap"), pages.make_key(alice, name="dear")
        pages.closed_request(cheap, home, model="a/cheap", charged=1, cost=1)
        pages.closed_request(dear, home, model="b/dear", charged=9_000, cost=9_000)

        page = text(alice).replace("<wbr>", "")

        for testid, first, second in (
            ("top-models", "b/dear", "a/cheap"),
            ("top-keys", "dear", "cheap"),
        ):
            ranked = page.split(f'data-testid="{testid}"')[1].split("</ol>")[0]
            assert ranked.index(f">{first}<") < ranked.index(f">{second}<")

    @pytest.mark.parametrize(
        ("role", "pays"),
        [("admin", True), ("billing", True), ("developer", False), ("viewer", False)],
    )
    def test_money_is_asked_of_those_alone_who_may_pay(
        self, alice: User, home: Workspace, role: str, pays: bool
    ) -> None:
        bob = pages.person("bob")
        members.add(workspace=home, user=bob, role=role, by=alice)
        browser = pages.browser(bob, workspace=home)

        page = browser.get("/dashboard").content.decode()
        first = browser.get("/dashboard/quickstart").content.decode()

        assert 'data-testid="banner-empty-balance"' in page
        assert ("Add credit" in page) is pays
        assert ("Add credit" in first) is pays

    @pytest.mark.parametrize("role", ["viewer", "developer"])
    def test_a_key_of_somebody_else_is_not_offered_to_be_rotated(
        self, alice: User, home: Workspace, role: str
    ) -> None:
        pages.make_key(alice, expires_at=timezone.now() + timedelta(days=3))
        bob = pages.person("bob")
        members.add(workspace=home, user=bob, role=role, by=alice)

        theirs = pages.browser(bob, workspace=home).get("/dashboard").content.decode()

        assert 'data-testid="banner-key-ending"' in theirs
        assert "Rotate it" not in theirs
        assert "Rotate it" in text(alice)

    def test_a_key_that_soon_expires_is_said_until_it_is_rotated(self, alice: User) -> None:
        soon = timezone.now() + timedelta(days=3)
        key = pages.make_key(alice, name="Night job", expires_at=soon)
        said = 'data-testid="banner-key-ending"'
        before = text(alice)

        keys.rotate(key=key, overlap=timedelta(days=1), by=alice)
        ApiKey.objects.filter(replaces=key).update(expires_at=None)

        assert said in before
        assert "Night job" in before
        assert said not in text(alice)

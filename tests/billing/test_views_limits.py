"""The page of limits: caps and alerts, shown and set."""

from __future__ import annotations

import pytest

from accounts import members
from accounts.models import AuditEvent, Tier, User, Workspace
from billing import alerts, limits, views_limits
from tests import pages

pytestmark = pytest.mark.django_db
USD = 10**9


@pytest.fixture
def alice() -> User:
    return pages.person("alice")


@pytest.fixture
def home(alice: User) -> Workspace:
    return pages.home(alice)


def text(user: User, workspace: Workspace) -> str:
    """The page as its reader gets it."""
    answer = pages.browser(user, workspace=workspace).get("/dashboard/limits")
    assert answer.status_code == 200
    return answer.content.decode()


def tier(**caps: int | None) -> None:
    """Bound what workspaces may spend."""
    Tier.objects.update(default_daily_nanos=USD, default_monthly_nanos=USD, **caps)


def colleague(workspace: Workspace, role: str) -> User:
    user = pages.person(role)
    members.add(workspace=workspace, user=user, role=role, by=None)
    return user


class TestLimitsPage:
    def test_without_keys_it_says_what_they_could_have(self, alice: User, home: Workspace) -> None:
        assert 'data-testid="no-keys"' in text(alice, home)

    def test_bars_show_what_is_used_of_a_cap(self, alice: User, home: Workspace) -> None:
        limits.set_workspace_caps(
            by=None, workspace=home, daily=2 * USD, monthly=None, past_tier=True
        )

        page = text(alice, home)

        assert "$0.00 of $2.00" in page
        assert "$0.00 · no limit" in page

    def test_who_sees_no_keys_is_not_told_that_there_are_none(
        self, alice: User, home: Workspace
    ) -> None:
        pages.make_key(alice, name="Secretly named")

        page = text(colleague(home, "billing"), home)

        assert 'data-testid="keys-not-shown"' in page
        assert "No keys yet" not in page
        assert "Secretly named" not in page

    def test_a_viewer_sees_it_and_has_no_form(self, alice: User, home: Workspace) -> None:
        pages.make_key(alice)

        page = text(colleague(home, "viewer"), home)

        assert 'data-testid="key-limits"' in page
        assert "<form" not in page.split('id="main"')[1]

    def test_the_hint_says_what_the_tier_allows(self, alice: User, home: Workspace) -> None:
        tier(max_daily_nanos=250 * USD, max_monthly_nanos=None)

        form = text(alice, home).split('data-testid="caps-form"')[1].split("</form>")[0]

        assert "At most $250.00 in your tier. 0: nothing." in form
        assert form.count("Empty: no limit. 0: nothing.") == 1

    def test_a_key_may_be_without_a_cap_of_its_own(self, alice: User, home: Workspace) -> None:
        pages.make_key(alice)

        assert text(alice, home).count("Empty: no limit of its own. 0: nothing.") == 2


class TestSetWorkspaceCaps:
    def test_none_where_the_tier_has_a_highest_is_told_at_the_field(
        self, alice: User, home: Workspace
    ) -> None:
        tier(max_daily_nanos=250 * USD, max_monthly_nanos=None)
        browser = pages.browser(alice)

        answer = browser.post("/dashboard/limits/workspace", {"daily": "", "monthly": ""})
        done = browser.post("/dashboard/limits/workspace", {"daily": "250", "monthly": ""})

        assert "This field is required." in answer.content.decode()
        assert (answer.status_code, done.status_code) == (400, 302)
        assert limits.workspace_caps(workspace=home) == (250 * USD, None)

    def test_billing_people_set_them_and_it_is_written_down(self, home: Workspace) -> None:
        browser = pages.browser(colleague(home, "billing"), workspace=home)

        browser.post("/dashboard/limits/workspace", {"daily": "1.50", "monthly": "20"})

        assert limits.workspace_caps(workspace=home) == (3 * USD // 2, 20 * USD)
        assert AuditEvent.objects.filter(workspace=home, action="limits.changed").exists()

    def test_a_developer_may_not(self, home: Workspace) -> None:
        before = limits.workspace_caps(workspace=home)
        browser = pages.browser(colleague(home, "developer"), workspace=home)

        answer = browser.post("/dashboard/limits/workspace", {"daily": "1", "monthly": "1"})

        assert answer.status_code == 403
        assert limits.workspace_caps(workspace=home) == before

    def test_more_than_the_tier_allows_is_told(self, alice: User, home: Workspace) -> None:
        browser = pages.browser(alice)
        before = limits.workspace_caps(workspace=home)

        answer = browser.post(
            "/dashboard/limits/workspace", {"daily": "99999999", "monthly": "1"}, follow=True
        )

        assert "allows at most" in answer.content.decode()
        assert limits.workspace_caps(workspace=home) == before

    @pytest.mark.parametrize("amount", ["-1", "1.0000000001", "a lot"])
    def test_what_is_no_amount_is_told_in_the_form(self, alice: User, amount: str) -> None:
        answer = pages.browser(alice).post("/dashboard/limits/workspace", {"daily": amount})

        assert answer.status_code == 400
        assert "errorlist" in answer.content.decode()


class TestSetKeyCaps:
    def test_the_owner_sets_them(self, alice: User) -> None:
        key = pages.make_key(alice)
        form = {f"{key.public_id}-daily": "0.25", f"{key.public_id}-monthly": "1"}

        pages.browser(alice).post(f"/dashboard/limits/keys/{key.public_id}", form)

        assert limits.key_caps(key=key) == (USD // 4, USD)

    def test_a_key_that_is_not_theirs_to_change_stays(self, alice: User, home: Workspace) -> None:
        key = pages.make_key(alice)
        before = limits.key_caps(key=key)
        address = f"/dashboard/limits/keys/{key.public_id}"
        form = {f"{key.public_id}-daily": "0.25"}

        viewer = pages.browser(colleague(home, "viewer"), workspace=home).post(address, form)
        stranger = pages.browser(pages.person("bob")).post(address, form)

        assert (viewer.status_code, stranger.status_code) == (403, 404)
        assert limits.key_caps(key=key) == before


class TestSetAlerts:
    @pytest.mark.parametrize(("typed", "kept"), [("2.50", 5 * USD // 2), ("0", 0)])
    def test_a_balance_to_be_told_at(
        self, alice: User, home: Workspace, typed: str, kept: int
    ) -> None:
        pages.browser(alice).post("/dashboard/limits/alerts", {"low_balance": typed})

        assert alerts.low_balance_nanos(workspace=home) == kept

    def test_empty_is_the_operators_own(self, alice: User, home: Workspace) -> None:
        usual = alerts.low_balance_nanos(workspace=home)
        alerts.set_low_balance(workspace=home, nanos=5 * USD, by=None)

        pages.browser(alice).post("/dashboard/limits/alerts", {"low_balance": ""})

        assert alerts.low_balance_nanos(workspace=home) == usual

    def test_a_viewer_may_not(self, home: Workspace) -> None:
        browser = pages.browser(colleague(home, "viewer"), workspace=home)

        answer = browser.post("/dashboard/limits/alerts", {"low_balance": "1"})

        assert answer.status_code == 403


class TestManyKeys:
    def test_are_shown_by_the_page(
        self, alice: User, home: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(views_limits, "KEYS_SHOWN", 2)
        for name in ("first", "second", "third"):
            pages.make_key(alice, name=name)
        browser = pages.browser(alice, workspace=home)
        newest = browser.get("/dashboard/limits")
        older = browser.get(newest.context["next"])

        shown = [[row.key.name for row, _ in each.context["keys"]] for each in (newest, older)]

        assert shown == [["third", "second"], ["first"]]
        assert older.context["next"] == ""
        assert browser.get("/dashboard/limits?cursor=made-up").status_code == 400

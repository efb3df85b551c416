"""The page of usage: a range, a group, a chart that is a table and a file as well."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import workspaces
from accounts.models import User, Workspace
from billing import rollups
from tests import pages

pytestmark = pytest.mark.django_db
TODAY = timezone.now().date


@pytest.fixture
def alice() -> User:
    return pages.person("alice")


@pytest.fixture
def home(alice: User) -> Workspace:
    return pages.home(alice)


def text(user: User, query: str = "", *, status: int = 200) -> str:
    """The page as its reader gets it."""
    answer = pages.browser(user).get(f"/dashboard/usage{query}")
    assert answer.status_code == status
    return answer.content.decode()


def rows(user: User, query: str = "") -> list[dict[str, str]]:
    """The file of the same filter."""
    answer = pages.browser(user).get(f"/dashboard/usage.csv{query}")
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.content.decode())))


def inks(user: User, query: str = "") -> dict[str, int]:
    """The colour of each name in the chart."""
    drawn = re.findall(r'"label": "([^"]+)", "ink": (\d)', text(user, query))
    return {label: int(ink) for label, ink in drawn}


class TestUsage:
    def test_nothing_used_says_what_comes_here_and_what_to_do(self, alice: User) -> None:
        page = text(alice)

        assert 'data-testid="no-usage"' in page
        assert 'href="/dashboard/quickstart"' in page

    def test_what_was_used_is_a_chart_and_a_table(self, alice: User, home: Workspace) -> None:
        pages.closed_request(pages.make_key(alice), home, charged=123, cost=123)

        page = text(alice)

        assert 'data-testid="chart"' in page
        assert page.count("$0.000000123") == 3  # the day of the chart, the model's line, the total
        assert "test/model" in page

    @pytest.mark.parametrize("by", ["model", "key", "workspace", "day"])
    def test_each_group_adds_up_to_the_total(self, alice: User, home: Workspace, by: str) -> None:
        first, second = pages.make_key(alice, name="one"), pages.make_key(alice, name="two")
        pages.closed_request(first, home, charged=100, cost=100, model="a/one")
        pages.closed_request(second, home, charged=50, cost=50, model="b/two")

        assert "$0.00000015" in text(alice, f"?by={by}")
        assert sum(int(row["requests"]) for row in rows(alice, f"?by={by}")) == 2

    def test_rolled_up_usage_counts_the_same(self, alice: User, home: Workspace) -> None:
        pages.closed_request(pages.make_key(alice), home, charged=123, cost=123)
        before = rows(alice)
        rollups.roll_up()

        assert rows(alice) == before

    def test_the_workspaces_of_the_person_are_compared(self, alice: User, home: Workspace) -> None:
        second = workspaces.create(owner=alice, name="Second place")
        pages.closed_request(pages.make_key(alice), home)
        pages.closed_request(pages.make_key(alice, second), second)

        assert {row["workspace"] for row in rows(alice, "?by=workspace")} == {
            home.name,
            "Second place",
        }

    def test_a_strangers_usage_is_nowhere(self, alice: User) -> None:
        bob = pages.person("bob")
        pages.closed_request(pages.make_key(bob), pages.home(bob), model="bob/model")

        for by in ("model", "key", "workspace", "day"):
            assert rows(alice, f"?by={by}") == []

    def test_days_outside_the_range_do_not_count(self, alice: User, home: Workspace) -> None:
        pages.closed_request(pages.make_key(alice), home)
        past = (TODAY() - timedelta(days=40), TODAY() - timedelta(days=2))

        assert 'data-testid="no-usage"' in text(alice, f"?since={past[0]}&until={past[1]}")

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ("?since=2026-02-02&until=2026-02-01", "The first day is after the last."),
            ("?since=2020-01-01&until=2026-02-01", "At most 400 days"),
            ("?since=soon", "Enter a valid date"),
            ("?by=planet", "Select a valid choice"),
        ],
    )
    def test_a_wrong_filter_is_told_in_its_form(self, alice: User, query: str, words: str) -> None:
        assert words in text(alice, query, status=400)

    @pytest.mark.parametrize("show", ["cost", "requests", "tokens", "latency"])
    def test_the_chart_shows_what_is_asked_for(
        self, alice: User, home: Workspace, show: str
    ) -> None:
        pages.closed_request(pages.make_key(alice), home, latency_ms=42)

        page = text(alice, f"?show={show}")

        assert f'"kind": "{"lines" if show == "latency" else "bars"}"' in page

    def test_what_is_too_much_for_a_chart_is_others(self, alice: User, home: Workspace) -> None:
        key = pages.make_key(alice)
        for number in range(8):
            pages.closed_request(key, home, model=f"m/{number}", charged=number, cost=number)

        page = text(alice)

        assert '"label": "others"' in page
        assert len(rows(alice)) == 8

    def test_a_model_keeps_its_colour_when_it_is_the_dearest_no_more(
        self, alice: User, home: Workspace
    ) -> None:
        key = pages.make_key(alice)
        pages.closed_request(key, home, model="m/a", charged=9, cost=9)
        pages.closed_request(key, home, model="m/b", charged=5, cost=5)
        before = inks(alice)
        pages.closed_request(key, home, model="m/b", charged=90, cost=90)

        assert list(before) == ["m/a", "m/b"]
        assert list(inks(alice)) == ["m/b", "m/a"]
        assert inks(alice) == before == inks(alice, "?show=latency")

    def test_no_two_of_a_chart_have_one_colour_and_the_others_have_their_own(
        self, alice: User, home: Workspace
    ) -> None:
        key = pages.make_key(alice)
        for number in range(8):
            pages.closed_request(key, home, model=f"m/{number}", charged=9 - number, cost=1)

        assert sorted(inks(alice).values()) == [1, 2, 3, 4, 5, 6, 7]
        assert inks(alice)["others"] == 7

    def test_the_table_beside_a_chart_shows_the_same_colours(
        self, alice: User, home: Workspace
    ) -> None:
        pages.closed_request(pages.make_key(alice), home, model="m/a")

        assert f'swatch-{inks(alice)["m/a"]}"></span>m/a</th>' in text(alice)

    def test_all_amounts_of_the_page_have_as_many_decimals_and_are_exact(
        self, alice: User, home: Workspace
    ) -> None:
        key = pages.make_key(alice)
        pages.closed_request(key, home, model="a/one", charged=430_000_000, cost=1)
        pages.closed_request(key, home, model="b/two", charged=680_074_250, cost=1)

        page = text(alice)

        for amount in ("$0.43000000", "$0.68007425", "$1.11007425"):
            assert f"{amount}</td>" in page
        assert {len(part) for part in re.findall(r"\$\d+\.(\d+)</td>", page)} == {8}

    def test_a_name_is_never_markup_or_a_formula(self, alice: User, home: Workspace) -> None:
        pages.closed_request(pages.make_key(alice, name="=1+1</script>"), home)

        assert "=1+1</script>" not in text(alice, "?by=key")
        assert rows(alice, "?by=key")[0]["key"] == "'=1+1</script>"

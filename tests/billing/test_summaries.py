"""Sums as pages ask for them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from billing import rollups, summaries
from billing.summaries import By, Used
from tests import pages
from tests.billing.bank import customer

pytestmark = pytest.mark.django_db


def today() -> date:
    """The day by now: the run may have begun on the one before."""
    return datetime.now(UTC).date()


class TestUsed:
    def test_groups_add_up(self) -> None:
        one = customer(usd=1000, tokens=10)
        one.use(10, provider="a", status=200, input_tokens=5)
        one.use(20, provider="b", status=502)
        one.use(2_500_001, tokens=True, want=3, provider="a", status=200)

        rows = summaries.used(
            by=[By.PROVIDER, By.ASSET], workspace_id=one.workspace.pk, first=today(), last=today()
        )

        found = {row.key: (row.used.requests, row.used.errors, row.used.charged) for row in rows}
        assert found == {
            ("a", "USD"): (1, 0, 10),
            ("b", "USD"): (1, 1, 20),
            ("a", "TOK"): (1, 0, 2),
        }

    def test_hours_are_of_their_day(self) -> None:
        one = customer(usd=1000)
        one.use(10)

        [row] = summaries.used(
            by=[By.DAY, By.HOUR], workspace_id=one.workspace.pk, first=today(), last=today()
        )

        assert row.key == (one.usage()[0].day, one.usage()[0].created_at.hour)

    def test_it_is_narrowed_to_a_key(self) -> None:
        one, other = customer(usd=1000), customer(usd=1000)
        one.use(10)
        other.use(20)

        [row] = summaries.used(by=[By.DAY], first=today(), last=today(), key_id=other.key.pk)

        assert row.used.spent == 20

    def test_it_cannot_be_narrowed_to_what_is_not_summed(self) -> None:
        with pytest.raises(ValueError, match="colour"):
            summaries.used(by=[By.DAY], first=today(), last=today(), colour="red")

    def test_other_days_are_left_out(self) -> None:
        one = customer(usd=1000)
        one.use(10)
        past = today() - timedelta(days=1)

        assert summaries.used(by=[By.DAY], first=past, last=past) == []


class TestTotal:
    def test_nothing_is_nothing(self) -> None:
        assert summaries.total(first=today(), last=today()) == Used()

    def test_all_workspaces_together(self) -> None:
        for _ in range(2):
            customer(usd=1000).use(10, latency_ms=4)

        total = summaries.total(first=today(), last=today())

        assert (total.requests, total.cost, total.mean_latency_ms) == (2, 20, 4)
        assert (total.mean_first_byte_ms, total.error_rate) == (None, 1.0)


class TestDearest:
    @pytest.mark.parametrize("back", [0, 2, 9, 20])
    def test_a_range_ranks_by_itself_only(self, back: int) -> None:
        alice = pages.person("alice")
        home = pages.home(alice)
        cheap, dear = pages.make_key(alice), pages.make_key(alice)
        for age, key, cost in ((0, cheap, 5), (back, dear, 9), (21, cheap, 90), (22, dear, 1)):
            pages.closed_request(
                key, home, charged=cost, cost=cost, day=today() - timedelta(days=age)
            )
        rollups.roll_up()

        found = summaries.dearest(
            by=[By.KEY],
            first=today() - timedelta(days=20),
            last=today(),
            count=9,
            workspace_id=home.pk,
        )

        assert [rank.key for rank in found] == [(dear.pk,), (cheap.pk,)]

    @pytest.mark.parametrize("count", [7, 28, 33])
    def test_all_workspaces_rank_alike_by_weeks_and_by_days(self, count: int) -> None:
        first = today() - timedelta(days=count - 1)
        owners = [pages.person(name) for name in ("alice", "bob")]
        for owner, costs in zip(owners, ((5, 7), (1, 90)), strict=True):
            # On the first day of the range, and on the day before it, which is in its week.
            for day, cost in zip((first, first - timedelta(days=1)), costs, strict=True):
                pages.closed_request(
                    pages.make_key(owner), pages.home(owner), charged=cost, cost=cost, day=day
                )
        rollups.roll_up()

        found = summaries.dearest(by=[By.WORKSPACE], first=first, last=today(), count=9)

        homes = [pages.home(owner).pk for owner in owners]
        assert [(rank.key[0], rank.spent) for rank in found] == [(homes[0], 5), (homes[1], 1)]

"""The dearest of many are those that all sums, put in order, have first."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest

from accounts.models import Workspace
from billing import rankings, rollups, summaries
from billing.summaries import By, Rank
from tests import pages

TODAY = datetime.now(UTC).date()
BY: list[list[By]] = [[By.KEY], [By.WORKSPACE], [By.WORKSPACE, By.KEY]]


class TestWeeksOf:
    @pytest.mark.parametrize("first", [date(2026, 2, 23) + timedelta(days=at) for at in range(7)])
    @pytest.mark.parametrize("count", [1, 3, 4, 7, 8, 30])
    def test_weeks_and_days_are_the_range(self, first: date, count: int) -> None:
        last = first + timedelta(days=count - 1)
        weeks = rankings.weeks_of(first, last)

        whole = {day + timedelta(days=at) for day in weeks.whole for at in range(7)}
        days = (whole - set(weeks.less)) | set(weeks.more)
        assert days == {first + timedelta(days=at) for at in range(count)}
        assert set(weeks.less) <= whole
        assert not whole & set(weeks.more)
        assert len(weeks.less) + len(weeks.more) <= 6
        assert {day.weekday() for day in weeks.whole} <= {0}

    @pytest.mark.parametrize("today", [date(2026, 2, 23) + timedelta(days=at) for at in range(7)])
    def test_a_week_that_goes_on_is_read_as_one(self, today: date) -> None:
        first = today - timedelta(days=29)
        weeks = rankings.weeks_of(first, today, today=today)

        whole = {day + timedelta(days=at) for day in weeks.whole for at in range(7)}
        days = (whole - set(weeks.less)) | set(weeks.more)
        assert days == {first + timedelta(days=at) for at in range(30)}
        assert len([day for day in (*weeks.less, *weeks.more) if day <= today]) <= 3
        assert weeks.whole[-1] == today - timedelta(days=today.weekday())

    def test_the_ends_of_the_calendar_are_no_trouble(self) -> None:
        assert rankings.weeks_of(date.max, date.max).more == [date.max]
        assert rankings.weeks_of(date.min, date.min).more == [date.min]


class TestBoundsOf:
    @pytest.mark.parametrize("today", [date(2026, 2, 23) + timedelta(days=at) for at in range(7)])
    @pytest.mark.parametrize("count", [3, 22, 30])
    def test_what_is_read_later_is_all_that_weeks_lack(self, today: date, count: int) -> None:
        first = today - timedelta(days=count - 1)
        weeks = rankings.bounds_of(first, today, today=today)

        whole = {day + timedelta(days=at) for day in weeks.whole for at in range(7)}
        cut = {day + timedelta(days=at) for day in weeks.cut for at in range(7)}
        assert (whole - set(weeks.less)) | set(weeks.later) == {
            first + timedelta(days=at) for at in range(count)
        }
        assert set(weeks.later) < cut or not cut
        assert not whole & cut
        assert all(day > today for day in weeks.less), "to take them away costs nothing"
        assert weeks.more == []


@pytest.mark.django_db
class TestDearest:
    @pytest.fixture
    def homes(self) -> list[Workspace]:
        """Three customers with some keys, some of them nearly alike; half of it rolled up."""
        chance = random.Random(11)
        owners = [pages.person(name) for name in ("alice", "bob", "carol")]
        keys = [(pages.make_key(owner), pages.home(owner)) for owner in owners for _ in range(3)]
        for number in range(60):
            key, home = chance.choice(keys)
            cost = chance.choice([0, 1, 5, 6, 40])
            age = chance.choice([0, 0, 1, 2, 6, 8, 13, 21, 24, 27, 29, 33])
            pages.closed_request(
                key, home, charged=cost, cost=cost, day=TODAY - timedelta(days=age)
            )
            if number == 40:
                rollups.roll_up()
        return [pages.home(owner) for owner in owners]

    @pytest.mark.parametrize("few", [(0, 0), (2000, 0), (2000, 2000)], ids=str)
    @pytest.mark.parametrize("by", BY, ids=lambda by: "-".join(by))
    def test_it_is_the_beginning_of_all_sums_in_order(
        self,
        homes: list[Workspace],
        by: list[By],
        few: tuple[int, int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(rankings, "FEW", few[0])
        monkeypatch.setattr(rankings, "MOST_LOOKED_AT", few[1])
        monkeypatch.setattr(rankings, "FIRST_LOOK", 1)
        places = [home.pk for home in homes]
        for days in (1, 14, 24, 28, 30, 34):
            for places_asked in (places, places[:1], None):
                first = TODAY - timedelta(days=days - 1)
                order = in_order(by, first, places_asked)
                assert paged(by, first, places_asked, count=2) == order, days
                for count in (1, 3):
                    found = summaries.dearest(
                        by=by, first=first, last=TODAY, count=count, workspace_id=places_asked
                    )
                    assert found == order[:count], (days, count)


def in_order(by: Sequence[By], first: date, places: list[int] | None) -> list[Rank]:
    """What the sums say, all of them."""
    groups = summaries.used(by=by, first=first, last=TODAY, workspace_id=places)
    found = [Rank(group.key, group.used.spent, group.used.requests) for group in groups]
    return sorted(found, key=lambda rank: (-rank.spent, -rank.requests, rank.key))


def paged(by: Sequence[By], first: date, places: list[int] | None, *, count: int) -> list[Rank]:
    """The same, some at a time; each page begins with the last of the one before."""
    found: list[Rank] = []
    while True:
        after = found[-1] if found else None
        page = summaries.dearest(
            by=by,
            first=first,
            last=TODAY,
            count=count,
            after=after,
            including=True,
            workspace_id=places,
        )
        if after is not None:
            assert page[:1] == [after]
        if len(page) < count:
            return [*found, *page[after is not None :]]
        found += page[after is not None :]

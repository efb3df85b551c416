"""Pages of groups hold what all groups at once are, each once, in one order."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from accounts.models import Workspace
from billing import breakdowns, groupings, rollups, summaries
from billing.summaries import By, Group
from common.pagination import Wanted
from tests import pages

pytestmark = pytest.mark.django_db

TODAY = datetime.now(UTC).date()
FIRST = TODAY - timedelta(days=9)


@pytest.fixture
def place() -> Workspace:
    """A workspace with some keys, some models, some days; half of it rolled up."""
    alice = pages.person("alice")
    home, chance = pages.home(alice), random.Random(7)
    keys = [pages.make_key(alice, name=f"key {number}") for number in range(5)]
    for number in range(40):
        cost = chance.choice([0, 5, 5, 900])
        pages.closed_request(
            chance.choice(keys),
            home,
            model=chance.choice(["a/one", "b/two"]),
            charged=cost,
            cost=cost,
            day=TODAY - timedelta(days=chance.choice([0, 0, 1, 4, 9])),
        )
        if number == 20:
            rollups.roll_up()
    return home


def paged(place: Workspace, by: list[By], limit: int, **narrowed: Any) -> list[Group]:
    """All groups, page by page."""
    found: list[Group] = []
    wanted = Wanted(limit=limit)
    while True:
        rows, following = groupings.page(
            by=by,
            first=FIRST,
            last=TODAY,
            narrowed={"workspace_id": [place.pk], **narrowed},
            wanted=wanted,
        )
        assert len(rows) <= limit
        found += rows
        if following is None:
            return found
        wanted = Wanted(limit=limit, after=following)


def in_order(by: list[By], found: list[Group]) -> bool:
    """The newest days first; else the dearest keys first; within them the dearest."""
    if By.DAY in by or By.KEY not in by or set(by) <= {By.KEY, By.WORKSPACE}:
        ranks = [order(by, group) for group in found]
        return ranks == sorted(ranks)
    keys = [group.key[by.index(By.KEY)] for group in found]
    spent = {
        key: sum(group.used.spent for group in found if group.key[by.index(By.KEY)] == key)
        for key in keys
    }
    once = list(dict.fromkeys(keys))
    together = keys == sorted(keys, key=once.index)
    return together and [spent[key] for key in once] == sorted(spent.values(), reverse=True)


def order(by: list[By], group: Group) -> tuple[int, ...]:
    days = [-part.toordinal() for part in group.key if isinstance(part, date)]
    return (*days, -group.used.spent, -group.used.requests)


class TestPage:
    @pytest.mark.parametrize("limit", [1, 3, 100])
    @pytest.mark.parametrize(
        "by",
        [[By.DAY], [By.KEY], [By.MODEL], [By.DAY, By.KEY], [By.KEY, By.DAY], [By.MODEL, By.DAY],
         [By.KEY, By.MODEL, By.DAY], [By.KEY, By.MODEL], [By.MODEL, By.WORKSPACE, By.KEY],
         [By.WORKSPACE, By.KEY], [By.ASSET]],
        ids=lambda by: "-".join(by),
    )  # fmt: skip
    def test_all_pages_together_are_every_group_once(
        self, place: Workspace, by: list[By], limit: int
    ) -> None:
        found = paged(place, by, limit)

        everything = summaries.used(by=by, first=FIRST, last=TODAY, workspace_id=place.pk)
        assert {group.key: group.used for group in found} == {
            group.key: group.used for group in everything
        }
        assert len(found) == len(everything)
        assert in_order(by, found)

    def test_a_range_is_a_range(self, place: Workspace) -> None:
        assert {group.key[0] for group in paged(place, [By.DAY, By.KEY], 2)} == {
            TODAY - timedelta(days=back) for back in (0, 1, 4, 9)
        }

    def test_it_is_narrowed(self, place: Workspace) -> None:
        [group] = paged(place, [By.MODEL], 5, model="a/one")

        assert group == next(each for each in paged(place, [By.MODEL], 5) if "a/one" in each.key)

    def test_more_keys_than_are_looked_up_are_the_same(
        self, place: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        few = paged(place, [By.KEY], 100)
        monkeypatch.setattr(groupings, "MOST_LOOKED_UP", 1)

        assert paged(place, [By.KEY], 100) == few


class TestBreakdown:
    def test_keys_that_are_not_shown_are_others(
        self, place: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = breakdowns.read(workspaces=[place], by="key", first=FIRST, last=TODAY)
        monkeypatch.setattr(breakdowns, "KEYS_SHOWN", 2)
        part = breakdowns.read(workspaces=[place], by="key", first=FIRST, last=TODAY)

        assert whole.others is None
        assert len(whole.lines) == 5
        assert part.lines == whole.lines[:2]
        assert part.others == breakdowns.added(line.used for line in whole.lines[2:])
        assert part.total == whole.total

    @pytest.mark.parametrize("by", breakdowns.GROUPS)
    def test_a_file_has_every_line(self, place: Workspace, by: str) -> None:
        shown = breakdowns.read(workspaces=[place], by=by, first=FIRST, last=TODAY)
        lines = breakdowns.sums(workspaces=[place], by=by, first=FIRST, last=TODAY)

        assert [(line.label, line.used) for line in lines] == [
            (line.label, line.used) for line in shown.lines
        ]

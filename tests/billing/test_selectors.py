"""Windows and sums as pages read them."""

from __future__ import annotations

from datetime import date

import pytest
from django.utils import timezone

from billing import selectors
from billing.models import Account
from billing.selectors import Cap, Window
from tests import pages


class TestCap:
    @pytest.mark.parametrize(
        ("used", "limit", "percent"),
        [(0, None, 0), (1, 3, 33), (3, 3, 100), (9, 3, 100), (0, 0, 100)],
    )
    def test_the_percentage_never_passes_a_hundred(
        self, used: int, limit: int | None, percent: int
    ) -> None:
        assert Cap(used, limit).percent == percent

    def test_without_a_limit_it_is_never_reached(self) -> None:
        assert not Cap(10**18, None).reached


class TestWindow:
    row = Account(day=date(2026, 1, 31), day_used=5, month_used=9, day_cap=10, month_cap=20)

    def test_today_counts_both(self) -> None:
        window = Window.of(self.row, today=date(2026, 1, 31))

        assert (window.day.used, window.month.used) == (5, 9)

    def test_a_new_day_begins_at_zero(self) -> None:
        row = Account(day=date(2026, 1, 30), day_used=5, month_used=9)

        window = Window.of(row, today=date(2026, 1, 31))

        assert (window.day.used, window.month.used) == (0, 9)

    @pytest.mark.parametrize("today", [date(2026, 2, 1), date(2027, 1, 31)])
    def test_a_new_month_begins_at_zero(self, today: date) -> None:
        window = Window.of(self.row, today=today)

        assert (window.day.used, window.month.used) == (0, 0)

    def test_without_a_row_nothing_is_used_or_limited(self) -> None:
        assert Window.of(None, today=date(2026, 1, 1)).day == Cap(0, None)


@pytest.mark.django_db
class TestSums:
    def test_days_and_month_add_up(self) -> None:
        alice = pages.person("alice")
        key, workspace = pages.make_key(alice), pages.home(alice)
        for _ in range(3):
            pages.closed_request(key, workspace, charged=10, cost=10)

        sums = selectors.sums(workspace_id=workspace.pk, now=timezone.now())

        assert len(sums.days) == 30
        assert sums.today.spent == sums.week.spent == sums.month.spent == 30
        assert sums.thirty_days.requests == 3

    def test_another_workspace_adds_nothing(self) -> None:
        bob = pages.person("bob")
        pages.closed_request(pages.make_key(bob), pages.home(bob))
        alice = pages.home(pages.person("alice"))

        sums = selectors.sums(workspace_id=alice.pk, now=timezone.now())

        assert sums.thirty_days == selectors.Spend()

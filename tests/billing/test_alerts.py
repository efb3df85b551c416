"""Caps and balances are told in time, once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, connections

from accounts import workspaces
from billing import alerts, grants
from billing.models import Alert
from tests.billing.bank import Customer, bill, customer, revise, set_clock, settle
from tests.billing.test_rollups import catch_up

pytestmark = pytest.mark.django_db

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)


def told() -> list[tuple[str, int]]:
    """Evaluate; return what is new."""
    return [(alert.subject, alert.level) for alert in alerts.due()]


class TestCaps:
    @pytest.mark.parametrize(
        ("spent", "level"),
        [(499, None), (500, 50), (799, 50), (800, 80), (994, 80), (995, 100), (1000, 100)],
    )
    def test_each_level_begins_exactly(self, spent: int, level: int | None) -> None:
        one = customer(usd=10**6)
        one.caps(ws_day=1000)
        one.use(spent)
        assert told() == ([("workspace:day", level)] if level else [])

    def test_only_the_highest_of_several_is_told(self) -> None:
        one = customer(usd=10**6)
        one.caps(ws_day=1000)
        one.use(900)
        assert told() == [("workspace:day", 80)]
        assert told() == []

    def test_a_higher_level_follows_in_the_same_window(self) -> None:
        one = customer(usd=10**6)
        one.caps(ws_day=1000)
        one.use(600)
        assert told() == [("workspace:day", 50)]
        one.use(400)
        assert told() == [("workspace:day", 100)]

    def test_a_cap_that_was_raised_tells_no_lower_level(self) -> None:
        one = customer(usd=10**6)
        one.caps(ws_day=1000)
        one.use(1000)
        told()
        one.caps(ws_day=1200)
        assert told() == []

    def test_a_cap_lowered_below_what_is_spent_is_used_up(self) -> None:
        one = customer(usd=10**6)
        one.caps(ws_day=1000)
        one.use(600)
        assert told() == [("workspace:day", 50)]
        one.caps(ws_day=500)
        assert told() == [("workspace:day", 100)]
        one.caps(ws_day=None)
        assert told() == []

    def test_a_cap_raised_in_mid_window_is_judged_anew(self) -> None:
        one = customer(usd=10**6)
        one.caps(ws_day=1000)
        one.use(600)
        assert told() == [("workspace:day", 50)]
        one.caps(ws_day=2000)
        one.use(400)
        assert told() == []
        one.use(600)
        assert told() == [("workspace:day", 80)]

    def test_what_was_spent_before_midnight_is_no_news_after_it(self) -> None:
        one = customer(usd=10**6)
        one.caps(ws_day=1000, ws_month=1000)
        set_clock(NOON.replace(day=10))
        hold, _ = one.hold(900)
        set_clock(NOON.replace(day=11))
        settle(bill(hold, 900))
        assert told() == [("workspace:month", 80)]

    def test_what_is_only_held_is_not_spent(self) -> None:
        one = customer(usd=10**6)
        one.caps(ws_day=1000, key_day=1000)
        one.hold(1000)
        assert told() == []

    def test_months_and_keys_have_their_own(self) -> None:
        one = customer(usd=10**6)
        one.caps(ws_day=10**6, ws_month=1000, key_day=1000, key_month=2000)
        one.use(1000)
        key = one.key.public_id
        assert sorted(told()) == [
            (f"key:{key}:day", 100),
            (f"key:{key}:month", 50),
            ("workspace:month", 100),
        ]

    def test_the_next_day_is_another_window(self) -> None:
        one = customer(usd=10**6)
        one.caps(ws_day=1000)
        set_clock(NOON)
        one.use(600)
        assert told() == [("workspace:day", 50)]
        set_clock(NOON + timedelta(days=1))
        assert told() == []
        one.use(700)
        assert told() == [("workspace:day", 50)]

    def test_no_cap_and_a_cap_of_nothing_are_never_told(self) -> None:
        one = customer(usd=10**6)
        one.use(600)
        one.caps(ws_day=0)
        assert told() == []

    def test_a_closed_workspace_is_left_alone(self) -> None:
        one = customer(usd=10**6)
        one.caps(ws_day=1000)
        one.use(600)
        workspaces.close(workspace=one.workspace, by=None)
        assert told() == []

    def test_tokens_count_with_their_dollars(self) -> None:
        one = customer(tokens=100)
        one.caps(ws_day=5_000_000)
        one.use(2_500_000, want=1, tokens=True)
        assert told() == [("workspace:day", 50)]


class TestLowBalance:
    def test_it_is_told_once_until_there_is_money_again(self) -> None:
        one = customer(usd=2 * 10**9)
        one.use(15 * 10**8)
        assert told() == [("USD", 0)]
        assert told() == []
        pay(one, 2 * 10**9)
        assert told() == []
        one.use(2 * 10**9)
        assert told() == [("USD", 0)]

    def test_who_never_had_more_is_not_told(self) -> None:
        one = customer(granted=5 * 10**8)
        one.use(10**8)
        assert told() == []

    def test_who_calls_no_more_is_not_told(self) -> None:
        one = customer(usd=2 * 10**9)
        set_clock(NOON - timedelta(days=4))
        one.use(15 * 10**8)
        set_clock(NOON)
        assert told() == []

    def test_a_workspace_chooses_its_own_threshold(self) -> None:
        one = customer(usd=10 * 10**9)
        one.use(10**9)
        alerts.set_low_balance(workspace=one.workspace, nanos=9 * 10**9 + 1, by=None)
        assert alerts.low_balance_nanos(workspace=one.workspace) == 9 * 10**9 + 1
        assert told() == [("USD", 0)]

    def test_zero_is_never(self) -> None:
        one = customer(usd=2 * 10**9)
        alerts.set_low_balance(workspace=one.workspace, nanos=0, by=None)
        one.use(2 * 10**9)
        assert told() == []
        alerts.set_low_balance(workspace=one.workspace, nanos=None, by=None)
        assert told() == [("USD", 0)]

    def test_tokens_are_low_by_their_value(self) -> None:
        one = customer(tokens=500)
        one.use(2_500_000 * 101, want=101, tokens=True)
        [alert] = alerts.due()
        assert (alert.subject, alert.facts) == (
            "TOK",
            {"balance": 399, "threshold": 400, "asset": "TOK"},
        )

    def test_a_negative_threshold_is_refused(self) -> None:
        with pytest.raises(ValueError, match="0 or more"):
            alerts.set_low_balance(workspace=customer().workspace, nanos=-1, by=None)


class TestOnRaised:
    def test_hooks_hear_of_each_alert_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        heard: list[Alert] = []
        monkeypatch.setattr(alerts, "on_raised", [heard.append])
        one = customer(usd=10**6)
        one.caps(ws_day=1000)
        one.use(600)
        alerts.due()
        alerts.due()
        assert [(alert.kind, alert.workspace) for alert in heard] == [
            ("cap.threshold", one.workspace)
        ]

    def test_a_hook_that_fails_leaves_the_alert_for_the_next_time(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(alert: Alert) -> None:
            raise RuntimeError

        monkeypatch.setattr(alerts, "on_raised", [fail])
        one = customer(usd=10**6)
        one.caps(ws_day=1000)
        one.use(600)
        with pytest.raises(RuntimeError):
            alerts.due()
        monkeypatch.setattr(alerts, "on_raised", [])
        assert told() == [("workspace:day", 50)]


@pytest.mark.django_db(transaction=True)
class TestDue:
    def test_many_at_once_raise_each_alert_once(self) -> None:
        people = [customer(usd=2 * 10**9) for _ in range(5)]
        for one in people:
            one.caps(ws_day=16 * 10**8)
            one.use(15 * 10**8)

        def evaluate(_: int) -> int:
            try:
                return len(alerts.due())
            finally:
                connections["default"].close()

        with ThreadPoolExecutor(4) as pool:
            counts = list(pool.map(evaluate, range(4)))
        assert sum(counts) == 10
        assert Alert.objects.count() == 10
        with connection.cursor() as cursor:
            cursor.execute("select count(distinct workspace_id) from billing_alert")
            assert cursor.fetchone() == (5,)


@pytest.mark.django_db(transaction=True)
class TestWatchLosses:
    def test_operators_are_told_once_until_nothing_of_it_is_left(self) -> None:
        one = customer(usd=1000, tokens=9)
        one.use(10)
        catch_up()
        alerts.watch_losses()
        assert not Alert.objects.exists()

        one.use(90, want=50, source="count", reason="swept")
        one.use(10**7, want=1, tokens=True)
        catch_up()
        for _ in range(2):
            alerts.watch_losses()
        found = {alert.subject[11:]: alert for alert in Alert.objects.all()}
        assert {name: alert.facts["so_far"] for name, alert in found.items()} == {
            "USD": "0.00000004", "TOK": "3",
        }  # fmt: skip
        assert {alert.kind for alert in found.values()} == {"usage.uncollected"}

        call = one.usage()[1]
        revise(bill(str(call.id), 50, day=call.day.isoformat(), reason=""))
        catch_up()
        alerts.watch_losses()
        still = Alert.objects.filter(closed_at=None).values_list("subject", flat=True)
        assert [subject[11:] for subject in still] == ["TOK"]


def pay(one: Customer, nanos: int) -> None:
    grants.grant(workspace=one.workspace, asset="USD", amount=nanos, reason="test", paid=True)

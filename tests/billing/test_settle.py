from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from billing import grants, ledger, partitions
from billing.models import Account, Transfer, Usage
from common import ids
from tests.billing.bank import (
    Customer,
    admit,
    bill,
    customer,
    expire,
    legs,
    set_clock,
    settle,
    verdicts,
    void,
)

pytestmark = pytest.mark.django_db


def assert_whole(one: Customer) -> None:
    """Nothing is held and pending, everywhere; the key's meter knows all that it spent."""
    assert one.holds() == []
    for account in Account.objects.filter(workspace=one.workspace):
        assert account.debits_pending == account.held == 0
    assert one.meter().held == 0
    rows = Usage.objects.filter(key=one.key)
    assert one.meter().spent == sum(min(row.cost, row.charged * row.unit_nanos) for row in rows)


class TestSettle:
    def test_it_charges_the_cost_and_releases_the_rest(self) -> None:
        one = customer(usd=1000)
        hold, day = one.hold(600)
        [answer] = settle(bill(hold, 450, day=day))
        assert answer == {"v": "ok", "charged": 450, "uncollected": 0, "day": day}
        assert one.balance().available == 550
        assert legs(hold) == {"usage.paid": 450}
        assert one.home().day_used == one.home().month_used == 450
        assert one.meter().day_used == one.meter().month_used == 450
        assert_whole(one)

    def test_the_usage_record_is_the_closed_hold(self) -> None:
        one = customer(usd=1000)
        hold, day = one.hold(600, price=7)
        facts: dict[str, Any] = {
            "served": "sandbox/lorem", "provider": "sandbox", "surface": "chat", "stream": True,
            "cancelled": True, "status": 200, "reason": "stop", "input_tokens": 10,
            "cached_tokens": 2, "cache_write_tokens": 3, "output_tokens": 4,
            "reasoning_tokens": 1, "pictures": 1, "picture_size": "1x1",
            "picture_quality": "low", "searches": 2, "first_byte_ms": 12, "latency_ms": 30,
            "upstream_cost": 400,
        }  # fmt: skip
        settle(bill(hold, 450, day=day, **facts))
        [row] = one.usage()
        for name, value in facts.items():
            assert getattr(row, name) == value, name
        assert (str(row.id), row.hold, row.charged, row.cost) == (hold, 600, 450, 450)
        assert (row.state, row.source, row.unknown) == ("settled", "provider", False)
        assert (row.model, row.price_id, row.key_id) == ("sandbox/echo", 7, one.key.pk)
        assert row.created_at <= row.closed_at

    def test_the_price_that_was_charged_replaces_that_of_the_hold(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(600, price=7)
        settle(bill(hold, 450, price_id=8))
        assert one.usage()[0].price_id == 8

    def test_a_second_settle_changes_nothing(self) -> None:
        one = customer(usd=1000)
        hold, day = one.hold(600)
        settle(bill(hold, 450, day=day))
        before = one.balance()
        [answer] = settle(bill(hold, 450, day=day))
        assert (answer["v"], answer["charged"]) == ("already", 450)
        assert one.balance() == before
        assert len(one.usage()) == 1
        assert Transfer.objects.filter(source=hold).count() == 1

    def test_another_amount_is_a_conflict_and_changes_nothing(self) -> None:
        one = customer(usd=1000)
        hold, day = one.hold(600)
        settle(bill(hold, 450, day=day))
        [answer] = settle(bill(hold, 451, day=day))
        assert (answer["v"], answer["charged"]) == ("conflict", 450)
        assert one.balance().available == 550

    def test_the_same_id_twice_in_one_batch(self) -> None:
        one = customer(usd=1000)
        hold, day = one.hold(600)
        answers = settle(*[bill(hold, cost, day=day) for cost in (450, 450, 451)])
        assert verdicts(answers) == ["ok", "already", "conflict"]
        assert one.balance().available == 550

    def test_a_replay_needs_no_day(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(600)
        assert verdicts(settle(bill(hold, 450))) == ["ok"]
        assert verdicts(settle(bill(hold, 450))) == ["already"]

    def test_an_id_that_never_held_is_unknown(self) -> None:
        assert verdicts(settle(bill(str(ids.request_id()), 1))) == ["unknown"]

    def test_cost_zero_leaves_a_record_and_no_transfer(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(600)
        assert verdicts(settle(bill(hold, 0))) == ["ok"]
        assert legs(hold) == {}
        assert one.balance().available == 1000

    def test_many_customers_in_one_batch(self) -> None:
        several = [customer(usd=1000 + n) for n in range(5)]
        held = [one.hold(600)[0] for one in several for _ in range(1)]
        answers = settle(*[bill(hold, 100 * (n + 1)) for n, hold in enumerate(held)])
        assert verdicts(answers) == ["ok"] * 5
        assert [one.balance().available for one in several] == [900, 801, 702, 603, 504]


class TestGranted:
    def test_the_split_of_the_hold_is_used_granted_first(self) -> None:
        one = customer(usd=1000, granted=300)
        hold, _ = one.hold(500)
        settle(bill(hold, 400))
        assert legs(hold) == {"usage.granted": 300, "usage.paid": 100}
        assert (one.balance().granted, one.balance().paid) == (0, 900)
        [row] = one.usage()
        assert (row.granted, row.charged) == (300, 400)
        assert_whole(one)

    def test_a_small_charge_is_paid_by_the_grant_alone(self) -> None:
        one = customer(usd=1000, granted=300)
        hold, _ = one.hold(500)
        settle(bill(hold, 200))
        assert legs(hold) == {"usage.granted": 200}
        assert_whole(one)

    def test_a_grant_that_comes_later_does_not_change_the_split(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(500)
        grants.grant(workspace=one.workspace, asset="USD", amount=400, reason="late")
        settle(bill(hold, 400))
        assert legs(hold) == {"usage.paid": 400}


class TestUncollected:
    def test_a_charge_is_never_above_its_hold(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(600)
        [answer] = settle(bill(hold, 750))
        assert (answer["charged"], answer["uncollected"]) == (600, 150)
        assert legs(hold) == {"usage.paid": 600, "usage.uncollected": 150}
        assert one.balance().available == 400
        [row] = one.usage()
        assert (row.cost, row.charged, row.uncollected) == (750, 600, 150)

    def test_what_was_not_collected_is_not_in_the_windows(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(600)
        settle(bill(hold, 750))
        assert one.home().day_used == 600

    def test_it_is_the_houses_loss(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(600)
        settle(bill(hold, 750))
        lost = Transfer.objects.get(source=hold, kind="usage.uncollected")
        assert lost.debit_id == ledger.house_account(kind="uncollected_usage", asset="USD")
        assert lost.credit_id == ledger.house_account(kind="revenue", asset="USD")

    def test_a_floor_that_was_raised_never_stops_a_settlement(self) -> None:
        one = customer(usd=100)
        Account.objects.filter(pk=one.usd).update(floor=-500)
        hold, _ = one.hold(600)
        Account.objects.filter(pk=one.usd).update(floor=0)
        [answer] = settle(bill(hold, 600))
        assert (answer["charged"], answer["uncollected"]) == (100, 500)
        assert_whole(one)


class TestTokens:
    def test_the_golden_case_costs_three_tokens(self) -> None:
        # 142 + 387 tokens of a model priced $3 / $15 per million: $0.006231, a token $0.0025.
        one = customer(tokens=300)
        hold, _ = one.hold(50, tokens=True)
        [answer] = settle(bill(hold, 142 * 3_000 + 387 * 15_000))
        assert answer["charged"] == 3
        assert one.balance("TOK").available == 297
        assert one.home().day_used == one.meter().day_used == 6_231_000
        assert_whole(one)

    @pytest.mark.parametrize(
        ("cost", "tokens"), [(0, 0), (1, 1), (2_500_000, 1), (2_500_001, 2), (5_000_000, 2)]
    )
    def test_a_part_of_a_token_counts_whole(self, cost: int, tokens: int) -> None:
        one = customer(tokens=300)
        assert one.use(cost, want=5, tokens=True)["charged"] == tokens

    def test_granted_tokens_go_first(self) -> None:
        one = customer(tokens=300, granted_tokens=2)
        hold, _ = one.hold(5, tokens=True)
        settle(bill(hold, 7_500_000))
        assert legs(hold) == {"usage.granted": 2, "usage.paid": 1}

    def test_the_value_in_force_at_admission_counts(self) -> None:
        one = customer(tokens=300)
        hold, _ = one.hold(5, tokens=True, unit=1_000_000)
        [answer] = settle(bill(hold, 2_500_000))
        assert answer["charged"] == 3

    def test_an_overrun_is_uncollected_in_tokens(self) -> None:
        one = customer(tokens=300)
        hold, _ = one.hold(2, tokens=True)
        [answer] = settle(bill(hold, 10_000_000))
        assert (answer["charged"], answer["uncollected"]) == (2, 2)
        assert one.home().day_used == 5_000_000


class TestVoid:
    def test_it_gives_everything_back(self) -> None:
        one = customer(usd=1000, granted=300)
        hold, _ = one.hold(500)
        assert void(hold) == ["ok"]
        assert one.balance().available == 1300
        assert one.usage()[0].state == "voided"
        assert one.home().day_used == one.meter().month_used == 0
        assert_whole(one)

    def test_twice_is_already(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(500)
        assert void(hold, hold) == ["ok", "already"]
        assert void(hold) == ["already"]

    def test_what_never_held_is_unknown(self) -> None:
        assert void(str(ids.request_id())) == ["unknown"]

    def test_a_settlement_after_it_is_a_conflict(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(500)
        void(hold)
        assert verdicts(settle(bill(hold, 100))) == ["conflict"]
        assert one.balance().available == 1000

    def test_a_settled_call_cannot_be_voided(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(500)
        settle(bill(hold, 100))
        assert void(hold) == ["conflict"]
        assert one.balance().available == 900

    def test_no_ids_are_no_answers(self) -> None:
        assert void() == []


class TestLate:
    def test_evidence_after_expiry_is_charged_once(self) -> None:
        one = customer(usd=1000)
        hold, day = one.hold(500)
        assert expire(hold) == ["ok"]
        assert one.usage()[0].unknown
        assert one.balance().available == 1000
        [answer] = settle(bill(hold, 300, day=day, input_tokens=9, served="x"))
        assert (answer["v"], answer["charged"]) == ("late", 300)
        [row] = one.usage()
        assert (row.state, row.unknown, row.cost, row.input_tokens) == ("late", False, 300, 9)
        assert (row.served, row.source) == ("x", "provider")
        assert one.balance().available == 700
        assert one.home().day_used == one.meter().day_used == 300
        assert verdicts(settle(bill(hold, 300, day=day))) == ["already"]
        assert verdicts(settle(bill(hold, 301, day=day))) == ["conflict"]
        assert legs(hold) == {"usage.paid": 300}

    def test_it_takes_only_what_other_holds_leave(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(600)
        expire(hold)
        other, _ = one.hold(900)
        [answer] = settle(bill(hold, 500))
        assert (answer["v"], answer["charged"], answer["uncollected"]) == ("late", 100, 400)
        assert verdicts(settle(bill(other, 900))) == ["ok"]
        assert one.balance().available == 0

    def test_it_is_bounded_by_the_hold_it_had(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(300)
        expire(hold)
        [answer] = settle(bill(hold, 500))
        assert (answer["charged"], answer["uncollected"]) == (300, 200)

    def test_granted_money_that_is_free_goes_first(self) -> None:
        one = customer(usd=1000, granted=300)
        hold, _ = one.hold(500)
        expire(hold)
        one.hold(200)
        settle(bill(hold, 400))
        assert legs(hold) == {"usage.granted": 100, "usage.paid": 300}

    def test_two_late_ones_in_one_batch_share_what_is_left(self) -> None:
        one = customer(usd=1000)
        first, _ = one.hold(500)
        second, _ = one.hold(500)
        expire(first, second)
        one.use(400)
        answers = settle(bill(first, 500), bill(second, 500), bill(first, 500))
        assert verdicts(answers) == ["late", "late", "already"]
        assert [answer["charged"] for answer in answers] == [500, 100, 500]
        assert one.balance().available == 0

    def test_expired_tokens_can_be_late_too(self) -> None:
        one = customer(tokens=300)
        hold, _ = one.hold(5, tokens=True)
        expire(hold)
        [answer] = settle(bill(hold, 6_231_000))
        assert (answer["v"], answer["charged"]) == ("late", 3)
        assert one.home().day_used == 6_231_000

    def test_expired_twice_is_already(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(500)
        assert expire(hold, hold) == ["ok", "already"]
        assert expire(hold) == ["already"]

    def test_late_evidence_of_nothing_clears_the_unknown(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(500)
        expire(hold)
        assert verdicts(settle(bill(hold, 0))) == ["late"]
        assert (one.usage()[0].state, one.usage()[0].unknown) == ("late", False)


class TestMidnight:
    EVE = datetime(2031, 11, 30, 23, 59, tzinfo=UTC)
    MORNING = datetime(2031, 12, 1, 0, 1, tzinfo=UTC)

    @pytest.fixture(autouse=True)
    def _months(self) -> None:
        partitions.make_months(tables=["billing_usage"], today=self.EVE.date())

    def test_a_hold_of_yesterday_touches_no_window_of_today(self) -> None:
        one = customer(usd=10_000)
        set_clock(self.EVE)
        hold, day = one.hold(1000)
        set_clock(self.MORNING)
        one.hold(10)
        settle(bill(hold, 700, day=day))
        assert one.home().day_used == one.home().month_used == 10
        assert one.meter().day_used == one.meter().month_used == 10
        assert one.home().held == one.meter().held == 10
        assert one.usage()[0].day.isoformat() == "2031-11-30"

    def test_a_hold_of_another_day_counts_in_its_month(self) -> None:
        one = customer(usd=10_000)
        set_clock(self.EVE.replace(day=29))
        hold, day = one.hold(1000)
        set_clock(self.EVE)
        one.hold(10)
        settle(bill(hold, 700, day=day))
        assert (one.home().day_used, one.home().month_used) == (10, 710)

    def test_yesterdays_window_learns_of_it_while_it_is_still_the_rows(self) -> None:
        one = customer(usd=10_000)
        set_clock(self.EVE)
        hold, _ = one.hold(1000)
        set_clock(self.MORNING)
        settle(bill(hold, 700))
        assert one.home().day.isoformat() == "2031-11-30"
        assert one.home().day_used == 700

    def test_late_evidence_of_yesterday_moves_no_window_of_today(self) -> None:
        one = customer(usd=10_000)
        set_clock(self.EVE)
        hold, _ = one.hold(1000)
        expire(hold)
        set_clock(self.MORNING)
        one.hold(10)
        assert verdicts(settle(bill(hold, 700))) == ["late"]
        assert one.home().day_used == one.home().month_used == 10

    def test_a_month_without_a_partition_refuses_and_keeps_the_hold(self) -> None:
        one = customer(usd=10_000)
        set_clock(self.EVE.replace(year=2035))
        hold, _ = one.hold(1000)
        with pytest.raises(IntegrityError), transaction.atomic():
            settle(bill(hold, 1))
        assert len(one.holds()) == 1


class TestBadItem:
    @pytest.mark.parametrize(
        "change",
        [
            {"cost": -1},
            {"cost": None},
            {"cost": 10**17 + 1},
            {"state": "paid"},
            {"state": None},
            {"state": "voided"},
            {"state": "expired"},
            {"id": None},
        ],
    )
    def test_it_does_not_fail_its_neighbours(self, change: dict[str, object]) -> None:
        one = customer(usd=1000)
        held = [one.hold(100)[0] for _ in range(3)]
        items = [bill(hold, 50) for hold in held]
        items[1] |= change
        assert verdicts(settle(*items)) == ["ok", "bad_item", "ok"]
        assert len(one.holds()) == 1
        assert one.balance().available == 800

    def test_an_empty_batch_has_an_empty_answer(self) -> None:
        assert settle() == []


class TestWindows:
    def test_they_hold_what_was_spent_and_what_is_held(self) -> None:
        one = customer(usd=10_000)
        one.use(300, want=500)
        one.hold(200)
        assert one.home().day_used == one.meter().month_used == 500
        assert one.home().held == one.meter().held == 200

    def test_room_that_a_settlement_gives_back_can_be_used(self) -> None:
        one = customer(usd=10_000)
        one.caps(ws_day=1000)
        one.use(300, want=1000)
        assert verdicts(admit(one.ask(701))) == ["ws_day"]
        assert verdicts(admit(one.ask(700))) == ["ok"]

    def test_every_state_has_its_record(self) -> None:
        one = customer(usd=1000)
        settled, voided, expired = (one.hold(10)[0] for _ in range(3))
        settle(bill(settled, 5))
        void(voided)
        expire(expired)
        states = {str(row.id): row.state for row in one.usage()}
        assert states == {settled: "settled", voided: "voided", expired: "expired"}
        assert Usage.objects.filter(unknown=True).count() == 1

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import ApiKey
from billing import ledger
from billing.models import Account, Hold
from common import ids
from tests.billing.bank import (
    Customer,
    admit,
    bill,
    customer,
    expire,
    set_clock,
    settle,
    verdicts,
    void,
)

pytestmark = pytest.mark.django_db


class TestBalance:
    def test_exactly_what_is_left_is_admitted(self) -> None:
        one = customer(usd=1000)
        [answer] = admit(one.ask(1000))
        assert answer["v"] == "ok"
        assert answer["granted"] == 1000
        assert one.balance().available == 0

    def test_one_unit_more_than_is_left_is_refused(self) -> None:
        one = customer(usd=1000)
        assert verdicts(admit(one.ask(1001))) == ["insufficient_balance"]
        assert one.holds() == []
        assert one.home().debits_pending == 0

    def test_a_refusal_says_what_would_have_been_affordable(self) -> None:
        one = customer(usd=1000)
        [answer] = admit(one.ask(5000, need=2000))
        assert answer["granted"] == 1000

    def test_between_need_and_want_it_grants_what_there_is(self) -> None:
        one = customer(usd=1000)
        [answer] = admit(one.ask(5000, need=1000))
        assert (answer["v"], answer["granted"]) == ("ok", 1000)

    def test_money_in_open_holds_is_reserved_not_gone(self) -> None:
        one = customer(usd=1000)
        one.hold(600)
        [answer] = admit(one.ask(401))
        assert (answer["v"], answer["granted"]) == ("balance_reserved", 400)

    def test_a_batch_counts_its_own_earlier_grants(self) -> None:
        one = customer(usd=1000)
        answers = admit(*[one.ask(300) for _ in range(5)])
        assert verdicts(answers) == ["ok"] * 3 + ["balance_reserved"] * 2
        assert one.home().debits_pending == 900

    def test_a_refused_item_does_not_count_against_later_ones(self) -> None:
        one = customer(usd=1000)
        answers = admit(one.ask(1001), one.ask(1000))
        assert verdicts(answers) == ["insufficient_balance", "ok"]

    def test_a_floor_below_zero_is_credit(self) -> None:
        one = customer(usd=100)
        Account.objects.filter(pk=one.usd).update(floor=-50)
        assert verdicts(admit(one.ask(151))) == ["insufficient_balance"]
        assert verdicts(admit(one.ask(150))) == ["ok"]

    def test_customers_do_not_touch_each_other(self) -> None:
        rich, poor = customer(usd=1000), customer(usd=10)
        answers = admit(rich.ask(500), poor.ask(500), rich.ask(500))
        assert verdicts(answers) == ["ok", "insufficient_balance", "ok"]


class TestGranted:
    def test_granted_money_is_set_aside_first(self) -> None:
        one = customer(usd=1000, granted=300)
        one.hold(500)
        [hold] = one.holds()
        assert (hold.amount, hold.granted) == (500, 300)
        assert one.home().debits_pending == 200
        assert Account.objects.get(home=one.usd).debits_pending == 300

    def test_a_second_hold_does_not_set_the_same_grant_aside_again(self) -> None:
        one = customer(usd=1000, granted=300)
        one.hold(200)
        second, _ = one.hold(200)
        assert Hold.objects.get(pk=second).granted == 100

    def test_both_together_are_the_limit(self) -> None:
        one = customer(usd=1000, granted=300)
        assert verdicts(admit(one.ask(1301))) == ["insufficient_balance"]
        assert verdicts(admit(one.ask(1300))) == ["ok"]

    def test_a_batch_shares_the_grant(self) -> None:
        one = customer(usd=100, granted=300)
        admit(*[one.ask(100) for _ in range(4)])
        granted = [hold.granted for hold in Hold.objects.order_by("id")]
        assert sorted(granted) == [0, 100, 100, 100]


class TestRepeat:
    def test_an_id_that_holds_gets_its_first_answer_again(self) -> None:
        one = customer(usd=1000)
        item = one.ask(5000, need=10)
        first, second = admit(item), admit(item)
        assert first == second
        assert one.home().debits_pending == 1000

    def test_the_first_answer_comes_before_a_look_at_caps(self) -> None:
        one = customer(usd=1000)
        item = one.ask(1000)
        admit(item)
        one.caps(ws_day=0)
        assert verdicts(admit(item)) == ["ok"]

    def test_the_same_id_twice_in_one_batch_holds_once(self) -> None:
        one = customer(usd=1000)
        item = one.ask(400)
        answers = admit(item, item, item)
        assert verdicts(answers) == ["ok"] * 3
        assert [answer["granted"] for answer in answers] == [400] * 3
        assert one.home().debits_pending == 400

    def test_another_customers_id_is_a_bad_item(self) -> None:
        one, other = customer(usd=1000), customer(usd=1000)
        item = one.ask(400)
        admit(item)
        assert verdicts(admit(other.ask(400, id=item["id"]))) == ["bad_item"]

    def test_a_refused_id_may_try_again(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(1000)
        item = one.ask(1000)
        assert verdicts(admit(item)) == ["balance_reserved"]
        void(hold)
        assert verdicts(admit(item)) == ["ok"]


class TestCaps:
    @pytest.mark.parametrize("name", ["ws_day", "ws_month", "key_day", "key_month"])
    def test_exactly_the_cap_is_admitted_and_no_more(self, name: str) -> None:
        one = customer(usd=10_000)
        one.caps(**{name: 1000})
        assert verdicts(admit(one.ask(1001))) == [name]
        assert verdicts(admit(one.ask(1000))) == ["ok"]

    @pytest.mark.parametrize("name", ["ws_day", "ws_month", "key_day", "key_month"])
    def test_what_open_holds_take_is_only_held(self, name: str) -> None:
        one = customer(usd=10_000)
        one.caps(**{name: 1000})
        hold, _ = one.hold(600)
        [answer] = admit(one.ask(401))
        assert (answer["v"], answer["granted"]) == (f"{name}_held", 400)
        settle(bill(hold, 600))
        assert verdicts(admit(one.ask(401))) == [name]

    @pytest.mark.parametrize("name", ["ws_day", "ws_month", "key_day", "key_month"])
    def test_a_cap_clamps_the_grant(self, name: str) -> None:
        one = customer(usd=10_000)
        one.caps(**{name: 1000})
        [answer] = admit(one.ask(5000, need=100))
        assert (answer["v"], answer["granted"]) == ("ok", 1000)

    def test_a_cap_may_be_lowered_below_what_is_spent(self) -> None:
        one = customer(usd=10_000)
        one.use(900)
        one.caps(ws_day=500)
        [answer] = admit(one.ask(1))
        assert (answer["v"], answer["granted"]) == ("ws_day", 0)

    def test_a_cap_of_zero_allows_nothing(self) -> None:
        one = customer(usd=10_000)
        one.caps(key_month=0)
        assert verdicts(admit(one.ask(1))) == ["key_month"]

    def test_a_batch_counts_its_own_grants_against_caps(self) -> None:
        one = customer(usd=10_000)
        one.caps(key_day=1000)
        answers = admit(*[one.ask(300) for _ in range(5)])
        assert verdicts(answers) == ["ok"] * 3 + ["key_day_held"] * 2

    def test_no_balance_is_said_before_a_cap(self) -> None:
        one = customer(usd=100)
        one.caps(ws_day=50)
        assert verdicts(admit(one.ask(101))) == ["insufficient_balance"]

    def test_what_no_open_hold_can_change_is_said_first(self) -> None:
        one = customer(usd=1000)
        one.caps(key_day=800)
        one.hold(700)
        assert verdicts(admit(one.ask(900))) == ["key_day"]


class TestMidnight:
    EVE = datetime(2031, 11, 30, 23, 59, 59, tzinfo=UTC)
    MORNING = datetime(2031, 12, 1, 0, 0, 1, tzinfo=UTC)

    def test_a_new_day_and_month_begin_anew(self) -> None:
        one = customer(usd=10_000)
        one.caps(ws_day=1000, ws_month=1000, key_day=1000, key_month=1000)
        set_clock(self.EVE)
        one.hold(1000)
        set_clock(self.MORNING)
        one.hold(1000)
        assert one.home().day.isoformat() == "2031-12-01"
        assert one.home().day_used == one.home().month_used == 1000
        assert one.meter().day_used == one.meter().month_used == 1000

    def test_a_new_day_keeps_the_month(self) -> None:
        one = customer(usd=10_000)
        one.caps(ws_month=1500)
        set_clock(self.EVE - timedelta(days=1))
        one.hold(1000)
        set_clock(self.EVE)
        assert verdicts(admit(one.ask(501))) == ["ws_month_held"]
        assert verdicts(admit(one.ask(500))) == ["ok"]
        assert one.home().day_used == 500

    def test_a_clock_that_steps_back_over_midnight_does_not_turn_windows_back(self) -> None:
        one = customer(usd=10_000)
        one.caps(ws_day=1000)
        set_clock(self.MORNING)
        one.hold(900)
        set_clock(self.EVE)
        assert verdicts(admit(one.ask(101))) == ["ws_day_held"]
        [answer] = admit(one.ask(100))
        assert (answer["v"], answer["day"]) == ("ok", "2031-12-01")

    def test_a_window_further_ahead_is_a_bad_item(self) -> None:
        one = customer(usd=10_000)
        set_clock(self.MORNING + timedelta(days=2))
        one.hold(1)
        set_clock(self.MORNING)
        assert verdicts(admit(one.ask(1))) == ["bad_item"]

    def test_days_are_utc_whatever_the_session_says(self) -> None:
        one = customer(usd=10_000)
        set_clock(self.MORNING)
        with connection.cursor() as cursor:
            cursor.execute("set local time zone 'America/New_York'")
        _, day = one.hold(1)
        assert day == "2031-12-01"


class TestKey:
    def test_another_version_is_stale(self) -> None:
        one = customer(usd=1000)
        ApiKey.objects.filter(pk=one.key.pk).update(name="renamed")
        assert verdicts(admit(one.ask(1))) == ["stale"]
        one.key.refresh_from_db()
        assert verdicts(admit(one.ask(1))) == ["ok"]

    @pytest.mark.parametrize("column", ["disabled_at", "deleted_at", "expires_at"])
    def test_a_key_that_is_out_of_use_is_stale_at_its_version(self, column: str) -> None:
        one = customer(usd=1000)
        ApiKey.objects.filter(pk=one.key.pk).update(**{column: timezone.now()})
        one.key.refresh_from_db()
        assert verdicts(admit(one.ask(1))) == ["stale"]

    def test_a_key_works_until_it_expires(self) -> None:
        one = customer(usd=1000)
        later = timezone.now() + timedelta(minutes=1)
        ApiKey.objects.filter(pk=one.key.pk).update(expires_at=later)
        one.key.refresh_from_db()
        assert verdicts(admit(one.ask(1))) == ["ok"]

    def test_its_last_use_is_noted(self) -> None:
        one = customer(usd=1000)
        one.hold(1)
        assert one.meter().last_used_at is not None


class TestFrozen:
    def test_a_frozen_workspace_is_refused_in_every_asset(self) -> None:
        one = customer(usd=1000, tokens=1000)
        ledger.freeze(workspace_id=one.workspace.pk)
        assert verdicts(admit(one.ask(1), one.ask(1, tokens=True))) == ["frozen"] * 2
        ledger.unfreeze(workspace_id=one.workspace.pk)
        assert verdicts(admit(one.ask(1))) == ["ok"]


class TestTokens:
    def test_a_hold_in_tokens_counts_its_dollars_in_the_caps(self) -> None:
        one = customer(tokens=300)
        one.hold(3, tokens=True)
        assert one.home("TOK").debits_pending == 3
        assert one.home().debits_pending == 0
        assert one.home().day_used == one.home().held == 3 * 2_500_000
        assert one.meter().day_used == one.meter().held == 3 * 2_500_000

    def test_a_dollar_cap_bounds_tokens_in_whole_tokens(self) -> None:
        one = customer(tokens=300)
        one.caps(ws_day=2 * 2_500_000 + 1)
        [refused] = admit(one.ask(3, tokens=True))
        [clamped] = admit(one.ask(3, need=1, tokens=True))
        assert (refused["v"], refused["granted"]) == ("ws_day", 2)
        assert (clamped["v"], clamped["granted"]) == ("ok", 2)

    def test_dollars_never_pay_for_tokens(self) -> None:
        one = customer(usd=10**12)
        assert verdicts(admit(one.ask(1, tokens=True))) == ["insufficient_balance"]

    def test_both_assets_in_one_batch_share_the_caps(self) -> None:
        one = customer(usd=10**9, tokens=300)
        one.caps(key_day=5_000_000)
        answers = admit(one.ask(2_500_000), one.ask(1, tokens=True), one.ask(1))
        assert verdicts(answers) == ["ok", "ok", "key_day_held"]


class TestBadItem:
    @pytest.mark.parametrize(
        "change",
        [
            {"id": None},
            {"want": None},
            {"want": 0, "need": 0},
            {"want": -5},
            {"want": 5, "need": 6},
            {"want": 10**17 + 1},
            {"unit": 0},
            {"unit": 2},
            {"unit": 10**17},
            {"unit": None},
            {"ttl": 0},
            {"ttl": None},
            {"version": None},
            {"workspace": None},
            {"workspace": -1},
            {"process": None},
            {"model": None},
            {"account": None},
            {"key": None},
        ],
    )
    def test_it_does_not_fail_its_neighbours(self, change: dict[str, object]) -> None:
        one = customer(usd=1000)
        answers = admit(one.ask(1), one.ask(10) | change, one.ask(1))
        assert verdicts(answers) == ["ok", "bad_item", "ok"]
        assert len(one.holds()) == 2

    def test_an_unknown_account_or_key_is_said(self) -> None:
        one = customer(usd=1000)
        answers = admit(one.ask(1, account=-1, usd_account=-1), one.ask(1, key=-1), one.ask(1))
        assert verdicts(answers) == ["unknown_account", "unknown_account", "ok"]

    def test_a_granted_or_house_account_is_no_home(self) -> None:
        one = customer(usd=1000, granted=1000)
        granted = Account.objects.get(home=one.usd).pk
        house = ledger.house_account(kind="revenue", asset="USD")
        answers = admit(
            one.ask(1, account=granted, usd_account=granted),
            one.ask(1, account=house, usd_account=house),
        )
        assert verdicts(answers) == ["unknown_account"] * 2

    def test_another_workspaces_account_is_refused(self) -> None:
        one, other = customer(usd=1000), customer(usd=1000)
        assert verdicts(admit(one.ask(1, account=other.usd))) == ["bad_item"]
        assert verdicts(admit(one.ask(1, usd_account=other.usd))) == ["bad_item"]

    def test_an_empty_batch_has_an_empty_answer(self) -> None:
        assert admit() == []


@pytest.mark.django_db(transaction=True)
class TestPlans:
    GROW = """
    insert into accounts_workspace (public_id, name, tier_id, created_at)
        select 'ws_' || n, 'w', (select min(id) from accounts_tier), now()
        from generate_series(1, 3000) n;
    insert into billing_account (workspace_id, kind, asset, bounded)
        select id, 'granted', 'USD', true from accounts_workspace where name = 'w';
    insert into billing_account (workspace_id, kind, asset, bounded, granted_id)
        select workspace_id, 'paid', 'USD', true, id from billing_account
        where workspace_id in (select id from accounts_workspace where name = 'w');
    insert into accounts_apikey (public_id, name, kind, prefix, last4, digest, pepper_id,
            service_account_id, scopes, ips, version, created_at)
        select 'key_' || n, 'k', 'standard', '', '', sha256(n::text::bytea), '1',
            (select min(id) from accounts_serviceaccount), '{chat}', '{}', 1, now()
        from generate_series(1, 3000) n;
    insert into billing_keymeter (key_id) select id from accounts_apikey where name = 'k';
    insert into billing_hold (id, account_id, usd_account_id, workspace_id, key_id, asset,
            amount, unit_nanos, day, process_id, model, expires_at)
        select gen_random_uuid(), 1, 1, 1, 1, 'USD', 1, 1, now(), 1, 'm', now()
        from generate_series(1, 3000);
    """
    READ = """
    select coalesce(sum(seq_tup_read + idx_tup_fetch), 0)
    from pg_stat_xact_user_tables
    where relname in ('billing_account', 'billing_keymeter', 'billing_hold', 'accounts_apikey')
    """

    def test_plans_made_while_tables_were_small_stay_good(self) -> None:
        one = customer(usd=10**6, granted=100, tokens=10)
        # Looked up before: a plan made outside of settle, where a scan is allowed, would be kept.
        house = ledger.house_account(kind="clearing:test", asset="USD")
        with connection.cursor() as cursor:
            for _ in range(3):
                cursor.execute("analyze")
                self.every_way(one, house)
            cursor.execute(self.GROW)
            with transaction.atomic():
                cursor.execute(self.READ)
                before = cursor.fetchone()[0]
                self.every_way(one, house)
                cursor.execute(self.READ)
                # Whoever reads one of the tables that grew reads 3000 rows.
                assert cursor.fetchone()[0] - before < 1000
            cursor.execute("delete from billing_hold where account_id = 1")

    @staticmethod
    def every_way(one: Customer, house: int) -> None:
        """Call every function, with and without care."""
        for careful in (False, True):
            items = [one.ask(3), one.ask(1, tokens=True), one.ask(3), one.ask(3)]
            assert verdicts(admit(*items, careful=careful)) == ["ok"] * 4
            first, second, third, fourth = (item["id"] for item in items)
            day = datetime.now(UTC).date().isoformat()
            closed = settle(bill(first, 3), bill(second, 1, day=day), careful=careful)
            assert verdicts(closed) == ["ok"] * 2
            assert void(third) == expire(fourth) == ["ok"]
            assert verdicts(settle(bill(fourth, 1), careful=careful)) == ["late"]
        ledger.post(
            ledger.Transfer(
                kind="refund",
                source=ids.request_id(),
                debit=one.usd,
                credit=house,
                asset="USD",
                amount=1,
            )
        )

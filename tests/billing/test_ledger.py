from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from accounts.models import Tier
from billing import ledger
from billing.models import Account, KeyMeter, Transfer
from common import ids
from tests.billing.bank import Customer, admit, bill, customer, settle, verdicts

pytestmark = pytest.mark.django_db


def top_up(one: Customer, amount: int, **changes: Any) -> ledger.Transfer:
    """Return a payment that a provider reported."""
    given: dict[str, Any] = {
        "kind": "top_up",
        "source": ids.source("test", str(one.usd)),
        "debit": ledger.house_account(kind="clearing:test", asset="USD"),
        "credit": one.usd,
        "asset": "USD",
        "amount": amount,
    }
    return ledger.Transfer(**(given | changes))


def refund(one: Customer, amount: int, **changes: Any) -> ledger.Transfer:
    """Return money going back."""
    given: dict[str, Any] = {
        "kind": "refund",
        "source": ids.request_id(),
        "debit": one.usd,
        "credit": ledger.house_account(kind="clearing:test", asset="USD"),
    }
    return top_up(one, amount, **(given | changes))


class TestPost:
    def test_it_moves_money_and_keeps_what_was_said(self) -> None:
        one = customer()
        payment = top_up(one, 700, reference="pi_1", reason="card")
        assert ledger.post(payment) == [True]
        assert one.balance().paid == 700
        row = Transfer.objects.get()
        assert (row.reference, row.reason, row.amount) == ("pi_1", "card", 700)

    def test_a_second_time_changes_nothing(self) -> None:
        one = customer()
        ledger.post(top_up(one, 700))
        assert ledger.post(top_up(one, 700)) == [False]
        assert one.balance().paid == 700

    def test_another_amount_is_a_conflict(self) -> None:
        one = customer()
        ledger.post(top_up(one, 700))
        with pytest.raises(ledger.Conflict), transaction.atomic():
            ledger.post(top_up(one, 701))
        assert one.balance().paid == 700

    def test_another_customer_is_a_conflict(self) -> None:
        one, other = customer(), customer()
        ledger.post(top_up(one, 700))
        with pytest.raises(ledger.Conflict), transaction.atomic():
            ledger.post(top_up(one, 700, credit=other.usd))

    def test_exactly_what_is_left_can_go(self) -> None:
        one = customer(usd=1000)
        with pytest.raises(ledger.InsufficientFunds), transaction.atomic():
            ledger.post(refund(one, 1001))
        assert ledger.post(refund(one, 1000)) == [True]
        assert one.balance().total == 0

    def test_money_that_calls_have_set_aside_cannot_go(self) -> None:
        one = customer(usd=1000)
        one.hold(400)
        with pytest.raises(ledger.InsufficientFunds), transaction.atomic():
            ledger.post(refund(one, 601))
        assert ledger.post(refund(one, 600)) == [True]

    def test_a_refund_touches_paid_money_only(self) -> None:
        one = customer(usd=100, granted=1000)
        with pytest.raises(ledger.InsufficientFunds), transaction.atomic():
            ledger.post(refund(one, 101))

    def test_all_or_nothing(self) -> None:
        one = customer(usd=1000)
        with pytest.raises(ledger.InsufficientFunds), transaction.atomic():
            ledger.post(top_up(one, 5), refund(one, 2000))
        assert one.balance().paid == 1000

    def test_later_items_see_earlier_ones(self) -> None:
        one = customer()
        assert ledger.post(top_up(one, 500), refund(one, 500)) == [True, True]
        assert one.balance().total == 0

    def test_a_replay_passes_when_the_money_has_gone_since(self) -> None:
        one = customer(usd=1000)
        back = refund(one, 800)
        ledger.post(back)
        one.hold(200)
        assert ledger.post(back) == [False]

    @pytest.mark.parametrize(
        "change",
        [
            {"amount": 0},
            {"amount": -1},
            {"amount": 10**19},
            {"asset": "TOK"},
            {"credit": -1},
            {"kind": ""},
            {"kind": "usage.paid"},
        ],
    )
    def test_nonsense_is_no_transfer(self, change: dict[str, Any]) -> None:
        one = customer()
        with pytest.raises(ledger.NotATransfer), transaction.atomic():
            ledger.post(replace(top_up(one, 5), **change))
        assert one.balance().total == 0

    def test_an_account_cannot_pay_itself(self) -> None:
        one = customer(usd=10)
        with pytest.raises(ledger.NotATransfer), transaction.atomic():
            ledger.post(top_up(one, 5, debit=one.usd))

    def test_the_house_moves_money_without_counters(self) -> None:
        first = ledger.house_account(kind="clearing:test", asset="USD")
        second = ledger.house_account(kind="bank", asset="USD")
        ledger.post(
            ledger.Transfer(
                kind="payout",
                source=UUID(int=1),
                debit=second,
                credit=first,
                asset="USD",
                amount=10**30,
            )
        )
        assert Transfer.objects.get().amount == 10**30


class TestOpenAccounts:
    def test_it_opens_two_accounts_per_asset_once(self) -> None:
        one = customer()
        again = ledger.open_accounts(workspace_id=one.workspace.pk)
        assert again == ledger.Accounts(usd_id=one.usd, tok_id=one.tok)
        kinds = Account.objects.filter(workspace=one.workspace).values_list("kind", "asset")
        assert sorted(kinds) == [
            ("granted", "TOK"), ("granted", "USD"), ("paid", "TOK"), ("paid", "USD"),
        ]  # fmt: skip

    def test_the_caps_are_the_tiers(self) -> None:
        one = customer()
        Account.objects.filter(workspace=one.workspace).exclude(granted=None).update(granted=None)
        Account.objects.filter(workspace=one.workspace).delete()
        ledger.open_accounts(workspace_id=one.workspace.pk)
        tier = Tier.objects.get(is_default=True)
        assert one.home().day_cap == tier.default_daily_nanos == 100 * 10**9
        assert one.home().month_cap == tier.default_monthly_nanos == 1000 * 10**9
        assert one.home("TOK").day_cap is None


class TestOpenMeter:
    def test_a_keys_caps_are_its_workspaces_tiers(self) -> None:
        one = customer()
        KeyMeter.objects.all().delete()
        ledger.open_meter(key_id=one.key.pk)
        ledger.open_meter(key_id=one.key.pk)
        assert one.meter().day_cap == 100 * 10**9
        assert one.meter().month_cap == 1000 * 10**9


class TestBalance:
    def test_it_is_ledger_minus_holds(self) -> None:
        one = customer(usd=1000, granted=300)
        one.hold(500)
        balance = one.balance()
        assert (balance.paid, balance.granted, balance.held) == (1000, 300, 500)
        assert (balance.total, balance.available) == (1300, 800)

    def test_credit_is_available_too(self) -> None:
        one = customer(usd=1000)
        Account.objects.filter(pk=one.usd).update(floor=-200)
        assert one.balance().available == 1200

    def test_credit_is_for_calls_and_never_paid_out(self) -> None:
        one = customer(usd=1000)
        Account.objects.filter(pk=one.usd).update(floor=-200)
        with pytest.raises(ledger.InsufficientFunds), transaction.atomic():
            ledger.post(refund(one, 1001))
        with pytest.raises(ledger.InsufficientFunds), transaction.atomic():
            ledger.reserve(source=ids.request_id(), home=one.usd, amount=1001)
        ledger.post(refund(one, 1000))
        assert verdicts(admit(one.ask(200))) == ["ok"]

    def test_nobody_has_nothing(self) -> None:
        assert ledger.balance(workspace_id=-1, asset="USD").available == 0


class TestFreeze:
    def test_calls_in_flight_are_settled(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(100)
        ledger.freeze(workspace_id=one.workspace.pk)
        assert verdicts(settle(bill(hold, 60))) == ["ok"]
        assert verdicts(admit(one.ask(1))) == ["frozen"]


ROOT = Path(ledger.__file__).resolve().parents[1]
COUNTERS = {"credits_posted", "debits_posted", "debits_pending", "day_used", "month_used", "spent"}
WRITING = re.compile(
    r"\b(?:insert\s+into|update|delete\s+from|truncate)\s+"
    r"billing_(?:account|transfer|keymeter|hold|usage)\b"
)
# A worker takes over a hold that waited for one: whose it is and its time, no amount.
TAKES_OVER = {"proxy/generations.py"}


def writes_of_money(source: str) -> list[str]:
    """Return what in a program writes money past the functions in SQL."""
    found = WRITING.findall(source.lower())
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found += {node.attr} & COUNTERS
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            # Of update(), create() and the like; annotate() and aggregate() name what they read.
            if node.func.attr not in ("annotate", "aggregate"):
                found += {each.arg or "" for each in node.keywords} & (COUNTERS - {"spent"})
    return found


class TestOneWriter:
    def test_nothing_but_the_functions_in_sql_writes_money(self) -> None:
        programs = [
            path
            for room in ("accounts", "billing", "proxy", "platform")
            for path in (ROOT / room).rglob("*.py")
            if "migrations" not in path.parts
        ]
        found = {
            str(path.relative_to(ROOT)): written
            for path in programs
            if (written := writes_of_money(path.read_text("utf-8")))
        }
        assert set(found) == TAKES_OVER, found

    @pytest.mark.parametrize(
        "source",
        [
            "Account.objects.filter(pk=1).update(debits_posted=F('debits_posted') + 1)",
            "Account.objects.create(credits_posted=5)",
            "home.debits_pending += 5",
            "meter.spent = 0",
            'STATEMENT = """\nUPDATE billing_account SET floor = 0"""',
            "cursor.execute('insert into billing_transfer values (1)')",
        ],
    )
    def test_what_would_is_found(self, source: str) -> None:
        assert writes_of_money(source)

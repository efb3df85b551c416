"""Random programs against the SQL functions and a model in Python, which must agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from billing import grants, invariants, ledger
from common import ids
from tests.billing.bank import Customer, admit, bill, customer, expire, settle, verdicts, void

UNIT = 2_500_000


@dataclass(slots=True)
class ModelHold:
    """What the model remembers of a call."""

    asset: str
    amount: int
    granted: int
    state: str = "open"
    cost: int = 0
    charged: int = 0

    @property
    def unit(self) -> int:
        """Nano-dollars per unit of the asset."""
        return UNIT if self.asset == "TOK" else 1


@dataclass(slots=True)
class Model:
    """Money, holds and one cap, counted one call at a time."""

    paid: dict[str, int]
    granted: dict[str, int]
    cap: int | None = None
    used: int = 0
    holds: dict[str, ModelHold] = field(default_factory=dict)

    def open(self, asset: str) -> list[ModelHold]:
        """Return the open holds of an asset."""
        return [h for h in self.holds.values() if h.asset == asset and h.state == "open"]

    def free_granted(self, asset: str) -> int:
        """Return granted money that no hold has set aside."""
        return self.granted[asset] - sum(hold.granted for hold in self.open(asset))

    def free_paid(self, asset: str) -> int:
        """Return paid money that no hold has set aside."""
        return self.paid[asset] - sum(hold.amount - hold.granted for hold in self.open(asset))

    def admit(self, name: str, asset: str, want: int, need: int) -> int | None:
        """Return the granted amount, or None for a refusal."""
        unit = UNIT if asset == "TOK" else 1
        free = self.free_granted(asset) + self.free_paid(asset)
        amount = min(want, free)
        if self.cap is not None:
            amount = min(amount, max(self.cap - self.used, 0) // unit)
        if amount < need:
            return None
        part = min(amount, self.free_granted(asset))
        self.holds[name] = ModelHold(asset, amount, part)
        self.used += amount * unit
        return amount

    def close(self, name: str, state: str, cost: int) -> str:
        """Return the verdict of closing a call, and move the money."""
        hold = self.holds[name]
        if hold.state == "open":
            self.used -= hold.amount * hold.unit
            granted, paid, verdict = hold.granted, hold.amount - hold.granted, "ok"
        elif hold.state == "expired" and state == "settled":
            granted, paid = self.free_granted(hold.asset), self.free_paid(hold.asset)
            state = verdict = "late"
        else:
            return "already" if hold.cost == cost else "conflict"
        charge = min(-(-cost // hold.unit), hold.amount)
        from_granted = min(charge, granted)
        from_paid = min(charge - from_granted, paid)
        self.granted[hold.asset] -= from_granted
        self.paid[hold.asset] -= from_paid
        hold.state, hold.cost, hold.charged = state, cost, from_granted + from_paid
        self.used += min(cost, hold.charged * hold.unit)
        return verdict


class Programs(RuleBasedStateMachine):
    """Admit, settle, void, expire, pay, refund and change caps, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.customer: Customer = customer(usd=1000, granted=300, tokens=50, granted_tokens=5)
        self.model = Model({"USD": 1000, "TOK": 50}, {"USD": 300, "TOK": 5})

    def teardown(self) -> None:
        """Look at the books once more, then forget everything."""
        # These calls have neither a price nor an attempt.
        broken = {each.id for each in invariants.check().findings if each.violations}
        assert broken <= {5, 10}
        transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)

    def ask(self, asset: str, want: int, need: int) -> dict[str, Any]:
        """Return one item."""
        return self.customer.ask(want, min(want, need), tokens=asset == "TOK")

    asks = st.lists(
        st.tuples(st.sampled_from(["USD", "TOK"]), st.integers(1, 700), st.integers(1, 300)),
        min_size=1,
        max_size=5,
    )

    @rule(asked=asks)
    def admit_batch(self, asked: list[tuple[str, int, int]]) -> None:
        """Ask for several calls at once."""
        items = [self.ask(*each) for each in asked]
        expected = [
            self.model.admit(item["id"], asset, item["want"], item["need"])
            for item, (asset, _, _) in zip(items, asked, strict=True)
        ]
        got = [answer["granted"] if answer["v"] == "ok" else None for answer in admit(*items)]
        assert got == expected

    @rule(asset=st.sampled_from(["USD", "TOK"]))
    def admit_exactly_what_is_left(self, asset: str) -> None:
        """Ask for all of it, then for one more unit."""
        left = self.model.free_granted(asset) + self.model.free_paid(asset)
        for want in (left + 1, left):
            if want > 0:
                item = self.ask(asset, want, want)
                expected = self.model.admit(item["id"], asset, want, want)
                [answer] = admit(item)
                assert (answer["v"] == "ok") == (expected is not None)

    @precondition(lambda self: self.model.holds)
    @rule(choice=st.data(), state=st.sampled_from(["settled", "settled", "voided", "expired"]))
    def close_some(self, choice: st.DataObject, state: str) -> None:
        """Close calls that are open, closed or expired, some of them twice."""
        names = choice.draw(
            st.lists(st.sampled_from(list(self.model.holds)), min_size=1, max_size=4)
        )
        if state == "voided":
            assert void(*names) == [self.model.close(name, state, 0) for name in names]
            return
        if state == "expired":
            assert expire(*names) == [self.model.close(name, state, 0) for name in names]
            return
        costs = []
        for name in names:
            hold = self.model.holds[name]
            exact = hold.amount * hold.unit
            costs.append(
                choice.draw(st.sampled_from([0, 1, exact, exact + 1, hold.cost, exact // 2]))
            )
        batch = list(zip(names, costs, strict=True))
        answers = settle(*[bill(name, cost) for name, cost in batch])
        expected = [self.model.close(name, "settled", cost) for name, cost in batch]
        assert verdicts(answers) == expected

    @rule(amount=st.integers(1, 500))
    def pay(self, amount: int) -> None:
        """Receive money."""
        grants.grant(
            workspace=self.customer.workspace, asset="USD", amount=amount, reason="x", paid=True
        )
        self.model.paid["USD"] += amount

    @rule(amount=st.integers(1, 300))
    def refund(self, amount: int) -> None:
        """Give money back, if no call has set it aside."""
        fits = self.model.free_paid("USD") >= amount
        try:
            with transaction.atomic():
                ledger.post(
                    ledger.Transfer(
                        kind="refund",
                        source=ids.request_id(),
                        debit=self.customer.usd,
                        credit=ledger.house_account(kind="clearing:test", asset="USD"),
                        asset="USD",
                        amount=amount,
                    )
                )
        except ledger.InsufficientFunds:
            assert not fits
        else:
            assert fits
            self.model.paid["USD"] -= amount

    @rule(room=st.none() | st.integers(-100, 2 * 10**8))
    def change_cap(self, room: int | None) -> None:
        """Set the daily cap near what is used, also below it."""
        self.model.cap = None if room is None else max(self.model.used + room, 0)
        self.customer.caps(ws_day=self.model.cap)

    @invariant()
    def balances_agree(self) -> None:
        """What the customer sees is what the model counts."""
        for asset in ("USD", "TOK"):
            balance = self.customer.balance(asset)
            assert balance.paid == self.model.paid[asset] >= 0
            assert balance.granted == self.model.granted[asset] >= 0
            assert balance.held == sum(hold.amount for hold in self.model.open(asset))
        assert self.customer.home().day_used == self.customer.meter().day_used == self.model.used


@pytest.mark.django_db
def test_random_programs_agree_with_the_model() -> None:
    run_state_machine_as_test(
        Programs,
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

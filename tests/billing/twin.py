"""The ledger and its model side by side: each step is made in both, and they must agree."""

from __future__ import annotations

import math
from copy import deepcopy
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from billing import conversions, ledger
from billing.models import Account
from common import ids
from tests.billing import bank, model
from tests.billing.bank import Answer, Customer, Item
from tests.billing.model import TOK_NANOS, Books, Refused

CLEARING = "clearing:test"
CAPS = ("ws_day", "ws_month", "key_day", "key_month")


def middle_of_next_month() -> datetime:
    """Return a noon with days of the same month, and partitions, on both sides."""
    first = timezone.now().replace(day=1, hour=12, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=31)).replace(day=15)


class Twin:
    """Some customers, their books in the database, and the same books in Python."""

    def __init__(self, *customers: Customer, books: Books | None = None) -> None:
        self.customers = customers
        # Who brings the books has time: they are compared when somebody asks.
        self.patient = books is not None
        self.apart = False
        self.clearing = ledger.house_account(kind=CLEARING, asset="USD")
        self.known: list[str] = []
        self.set_clock(middle_of_next_month())
        self.model = deepcopy(books) or Books.read()

    def set_clock(self, now: datetime) -> None:
        """Put the clock of money at a time."""
        self.now = now
        bank.set_clock(now)

    def step(self) -> None:
        """Compare the rows after a step; a patient twin waits until somebody asks."""
        if not self.patient:
            self.agree()

    def part(self) -> None:
        """From here on the database goes its own way."""
        self.apart = True

    def agree(self) -> None:
        """Every row is what the model says."""
        real = Books.read()
        for name in ("accounts", "meters", "holds", "usage", "transfers", "revisions"):
            assert getattr(real, name) == getattr(self.model, name), name

    def admit(self, *items: Item, careful: bool = False) -> list[str]:
        """Ask for calls; return the verdicts."""
        expected = self.model.admit(list(items), now=self.now)
        answers = bank.admit(*items, careful=careful)
        assert answers == expected
        self.known += [item["id"] for item in items if item["id"] is not None]
        self.step()
        return bank.verdicts(answers)

    def hold(self, one: Customer, want: int, **changes: Any) -> str:
        """Take one hold."""
        item = one.ask(want, **changes)
        assert self.admit(item) == ["ok"]
        return str(item["id"])

    def settle(self, *items: Item, careful: bool = False) -> list[str]:
        """Close calls; return the verdicts."""
        expected = self.model.settle(list(items))
        answers = bank.settle(*items, careful=careful)
        return self._same(answers, expected)

    def bill(self, hold: str, cost: int, **facts: Any) -> str:
        """Settle one call."""
        return self.settle(bank.bill(hold, cost, **facts))[0]

    def void(self, *names: str) -> list[str]:
        """Give calls back."""
        expected = self.model.settle(
            [bank.bill(name, 0, state="voided", source=None) for name in names]
        )
        assert bank.void(*names) == bank.verdicts(expected)
        self.step()
        return bank.verdicts(expected)

    def expire(self, *names: str) -> list[str]:
        """End calls whose time is over."""
        items = [bank.bill(name, 0, state="expired", unknown=True, source=None) for name in names]
        expected = self.model.settle(items)
        assert bank.expire(*names) == bank.verdicts(expected)
        self.step()
        return bank.verdicts(expected)

    def revise(self, hold: str, cost: int, **facts: Any) -> str:
        """Send evidence for a call that is closed; return the verdict."""
        closed = self.model.usage.get(hold)
        day = (closed.day if closed else self.now.date()).isoformat()
        item = bank.bill(hold, cost, **({"day": day} | facts))
        expected = self.model.revise(item)
        answer = bank.revise(item)
        assert answer == expected
        self.step()
        return str(answer["v"])

    def repeat(self, name: str, *, day: date | None = None) -> None:
        """Give a call's Idempotency-Key away."""
        closed = self.model.usage.get(name)
        day = day or (closed.day if closed else self.now.date())
        self.model.repeat(name, day)
        bank.repeat(name, day.isoformat())
        self.step()

    def guess(self, hold: str, cost: int, *, source: str = "checkpoint") -> str:
        """Close a call as a sweep does that has an estimate only."""
        assert self.bill(hold, cost, source=source, reason="swept") in ("ok", "late")
        return hold

    def _same(self, answers: list[Answer], expected: list[Answer]) -> list[str]:
        assert answers == expected
        self.step()
        return bank.verdicts(answers)

    def post(self, *moves: tuple[str, int | str, int | str, int], source: str = "") -> bool:
        """Move dollars: kind, debit, credit, amount; False where the ledger refuses."""
        source = source or str(ids.request_id())
        before = deepcopy(self.model)
        try:
            expected = self.model.post(
                *[
                    (kind, source, str(debit), str(credit), "USD", amount)
                    for kind, debit, credit, amount in moves
                ]
            )
        except Refused:
            self.model = before
            expected = None
        try:
            with transaction.atomic():
                done = ledger.post(
                    *[
                        ledger.Transfer(
                            kind=kind, source=UUID(source), debit=self._id(debit),
                            credit=self._id(credit), asset="USD", amount=amount,
                        )
                        for kind, debit, credit, amount in moves
                    ]
                )  # fmt: skip
        except ledger.InsufficientFunds:
            done = None
        assert done == expected
        self.step()
        return done is not None

    def _id(self, name: int | str) -> int:
        return name if isinstance(name, int) else self.clearing

    def pay(self, one: Customer, amount: int, *, granted: bool = False) -> None:
        """Receive money."""
        account = self.granted(one).id if granted else one.usd
        assert self.post(("top_up", f"{CLEARING} USD", account, amount))

    def refund(self, one: Customer, amount: int) -> bool:
        """Give money back."""
        return self.post(("refund", one.usd, f"{CLEARING} USD", amount))

    def granted(self, one: Customer, asset: str = "USD") -> model.Account:
        """Return the model's granted account of a customer."""
        home = self.model.accounts[one.usd if asset == "USD" else one.tok]
        return self.model.accounts[home.granted or 0]

    def extend(self, *names: str) -> None:
        """Ask for more time: whoever still holds gets it."""
        extended = bank.run_django(ledger.EXTEND, [list(names), 900])
        assert {str(each) for each in extended} == set(names) & set(self.model.holds)
        self.step()

    def exchange(self, one: Customer, amount: int, value: Fraction, *, spread_ppm: int) -> bool:
        """Buy tokens at a rate; False where the ledger refuses."""
        gross = math.floor(amount * value)
        spread = math.ceil(Fraction(gross * spread_ppm, 10**6))
        source = ids.request_id()
        usd, tok = self.model.accounts[one.usd], self.model.accounts[one.tok]
        rate = conversions.Rate(value=value, source="test", at=self.now)
        try:
            with transaction.atomic():
                conversions.convert(
                    source=source, debit=usd.id, credit=tok.id, amount=amount, rate=rate,
                    spread_ppm=spread_ppm,
                )  # fmt: skip
        except ledger.NotATransfer:
            assert gross <= spread
            return False
        except ledger.InsufficientFunds:
            assert usd.paid_free < amount
            return False
        usd.debits += amount
        tok.credits += gross - spread
        for kind, debit, credit, asset, units in (
            ("conversion.out", str(usd.id), "trading USD", "USD", amount),
            ("conversion.in", "trading TOK", str(tok.id), "TOK", gross - spread),
            ("conversion.spread", "trading TOK", "fx_spread TOK", "TOK", spread),
        ):
            if units:
                self.model.transfers[kind, str(source)] = (debit, credit, asset, units)
        self.step()
        return True

    def free(self, one: Customer, asset: str = "USD") -> int:
        """Return what a call can have."""
        home = self.model.accounts[one.usd if asset == "USD" else one.tok]
        return home.free + self.granted(one, asset).free

    def used(self, one: Customer, cap: str) -> int:
        """Return what is used of a cap today."""
        owner, _, span = cap.partition("_")
        window = self.model.accounts[one.usd] if owner == "ws" else self.model.meters[one.key.pk]
        return window.as_of(self.now.date())[span == "month"]

    def cap(self, one: Customer, name: str, limit: int | None) -> None:
        """Set a cap."""
        one.caps(**{name: limit})
        owner, _, span = name.partition("_")
        window = self.model.accounts[one.usd] if owner == "ws" else self.model.meters[one.key.pk]
        setattr(window, f"{span}_cap", limit)

    def change(self, account_id: int, **columns: Any) -> None:
        """Change columns of an account that no function of the ledger changes."""
        Account.objects.filter(pk=account_id).update(**columns)
        for name, value in columns.items():
            setattr(self.model.accounts[account_id], name, value)

    def edit_key(self, one: Customer, column: str, value: Any) -> int:
        """Change a key; return its version, which rises with it."""
        with connection.cursor() as cursor:
            cursor.execute(
                f"update accounts_apikey set {column} = %s where id = %s returning version",  # noqa: S608 - fixed names
                [value, one.key.pk],
            )
            version: int = cursor.fetchone()[0]
        self.model.keys[one.key.pk] = version
        return version

    @staticmethod
    def unit(asset: str) -> int:
        """Return what one unit is worth in nano-dollars."""
        return TOK_NANOS if asset == "TOK" else 1

"""Random programs, the same each time."""

from __future__ import annotations

import random
from datetime import timedelta
from functools import partial
from typing import Final

from tests.billing.bank import Customer, bill
from tests.billing.model import TOK_NANOS
from tests.billing.twin import CAPS, Twin
from tests.mutations.steps import (
    Scenario,
)


def program(t: Twin, *, seed: int, steps: int = 25) -> None:
    """Do this and that, mostly on a boundary."""
    chance = random.Random(seed)
    for _ in range(steps):
        one = chance.choice(t.customers)
        chance.choice(STEPS)(t, one, chance)
    t.agree()


def _asks(t: Twin, one: Customer, chance: random.Random) -> None:
    items = []
    for _ in range(chance.randint(1, 4)):
        asset = chance.choice(["USD", "USD", "TOK"])
        left = t.free(one, asset)
        want = max(chance.choice([1, left, left + 1, left // 2, chance.randint(1, 400)]), 1)
        need = chance.choice([want, want, 1, max(want // 2, 1)])
        items.append(one.ask(want, need, tokens=asset == "TOK"))
        one = chance.choice([one, *t.customers])
    t.admit(*items, careful=chance.random() < 0.3)


def _closes(t: Twin, one: Customer, chance: random.Random) -> None:
    if not t.known:
        return
    names = [chance.choice(t.known[-12:]) for _ in range(chance.randint(1, 4))]
    how = chance.randint(0, 3)
    if how == 0:
        t.void(*names)
    elif how == 1:
        t.expire(*names)
    else:
        t.settle(*[bill(name, _cost(t, name, chance)) for name in names], careful=how == 2)


def _cost(t: Twin, name: str, chance: random.Random) -> int:
    held, closed = t.model.holds.get(name), t.model.usage.get(name)
    exact = held.amount * held.unit if held else closed.hold * closed.unit if closed else 5
    bounds = [0, 1, exact, exact + 1, exact - 1, exact // 2, closed.cost if closed else 3]
    return chance.choice(bounds)


def _caps(t: Twin, one: Customer, chance: random.Random) -> None:
    cap = chance.choice(CAPS)
    room = chance.choice([None, None, -1, 0, 1, 300, 3 * TOK_NANOS])
    t.cap(one, cap, None if room is None else max(t.used(one, cap) + room, 0))


def _pays(t: Twin, one: Customer, chance: random.Random) -> None:
    if chance.random() < 0.5:
        t.pay(one, chance.randint(1, 400), granted=chance.random() < 0.5)
        return
    left = t.model.accounts[one.usd].free + chance.choice([0, 1, -50])
    if left > 0:
        t.refund(one, left)


def _turns(t: Twin, one: Customer, chance: random.Random) -> None:
    then = t.now + timedelta(days=chance.choice([1, 1, 17]))
    t.set_clock(then.replace(hour=chance.choice([0, 12, 23])))


STEPS: Final = (_asks, _asks, _asks, _closes, _closes, _closes, _caps, _pays, _turns)


PROGRAMS: Final[tuple[Scenario, ...]] = tuple(partial(program, seed=seed) for seed in range(6))

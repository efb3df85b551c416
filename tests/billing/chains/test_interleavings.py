"""Whatever happens in whatever order: in the end what is final is credited, each once."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.chains import config, deposits, transfers
from billing.models import (
    Account,
    ChainCursor,
    Deposit,
    DepositAddress,
    Outflow,
    Sighting,
    Transfer,
)
from tests.billing.chains.counter import USDC, Counter
from tests.fakes.evm import Tx

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pay"), st.integers(0, 1), st.integers(1_000_000, 9_000_000)),
        st.tuples(st.just("reorganise"), st.sampled_from(["drop", "swap", "delay"])),
        st.tuples(
            st.just("fault"), st.integers(0, 1), st.sampled_from(["lag", "fail", "hide", "hash"])
        ),
        st.tuples(st.just("heal")),
        st.tuples(st.just("crash"), st.sampled_from(["book", "proof", "cursor"])),
        st.tuples(st.just("look")),
        st.tuples(st.just("mine")),
    ),
    max_size=20,
)


class Crash(Exception):
    """The process ends here."""


def crash(*_given: object, **_facts: object) -> None:
    raise Crash


def play(shop: Counter, who: list[DepositAddress], step: tuple[object, ...]) -> None:
    """Do one step."""
    match step:
        case ("pay", int(number), int(amount)):
            shop.chain.mine(shop.pay(who[number], amount))
        case ("mine",):
            shop.chain.mine()
        case ("look",):
            shop.look()
        case ("heal",):
            heal(shop)
        case ("fault", int(number), str(kind)):
            faults = shop.chain.endpoints[number].faults
            faults.lag = 2 if kind == "lag" else faults.lag
            faults.fail = 429 if kind == "fail" else faults.fail
            faults.hide_logs = kind == "hide" or faults.hide_logs
            faults.lie_hash = kind == "hash" or faults.lie_hash
            # Two that lie alike are believed: that is what the second look is for.
            shop.chain.endpoints[1 - number].faults.hide_logs = False
        case ("reorganise", str(kind)):
            shop.chain.reorganise(other(kind, [block.txs for block in shop.chain.blocks[-2:]]))
        case ("crash", str(where)):
            crashing(shop, where)


def other(kind: str, blocks: list[list[Tx]]) -> list[list[Tx]]:
    """Return the newest blocks as a reorganisation leaves them."""
    first, second = blocks
    return {"drop": [[], second], "swap": [second, first], "delay": [[], [*second, *first]]}[kind]


def crashing(shop: Counter, where: str) -> None:
    """Look, and end in the middle."""
    places = {"book": (deposits, "_post"), "proof": (transfers, "proof"), "cursor": (
        ChainCursor, "save")}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*places[where], crash)
        try:
            shop.look()
        except Crash:
            return


def heal(shop: Counter) -> None:
    """Let all endpoints be honest again."""
    for each in shop.chain.endpoints:
        each.faults.lag, each.faults.fail = 0, None
        each.faults.hide_logs = each.faults.lie_hash = False


class TestAnyInterleaving:
    @given(steps=STEPS)
    @settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    def test_what_is_credited_is_what_is_final_each_once(
        self, shop: Counter, steps: list[tuple[object, ...]]
    ) -> None:
        who = [shop.customer(), shop.customer()]
        for step in steps:
            play(shop, who, step)
        heal(shop)
        shop.chain.finalise()
        assert shop.look().trouble == ""
        shop.look()
        for each in who:
            final = shop.chain.final_sum(USDC, {each.address})
            assert shop.credited(each) == final
            mine = Deposit.objects.filter(address=each)
            assert sum(mine.values_list("amount", flat=True)) == final
            assert Transfer.objects.filter(
                kind="deposit", credit_id__in=homes(each)
            ).count() == len(mine)
        assert not Sighting.objects.exists()
        assert not Outflow.objects.exists()


def homes(address: DepositAddress) -> list[int]:
    """Return the accounts of a workspace in all accepted assets."""
    mine = Account.objects.filter(workspace_id=address.workspace_id, asset__in=config.tokens())
    return list(mine.values_list("pk", flat=True))

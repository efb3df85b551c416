"""OpenRouter's costs, generation by generation."""

from __future__ import annotations

import pytest

from proxy.costreports import openrouter
from proxy.costreports.base import Call, Unavailable
from tests.fakes.steps import Call as HttpCall
from tests.fakes.steps import Reply
from tests.fakes.upstream import FakeUpstream, answer, error
from tests.proxy.costreports.conftest import Ask


def generations(costs: dict[str, object]) -> object:
    def reply(call: HttpCall) -> Reply:
        found = costs.get(call.path.partition("id=")[2])
        return error(404) if found is None else answer({"data": {"total_cost": found}})

    return reply


def calls(*costs: int) -> dict[str, Call]:
    return {f"req_{n}": Call(cost=cost, upstream_id=f"gen-{n}") for n, cost in enumerate(costs)}


class TestRead:
    def test_each_call_is_asked_for(self, provider: FakeUpstream, ask: Ask) -> None:
        provider.script(generations({"gen-0": 0.0015, "gen-1": 0.25}), path="/generation")  # type: ignore[arg-type]
        told = ask(openrouter.read, calls(1_500_000, 250_000_000))
        assert (told.nanos, told.ours_nanos) == (251_500_000, 251_500_000)
        assert (told.calls, told.ours_calls, told.missing_theirs) == (2, 2, 0)

    def test_what_it_does_not_know_is_missing(self, provider: FakeUpstream, ask: Ask) -> None:
        provider.script(generations({"gen-0": 0.0015}), path="/generation")  # type: ignore[arg-type]
        told = ask(openrouter.read, calls(1_500_000, 7))
        assert (told.nanos, told.missing_theirs) == (1_500_000, 1)

    def test_calls_without_its_id_cannot_be_asked_for(
        self, provider: FakeUpstream, ask: Ask
    ) -> None:
        told = ask(openrouter.read, {"req_1": Call(cost=5)})
        assert (told.ours_nanos, told.ours_calls) == (0, 0)
        assert provider.calls == []

    @pytest.mark.parametrize("cost", ["", True, [], -1, "NaN"])
    def test_a_cost_that_is_no_number_is_never_nothing(
        self, provider: FakeUpstream, ask: Ask, cost: object
    ) -> None:
        provider.script(generations({"gen-0": cost}), path="/generation")  # type: ignore[arg-type]
        with pytest.raises(Unavailable, match="total_cost"):
            ask(openrouter.read, calls(1))

    def test_trouble_ends_it_all(self, provider: FakeUpstream, ask: Ask) -> None:
        provider.script(error(500), path="/generation")
        with pytest.raises(Unavailable, match="500"):
            ask(openrouter.read, calls(*range(100)))
        assert len(provider.calls) < 100


class TestSample:
    def test_many_calls_are_sampled_evenly(self) -> None:
        all_calls = [Call(cost=n) for n in range(10_000)]
        costs = [call.cost for call in openrouter.sample(all_calls)]
        assert costs == list(range(0, 10_000, 10))

    def test_few_are_all_asked_for(self) -> None:
        assert len(openrouter.sample([Call(cost=1)] * 1000)) == 1000

"""Rolling averages of what one process measured."""

from __future__ import annotations

import pytest

from proxy import paces
from proxy.paces import KEPT_S, LEAST_TOKENS, Paces
from tests.proxy.test_breakers import Clock, route


class Monotonic(Clock):
    """A clock that tests turn."""

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Monotonic:
    clock = Monotonic()
    monkeypatch.setattr(paces, "time", clock)
    return clock


class TestPaces:
    def test_know_nothing_at_first(self, clock: Monotonic) -> None:
        known = Paces()

        assert known.first_byte_ms(route()) is None
        assert known.tokens_per_s(route()) is None

    def test_move_towards_what_is_new(self, clock: Monotonic) -> None:
        known = Paces()
        known.note(route(), latency_ms=1000, output_tokens=100, first_byte_ms=100)
        known.note(route(), latency_ms=1000, output_tokens=200, first_byte_ms=200)

        assert known.first_byte_ms(route()) == pytest.approx(120)
        assert known.tokens_per_s(route()) == pytest.approx(120)

    def test_an_answer_that_was_not_streamed_has_no_first_byte(self, clock: Monotonic) -> None:
        known = Paces()
        known.note(route(), latency_ms=500, output_tokens=50, first_byte_ms=None)

        assert known.first_byte_ms(route()) is None
        assert known.tokens_per_s(route()) == 100

    def test_a_short_answer_is_no_measure_of_the_flow(self, clock: Monotonic) -> None:
        known = Paces()
        known.note(route(), latency_ms=500, output_tokens=LEAST_TOKENS - 1, first_byte_ms=9)

        assert known.tokens_per_s(route()) is None
        assert known.first_byte_ms(route()) == 9

    def test_are_forgotten_after_a_while(self, clock: Monotonic) -> None:
        known = Paces()
        known.note(route(), latency_ms=1000, output_tokens=100, first_byte_ms=100)
        clock.now += KEPT_S + 1

        assert known.first_byte_ms(route()) is None

        known.note(route(), latency_ms=1000, output_tokens=300, first_byte_ms=None)
        assert (known.first_byte_ms(route()), known.tokens_per_s(route())) == (None, 300)

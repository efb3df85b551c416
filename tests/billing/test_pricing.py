from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from billing.pricing import (
    UNBOUNDED_TOKENS,
    Rates,
    Tokens,
    Unpriced,
    affordable_output,
    cost_nanos,
    picture_picos,
    units,
    within,
    worst_nanos,
)

GOLDEN = Rates(prompt=3_000_000, completion=15_000_000)
IMAGES = Rates(image={"1x1": {"low": 11_000, "high": 167_000}, "2x2": {"low": 20_000}})

pico = st.integers(0, 10**9)
maybe = st.none() | pico
rates = st.builds(
    Rates,
    prompt=pico,
    completion=pico,
    cached_prompt=maybe,
    cache_write=maybe,
    per_call=maybe,
    web_search=maybe,
)
count = st.integers(0, 10**6)
tokens = st.builds(
    Tokens, input=count, cached=count, cache_write=count, output=count, searches=count
)


class TestCostNanos:
    def test_the_golden_case(self) -> None:
        cost = cost_nanos(rates=GOLDEN, tokens=Tokens(input=142, output=387))
        assert cost == 6_231_000
        assert units(nanos=cost, unit_nanos=2_500_000) == 3

    def test_the_sum_is_rounded_up_once(self) -> None:
        each = Rates(prompt=1, completion=1)
        assert cost_nanos(rates=each, tokens=Tokens(input=500, output=500)) == 1
        assert cost_nanos(rates=each, tokens=Tokens(input=501, output=500)) == 2
        assert cost_nanos(rates=each, tokens=Tokens(input=1)) == 1

    def test_nothing_costs_nothing(self) -> None:
        assert cost_nanos(rates=GOLDEN, tokens=Tokens()) == 0

    def test_cached_tokens_have_their_own_price_or_the_prompts(self) -> None:
        used = Tokens(cached=1000, cache_write=1000)
        assert cost_nanos(rates=Rates(prompt=8), tokens=used) == 16
        assert cost_nanos(rates=Rates(prompt=8, cached_prompt=0), tokens=used) == 8
        assert cost_nanos(rates=Rates(prompt=8, cache_write=10), tokens=used) == 18

    def test_reasoning_is_a_part_of_the_output(self) -> None:
        used = Tokens(output=1000, reasoning=900)
        assert cost_nanos(rates=Rates(completion=5), tokens=used) == 5

    def test_calls_searches_and_pictures_are_added(self) -> None:
        all_of_it = Rates(per_call=1000, web_search=2000, image={"1x1": {"low": 4000}})
        used = Tokens(searches=3, pictures=2, size="1x1", quality="low")
        assert cost_nanos(rates=all_of_it, tokens=used) == 1 + 6 + 8

    @given(rates, tokens)
    def test_it_is_the_exact_sum(self, rates: Rates, tokens: Tokens) -> None:
        exact = Fraction(
            tokens.input * rates.prompt
            + tokens.cached * rates.cached
            + tokens.cache_write * rates.written
            + tokens.output * rates.completion
            + tokens.searches * (rates.web_search or 0)
            + (rates.per_call or 0),
            1000,
        )
        assert cost_nanos(rates=rates, tokens=tokens) == ceil(exact)


class TestPicturePicos:
    def test_it_is_listed(self) -> None:
        assert picture_picos(rates=IMAGES, size="1x1", quality="low") == 11_000

    def test_auto_is_the_dearest(self) -> None:
        assert picture_picos(rates=IMAGES, size="auto", quality="auto") == 167_000
        assert picture_picos(rates=IMAGES, size="2x2", quality="") == 20_000

    @pytest.mark.parametrize(("size", "quality"), [("3x3", "low"), ("2x2", "high")])
    def test_what_has_no_price_is_not_sold(self, size: str, quality: str) -> None:
        with pytest.raises(Unpriced):
            picture_picos(rates=IMAGES, size=size, quality=quality)


class TestWorstNanos:
    @given(rates, tokens)
    def test_it_bounds_every_cost(self, rates: Rates, tokens: Tokens) -> None:
        prompt = tokens.input + tokens.cached + tokens.cache_write
        worst = worst_nanos(
            rates=rates,
            prompt_tokens=prompt,
            output_tokens=tokens.output,
            searches=tokens.searches,
        )
        assert worst >= cost_nanos(rates=rates, tokens=tokens)

    def test_it_equals_the_cost_of_a_model_priced_per_call(self) -> None:
        per_call = Rates(per_call=5_000_000_000)
        assert worst_nanos(rates=per_call, prompt_tokens=9, output_tokens=9) == 5_000_000


class TestAffordableOutput:
    @given(rates, count, st.integers(0, 10**15), st.integers(0, 5))
    def test_it_is_the_most_that_fits(
        self, rates: Rates, prompt: int, nanos: int, searches: int
    ) -> None:
        bounds: dict[str, Any] = {"rates": rates, "prompt_tokens": prompt, "searches": searches}
        most = affordable_output(nanos=nanos, **bounds)
        if worst_nanos(**bounds) > nanos:
            assert most == 0
            return
        assert worst_nanos(output_tokens=most, **bounds) <= nanos
        if most < UNBOUNDED_TOKENS:
            assert worst_nanos(output_tokens=most + 1, **bounds) > nanos

    def test_a_free_completion_is_unbounded(self) -> None:
        free = Rates(prompt=1000)
        assert affordable_output(rates=free, prompt_tokens=5, nanos=5) == UNBOUNDED_TOKENS
        assert affordable_output(rates=free, prompt_tokens=6, nanos=5) == 0


class TestWithin:
    @given(rates, tokens, st.integers(0, 10**12))
    def test_cuts_only_the_output_and_only_as_far_as_needed(
        self, rates: Rates, tokens: Tokens, nanos: int
    ) -> None:
        cut = within(rates=rates, tokens=tokens, nanos=nanos)

        assert structs.replace(cut, output=tokens.output, reasoning=tokens.reasoning) == tokens
        cost = cost_nanos(rates=rates, tokens=cut)
        if cut.output and rates.completion:
            assert cost <= nanos
        if cost_nanos(rates=rates, tokens=tokens) <= nanos:
            assert cut == tokens

    def test_thoughts_are_a_part_of_the_output(self) -> None:
        thought = Tokens(output=10, reasoning=8)
        assert within(rates=GOLDEN, tokens=thought, nanos=60_000).reasoning == 4

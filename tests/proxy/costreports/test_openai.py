"""OpenAI's organisation costs, as its reference documents them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from proxy.costreports import openai
from proxy.costreports.base import Unavailable
from tests.fakes.upstream import Cut, FakeUpstream, answer, error
from tests.proxy.costreports.conftest import Ask

START = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp())


def result(value: Any, currency: str = "usd") -> dict[str, Any]:
    return {
        "object": "organization.costs.result",
        "amount": {"value": value, "currency": currency},
        "line_item": None,
        "project_id": None,
    }


def page(*results: dict[str, Any], after: str | None = None, start: int = START) -> dict[str, Any]:
    return {
        "object": "page",
        "data": [
            {
                "object": "bucket",
                "start_time": start,
                "end_time": start + 86400,
                "results": list(results),
            }
        ],
        "has_more": after is not None,
        "next_page": after,
    }


class TestRead:
    def test_one_day_is_asked_for_with_the_admin_key(
        self, provider: FakeUpstream, ask: Ask
    ) -> None:
        provider.script(answer(page(result(0.06))))
        assert ask(openai.read).nanos == 60_000_000
        [call] = provider.calls
        assert urlsplit(call.path).path == "/v1/organization/costs"
        assert call.headers["authorization"] == "Bearer admin-key"
        query = {name: each[0] for name, each in parse_qs(urlsplit(call.path).query).items()}
        assert query["start_time"] == str(START)
        assert query["end_time"] == str(START + 86400)
        assert query["bucket_width"] == "1d"

    def test_pages_are_followed(self, provider: FakeUpstream, ask: Ask) -> None:
        provider.script(
            answer(page(result(0.1), result("0.2"), after="p2")), answer(page(result(3)))
        )
        told = ask(openai.read)
        assert told.nanos == 3_300_000_000
        assert (told.calls, told.missing_ours) == (None, None)
        assert "page=p2" in provider.calls[1].path

    def test_other_days_of_a_page_are_left_out(self, provider: FakeUpstream, ask: Ask) -> None:
        provider.script(answer(page(result(5), start=START + 86400)))
        assert ask(openai.read).nanos == 0

    def test_a_day_without_costs_is_nothing(self, provider: FakeUpstream, ask: Ask) -> None:
        provider.script(answer(page()))
        assert ask(openai.read).nanos == 0

    def test_a_busy_provider_is_asked_again(self, provider: FakeUpstream, ask: Ask) -> None:
        provider.script(error(429), error(500), answer(page(result(1))))
        assert ask(openai.read).nanos == 10**9

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_refused_key_is_not_tried_again(
        self, provider: FakeUpstream, ask: Ask, status: int
    ) -> None:
        provider.script(error(status))
        with pytest.raises(Unavailable, match=str(status)) as refused:
            ask(openai.read)
        assert len(provider.calls) == 1
        assert "admin-key" not in str(refused.value)

    @pytest.mark.parametrize(
        "body",
        [
            {"data": [{"start_time": START}]},
            {"object": "page"},
            page({"amount": {}}),
            page(result(None)),
            page(result("much")),
            page(result(1, "eur")),
            page(result(1), after="") | {"next_page": None},
            [],
        ],
    )
    def test_what_cannot_be_read_is_never_nothing(
        self, provider: FakeUpstream, ask: Ask, body: Any
    ) -> None:
        provider.script(answer(body))
        with pytest.raises(Unavailable):
            ask(openai.read)

    def test_pages_that_go_round_end(self, provider: FakeUpstream, ask: Ask) -> None:
        provider.script(answer(page(result(1), after="same")))
        with pytest.raises(Unavailable, match="no next page"):
            ask(openai.read)

    def test_a_provider_that_hangs_up(self, provider: FakeUpstream, ask: Ask) -> None:
        provider.script([Cut()])
        with pytest.raises(Unavailable, match="did not answer"):
            ask(openai.read)
        assert len(provider.calls) == 3

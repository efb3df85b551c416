"""The sandbox's log of a day, over a real socket."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from common import ids
from proxy.costreports import sandbox
from proxy.costreports.base import Call, Unavailable
from tests.fakes.steps import Call as HttpCall
from tests.fakes.steps import Reply
from tests.fakes.upstream import FakeUpstream, answer, error
from tests.proxy.costreports.conftest import DAY, Ask

ONE, TWO = ids.request_id(), ids.request_id()


def line(name: str, prompt: int = 3, completion: int = 5) -> dict[str, object]:
    return {
        "request_id": name,
        "tokens_prompt": prompt,
        "tokens_completion": completion,
        "finished": True,
    }


def days(lines: dict[date, list[dict[str, object]]]) -> Callable[[HttpCall], Reply]:
    """Answer in pages of one line."""

    def reply(call: HttpCall) -> Reply:
        query = dict(each.split("=") for each in call.path.partition("?")[2].split("&"))
        found = lines.get(date.fromisoformat(query["day"]), [])
        at = int(query.get("after", "0"))
        more = str(at + 1) if at + 1 < len(found) else None
        return answer({"data": found[at : at + 1], "next": more})

    return reply


def price(name: str, prompt: int, completion: int, finished: bool) -> int:
    return prompt + 10 * completion if finished else 0


def calls(*names: str) -> dict[str, Call]:
    return {name: Call(cost=53) for name in names}


class TestRead:
    def test_pages_are_followed_and_any_form_of_an_id_is_known(
        self, provider: FakeUpstream, ask: Ask
    ) -> None:
        forms = [line(ids.form("chatcmpl-", ONE)), line(ids.form("gen_", TWO))]
        provider.script(days({DAY: forms}))
        ours = calls(ids.form("req_", ONE), ids.form("req_", TWO))
        told = ask(sandbox.read, ours, price=price)
        assert (told.nanos, told.calls) == (106, 2)
        assert (told.missing_ours, told.missing_theirs) == (0, 0)

    def test_a_call_that_we_do_not_know(self, provider: FakeUpstream, ask: Ask) -> None:
        provider.script(days({DAY: [line("a"), line("b")]}))
        told = ask(sandbox.read, calls("a"), price=price)
        assert (told.nanos, told.calls, told.missing_ours) == (53, 2, 1)

    def test_a_call_that_it_does_not_know(self, provider: FakeUpstream, ask: Ask) -> None:
        provider.script(days({}))
        ours = calls("a") | {"never-arrived": Call(cost=0, certain=False)}
        assert ask(sandbox.read, ours, price=price).missing_theirs == 1

    def test_a_call_that_arrived_after_midnight(self, provider: FakeUpstream, ask: Ask) -> None:
        provider.script(days({date(2026, 11, 21): [line("a"), line("tomorrow's")]}))
        told = ask(sandbox.read, calls("a"), price=price)
        assert (told.nanos, told.missing_ours, told.missing_theirs) == (53, 0, 0)

    def test_a_call_of_the_day_before(self, provider: FakeUpstream, ask: Ask) -> None:
        provider.script(days({DAY: [line("a")]}))
        told = ask(sandbox.read, before=frozenset({"a"}), price=price)
        assert (told.calls, told.missing_ours) == (0, 0)

    @pytest.mark.parametrize(
        "body",
        [{}, {"data": [{}]}, {"data": [line("a", prompt=-1)]}, {"data": [line("a") | {"x": 1}, 1]}],
    )
    def test_what_cannot_be_read_is_never_nothing(
        self, provider: FakeUpstream, ask: Ask, body: dict[str, object]
    ) -> None:
        provider.script(answer(body))
        with pytest.raises(Unavailable, match="cannot be read"):
            ask(sandbox.read)

    def test_a_provider_without_it(self, provider: FakeUpstream, ask: Ask) -> None:
        provider.script(error(404))
        with pytest.raises(Unavailable, match="no costs"):
            ask(sandbox.read)

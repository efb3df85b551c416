"""Anthropic's models through the real gateway: the same answers, exactly priced."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from billing.models import CONTRADICTION
from tests.fakes import anthropic as fake
from tests.fakes import replies
from tests.fakes.anthropic import FakeAnthropic
from tests.fakes.gateway import GatewayServer
from tests.fakes.replies import STREAM_HEAD, cut_at
from tests.fakes.steps import Cut, Gate, Reply, Stall, Step
from tests.proxy.conftest import AddModel, Shop, request_id
from tests.proxy.upstreams.vendor import (
    PIXEL,
    WEATHER,
    answer,
    ask,
    chunks,
    sell,
    sent_back,
    wait_until_closed,
)

OLD, NEW = "claude-haiku-4-5", "claude-opus-4-6"
WHOLE_AND_STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture
def claude() -> Iterator[FakeAnthropic]:
    with FakeAnthropic() as claude:
        yield claude


@pytest.fixture(autouse=True)
def sold(add_model: AddModel, claude: FakeAnthropic, shop: Shop) -> None:
    sell(add_model, kind="anthropic", base_url=claude.base_url, new=NEW, old=OLD)


class TestAnAnswer:
    @WHOLE_AND_STREAM
    def test_is_openais_and_priced_by_bucket(
        self, client: httpx.Client, claude: FakeAnthropic, shop: Shop, stream: bool
    ) -> None:
        claude.script(
            fake.message(
                fake.text("Grüße"),
                input_tokens=10,
                cache_read_input_tokens=100,
                cache_creation_input_tokens=50,
                cache_creation={"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 0},
                output_tokens=7,
                output_tokens_details={"thinking_tokens": 2},
            )
        )

        response = ask(client, stream=stream)

        assert answer(response) == {
            "role": "assistant",
            "content": "Grüße",
            "finish_reason": "stop",
        }
        # 10 at $3 + 100 at $0.30 + 50 at $3.75 + 7 at $15 a million.
        last = shop.last
        assert (last.charged, last.source) == (352_500, "provider")
        assert (last.input_tokens, last.cached_tokens, last.cache_write_tokens) == (10, 100, 50)
        assert (last.output_tokens, last.reasoning_tokens) == (7, 2)
        assert shop.attempts(request_id(response))[0].upstream_id == "msg_upstream"
        assert "msg_upstream" not in response.text
        assert "claude-upstream-name" not in response.text

    def test_tells_usage_in_openais_words(
        self, client: httpx.Client, claude: FakeAnthropic
    ) -> None:
        claude.script(
            fake.message(fake.text("a"), input_tokens=1, cache_read_input_tokens=2, output_tokens=3)
        )

        usage = ask(client).json()["usage"]

        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (3, 3)
        assert usage["total_tokens"] == 6
        assert usage["prompt_tokens_details"]["cached_tokens"] == 2

    def test_nothing_of_the_caller_travels_on(
        self, client: httpx.Client, claude: FakeAnthropic, shop: Shop
    ) -> None:
        client.headers.update({"cookie": "a=b", "x-forwarded-for": "1", "anthropic-beta": "x"})

        ask(client)

        [call] = claude.calls
        assert call.headers["x-api-key"] == "upstream-key"
        assert call.path == "/v1/messages"
        assert shop.secret not in str(call.headers) + call.raw.decode()
        strange = {"cookie", "authorization", "x-forwarded-for", "anthropic-beta"}
        assert not strange & call.headers.keys()

    @WHOLE_AND_STREAM
    @pytest.mark.parametrize(
        ("reason", "finish"),
        [
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("refusal", "content_filter"),
            ("something_new", "stop"),
        ],
    )
    def test_says_why_it_ended(
        self,
        client: httpx.Client,
        claude: FakeAnthropic,
        reason: str,
        finish: str,
        stream: bool,
    ) -> None:
        claude.script(fake.message(fake.text("a"), stop_reason=reason))

        assert answer(ask(client, stream=stream))["finish_reason"] == finish

    @WHOLE_AND_STREAM
    def test_passes_over_blocks_of_kinds_to_come(
        self, client: httpx.Client, claude: FakeAnthropic, stream: bool
    ) -> None:
        claude.script(fake.message({"type": "from_the_future", "x": 1}, fake.text("a")))

        assert answer(ask(client, stream=stream))["content"] == "a"

    def test_says_which_parameters_were_not_taken(self, client: httpx.Client) -> None:
        response = ask(client, seed=1, frequency_penalty=0.5, temperature=0.5)

        assert response.headers["x-tollgate-ignored"] == "frequency_penalty, seed"

    @pytest.mark.parametrize("size", [1, 7, 64])
    def test_may_come_in_any_pieces(
        self, client: httpx.Client, claude: FakeAnthropic, shop: Shop, size: int
    ) -> None:
        counts = {"input_tokens": 10, "output_tokens": 3}
        blocks = [fake.text("привет мир"), fake.tool_use("toolu_1", "weather", city="Köln")]
        events = fake.events(blocks, counts, stop_reason="tool_use")
        claude.script(replies.in_pieces([STREAM_HEAD, *events], size))

        told = answer(ask(client, tools=[WEATHER], stream=True))

        assert told["content"] == "привет мир"
        assert told["tool_calls"][0]["function"]["arguments"] == {"city": "Köln"}
        assert (shop.last.charged, shop.last.source) == (75_000, "provider")

    def test_can_be_about_pictures(self, client: httpx.Client, claude: FakeAnthropic) -> None:
        url = f"data:image/png;base64,{PIXEL}"
        picture = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}

        told = answer(ask(client, {"role": "user", "content": [picture]}))

        assert told["content"] == "hello from upstream"
        [block] = claude.calls[0].body["messages"][0]["content"]
        assert block["source"]["data"] == PIXEL


class TestAToolConversation:
    def converse(self, client: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
        """Ask, run the tool, ask again; return both answers."""
        asked = {"role": "user", "content": "Weather in Köln?"}
        first = answer(ask(client, asked, tools=[WEATHER], **fields))
        [call] = first["tool_calls"]
        result = {"role": "tool", "tool_call_id": call["id"], "content": '{"sky": "clear"}'}
        second = answer(ask(client, asked, sent_back(first), result, tools=[WEATHER], **fields))
        return [first, second]

    def test_gives_the_same_messages_streamed_or_not(self, client: httpx.Client) -> None:
        whole = self.converse(client)

        assert whole == self.converse(client, stream=True)
        assert whole[0] == {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [
                {
                    "id": "toolu_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": {"city": "Köln"}},
                }
            ],
            "finish_reason": "tool_calls",
        }
        assert whole[1]["content"] == "hello from upstream"

    @pytest.mark.parametrize(("model", "served"), [("vendor/new", NEW), ("vendor/old", OLD)])
    def test_goes_on_thinking_after_the_tool(
        self, client: httpx.Client, claude: FakeAnthropic, model: str, served: str
    ) -> None:
        """The fake demands the thoughts before a tool's use, as Anthropic does."""
        wish = {"reasoning_effort": "low", "model": model}

        whole = self.converse(client, **wish)

        assert whole == self.converse(client, **wish, stream=True)
        assert whole[0]["reasoning"] == "hmm"
        assert [call.body["model"] for call in claude.calls] == [served] * 4
        assert all("thinking" in call.body for call in claude.calls)
        sent = claude.calls[-1].body["messages"][1]["content"]
        assert sent[0] == fake.thinking("hmm", "sig-1")

    def test_is_served_without_thoughts_where_they_are_lost(
        self, client: httpx.Client, claude: FakeAnthropic
    ) -> None:
        first = answer(ask(client, tools=[WEATHER]))
        result = {"role": "tool", "tool_call_id": "toolu_1", "content": "mild"}

        user = {"role": "user", "content": "hi"}
        wish = {"reasoning_effort": "high", "model": "vendor/old"}
        response = ask(client, user, sent_back(first), result, tools=[WEATHER], **wish)

        assert answer(response)["content"] == "hello from upstream"
        assert "thinking" not in claude.calls[-1].body

    @WHOLE_AND_STREAM
    def test_a_call_without_arguments_has_an_empty_object(
        self, client: httpx.Client, claude: FakeAnthropic, stream: bool
    ) -> None:
        claude.script(
            fake.message(
                fake.tool_use("toolu_1", "now"),
                fake.tool_use("toolu_2", "weather", city="Köln"),
                stop_reason="tool_use",
            )
        )

        told = answer(ask(client, tools=[WEATHER], stream=stream))

        arguments = [call["function"]["arguments"] for call in told["tool_calls"]]
        assert arguments == [{}, {"city": "Köln"}]
        assert [call["id"] for call in told["tool_calls"]] == ["toolu_1", "toolu_2"]


class TestRefusals:
    @WHOLE_AND_STREAM
    @pytest.mark.parametrize(
        ("status", "kind", "message", "answered", "reason"),
        [
            (400, "invalid_request_error", "messages: no", 400, "upstream_rejected"),
            (
                400,
                "invalid_request_error",
                "prompt is too long: 9 tokens > 8 maximum",
                400,
                "context_length_exceeded",
            ),
            (
                400,
                "invalid_request_error",
                "input length and `max_tokens` exceed context limit: 9",
                400,
                "context_length_exceeded",
            ),
            (
                400,
                "invalid_request_error",
                "Output blocked by content filtering policy",
                400,
                "content_filter",
            ),
            (
                400,
                "invalid_request_error",
                "Your credit balance is too low to access the Anthropic API.",
                502,
                "upstream_failed",
            ),
            (401, "authentication_error", "invalid x-api-key", 502, "upstream_failed"),
            (402, "billing_error", "no money", 502, "upstream_failed"),
            (404, "not_found_error", "model: x", 502, "upstream_failed"),
            (413, "request_too_large", "too large", 400, "upstream_rejected"),
            (429, "rate_limit_error", "slow down", 502, "upstream_failed"),
            (500, "api_error", "oops", 502, "upstream_failed"),
            (529, "overloaded_error", "Overloaded", 502, "upstream_failed"),
        ],
    )
    def test_are_judged_by_whose_fault_they_are(
        self,
        client: httpx.Client,
        claude: FakeAnthropic,
        shop: Shop,
        status: int,
        kind: str,
        message: str,
        answered: int,
        reason: str,
        stream: bool,
    ) -> None:
        claude.script(fake.failure(status, kind, message))

        response = ask(client, stream=stream)

        assert (response.status_code, response.json()["error"]["reason"]) == (answered, reason)
        assert message not in response.text
        assert (shop.last.charged, shop.holds) == (0, 0)

    @pytest.mark.parametrize(
        "reply",
        [
            replies.answer(b"<html>"),
            replies.answer({"type": "message"}),
            replies.answer({"type": "message", "content": [7], "stop_reason": "end_turn"}),
            replies.answer({"type": "error", "error": {"type": "api_error", "message": "x"}}),
            [Cut()],
        ],
        ids=["html", "empty", "no block", "error in a success", "cut"],
    )
    def test_an_answer_that_is_none_costs_nothing(
        self, client: httpx.Client, claude: FakeAnthropic, shop: Shop, reply: Reply
    ) -> None:
        claude.script(reply)

        assert ask(client).status_code == 502
        assert (shop.last.charged, shop.holds) == (0, 0)

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"n": 2}, "n"),
            ({"response_format": {"type": "json_object"}}, "response_format"),
            ({"stop": "\n"}, "stop"),
            ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ],
    )
    def test_what_it_has_no_words_for_is_refused_here(
        self,
        client: httpx.Client,
        claude: FakeAnthropic,
        shop: Shop,
        fields: dict[str, Any],
        param: str,
    ) -> None:
        response = ask(client, **fields)

        assert (response.status_code, response.json()["error"]["param"]) == (400, param)
        assert (claude.calls, shop.usage) == ([], [])


BEGUN = (STREAM_HEAD, fake.start({"input_tokens": 10}))
TOLD = (*BEGUN, *fake.block_events(0, fake.text("12345678"))[:-1])
OVERLOADED = fake.event("error", error={"type": "overloaded_error", "message": "secret"})


class TestAStreamThatBreaksOff:
    @pytest.mark.parametrize(
        "end",
        [
            pytest.param([Cut()], id="reset"),
            pytest.param([], id="ended without a reason"),
            pytest.param([OVERLOADED], id="error event"),
            pytest.param([b"data: nonsense\n\n"], id="garbage"),
            pytest.param([b'data: {"type": "content_block_delta"}\n\n'], id="no delta"),
        ],
    )
    def test_says_so_and_charges_what_came(
        self, client: httpx.Client, claude: FakeAnthropic, shop: Shop, end: list[Step]
    ) -> None:
        claude.script([*TOLD, *end])

        response = ask(client, stream=True)

        assert chunks(response.text)[-1]["error"]["reason"] == "stream_interrupted"
        assert "secret" not in response.text
        # The one token of message_start is no evidence of what was told since.
        assert (shop.last.source, shop.last.output_tokens) == ("count", 2)

    @pytest.mark.parametrize("end", [[OVERLOADED], [Cut()], [b"data: {}\n\n"]])
    def test_before_any_content_costs_nothing(
        self, client: httpx.Client, claude: FakeAnthropic, shop: Shop, end: list[Step]
    ) -> None:
        claude.script([*BEGUN, *end])

        assert ask(client, stream=True).status_code == 502
        assert (shop.last.charged, shop.holds) == (0, 0)

    def test_at_any_point_is_never_told_as_whole(
        self, client: httpx.Client, claude: FakeAnthropic, shop: Shop
    ) -> None:
        reply = [
            STREAM_HEAD,
            *fake.events([fake.text("hello")], {"input_tokens": 1, "output_tokens": 1}),
        ]
        size = sum(len(step) for step in reply if isinstance(step, bytes))
        for place in range(1, size, 97):
            claude.script(cut_at(reply, place))
            response = ask(client, stream=True)
            if response.status_code == 200 and "[DONE]" in response.text:
                assert answer(response) == {
                    "role": "assistant",
                    "content": "hello",
                    "finish_reason": "stop",
                }


class TestACallerWhoHangsUp:
    def test_pays_for_what_was_drained(
        self, gateway: GatewayServer, client: httpx.Client, claude: FakeAnthropic, shop: Shop
    ) -> None:
        usage = {"input_tokens": 10, "output_tokens": 3}
        left = threading.Event()
        claude.script([*TOLD, Gate(left), *fake.end(usage)])

        with client.stream(
            "POST",
            "/v1/chat/completions",
            json={
                "model": "vendor/new",
                "messages": [{"role": "user", "content": "x"}],
                "stream": True,
            },
        ) as response:
            next(response.iter_bytes())
        gateway.notice_hang_up()
        left.set()

        wait_until_closed(shop)
        assert (shop.last.charged, shop.last.cancelled) == (75_000, True)

    def test_before_the_first_byte_pays_nothing(
        self, gateway: GatewayServer, claude: FakeAnthropic, shop: Shop
    ) -> None:
        claude.script([*BEGUN, Stall()])
        said = [{"role": "user", "content": "x"}]

        body = {"model": "vendor/new", "messages": said, "stream": True}
        with gateway.leaving(shop.secret, body):
            claude.wait_for_calls(1)

        [call] = claude.wait_for_calls(1, ended=True)
        assert call.hung_up
        wait_until_closed(shop)
        assert shop.last.charged == 0


class TestAUsageThatContradictsItself:
    @WHOLE_AND_STREAM
    @pytest.mark.parametrize(
        "usage",
        [
            pytest.param({"input_tokens": -1}, id="negative"),
            pytest.param({"cache_read_input_tokens": "7"}, id="not a number"),
            pytest.param({"output_tokens": 0}, id="denies the answer"),
            pytest.param(
                {"cache_creation_input_tokens": 5, "cache_creation": {"ephemeral_5m": 4}},
                id="parts",
            ),
            pytest.param({"output_tokens_details": {"thinking_tokens": 9}}, id="more thoughts"),
        ],
    )
    def test_is_not_what_the_customer_pays_by(
        self,
        client: httpx.Client,
        claude: FakeAnthropic,
        shop: Shop,
        usage: dict[str, Any],
        stream: bool,
    ) -> None:
        claude.script(fake.message(fake.text("12345678"), **usage))

        assert answer(ask(client, stream=stream))["content"] == "12345678"

        assert (shop.last.source, shop.last.output_tokens) == ("count", 2)
        assert shop.last.reason == CONTRADICTION

    def test_nor_is_one_that_shrinks(
        self, client: httpx.Client, claude: FakeAnthropic, shop: Shop
    ) -> None:
        claude.script([*TOLD, *fake.end({"input_tokens": 9, "output_tokens": 3})])

        ask(client, stream=True)

        assert (shop.last.source, shop.last.reason) == ("count", CONTRADICTION)

    def test_one_that_is_missing_is_counted_and_contradicts_nothing(
        self, client: httpx.Client, claude: FakeAnthropic, shop: Shop
    ) -> None:
        end = fake.event("message_delta", delta={"stop_reason": "end_turn"})
        claude.script([*TOLD, end, fake.event("message_stop")])

        ask(client, stream=True)

        assert (shop.last.source, shop.last.output_tokens, shop.last.reason) == ("count", 2, "")

"""Gemini's models through the real gateway: the same answers, exactly priced."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from msgspec import structs

from billing import prices
from billing.models import CONTRADICTION
from proxy.models import Route
from tests.fakes import gemini as fake
from tests.fakes import replies
from tests.fakes.gateway import GatewayServer
from tests.fakes.gemini import FakeGemini
from tests.fakes.replies import STREAM_HEAD
from tests.fakes.steps import Cut, Gate, Pause, Reply, Stall, Step
from tests.proxy.conftest import AddModel, Shop, request_id
from tests.proxy.upstreams.vendor import (
    PIXEL,
    RATES,
    WEATHER,
    answer,
    ask,
    chunks,
    sell,
    sent_back,
    wait_until_closed,
)

OLD, NEW = "gemini-2.5-flash", "gemini-3-pro-preview"
WHOLE_AND_STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture
def gemini() -> Iterator[FakeGemini]:
    with FakeGemini() as gemini:
        yield gemini


@pytest.fixture(autouse=True)
def sold(add_model: AddModel, gemini: FakeGemini, shop: Shop) -> None:
    sell(add_model, kind="gemini", base_url=gemini.base_url, new=NEW, old=OLD)


class TestAnAnswer:
    @WHOLE_AND_STREAM
    def test_is_openais_and_priced_by_bucket(
        self, client: httpx.Client, gemini: FakeGemini, shop: Shop, stream: bool
    ) -> None:
        gemini.script(
            fake.response(
                fake.text("Grüße"),
                promptTokenCount=110,
                cachedContentTokenCount=100,
                toolUsePromptTokenCount=5,
                candidatesTokenCount=4,
                thoughtsTokenCount=3,
            )
        )

        response = ask(client, stream=stream)

        assert answer(response) == {
            "role": "assistant",
            "content": "Grüße",
            "finish_reason": "stop",
        }
        # 15 at $3, 100 at $0.30 and 7 at $15 a million.
        last = shop.last
        assert (last.charged, last.source) == (180_000, "provider")
        assert (last.input_tokens, last.cached_tokens, last.cache_write_tokens) == (15, 100, 0)
        assert (last.output_tokens, last.reasoning_tokens) == (7, 3)
        assert shop.attempts(request_id(response))[0].upstream_id == "resp-upstream"
        assert "upstream-name" not in response.text
        assert "resp-upstream" not in response.text

    @pytest.mark.parametrize("stream", [False, True])
    def test_nothing_of_the_caller_travels_on_and_the_key_is_not_in_the_address(
        self, client: httpx.Client, gemini: FakeGemini, shop: Shop, stream: bool
    ) -> None:
        client.headers.update({"cookie": "a=b", "x-forwarded-for": "1", "x-goog-user": "x"})

        ask(client, stream=stream)

        [call] = gemini.calls
        assert call.headers["x-goog-api-key"] == "upstream-key"
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        assert call.path == f"/v1/models/{NEW}:{method}"
        assert shop.secret not in str(call.headers) + call.raw.decode()
        strange = {"cookie", "authorization", "x-forwarded-for", "x-goog-user"}
        assert not strange & call.headers.keys()

    @WHOLE_AND_STREAM
    @pytest.mark.parametrize(
        ("reason", "finish"),
        [
            ("STOP", "stop"),
            ("MAX_TOKENS", "length"),
            ("SAFETY", "content_filter"),
            ("RECITATION", "content_filter"),
            ("PROHIBITED_CONTENT", "content_filter"),
        ],
    )
    def test_says_why_it_ended(
        self,
        client: httpx.Client,
        gemini: FakeGemini,
        reason: str,
        finish: str,
        stream: bool,
    ) -> None:
        gemini.script(fake.response(fake.text("a"), finish_reason=reason))

        assert answer(ask(client, stream=stream))["finish_reason"] == finish

    @WHOLE_AND_STREAM
    def test_passes_over_parts_of_kinds_to_come(
        self, client: httpx.Client, gemini: FakeGemini, stream: bool
    ) -> None:
        gemini.script(fake.response({"fromTheFuture": 1}, fake.text("a")))

        assert answer(ask(client, stream=stream))["content"] == "a"

    def test_says_which_parameters_were_not_taken(self, client: httpx.Client) -> None:
        response = ask(client, seed=1, logit_bias={"1": 1}, user="me")

        assert response.headers["x-tollgate-ignored"] == "logit_bias, user"

    @pytest.mark.parametrize("size", [1, 7, 64])
    def test_may_come_in_any_pieces(
        self, client: httpx.Client, gemini: FakeGemini, shop: Shop, size: int
    ) -> None:
        parts = [fake.text("привет мир"), fake.function_call("weather", city="Köln")]
        events = fake.events(*parts, usage=fake.usage())
        gemini.script(replies.in_pieces([STREAM_HEAD, *events], size))

        told = answer(ask(client, tools=[WEATHER], stream=True))

        assert told["content"] == "привет мир"
        assert told["tool_calls"][0]["function"]["arguments"] == {"city": "Köln"}
        assert (shop.last.charged, shop.last.source) == (75_000, "provider")

    def test_can_be_about_pictures(self, client: httpx.Client, gemini: FakeGemini) -> None:
        url = f"data:image/png;base64,{PIXEL}"
        picture = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}

        told = answer(ask(client, {"role": "user", "content": [picture]}))

        assert told["content"] == "hello from upstream"
        [part] = gemini.calls[0].body["contents"][0]["parts"]
        assert part == {"inlineData": {"mimeType": "image/png", "data": PIXEL}}


class TestAToolConversation:
    def converse(self, client: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
        """Ask, run the tool, ask again; return both answers."""
        asked = {"role": "user", "content": "Weather in Köln?"}
        first = answer(ask(client, asked, tools=[WEATHER], **fields))
        [call] = first["tool_calls"]
        result = {"role": "tool", "tool_call_id": call["id"], "content": '{"sky": "clear"}'}
        second = answer(ask(client, asked, sent_back(first), result, tools=[WEATHER], **fields))
        return [first, second]

    @pytest.mark.parametrize("model", ["vendor/new", "vendor/old"])
    def test_gives_the_same_messages_streamed_or_not(
        self, client: httpx.Client, gemini: FakeGemini, model: str
    ) -> None:
        wish = {"model": model, "reasoning_effort": "low"}
        whole = self.converse(client, **wish)

        assert whole == self.converse(client, **wish, stream=True)
        assert whole[0] == {
            "role": "assistant",
            "content": "Let me look.",
            "reasoning": "hmm",
            "tool_calls": [
                {
                    "id": "fc-1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": {"city": "Köln"}},
                    "extra_content": {"google": {"thought_signature": fake.SIGNATURE}},
                }
            ],
            "finish_reason": "tool_calls",
        }
        assert whole[1]["content"] == "hello from upstream"
        [*_, sent] = gemini.calls
        assert sent.body["contents"][1]["parts"][-1]["thoughtSignature"] == fake.SIGNATURE

    @pytest.mark.parametrize(
        ("model", "signature"), [("vendor/new", fake.UNSIGNED), ("vendor/old", None)]
    )
    def test_goes_on_where_a_client_lost_the_signature(
        self, client: httpx.Client, gemini: FakeGemini, model: str, signature: str | None
    ) -> None:
        user = {"role": "user", "content": "hi"}
        first = sent_back(answer(ask(client, user, tools=[WEATHER], model=model)))
        for call in first["tool_calls"]:
            del call["extra_content"]
        result = {"role": "tool", "tool_call_id": "fc-1", "content": "mild"}

        response = ask(client, user, first, result, tools=[WEATHER], model=model)

        assert answer(response)["content"] == "hello from upstream"
        [_, made, given] = gemini.calls[-1].body["contents"]
        assert made["parts"][-1].get("thoughtSignature") == signature
        assert given["parts"][0]["functionResponse"]["response"] == {"output": "mild"}

    @WHOLE_AND_STREAM
    def test_calls_at_once_get_ids_where_google_gives_none(
        self, client: httpx.Client, gemini: FakeGemini, stream: bool
    ) -> None:
        gemini.script(
            fake.response(fake.function_call("now"), fake.function_call("weather", city="Köln"))
        )

        told = answer(ask(client, tools=[WEATHER], stream=stream))

        first, second = told["tool_calls"]
        assert first["function"] == {"name": "now", "arguments": {}}
        assert second["function"] == {"name": "weather", "arguments": {"city": "Köln"}}
        assert first["id"] != second["id"]
        assert told["finish_reason"] == "tool_calls"


SEARCH_FEE = 10_000_000


@pytest.fixture
def searching(sold: None) -> None:
    rates = structs.replace(RATES, web_search=SEARCH_FEE * 1000)
    for slug in ("vendor/new", "vendor/old"):
        prices.set_price(subject=slug, role="retail", rates=rates, now=datetime.now(UTC))
    Route.objects.update(max_searches=3)


@pytest.mark.usefixtures("searching")
class TestSearch:
    @WHOLE_AND_STREAM
    def test_is_charged_as_google_bills_it_and_quotes_pages(
        self, client: httpx.Client, gemini: FakeGemini, shop: Shop, stream: bool
    ) -> None:
        for model, queries, searches in (
            ("vendor/new", ("a", "b"), 2),
            ("vendor/old", ("a", "b"), 1),
            ("vendor/new", (), 0),
        ):
            grounded = fake.grounding(*queries, end=5) if queries else None
            gemini.script(fake.response(fake.text("hello world"), grounded=grounded))

            response = ask(client, model=model, stream=stream, web_search_options={})

            told = answer(response)
            cited = [one["url_citation"]["end_index"] for one in told.get("annotations", ())]
            assert (told["content"], cited) == ("hello world", [5] if queries else [])
            assert gemini.calls[-1].body["tools"] == [{"googleSearch": {}}]
            assert "upstream" not in response.text
            last = shop.last
            assert (last.searches, last.source) == (searches, "provider")
            # 10 tokens at $3 and 3 at $15 a million.
            assert last.charged == searches * SEARCH_FEE + 75_000

    def test_that_breaks_off_is_charged_as_held(
        self, client: httpx.Client, gemini: FakeGemini, shop: Shop
    ) -> None:
        words = fake.chunk(fake.text("hello"), usageMetadata=fake.usage())
        gemini.script([STREAM_HEAD, fake.event(words), Pause(0.05), Cut()])

        response = ask(client, stream=True, web_search_options={})

        assert "stream_interrupted" in response.text
        assert shop.last.searches == 3


class TestRefusals:
    @WHOLE_AND_STREAM
    @pytest.mark.parametrize(
        ("status", "kind", "message", "answered", "reason"),
        [
            (400, "INVALID_ARGUMENT", "* contents: no", 400, "upstream_rejected"),
            (
                400,
                "INVALID_ARGUMENT",
                "The input token count (9) exceeds the maximum number of tokens allowed (8).",
                400,
                "context_length_exceeded",
            ),
            (400, "INVALID_ARGUMENT", "API key not valid.", 502, "upstream_failed"),
            (400, "FAILED_PRECONDITION", "User location is not supported.", 502, "upstream_failed"),
            (403, "PERMISSION_DENIED", "forbidden", 502, "upstream_failed"),
            (404, "NOT_FOUND", "models/x is not found", 502, "upstream_failed"),
            (429, "RESOURCE_EXHAUSTED", "quota", 502, "upstream_failed"),
            (500, "INTERNAL", "oops", 502, "upstream_failed"),
            (503, "UNAVAILABLE", "The model is overloaded.", 502, "upstream_failed"),
        ],
    )
    def test_are_judged_by_whose_fault_they_are(
        self,
        client: httpx.Client,
        gemini: FakeGemini,
        shop: Shop,
        status: int,
        kind: str,
        message: str,
        answered: int,
        reason: str,
        stream: bool,
    ) -> None:
        gemini.script(fake.failure(status, kind, message))

        response = ask(client, stream=stream)

        assert (response.status_code, response.json()["error"]["reason"]) == (answered, reason)
        assert message not in response.text
        assert (shop.last.charged, shop.holds) == (0, 0)

    @WHOLE_AND_STREAM
    def test_a_blocked_prompt_is_the_content_filters(
        self, client: httpx.Client, gemini: FakeGemini, shop: Shop, stream: bool
    ) -> None:
        gemini.script(fake.blocked("PROHIBITED_CONTENT"))

        response = ask(client, stream=stream)

        assert response.status_code == 400
        assert response.json()["error"]["reason"] == "content_filter"
        assert (shop.last.charged, shop.holds) == (0, 0)

    @pytest.mark.parametrize(
        "reply",
        [
            replies.answer(b"<html>"),
            replies.answer({"candidates": []}),
            replies.answer({"candidates": [7]}),
            replies.answer(fake.chunk(fake.text("a"))),
            replies.answer(fake.chunk(finish_reason="MALFORMED_FUNCTION_CALL")),
            replies.answer(fake.chunk(finish_reason="SOMETHING_NEW")),
            replies.answer(fake.error(500, "INTERNAL", "x")),
            [Cut()],
        ],
        ids=[
            *("html", "empty", "no candidate", "no reason", "malformed", "new reason"),
            *("error in a success", "cut"),
        ],
    )
    def test_an_answer_that_is_none_costs_nothing(
        self, client: httpx.Client, gemini: FakeGemini, shop: Shop, reply: Reply
    ) -> None:
        gemini.script(reply)

        assert ask(client).status_code == 502
        assert (shop.last.charged, shop.holds) == (0, 0)

    @pytest.mark.parametrize(
        ("fields", "param"), [({"n": 2}, "n"), ({"stop": list("abcdef")}, "stop")]
    )
    def test_what_it_has_no_words_for_is_refused_here(
        self,
        client: httpx.Client,
        gemini: FakeGemini,
        shop: Shop,
        fields: dict[str, Any],
        param: str,
    ) -> None:
        response = ask(client, **fields)

        assert (response.status_code, response.json()["error"]["param"]) == (400, param)
        assert (gemini.calls, shop.usage) == ([], [])


TOLD = (STREAM_HEAD, fake.event(fake.chunk(fake.text("12345678"))))
UNAVAILABLE = fake.event(fake.error(503, "UNAVAILABLE", "secret"))


class TestAStreamThatBreaksOff:
    @pytest.mark.parametrize(
        "end",
        [
            pytest.param([Cut()], id="reset"),
            pytest.param([], id="ended without a reason"),
            pytest.param([UNAVAILABLE], id="error event"),
            pytest.param([b"data: nonsense\n\n"], id="garbage"),
            pytest.param([b"data: {}\n\n"], id="nothing"),
            pytest.param([fake.event(fake.chunk(finish_reason="OTHER"))], id="failed"),
            pytest.param(
                [fake.event(fake.chunk(usageMetadata={"promptTokenCount": 10})), Cut()],
                id="usage of the prompt",
            ),
        ],
    )
    def test_says_so_and_charges_what_came(
        self, client: httpx.Client, gemini: FakeGemini, shop: Shop, end: list[Step]
    ) -> None:
        gemini.script([*TOLD, *end])

        response = ask(client, stream=True)

        assert chunks(response.text)[-1]["error"]["reason"] == "stream_interrupted"
        assert "secret" not in response.text
        assert (shop.last.source, shop.last.output_tokens) == ("count", 2)

    def test_is_charged_by_what_the_provider_counted_so_far(
        self, client: httpx.Client, gemini: FakeGemini, shop: Shop
    ) -> None:
        counted = fake.usage(candidatesTokenCount=3, thoughtsTokenCount=500)
        gemini.script([*TOLD, fake.event(fake.chunk(usageMetadata=counted)), Cut()])

        ask(client, stream=True)

        assert (shop.last.source, shop.last.output_tokens) == ("provider", 503)

    @pytest.mark.parametrize("end", [[UNAVAILABLE], [Cut()], [b"data: {}\n\n"]])
    def test_before_any_content_costs_nothing(
        self, client: httpx.Client, gemini: FakeGemini, shop: Shop, end: list[Step]
    ) -> None:
        gemini.script([STREAM_HEAD, *end])

        assert ask(client, stream=True).status_code == 502
        assert (shop.last.charged, shop.holds) == (0, 0)


class TestACallerWhoHangsUp:
    def test_pays_for_what_was_drained(
        self, gateway: GatewayServer, client: httpx.Client, gemini: FakeGemini, shop: Shop
    ) -> None:
        end = fake.event(fake.chunk(finish_reason="STOP", usageMetadata=fake.usage()))
        left = threading.Event()
        gemini.script([*TOLD, Gate(left), end])
        asked = {"model": "vendor/new", "messages": [{"role": "user", "content": "x"}]}

        with client.stream(
            "POST", "/v1/chat/completions", json={**asked, "stream": True}
        ) as response:
            next(response.iter_bytes())
        gateway.notice_hang_up()
        left.set()

        wait_until_closed(shop)
        assert (shop.last.charged, shop.last.cancelled) == (75_000, True)

    def test_before_the_first_byte_pays_nothing(
        self, gateway: GatewayServer, gemini: FakeGemini, shop: Shop
    ) -> None:
        gemini.script([STREAM_HEAD, Stall()])
        said = [{"role": "user", "content": "x"}]

        body = {"model": "vendor/new", "messages": said, "stream": True}
        with gateway.leaving(shop.secret, body):
            gemini.wait_for_calls(1)

        [call] = gemini.wait_for_calls(1, ended=True)
        assert call.hung_up
        wait_until_closed(shop)
        assert shop.last.charged == 0


class TestAUsageThatContradictsItself:
    @WHOLE_AND_STREAM
    @pytest.mark.parametrize(
        "usage",
        [
            pytest.param({"promptTokenCount": -1}, id="negative"),
            pytest.param({"promptTokenCount": None}, id="no prompt"),
            pytest.param({"thoughtsTokenCount": "7"}, id="not a number"),
            pytest.param({"cachedContentTokenCount": 11}, id="more cached than prompt"),
            pytest.param({"totalTokenCount": 12}, id="another total"),
            pytest.param({"candidatesTokenCount": 0}, id="denies the answer"),
        ],
    )
    def test_is_not_what_the_customer_pays_by(
        self,
        client: httpx.Client,
        gemini: FakeGemini,
        shop: Shop,
        usage: dict[str, Any],
        stream: bool,
    ) -> None:
        gemini.script(fake.response(fake.text("12345678"), **usage))

        assert answer(ask(client, stream=stream))["content"] == "12345678"

        assert (shop.last.source, shop.last.output_tokens) == ("count", 2)
        assert shop.last.reason == CONTRADICTION

    def test_nor_is_one_that_shrinks(
        self, client: httpx.Client, gemini: FakeGemini, shop: Shop
    ) -> None:
        first = fake.event(fake.chunk(usageMetadata=fake.usage(candidatesTokenCount=9)))
        last = fake.event(fake.chunk(finish_reason="STOP", usageMetadata=fake.usage()))
        gemini.script([*TOLD, first, last])

        ask(client, stream=True)

        assert (shop.last.source, shop.last.reason) == ("count", CONTRADICTION)

    @WHOLE_AND_STREAM
    def test_one_that_is_missing_is_counted_and_contradicts_nothing(
        self, client: httpx.Client, gemini: FakeGemini, shop: Shop, stream: bool
    ) -> None:
        body = fake.chunk(fake.text("12345678"), finish_reason="STOP")
        gemini.script([STREAM_HEAD, fake.event(body)] if stream else replies.answer(body))

        ask(client, stream=stream)

        assert (shop.last.source, shop.last.output_tokens, shop.last.reason) == ("count", 2, "")

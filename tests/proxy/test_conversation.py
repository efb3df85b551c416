"""A conversation with tools is the same through every kind of provider, and across them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from billing.pricing import Rates
from proxy.upstreams import BY_KIND
from tests.fakes import anthropic, gemini
from tests.fakes import upstream as fake
from tests.fakes.anthropic import FakeAnthropic
from tests.fakes.gateway import GatewayServer
from tests.fakes.gemini import FakeGemini
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import AddModel, Shop, make_provider
from tests.proxy.upstreams.vendor import PATH, WEATHER, answer, sent_back

CITIES = ("Köln", "São Paulo")
FIRST_WORDS, LAST_WORDS = "Let me look.", "Mild in Köln, hot in São Paulo."
RESULTS = ("mild 🙂", '{"sky": "hot"}')
QUESTION = {"role": "user", "content": "What is the weather?"}
WAYS = [pytest.param(False, id="whole"), pytest.param(True, id="streamed")]


@dataclass(frozen=True)
class Provider:
    """One kind of provider: its fake, and what it calls its model."""

    fake: FakeUpstream
    base_url: str
    upstream_model: str


def spoken(call: fake.Call) -> fake.Reply:
    """Answer as an OpenAI-compatible provider: two calls of a tool, then words."""
    if call.body["messages"][-1]["role"] == "tool":
        if call.stream:
            return fake.stream([LAST_WORDS[:9], LAST_WORDS[9:]])
        return fake.completion(LAST_WORDS)
    written = [json.dumps({"city": city}, ensure_ascii=False) for city in CITIES]
    if not call.stream:
        calls = [calling(n, arguments) for n, arguments in enumerate(written)]
        message = {"role": "assistant", "content": FIRST_WORDS, "tool_calls": calls}
        return fake.completion(message=message, finish_reason="tool_calls")
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": FIRST_WORDS}]
    for n, arguments in enumerate(written):
        deltas.append({"tool_calls": [{"index": n, **calling(n, "")}]})
        for piece in (arguments[:5], arguments[5:]):
            deltas.append({"tool_calls": [{"index": n, "function": {"arguments": piece}}]})
    end = fake.chunk({}, finish_reason="tool_calls")
    return fake.events(
        [*map(fake.chunk, deltas), end, fake.chunk(choices=[], usage=fake.usage(9, 9))]
    )


def calling(n: int, arguments: str) -> dict[str, Any]:
    function = {"name": "weather", "arguments": arguments}
    return {"id": f"call_{n}", "type": "function", "function": function}


def by_anthropic(call: fake.Call) -> fake.Reply:
    blocks = call.body["messages"][-1]["content"]
    if any(block["type"] == "tool_result" for block in blocks):
        return anthropic.message(anthropic.text(LAST_WORDS))(call)
    uses = [anthropic.tool_use(f"toolu_{n}", "weather", city=c) for n, c in enumerate(CITIES)]
    words = anthropic.text(FIRST_WORDS)
    return anthropic.message(words, *uses, stop_reason="tool_use")(call)


def by_gemini(call: fake.Call) -> fake.Reply:
    if any("functionResponse" in part for part in call.body["contents"][-1]["parts"]):
        return gemini.response(gemini.text(LAST_WORDS))(call)
    calls = [gemini.function_call("weather", id_=f"fc-{n}", city=c) for n, c in enumerate(CITIES)]
    return gemini.response(gemini.text(FIRST_WORDS), *calls)(call)


@pytest.fixture
def providers() -> Iterator[dict[str, Provider]]:
    """Every kind of provider; the native ones refuse what their vendor's SDK would not send."""
    with ExitStack() as stack:
        compatible = stack.enter_context(FakeUpstream())
        compatible.script(spoken)
        native_claude = stack.enter_context(FakeAnthropic())
        native_claude.script(by_anthropic)
        native_gemini = stack.enter_context(FakeGemini())
        native_gemini.script(by_gemini)
        google = f"{native_gemini.url}/v1beta"
        yield {
            "openai": Provider(compatible, compatible.base_url, "gpt"),
            "sandbox": Provider(compatible, compatible.base_url, "sandbox/echo"),
            "anthropic": Provider(native_claude, native_claude.base_url, "claude-opus-4-6"),
            "gemini": Provider(native_gemini, google, "gemini-3-flash-preview"),
        }


@pytest.fixture
def caller(
    shop: Shop, add_model: AddModel, providers: dict[str, Provider]
) -> Iterator[httpx.Client]:
    for kind, provider in providers.items():
        row = make_provider(f"the-{kind}", provider.base_url, kind=kind)
        model = add_model(f"by/{kind}", rates=Rates(prompt=1), providers=(row,))
        model.routes.update(upstream_model=provider.upstream_model)
    _, secret = shop.new_key(rpm=600)
    with GatewayServer() as gateway, gateway.client(secret) as client:
        yield client


def held(caller: httpx.Client, *kinds: str, stream: bool) -> list[dict[str, Any]]:
    """Hold a conversation of two steps, each by its kind of provider; return its messages."""
    messages: list[dict[str, Any]] = [QUESTION]
    finishes = []
    for kind in kinds:
        body = {"model": f"by/{kind}", "messages": messages, "tools": [WEATHER], "stream": stream}
        told = answer(caller.post(PATH, json=body))
        finishes.append(told["finish_reason"])
        messages = [*messages, sent_back(told)]
        for call, result in zip(told.get("tool_calls", ()), RESULTS, strict=False):
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    assert finishes == ["tool_calls", "stop"]
    return messages


def normalised(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages with ids by their order, arguments as objects, and no proofs of thoughts."""
    ids: dict[str, str] = {}
    told = []
    for message in messages:
        same = {name: value for name, value in message.items() if name != "reasoning_details"}
        if "tool_calls" in message:
            same["tool_calls"] = []
            for call in message["tool_calls"]:
                assert call["id"] not in ids
                ids[call["id"]] = f"id_{len(ids)}"
                function = call["function"]
                same["tool_calls"].append(
                    {
                        "id": ids[call["id"]],
                        "type": call["type"],
                        "function": {**function, "arguments": json.loads(function["arguments"])},
                    }
                )
        if "tool_call_id" in message:
            same["tool_call_id"] = ids[message["tool_call_id"]]
        told.append(same)
    return told


EXPECTED = [
    QUESTION,
    {
        "role": "assistant",
        "content": FIRST_WORDS,
        "tool_calls": [
            {
                "id": f"id_{n}",
                "type": "function",
                "function": {"name": "weather", "arguments": {"city": city}},
            }
            for n, city in enumerate(CITIES)
        ],
    },
    *(
        {"role": "tool", "tool_call_id": f"id_{n}", "content": result}
        for n, result in enumerate(RESULTS)
    ),
    {"role": "assistant", "content": LAST_WORDS},
]


class TestTwoSteps:
    def test_are_tried_with_every_kind(self, providers: dict[str, Provider]) -> None:
        assert providers.keys() == BY_KIND.keys()

    @pytest.mark.parametrize("stream", WAYS)
    def test_give_the_same_messages_through_every_kind(
        self, caller: httpx.Client, providers: dict[str, Provider], stream: bool
    ) -> None:
        held_by = {kind: normalised(held(caller, kind, kind, stream=stream)) for kind in providers}

        assert held_by == dict.fromkeys(providers, EXPECTED)

    @pytest.mark.parametrize("stream", WAYS)
    def test_may_be_made_by_two_kinds(
        self, caller: httpx.Client, providers: dict[str, Provider], stream: bool
    ) -> None:
        pairs = [(one, other) for one in providers for other in providers if one != other]

        for pair in pairs:
            assert normalised(held(caller, *pair, stream=stream)) == EXPECTED, pair

    def test_tell_the_provider_what_the_tools_said(
        self, caller: httpx.Client, providers: dict[str, Provider]
    ) -> None:
        for kind, provider in providers.items():
            held(caller, kind, kind, stream=False)
            told = json.dumps(provider.fake.calls[-1].body, ensure_ascii=False)
            for said in ("weather", "mild 🙂", "sky", "hot"):
                assert said in told, kind

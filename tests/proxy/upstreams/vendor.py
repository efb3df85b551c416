"""What the tests of all native adapters share: a shop that sells one vendor's model."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx

from billing.pricing import Rates
from proxy.upstreams.base import ChunkReader, Target
from proxy.wire import chat, sse
from proxy.wire.answers import Completion
from proxy.wire.call import Call
from tests.proxy.conftest import AddModel, Shop, make_provider

# Per token in pico-dollars, all different: a count in the wrong bucket changes the price.
RATES = Rates(prompt=3_000_000, completion=15_000_000, cached_prompt=300_000, cache_write=3_750_000)
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather.",
        "parameters": PARAMETERS,
    },
}
PIXEL = "aGVsbG8="
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
PATH = "/v1/chat/completions"


def sell(add_model: AddModel, *, kind: str, base_url: str, new: str, old: str) -> None:
    """Sell a vendor's new and old model under the names of vendor/new and vendor/old."""
    provider = make_provider(kind, base_url, kind=kind)
    for slug, upstream_model in (("vendor/new", new), ("vendor/old", old)):
        bounds = {"context_length": 100_000, "max_output_tokens": 20_000}
        model = add_model(slug, rates=RATES, providers=(provider,), **bounds)
        model.routes.update(upstream_model=upstream_model)


def call_of(**fields: Any) -> Call:
    """Return a checked call."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    return chat.parse(json.dumps(body | fields).encode())


def target_of(model: str, **terms: Any) -> Target:
    """Return where a request goes."""
    fields: dict[str, Any] = {
        "base_url": "http://up",
        "api_key": "secret",
        "upstream_model": model,
        "limit_name": "max_tokens",
        "kind": "any",
        "request_id": "req_1",
        "max_output_tokens": 20_000,
    }
    return Target(**(fields | terms))


def ask(client: httpx.Client, *messages: dict[str, Any], **fields: Any) -> httpx.Response:
    """Call the model."""
    asked = messages or ({"role": "user", "content": "hi"},)
    return client.post(PATH, json={"model": "vendor/new", "messages": list(asked), **fields})


def answer(response: httpx.Response) -> dict[str, Any]:
    """Return the message and finish reason of an answer, whole or streamed."""
    assert response.status_code == 200, response.text
    if not response.headers["content-type"].startswith("text/event-stream"):
        choice = response.json()["choices"][0]
        return _told(choice["message"], choice["finish_reason"])
    message: dict[str, Any] = {"role": None, "content": None}
    finish = None
    for chunk in chunks(response.text):
        for choice in chunk["choices"]:
            add(message, choice["delta"])
            finish = choice["finish_reason"] or finish
    return _told(message, finish)


def chunks(text: str) -> list[dict[str, Any]]:
    """Return a stream's chunks."""
    data = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(one) for one in data if one != "[DONE]"]


def add(message: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a chunk to a message as OpenAI's clients do, and as OpenRouter's for thoughts."""
    for name, value in delta.items():
        if name == "tool_calls":
            for fragment in value:
                calls = message.setdefault("tool_calls", [])
                if fragment["index"] == len(calls):
                    assert {"id", "type"} <= fragment.keys()
                    assert "name" in fragment["function"]
                    calls.append({name: fragment[name] for name in fragment if name != "index"})
                else:
                    assert fragment.keys() == {"index", "function"}
                    function = calls[fragment["index"]]["function"]
                    function["arguments"] += fragment["function"]["arguments"]
        elif name in ("reasoning_details", "annotations"):
            message[name] = [*message.get(name, ()), *value]
        elif value or name not in message:
            message[name] = (message.get(name) or "") + value


def _told(message: dict[str, Any], finish: str | None) -> dict[str, Any]:
    """Return what was said without what only one of the two ways has."""
    told = {name: value for name, value in message.items() if value not in (None, "")}
    for call in told.get("tool_calls", ()):
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return {**told, "finish_reason": finish}


def sent_back(told: dict[str, Any]) -> dict[str, Any]:
    """Return an answer as the message that a caller sends back."""
    message = {name: value for name, value in told.items() if name != "finish_reason"}
    calls = [
        {**call, "function": {**call["function"], "arguments": json.dumps(arguments)}}
        for call in told.get("tool_calls", ())
        for arguments in [call["function"]["arguments"]]
    ]
    return {**message, "tool_calls": calls} if calls else message


def wait_until_closed(shop: Shop) -> None:
    """Wait until the one call is settled."""
    deadline = time.monotonic() + 30
    while not shop.usage:
        assert time.monotonic() < deadline, "the call was not settled"
        time.sleep(0.02)
    assert shop.holds == 0


def read_pieces(reader: ChunkReader, data: bytes, cuts: list[int]) -> dict[str, Any]:
    """Return the message that a reader makes of a stream cut into pieces of these sizes."""
    decoder = sse.Decoder()
    message: dict[str, Any] = {}
    finish = None
    for size in [*cuts, len(data)]:
        piece, data = data[:size], data[size:]
        for event in decoder.feed(piece):
            for chunk in reader.read(event):
                [choice] = chunk["choices"]
                add(message, choice["delta"])
                finish = choice["finish_reason"] or finish
    return _told(message, finish)


def told_whole(completion: Completion) -> dict[str, Any]:
    """Return what a whole answer says."""
    [choice] = completion.fields["choices"]
    return _told(choice["message"], choice["finish_reason"])

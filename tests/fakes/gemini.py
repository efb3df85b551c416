"""
A fake Gemini over a real socket: requests are checked by the official SDK's own types.

    with FakeGemini() as upstream:
        upstream.script(response(text("hello"), promptTokenCount=7))
        ...call upstream.base_url...

The rules that types do not tell are Google's documented ones; a request that breaks one is
answered as Google does. Without a script a first turn with tools is answered by a call of the
first tool, anything else by text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from google.genai import types
from pydantic import TypeAdapter, ValidationError

from tests.fakes.replies import STREAM_HEAD, answer
from tests.fakes.steps import Call, Reply, Step
from tests.fakes.upstream import FakeUpstream

Part = dict[str, Any]

FIELDS: dict[str, TypeAdapter[Any]] = {
    "contents": TypeAdapter(list[types.Content]),
    "systemInstruction": TypeAdapter(types.Content),
    "tools": TypeAdapter(list[types.Tool]),
    "toolConfig": TypeAdapter(types.ToolConfig),
    "generationConfig": TypeAdapter(types.GenerationConfig),
}
PATH = re.compile(r"/v1(?:beta)?/models/([\w.-]+):(generateContent|streamGenerateContent)")
SIGNATURE = "c2lnLTE="
UNSIGNED = "skip_thought_signature_validator"
MOST_STOPS = 5


class FakeGemini(FakeUpstream):
    """The upstream; ``base_url`` is what a provider's row has, ``url`` what the SDK takes."""

    def __enter__(self) -> FakeGemini:
        super().__enter__()
        return self

    def reply_to(self, call: Call) -> Iterable[Step]:
        """Refuse what Google would, then do as scripted."""
        if (refused := refusal_of(call)) is not None:
            return refused
        scripted = next(iter(self._matching(call)), None)
        return super().reply_to(call) if scripted else default(call)(call)


class Broken(Exception):
    """A rule is broken; says which."""


def require(holds: bool, message: str) -> None:
    """
    Insist on a rule.

    :raises Broken: it does not hold
    """
    if not holds:
        raise Broken(message)


def refusal_of(call: Call) -> Reply | None:
    """Return the error that Google answers, None where it would serve the call."""
    path, _, query = call.path.partition("?")
    found = PATH.fullmatch(path)
    if call.method != "POST" or found is None:
        return failure(404, "NOT_FOUND", "Requested entity was not found.")
    if not call.headers.get("x-goog-api-key"):
        return failure(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers.")
    try:
        require(streams(call) == (query == "alt=sse"), "only server-sent events are faked here")
        check(call.body, model=found[1])
    except Broken as broken:
        return failure(400, "INVALID_ARGUMENT", str(broken))
    return None


def streams(call: Call) -> bool:
    """Tell whether a stream was asked for."""
    return ":streamGenerateContent" in call.path


def check(body: Any, *, model: str) -> None:
    """
    Check a request's body.

    :raises Broken: Google would refuse it
    """
    for name, value in body.items():
        require(name in FIELDS, f'Invalid JSON payload received. Unknown name "{name}"')
        try:
            FIELDS[name].validate_python(value)
        except ValidationError as error:
            raise Broken(f"{name}: {error.errors()[0]['msg']}") from None
    check_contents(body["contents"], signed=model.startswith("gemini-3"))
    config = body.get("generationConfig", {})
    require(len(config.get("stopSequences", ())) <= MOST_STOPS, "too many stop sequences")
    require(0 <= config.get("temperature", 1) <= 2, "temperature must be in [0, 2]")
    thinking = config.get("thinkingConfig", {})
    both = {"thinkingBudget", "thinkingLevel"} <= thinking.keys()
    require(not both, "You can only set only one of thinking budget and thinking level.")
    if model.startswith("gemini-2"):
        known = "thinkingLevel" not in thinking
        require(known, "Thinking level is not supported for this model.")
    if "pro" in model:
        require(thinking.get("thinkingBudget") != 0, "This model only works in thinking mode.")


def check_contents(contents: list[dict[str, Any]], *, signed: bool) -> None:
    """
    Check that every call has its response in the next turn, and its signature where needed.

    :raises Broken: it has not
    """
    require(bool(contents), "contents is not specified")
    calls: list[tuple[str, str]] = []
    for content in contents:
        require(content.get("role") in ("user", "model"), "Please use a valid role: user, model.")
        parts = content["parts"]
        require(bool(parts), "contents.parts must not be empty.")
        for part in parts:
            require("text" not in part or bool(part["text"]), "Unable to submit an empty text")
        told = [name_of(part["functionResponse"]) for part in parts if "functionResponse" in part]
        same = "number of function response parts is equal to the number of function call parts"
        require(told == calls, f"Please ensure that the {same} of the function call turn.")
        made = [part for part in parts if "functionCall" in part]
        if made and signed:
            signature = made[0].get("thoughtSignature")
            known = signature in (SIGNATURE, UNSIGNED)
            require(known, "Function call is missing a thought_signature in functionCall parts.")
        calls = [name_of(part["functionCall"]) for part in made]
    require(not calls, "Please ensure that a function call turn is followed by its responses.")


def name_of(function: dict[str, Any]) -> tuple[str, str]:
    """Return what joins a call and its response."""
    return function["name"], function.get("id", "")


def failure(status: int, kind: str, message: str) -> Reply:
    """Return an error in Google's shape."""
    return answer(error(status, kind, message), status=status)


def error(status: int, kind: str, message: str) -> dict[str, Any]:
    """Return an error object."""
    return {"error": {"code": status, "message": message, "status": kind}}


def text(words: str, *, thought: bool = False) -> Part:
    """Return a part of text, or of thoughts."""
    return {"text": words, "thought": True} if thought else {"text": words}


def function_call(name: str, *, id_: str | None = None, **arguments: Any) -> Part:
    """Return a part that calls a function."""
    function = {"name": name, "args": arguments, **({"id": id_} if id_ else {})}
    return {"functionCall": function, "thoughtSignature": SIGNATURE}


def usage(**counts: Any) -> dict[str, Any]:
    """Return a usage object; the total is right unless it is given."""
    told = {"promptTokenCount": 10, "candidatesTokenCount": 3, **counts}
    named = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
    parts = [told.get(name) for name in (*named, "toolUsePromptTokenCount")]
    total = sum(part for part in parts if isinstance(part, int))
    return {"totalTokenCount": total, **told}


def grounding(*queries: str, url: str = "https://a.example", begin: int = 0, end: int = 1) -> Part:
    """Return what was searched, and that some bytes of the answer quote a page."""
    support = {
        "segment": {"startIndex": begin, "endIndex": end},
        "groundingChunkIndices": [0],
    }
    return {
        "webSearchQueries": list(queries),
        "searchEntryPoint": {"renderedContent": "<div>upstream suggestions</div>"},
        "groundingChunks": [{"web": {"uri": url, "title": "a.example"}}],
        "groundingSupports": [support],
    }


def chunk(
    *parts: Part, finish_reason: str | None = None, grounded: Part | None = None, **more: Any
) -> dict[str, Any]:
    """Return an answer, or one event of a stream of answers."""
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish_reason:
        candidate["finishReason"] = finish_reason
    if grounded:
        candidate["groundingMetadata"] = grounded
    return {
        "candidates": [candidate],
        "modelVersion": "gemini-upstream-name",
        "responseId": "resp-upstream",
        **more,
    }


def blocked(reason: str = "SAFETY") -> Callable[[Call], Reply]:
    """Return the answer to a prompt that was blocked."""
    body = {"promptFeedback": {"blockReason": reason}, "usageMetadata": {"promptTokenCount": 9}}
    return lambda call: [STREAM_HEAD, event(body)] if streams(call) else answer(body)


def event(body: dict[str, Any]) -> bytes:
    """Return one event of a stream."""
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\r\n\r\n"


def response(
    *parts: Part, finish_reason: str = "STOP", grounded: Part | None = None, **counts: Any
) -> Callable[[Call], Reply]:
    """Return a reply of these parts, whole or streamed as the call asks, of the model it asks."""
    told = usage(**counts)

    def reply(call: Call) -> Reply:
        end: dict[str, Any] = {"finish_reason": finish_reason, "grounded": grounded}
        if grounded and (path := PATH.fullmatch(call.path.partition("?")[0])):
            end["modelVersion"] = path[1]
        if streams(call):
            return [STREAM_HEAD, *events(*parts, usage=told, **end)]
        return answer(chunk(*parts, usageMetadata=told, **end))

    return reply


def events(
    *parts: Part, usage: dict[str, Any], finish_reason: str = "STOP", **end: Any
) -> list[Step]:
    """Return a stream's events: texts in two pieces, of the usage first only the prompt's."""
    early = {name: usage[name] for name in ("promptTokenCount",) if name in usage}
    pieces = [piece for part in parts for piece in halves(part)]
    steps: list[Step] = [event(chunk(piece, usageMetadata=early)) for piece in pieces]
    return [*steps, event(chunk(finish_reason=finish_reason, usageMetadata=usage, **end))]


def halves(part: Part) -> list[Part]:
    """Return a part of text in two pieces."""
    words = part.get("text", "")
    middle = len(words) // 2
    if not middle:
        return [part]
    return [{**part, "text": words[:middle]}, {**part, "text": words[middle:]}]


def default(call: Call) -> Callable[[Call], Reply]:
    """Return a well-behaved answer: a call of a tool first, then text; thoughts where asked."""
    body = call.body
    thinking = body.get("generationConfig", {}).get("thinkingConfig", {})
    thoughts = [text("hmm", thought=True)] if thinking.get("includeThoughts") else []
    answered = any("functionResponse" in part for part in body["contents"][-1]["parts"])
    if "tools" in body and not answered:
        name = body["tools"][0]["functionDeclarations"][0]["name"]
        return response(
            *thoughts, text("Let me look."), function_call(name, id_="fc-1", city="Köln")
        )
    return response(*thoughts, text("hello from upstream"))

"""
Google's Gemini API: generateContent and its stream.

Reference: https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx

from proxy.upstreams import asked, trouble
from proxy.upstreams.asked import Reasoning
from proxy.upstreams.base import Target, UpstreamTrouble
from proxy.upstreams.gemini_answer import Reader, completion
from proxy.upstreams.gemini_prompt import conversation
from proxy.upstreams.gemini_search import NEWER, version
from proxy.upstreams.posting import post
from proxy.wire.call import BadRequest, Call

KINDS = frozenset({"chat"})
BOUNDS_SEARCHES = False
UNSUPPORTED = frozenset(
    {
        *("repetition_penalty", "logit_bias", "logprobs", "top_logprobs", "min_p", "top_a"),
        *("verbosity", "store", "metadata", "service_tier", "user", "safety_identifier"),
        *("parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention"),
    }
)
MOST_STOPS = 5
# Parameters that only have another name.
NAMES = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}
MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "function": "ANY"}

LEVELS = {
    "none": "minimal",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
BUDGETS = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 24576,
    "max": 24576,
}

# From a version on a model is told a level, before it a budget of tokens: see ``_thinking``.
# A "pro" model cannot but think.
LEAST_OF_PRO = 128

# Refusals with a caller's status whose cause is our own account.
OURS = ("api key", "api_key", "user location", "failed_precondition", "billing")


def misfit(call: Call) -> BadRequest | None:
    """Return what of a call has no words here and must not be dropped in silence."""
    try:
        asked.refuse_common(call)
        if call.searches and call.fields.get("tools"):
            raise asked.unsupported("web_search_options", "Web search beside tools")
        asked.reasoning(call.fields)
        asked.tools(call.fields)
        asked.tool_choice(call.fields)
        asked.schema(call.fields)
        if call.stops > MOST_STOPS:
            raise asked.unsupported("stop", f"More than {MOST_STOPS} stop sequences")
        conversation(call.fields["messages"], signed=False)
    except BadRequest as refused:
        return refused
    return None


def request(*, target: Target, call: Call) -> httpx.Request:
    """Build the request of one attempt; the model is in the path, the key in a header."""
    model = target.upstream_model
    named = model if "/" in model else f"models/{model}"
    method = "streamGenerateContent?alt=sse" if call.stream else "generateContent"
    return post(
        base_url=target.base_url,
        path=f"{quote(named, safe='/')}:{method}",
        body=body(target=target, call=call),
        stream=call.stream,
        request_id=target.request_id,
        headers={"x-goog-api-key": target.api_key},
    )


def body(*, target: Target, call: Call) -> dict[str, Any]:
    """Return the body for a provider."""
    sent = asked.fields(target=target, call=call)
    by_level = version(target.upstream_model) >= NEWER
    system, contents = conversation(sent["messages"], signed=by_level)
    made: dict[str, Any] = {"contents": contents}
    if system:
        made["systemInstruction"] = {"parts": system}
    made |= _tools(sent)
    if sent.get("web_search_options") is not None:
        made["tools"] = [{"googleSearch": {}}]
    config = {name: sent[ours] for ours, name in NAMES.items() if ours in sent}
    if limit := asked.output_limit(target=target, call=call):
        config["maxOutputTokens"] = limit
    if stops := asked.stops(sent):
        config["stopSequences"] = stops
    config |= _format(sent)
    if (wish := asked.reasoning(sent)) is not None:
        config["thinkingConfig"] = _thinking(
            wish, target.upstream_model, limit=limit or BUDGETS["max"]
        )
    if config:
        made["generationConfig"] = config
    return made


def _format(sent: dict[str, Any]) -> dict[str, Any]:
    kind, schema = asked.schema(sent)
    if kind == "text":
        return {}
    made: dict[str, Any] = {"responseMimeType": "application/json"}
    # Not responseSchema, which is OpenAPI's dialect and refuses additionalProperties.
    if schema is not None:
        made["responseJsonSchema"] = schema
    return made


def _tools(sent: dict[str, Any]) -> dict[str, Any]:
    tools = asked.tools(sent)
    if not tools:
        return {}
    declared = [
        {
            "name": tool.name,
            "parametersJsonSchema": tool.parameters,
            **({"description": tool.description} if tool.description else {}),
        }
        for tool in tools
    ]
    made: dict[str, Any] = {"tools": [{"functionDeclarations": declared}]}
    if (choice := asked.tool_choice(sent)) is not None:
        config: dict[str, Any] = {"mode": MODES[choice.mode]}
        if choice.mode == "function":
            config["allowedFunctionNames"] = [choice.name]
        made["toolConfig"] = {"functionCallingConfig": config}
    return made


def _thinking(wish: Reasoning, model: str, *, limit: int) -> dict[str, Any]:
    """Return how hard to think; thoughts count towards maxOutputTokens, so they leave room."""
    config: dict[str, Any] = {"includeThoughts": wish.shown and wish.effort != "none"}
    always_thinks = "pro" in model
    if wish.budget_tokens is not None:
        config["thinkingBudget"] = min(wish.budget_tokens, limit)
    elif version(model) >= NEWER:
        level = LEVELS[wish.effort]
        config["thinkingLevel"] = "low" if always_thinks and level == "minimal" else level
    else:
        budget = min(BUDGETS[wish.effort], limit // 2)
        config["thinkingBudget"] = max(budget, LEAST_OF_PRO) if always_thinks else budget
    return config


def reader(call: Call) -> Reader:
    """Return a reader for one stream."""
    return Reader()


def refusal(status: int, body: bytes) -> UpstreamTrouble:
    """Judge an answer that is not a success; some of Google's 400 are about our account."""
    text = body[:20_000].decode("utf-8", "replace").lower()
    if status == 400 and any(word in text for word in OURS):
        return trouble.failed("http_400", 400)
    return trouble.refusal(status, body)


__all__ = [
    "BOUNDS_SEARCHES",
    "KINDS",
    "UNSUPPORTED",
    "body",
    "completion",
    "misfit",
    "reader",
    "refusal",
    "request",
]

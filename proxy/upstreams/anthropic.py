"""
Anthropic's Messages API.

Reference: https://platform.claude.com/docs/en/api/messages/create
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import httpx
import msgspec

from proxy.upstreams import asked, trouble
from proxy.upstreams.anthropic_answer import Reader, completion
from proxy.upstreams.anthropic_prompt import conversation
from proxy.upstreams.asked import Reasoning, Tool
from proxy.upstreams.base import Target, UpstreamTrouble
from proxy.upstreams.posting import post
from proxy.wire.call import BadRequest, Call

KINDS = frozenset({"chat"})
# ``max_uses`` of its search tool.
BOUNDS_SEARCHES = True
UNSUPPORTED = frozenset(
    {
        *("frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias", "seed"),
        *("logprobs", "top_logprobs", "min_p", "top_a", "verbosity", "store", "metadata"),
        *("service_tier", "prompt_cache_key", "prompt_cache_retention"),
    }
)
API_VERSION = "2023-06-01"

# From these on a model thinks adaptively, takes strict tools, takes one sampling parameter.
ADAPTIVE = (4, 6)
STRICT = (4, 5)
LEAST_BUDGET = 1024
# The share of the output limit that may go into thinking, by effort.
SHARES = {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.95, "max": 0.95}
SEARCH_TOOL = "web_search_20250305"
PLACE = ("city", "country", "region", "timezone")
EFFORTS = {"none": "low", "minimal": "low"}
NEWEST = (99, 0)

# Refusals with a caller's status whose cause is our own account.
OURS = ("credit balance", "your organization", "organization has been", "organization_", "cmek_")


def misfit(call: Call) -> BadRequest | None:
    """Return what of a call has no words here and must not be dropped in silence."""
    try:
        asked.refuse_common(call)
        asked.reasoning(call.fields)
        asked.tools(call.fields)
        asked.tool_choice(call.fields)
        _check_stops(call)
        if asked.schema(call.fields)[0] == "json_object":
            what = "response_format json_object (use json_schema)"
            raise asked.unsupported("response_format", what)
        conversation(call.fields["messages"])
    except BadRequest as refused:
        return refused
    return None


def _check_stops(call: Call) -> None:
    if not all(stop.strip() for stop in asked.stops(call.fields)):
        raise asked.unsupported("stop", "A stop sequence of white space")


def request(*, target: Target, call: Call) -> httpx.Request:
    """Build the request of one attempt."""
    return post(
        base_url=target.base_url,
        path="messages",
        body=body(target=target, call=call),
        stream=call.stream,
        request_id=target.request_id,
        headers={"x-api-key": target.api_key, "anthropic-version": API_VERSION},
    )


def body(*, target: Target, call: Call) -> dict[str, Any]:
    """Return the body for a provider."""
    sent = asked.fields(target=target, call=call)
    system, messages = conversation(sent["messages"])
    limit = asked.output_limit(target=target, call=call) or LEAST_BUDGET
    made: dict[str, Any] = {
        "model": target.upstream_model,
        "max_tokens": limit,
        "messages": messages,
    }
    if system:
        made["system"] = system
    if call.stream:
        made["stream"] = True
    if stops := asked.stops(sent):
        made["stop_sequences"] = stops
    if user := sent.get("safety_identifier") or sent.get("user"):
        made["metadata"] = {"user_id": user}
    made |= _tools(sent, messages, version(target.upstream_model))
    if sent.get("web_search_options") is not None:
        made["tools"] = [*made.get("tools", ()), _search(sent, most=target.max_searches)]
        # Tools that a conversation only mentions are not to be used; this one is.
        if not sent.get("tools"):
            made.pop("tool_choice", None)
    made |= _sampling(sent, call.assumed)
    _, schema = asked.schema(sent)
    if schema is not None:
        made["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    if (wish := asked.reasoning(sent)) is not None:
        _think(made, wish, version(target.upstream_model))
    return made


@cache
def version(model: str) -> tuple[int, int]:
    """
    Return the version in a Claude model's name; one without is taken for a new one.

    The numbers stand after the family (``claude-opus-4-6``) or before it
    (``claude-3-7-sonnet-20250219``); eight digits are a date.
    """
    numbers = re.findall(r"(?<!\d)\d{1,2}(?!\d)", model)
    if not numbers:
        return NEWEST
    return int(numbers[0]), int(numbers[1]) if len(numbers) > 1 else 0


def _sampling(sent: dict[str, Any], assumed: frozenset[str]) -> dict[str, Any]:
    """
    Return the sampling parameters: Anthropic's temperature ends at 1 and excludes top_p.

    A temperature that the caller did not name gives way.
    """
    made: dict[str, Any] = {}
    if "temperature" in sent and not ("temperature" in assumed and "top_p" in sent):
        made["temperature"] = min(sent["temperature"], 1)
    elif "top_p" in sent:
        made["top_p"] = sent["top_p"]
    if (top_k := sent.get("top_k")) is not None:
        made["top_k"] = top_k
    return made


def _tools(
    sent: dict[str, Any], messages: list[dict[str, Any]], of: tuple[int, int]
) -> dict[str, Any]:
    tools = [_tool(tool, strict=of >= STRICT) for tool in asked.tools(sent)]
    if not tools:
        return _mentioned(messages)
    made: dict[str, Any] = {"tools": tools}
    choice = asked.tool_choice(sent)
    alone = sent.get("parallel_tool_calls") is False
    if choice is None and not alone:
        return made
    mode = choice.mode if choice else "auto"
    names = {"required": "any", "function": "tool"}
    made["tool_choice"] = {"type": names.get(mode, mode)}
    if choice and choice.mode == "function":
        made["tool_choice"]["name"] = choice.name
    if alone and mode != "none":
        made["tool_choice"]["disable_parallel_tool_use"] = True
    return made


def _tool(tool: Tool, *, strict: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tool.name, "input_schema": tool.parameters}
    if tool.description:
        made["description"] = tool.description
    if tool.strict and strict:
        made["strict"] = True
    return made


def _search(sent: dict[str, Any], *, most: int) -> dict[str, Any]:
    """Return the search tool, to be used so many times."""
    tool: dict[str, Any] = {"type": SEARCH_TOOL, "name": "web_search", "max_uses": max(1, most)}
    if location := sent["web_search_options"].get("user_location"):
        given = location["approximate"]
        place = {name: given[name] for name in PLACE if given.get(name)}
        tool["user_location"] = {"type": "approximate", **place}
    return tool


def _mentioned(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Declare the tools that a conversation used: Anthropic refuses a use without."""
    names = {
        block["name"]: None
        for message in messages
        for block in message["content"]
        if block["type"] == "tool_use"
    }
    if not names:
        return {}
    return {
        "tools": [{"name": name, "input_schema": {"type": "object"}} for name in names],
        "tool_choice": {"type": "none"},
    }


def _think(made: dict[str, Any], wish: Reasoning, of: tuple[int, int]) -> None:
    """Ask for thinking, as the model's version takes it."""
    if of >= ADAPTIVE:
        return _think_adaptively(made, wish)
    if wish.effort == "none" or made["max_tokens"] <= LEAST_BUDGET:
        return
    # Neither goes together with a budget.
    forced = made.get("tool_choice", {}).get("type") in ("any", "tool")
    if forced or _lacks_thoughts(made["messages"]):
        return
    budget = wish.budget_tokens or int(made["max_tokens"] * SHARES[wish.effort])
    budget = min(max(budget, LEAST_BUDGET), made["max_tokens"] - 1)
    made["thinking"] = {"type": "enabled", "budget_tokens": budget}
    if not wish.shown:
        made["thinking"]["display"] = "omitted"
    for name in ("temperature", "top_p", "top_k"):
        made.pop(name, None)


def _think_adaptively(made: dict[str, Any], wish: Reasoning) -> None:
    effort = EFFORTS.get(wish.effort, wish.effort)
    if wish.budget_tokens is not None:
        share = wish.budget_tokens / made["max_tokens"]
        effort = next((name for name in ("low", "medium") if share <= SHARES[name]), "high")
    made["output_config"] = {**made.get("output_config", {}), "effort": effort}
    if wish.effort != "none":
        display = "summarized" if wish.shown else "omitted"
        made["thinking"] = {"type": "adaptive", "display": display}


def _lacks_thoughts(messages: list[dict[str, Any]]) -> bool:
    """Tell whether a tool was used without the thoughts before it, which cannot be resumed."""
    last = next((m for m in reversed(messages) if m["role"] == "assistant"), None)
    kinds = [block["type"] for block in last["content"]] if last else []
    return "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking")


def reader(call: Call) -> Reader:
    """Return a reader for one stream."""
    return Reader()


def refusal(status: int, body: bytes) -> UpstreamTrouble:
    """Judge an answer that is not a success; some of Anthropic's 400 are about our account."""
    text = _message(body).lower()
    if status == 400 and any(word in text for word in OURS):
        return trouble.failed("http_400", 400)
    return trouble.refusal(status, body)


def _message(body: bytes) -> str:
    try:
        error = msgspec.json.decode(body)["error"]
        return f"{error.get('message')} {error.get('details')}"
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError, AttributeError):
        return ""


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

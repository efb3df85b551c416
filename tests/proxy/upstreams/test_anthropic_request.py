"""What travels to Anthropic, by the judgement of the fake and of the SDK's types in it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proxy.upstreams import anthropic
from tests.fakes import anthropic as fake
from tests.proxy.upstreams.vendor import PARAMETERS, PICTURE, PIXEL, WEATHER, call_of, target_of

BUDGET, ADAPTIVE, NEWEST = "claude-haiku-4-5", "claude-opus-4-6", "claude-opus-5-5"


def sent(
    *messages: dict[str, Any],
    model: str = ADAPTIVE,
    target: dict[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Return the body that Anthropic gets; it is one that Anthropic takes."""
    asked = {"messages": list(messages)} if messages else {}
    call = call_of(**asked, **fields)
    assert anthropic.misfit(call) is None
    body = anthropic.body(target=target_of(model, **(target or {})), call=call)
    fake.check(body, version="2023-06-01")
    return body


def user(content: Any) -> dict[str, Any]:
    """Return a user's message."""
    return {"role": "user", "content": content}


def used(*ids: str, **more: Any) -> dict[str, Any]:
    """Return an assistant's message that calls the weather with these ids."""
    function = {"name": "weather", "arguments": '{"city": "Köln"}'}
    calls = [{"id": id_, "type": "function", "function": function} for id_ in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls, **more}


def result(id_: str, content: Any = "mild") -> dict[str, Any]:
    """Return a tool's message."""
    return {"role": "tool", "tool_call_id": id_, "content": content}


class TestRequest:
    def test_has_its_own_headers_and_the_key_in_one(self) -> None:
        request = anthropic.request(target=target_of(ADAPTIVE), call=call_of())

        assert str(request.url) == "http://up/messages"
        assert request.headers["x-api-key"] == "secret"
        assert request.headers["anthropic-version"] == "2023-06-01"
        assert request.headers["x-request-id"] == "req_1"


class TestMessages:
    def test_system_prompts_go_apart(self) -> None:
        body = sent(
            {"role": "system", "content": "a"}, user("x"), {"role": "developer", "content": "b"}
        )

        assert body["system"] == [fake.text("a"), fake.text("b")]
        assert body["messages"] == [{"role": "user", "content": [fake.text("x")]}]

    def test_a_system_prompt_alone_is_asked_as_the_user(self) -> None:
        body = sent({"role": "system", "content": "a"})

        assert body["messages"] == [{"role": "user", "content": [fake.text("a")]}]
        assert "system" not in body

    def test_pictures_travel_as_address_or_data(self) -> None:
        pictures = [
            {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        ]
        body = sent(user([{"type": "text", "text": "what?"}, *pictures]))

        _, first, second = body["messages"][0]["content"]
        assert first["source"] == {"type": "url", "url": "https://x.example/a.png"}
        assert second["source"] == {"type": "base64", "media_type": "image/png", "data": PIXEL}

    def test_results_of_tools_share_one_turn_with_what_follows(self) -> None:
        body = sent(user("a"), used("t:1", "t2"), result("t:1"), result("t2"), user("b"))

        _, uses, answers = body["messages"]
        assert [block["id"] for block in uses["content"]] == ["t_1", "t2"]
        assert uses["content"][0]["input"] == {"city": "Köln"}
        kinds = [block["type"] for block in answers["content"]]
        assert kinds == ["tool_result", "tool_result", "text"]
        # Anthropic refuses a conversation with tools that declares none.
        assert body["tools"] == [{"name": "weather", "input_schema": {"type": "object"}}]
        assert body["tool_choice"] == {"type": "none"}

    def test_an_answer_to_continue_ends_without_white_space(self) -> None:
        body = sent(user("a"), {"role": "assistant", "content": "so far: "})

        assert body["messages"][-1]["content"] == [fake.text("so far:")]

    def test_cache_marks_stay_and_are_of_five_minutes(self) -> None:
        mark = {"type": "ephemeral", "ttl": "1h"}
        body = sent(user([{"type": "text", "text": "long", "cache_control": mark}]))

        assert body["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}


class TestParameters:
    def test_are_renamed(self) -> None:
        body = sent(stop=["a", "b"], user="u1", top_k=5, top_p=0.5, stream=True)

        assert body["stop_sequences"] == ["a", "b"]
        assert body["metadata"] == {"user_id": "u1"}
        assert (body["top_k"], body["top_p"], body["stream"]) == (5, 0.5, True)

    def test_temperature_ends_at_one_and_excludes_top_p(self) -> None:
        body = sent(temperature=1.5, top_p=0.5)

        assert body["temperature"] == 1
        assert "top_p" not in body

    def test_an_assumed_temperature_gives_way_to_top_p(self) -> None:
        call = msgspec.structs.replace(
            call_of(temperature=0.7, top_p=0.5), assumed=frozenset({"temperature"})
        )

        body = anthropic.body(target=target_of(ADAPTIVE), call=call)

        assert body["top_p"] == 0.5
        assert "temperature" not in body

    def test_what_the_model_does_not_take_is_dropped(self) -> None:
        dropped = {"drop": frozenset({"temperature", "top_p"})}

        assert "temperature" not in sent(model=NEWEST, temperature=0.7, target=dropped)

    @pytest.mark.parametrize(
        ("fields", "clamped", "told"),
        [({}, None, 20_000), ({"max_tokens": 7}, None, 7), ({"max_tokens": 7}, 5, 5)],
    )
    def test_there_is_always_a_limit(
        self, fields: dict[str, Any], clamped: int | None, told: int
    ) -> None:
        assert sent(**fields, target={"output_limit": clamped})["max_tokens"] == told

    def test_a_schema_of_the_answer_is_an_output_format(self) -> None:
        schema = {"type": "object", "properties": {}, "additionalProperties": False}
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

        body = sent(response_format=wanted, reasoning_effort="high")

        assert body["output_config"] == {
            "format": {"type": "json_schema", "schema": schema},
            "effort": "high",
        }


class TestTools:
    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({}, None),
            ({"tool_choice": "auto"}, {"type": "auto"}),
            ({"tool_choice": "none"}, {"type": "none"}),
            ({"tool_choice": "required"}, {"type": "any"}),
            (
                {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
                {"type": "tool", "name": "weather"},
            ),
            (
                {"parallel_tool_calls": False},
                {"type": "auto", "disable_parallel_tool_use": True},
            ),
            ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
        ],
    )
    def test_a_choice_is_translated(
        self, fields: dict[str, Any], told: dict[str, Any] | None
    ) -> None:
        body = sent(tools=[WEATHER], **fields)

        assert body.get("tool_choice") == told
        assert body["tools"][0]["input_schema"] == PARAMETERS

    @pytest.mark.parametrize(("model", "strict"), [(BUDGET, True), ("claude-opus-4-1", None)])
    def test_strict_goes_to_models_that_know_it(self, model: str, strict: bool | None) -> None:
        tool = {"type": "function", "function": {"name": "f", "strict": True}}

        assert sent(model=model, tools=[tool])["tools"][0].get("strict") is strict


class TestThinking:
    @pytest.mark.parametrize(
        ("fields", "thinking", "effort"),
        [
            ({}, None, None),
            ({"reasoning_effort": "minimal"}, "summarized", "low"),
            ({"reasoning_effort": "medium"}, "summarized", "medium"),
            ({"reasoning_effort": "xhigh"}, "summarized", "xhigh"),
            ({"reasoning_effort": "none"}, None, "low"),
            ({"reasoning": {"enabled": False}}, None, "low"),
            ({"reasoning": {"enabled": True}}, "summarized", "medium"),
            ({"reasoning": {"effort": "high", "exclude": True}}, "omitted", "high"),
            ({"reasoning": {"max_tokens": 1000}}, "summarized", "low"),
            ({"reasoning": {"max_tokens": 10_000}}, "summarized", "medium"),
            ({"reasoning": {"max_tokens": 19_000}}, "summarized", "high"),
        ],
    )
    @pytest.mark.parametrize("model", [ADAPTIVE, NEWEST])
    def test_is_a_matter_of_effort_for_newer_models(
        self, model: str, fields: dict[str, Any], thinking: str | None, effort: str | None
    ) -> None:
        body = sent(model=model, **fields)

        told = {"type": "adaptive", "display": thinking} if thinking else None
        assert body.get("thinking") == told
        assert body.get("output_config", {}).get("effort") == effort

    @pytest.mark.parametrize(
        ("fields", "budget"),
        [
            ({}, None),
            ({"reasoning_effort": "none"}, None),
            ({"reasoning_effort": "low"}, 4000),
            ({"reasoning_effort": "high", "max_tokens": 10_000}, 8000),
            ({"reasoning_effort": "minimal", "max_tokens": 2000}, 1024),
            ({"reasoning_effort": "high", "max_tokens": 1024}, None),
            ({"reasoning": {"max_tokens": 5000}}, 5000),
            ({"reasoning": {"max_tokens": 5000}, "max_tokens": 4000}, 3999),
            ({"reasoning_effort": "low", "temperature": 0.2, "top_k": 3}, 4000),
            ({"reasoning_effort": "low", "tools": [WEATHER], "tool_choice": "required"}, None),
        ],
    )
    def test_is_a_budget_below_the_limit_for_older_ones(
        self, fields: dict[str, Any], budget: int | None
    ) -> None:
        body = sent(model=BUDGET, **fields)

        assert body.get("thinking", {}).get("budget_tokens") == budget

    def test_thoughts_of_other_providers_stay_here(self) -> None:
        details = [{"type": "reasoning.text", "text": "x", "format": "another"}, "nonsense"]
        body = sent(user("a"), used("t1", reasoning_details=details), result("t1"))

        assert [block["type"] for block in body["messages"][1]["content"]] == ["tool_use"]

    def test_encrypted_thoughts_go_back(self) -> None:
        details = [{"type": "reasoning.encrypted", "data": "zzz", "format": "anthropic-claude-v1"}]
        body = sent(user("a"), used("t1", reasoning_details=details), result("t1"))

        assert body["messages"][1]["content"][0] == {"type": "redacted_thinking", "data": "zzz"}


class TestSearches:
    def test_are_bounded_by_what_the_route_declares(self) -> None:
        place = {"city": "Berlin", "country": "DE", "region": None}
        wish = {"user_location": {"type": "approximate", "approximate": place}}
        body = sent(web_search_options=wish, target={"max_searches": 4})

        assert body["tools"] == [
            {
                "type": "web_search_20250305",
                "name": "web_search",
                "max_uses": 4,
                "user_location": {"type": "approximate", "city": "Berlin", "country": "DE"},
            }
        ]

    def test_go_beside_the_callers_own_tools(self) -> None:
        body = sent(
            web_search_options={}, tools=[WEATHER], tool_choice="auto", target={"max_searches": 1}
        )

        assert [tool["name"] for tool in body["tools"]] == ["weather", "web_search"]
        assert body["tool_choice"] == {"type": "auto"}

    def test_are_allowed_where_other_tools_are_only_mentioned(self) -> None:
        body = sent(
            user("a"), used("t1"), result("t1"), web_search_options={}, target={"max_searches": 1}
        )

        assert [tool["name"] for tool in body["tools"]] == ["weather", "web_search"]
        assert "tool_choice" not in body


class TestMisfit:
    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"n": 2}, "n"),
            ({"functions": []}, "functions"),
            ({"stop": ["a", " "]}, "stop"),
            ({"response_format": {"type": "json_object"}}, "response_format"),
            (
                {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
                "response_format.json_schema.schema",
            ),
            ({"reasoning": "much"}, "reasoning"),
            ({"reasoning": {"max_tokens": "1"}}, "reasoning.max_tokens"),
            ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0]"),
            ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
            ({"messages": [user([{"type": "text"}])]}, "messages[0].content[0]"),
            (
                {"messages": [user([{"type": "image_url", "image_url": {"url": "ftp://x"}}])]},
                "messages[0].content[0].image_url",
            ),
            ({"messages": [user("x"), {"role": "tool"}]}, "messages[1].tool_call_id"),
            ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
            (
                {"messages": [{"role": "system", "content": [PICTURE]}]},
                "messages[0].content",
            ),
            (
                {"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}]},
                "messages[0].tool_calls[0]",
            ),
            (
                {
                    "messages": [
                        {
                            "role": "assistant",
                            "tool_calls": [
                                {"id": "x", "function": {"name": "f", "arguments": "[1]"}}
                            ],
                        }
                    ]
                },
                "messages[0].tool_calls[0].function.arguments",
            ),
        ],
    )
    def test_names_what_has_no_words(self, fields: dict[str, Any], param: str) -> None:
        misfit = anthropic.misfit(call_of(**fields))

        assert misfit is not None
        assert misfit.param == param


class TestVersion:
    @pytest.mark.parametrize(
        ("model", "version"),
        [
            ("claude-3-7-sonnet-20250219", (3, 7)),
            ("claude-opus-4-20250514", (4, 0)),
            ("claude-haiku-4-5-20251001", (4, 5)),
            ("anthropic.claude-opus-4-6-v1", (4, 6)),
            ("claude-fable-5", (5, 0)),
            ("claude-mythos-preview", (99, 0)),
        ],
    )
    def test_is_read_from_the_name(self, model: str, version: tuple[int, int]) -> None:
        assert anthropic.version(model) == version

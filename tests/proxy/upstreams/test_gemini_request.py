"""What travels to Gemini, by the judgement of the fake and of the SDK's types in it."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.upstreams import gemini
from tests.fakes import gemini as fake
from tests.proxy.upstreams.vendor import PARAMETERS, PICTURE, PIXEL, WEATHER, call_of, target_of

BUDGET, LEVEL = "gemini-2.5-flash", "gemini-3-flash-preview"


def sent(
    *messages: dict[str, Any],
    model: str = LEVEL,
    target: dict[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Return the body that Google gets; it is one that Google takes."""
    asked = {"messages": list(messages)} if messages else {}
    call = call_of(**asked, **fields)
    assert gemini.misfit(call) is None
    body = gemini.body(target=target_of(model, **(target or {})), call=call)
    fake.check(body, model=model)
    return body


def config(**fields: Any) -> dict[str, Any]:
    """Return the generation's configuration, without the limit that is always there."""
    told: dict[str, Any] = sent(**fields)["generationConfig"]
    return {name: value for name, value in told.items() if name != "maxOutputTokens"}


def user(content: Any) -> dict[str, Any]:
    """Return a user's message."""
    return {"role": "user", "content": content}


def used(*ids: str, **more: Any) -> dict[str, Any]:
    """Return an assistant's message that calls the weather with these ids."""
    function = {"name": "weather", "arguments": '{"city": "Köln"}'}
    calls = [{"id": id_, "type": "function", "function": function, **more} for id_ in ids]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def result(id_: str, content: Any = "mild") -> dict[str, Any]:
    """Return a tool's message."""
    return {"role": "tool", "tool_call_id": id_, "content": content}


class TestRequest:
    @pytest.mark.parametrize(
        ("model", "path"),
        [
            ("gemini-2.5-flash", "/v1/models/gemini-2.5-flash:generateContent"),
            ("tunedModels/mine", "/v1/tunedModels/mine:generateContent"),
            ("a?key=b#c", "/v1/models/a%3Fkey%3Db%23c:generateContent"),
        ],
    )
    def test_names_the_model_in_the_path_and_the_key_in_a_header(
        self, model: str, path: str
    ) -> None:
        target = target_of(model, base_url="http://up/v1")

        request = gemini.request(target=target, call=call_of())

        assert str(request.url) == f"http://up{path}"
        assert request.headers["x-goog-api-key"] == "secret"
        assert request.headers["x-request-id"] == "req_1"


class TestContents:
    def test_system_prompts_go_apart_and_turns_are_one(self) -> None:
        body = sent(
            {"role": "system", "content": "a"},
            user("x"),
            user("y"),
            {"role": "assistant", "content": "z"},
        )

        assert body["systemInstruction"] == {"parts": [{"text": "a"}]}
        assert body["contents"] == [
            {"role": "user", "parts": [{"text": "x"}, {"text": "y"}]},
            {"role": "model", "parts": [{"text": "z"}]},
        ]

    def test_a_system_prompt_alone_is_asked_as_the_user(self) -> None:
        body = sent({"role": "system", "content": "a"})

        assert body["contents"] == [{"role": "user", "parts": [{"text": "a"}]}]
        assert "systemInstruction" not in body

    @pytest.mark.parametrize(
        ("url", "part"),
        [
            (
                f"data:image/png;base64,{PIXEL}",
                {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
            ),
            (
                "https://x.example/a.webp?b=c",
                {
                    "fileData": {
                        "mimeType": "image/webp",
                        "fileUri": "https://x.example/a.webp?b=c",
                    }
                },
            ),
            (
                "https://x.example/a",
                {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://x.example/a"}},
            ),
        ],
    )
    def test_pictures_travel_as_data_or_address(self, url: str, part: dict[str, Any]) -> None:
        body = sent(user([{"type": "image_url", "image_url": {"url": url}}]))

        assert body["contents"][0]["parts"] == [part]

    def test_results_carry_the_name_of_their_call(self) -> None:
        body = sent(
            user("a"), used("t1", "t2"), result("t1", '{"sky": 1}'), result("t2", "[1]"), user("b")
        )

        _, made, given = body["contents"]
        assert [part["functionCall"]["id"] for part in made["parts"]] == ["t1", "t2"]
        # Of calls made at once only the first is signed.
        assert [part.get("thoughtSignature") for part in made["parts"]] == [fake.UNSIGNED, None]
        responses = [part.get("functionResponse") for part in given["parts"]]
        assert responses == [
            {"id": "t1", "name": "weather", "response": {"sky": 1}},
            {"id": "t2", "name": "weather", "response": {"output": [1]}},
            None,
        ]

    def test_a_signature_goes_back(self) -> None:
        extra = {"google": {"thought_signature": fake.SIGNATURE}}
        body = sent(user("a"), used("t1", extra_content=extra), result("t1"))

        assert body["contents"][1]["parts"][0]["thoughtSignature"] == fake.SIGNATURE


class TestParameters:
    def test_are_renamed(self) -> None:
        told = config(
            temperature=1.5,
            top_p=0.5,
            top_k=5,
            seed=7,
            frequency_penalty=1,
            presence_penalty=-1,
            stop=["a"],
        )

        assert told == {
            "temperature": 1.5,
            "topP": 0.5,
            "topK": 5,
            "seed": 7,
            "frequencyPenalty": 1,
            "presencePenalty": -1,
            "stopSequences": ["a"],
        }

    @pytest.mark.parametrize(
        ("fields", "clamped", "told"),
        [({}, None, 20_000), ({"max_tokens": 7}, None, 7), ({"max_tokens": 7}, 5, 5)],
    )
    def test_there_is_always_a_limit(
        self, fields: dict[str, Any], clamped: int | None, told: int
    ) -> None:
        body = sent(**fields, target={"output_limit": clamped})

        assert body["generationConfig"]["maxOutputTokens"] == told

    def test_what_the_model_does_not_take_is_dropped(self) -> None:
        dropped = {"drop": frozenset({"temperature"})}

        assert config(temperature=0.7, target=dropped) == {}

    @pytest.mark.parametrize(
        ("wanted", "told"),
        [
            ({"type": "text"}, {}),
            ({"type": "json_object"}, {"responseMimeType": "application/json"}),
            (
                {"type": "json_schema", "json_schema": {"name": "x", "schema": PARAMETERS}},
                {"responseMimeType": "application/json", "responseJsonSchema": PARAMETERS},
            ),
        ],
    )
    def test_a_format_of_the_answer_is_told(
        self, wanted: dict[str, Any], told: dict[str, Any]
    ) -> None:
        assert config(response_format=wanted) == told


class TestTools:
    @pytest.mark.parametrize(
        ("choice", "told"),
        [
            ("auto", {"mode": "AUTO"}),
            ("none", {"mode": "NONE"}),
            ("required", {"mode": "ANY"}),
            (
                {"type": "function", "function": {"name": "weather"}},
                {"mode": "ANY", "allowedFunctionNames": ["weather"]},
            ),
        ],
    )
    def test_a_choice_is_translated(self, choice: Any, told: dict[str, Any]) -> None:
        body = sent(tools=[WEATHER], tool_choice=choice)

        assert body["toolConfig"] == {"functionCallingConfig": told}
        assert body["tools"] == [
            {
                "functionDeclarations": [
                    {
                        "name": "weather",
                        "description": "Tell the weather.",
                        "parametersJsonSchema": PARAMETERS,
                    }
                ]
            }
        ]


class TestSearch:
    def test_is_a_tool_without_settings(self) -> None:
        body = sent(web_search_options={"search_context_size": "low"})

        assert body["tools"] == [{"googleSearch": {}}]
        assert "toolConfig" not in body

    def test_nobody_asked_for_is_not_there(self) -> None:
        assert "tools" not in sent()


class TestThinking:
    @pytest.mark.parametrize(
        ("model", "fields", "told"),
        [
            (LEVEL, {}, None),
            (LEVEL, {"reasoning_effort": "none"}, (False, "minimal")),
            (LEVEL, {"reasoning_effort": "medium"}, (True, "medium")),
            (LEVEL, {"reasoning": {"effort": "xhigh", "exclude": True}}, (False, "high")),
            (LEVEL, {"reasoning": {"max_tokens": 500}}, (True, 500)),
            ("gemini-3-pro-preview", {"reasoning_effort": "minimal"}, (True, "low")),
            (BUDGET, {"reasoning_effort": "none"}, (False, 0)),
            (BUDGET, {"reasoning": {"enabled": False}}, (False, 0)),
            (BUDGET, {"reasoning_effort": "medium"}, (True, 8192)),
            (BUDGET, {"reasoning_effort": "high"}, (True, 10_000)),
            (BUDGET, {"reasoning": {"max_tokens": 99_999}}, (True, 20_000)),
            ("gemini-2.5-pro", {"reasoning_effort": "none"}, (False, 128)),
        ],
    )
    def test_is_a_level_or_a_budget_within_the_limit(
        self, model: str, fields: dict[str, Any], told: tuple[bool, str | int] | None
    ) -> None:
        thinking = sent(model=model, **fields)["generationConfig"].get("thinkingConfig")

        if told is None:
            assert thinking is None
        else:
            shown, much = told
            name = "thinkingLevel" if isinstance(much, str) else "thinkingBudget"
            assert thinking == {"includeThoughts": shown, name: much}


class TestMisfit:
    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"n": 2}, "n"),
            ({"web_search_options": {}, "tools": [WEATHER]}, "web_search_options"),
            ({"stop": list("abcdef")}, "stop"),
            ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0]"),
            ({"messages": [user("x"), result("unknown")]}, "messages[1].tool_call_id"),
            ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
            (
                {"messages": [{"role": "system", "content": [PICTURE]}]},
                "messages[0].content",
            ),
        ],
    )
    def test_names_what_has_no_words(self, fields: dict[str, Any], param: str) -> None:
        misfit = gemini.misfit(call_of(**fields))

        assert misfit is not None
        assert misfit.param == param

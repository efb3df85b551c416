"""Reading what an OpenAI-compatible upstream says."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.wire import answers
from proxy.wire.answers import Usage


class TestReadUsage:
    def test_splits_into_disjoint_buckets(self) -> None:
        usage = answers.read_usage(
            {
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "total_tokens": 120,
                "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
                "completion_tokens_details": {"reasoning_tokens": 5},
            }
        )

        assert usage == Usage(input=30, cached=60, cache_write=10, output=20, reasoning=5)

    @pytest.mark.parametrize(
        "usage",
        [
            None,
            "many",
            {},
            {"prompt_tokens": "7", "completion_tokens": 1},
            {"prompt_tokens": -1, "completion_tokens": 1},
            {"prompt_tokens": True, "completion_tokens": 1},
            {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 5},
            {
                "prompt_tokens": 5,
                "completion_tokens": 1,
                "prompt_tokens_details": {"cached_tokens": 6},
            },
            {
                "prompt_tokens": 5,
                "completion_tokens": 1,
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": [1]},
        ],
    )
    def test_does_not_believe_what_contradicts_itself(self, usage: Any) -> None:
        assert answers.read_usage(usage) is None


class TestTextBytes:
    @pytest.mark.parametrize(
        ("delta", "size"),
        [
            ({"content": "ü", "reasoning": "ab", "refusal": "c"}, 5),
            ({"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}, 7]}, 3),
            ({"tool_calls": [{"type": "custom", "custom": {"name": "f", "input": "ü"}}]}, 3),
            ({"function_call": {"name": "f", "arguments": "{}"}}, 3),
            ({"content": None, "tool_calls": None, "function_call": None}, 0),
        ],
    )
    def test_counts_words_and_calls_of_every_form(self, delta: dict[str, Any], size: int) -> None:
        assert answers.text_bytes(delta) == size


class TestReadCompletion:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>",
            b"[]",
            b"{}",
            b'{"choices": []}',
            b'{"choices": [1]}',
            b'{"choices": [{}]}',
            b'{"choices": "\xff"}',
        ],
    )
    def test_refuses_what_is_no_answer(self, body: bytes) -> None:
        with pytest.raises(answers.Garbage):
            answers.read_completion(body)

    def test_counts_text_and_tool_calls(self) -> None:
        body = (
            '{"choices": [{"message": {"content": "привет", "tool_calls":'
            ' [{"function": {"name": "f", "arguments": "{}"}}]}}]}'
        ).encode()

        assert answers.read_completion(body).size_bytes == 12 + 3


class TestUsageObject:
    def test_cost_is_a_number_with_exact_digits(self) -> None:
        import msgspec

        usage = Usage(input=1, cached=0, cache_write=0, output=1, reasoning=0)
        body = msgspec.json.encode(answers.usage_object(usage, cost="0.000000001"))

        assert b'"cost":0.000000001' in body


class TestMend:
    def test_joins_a_content_in_parts(self) -> None:
        parts = b'[{"type": "text", "text": "ab"}, {"text": "c"}]'
        body = b'{"choices": [{"message": {"content": ' + parts + b"}}]}"

        assert answers.read_completion(body).fields["choices"][0]["message"]["content"] == "abc"

    @pytest.mark.parametrize(
        "choice",
        [
            b'{"message": {"content": 5}}',
            b'{"message": {"content": "a", "tool_calls": ["x"]}}',
            b'{"message": {"content": "a", "tool_calls": 5}}',
            b'{"message": {"content": "a", "tool_calls": [null]}}',
            b'{"message": {"content": "a", "tool_calls": [{"function": "f"}]}}',
            b'{"message": {"content": "a"}, "finish_reason": ["x"]}',
        ],
    )
    def test_refuses_what_no_client_could_read(self, choice: bytes) -> None:
        with pytest.raises(answers.Garbage):
            answers.read_completion(b'{"choices": [' + choice + b"]}")

    def test_fills_in_what_clients_rely_on(self) -> None:
        call = b'{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}'
        body = b'{"choices": [{"message": {"tool_calls": [' + call + b']}}, {"message": {}}]}'

        first, second = answers.read_completion(body).fields["choices"]

        function = {"name": "f", "arguments": '{"a":1}'}
        assert first == {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "type": "function", "function": function}],
            },
            "finish_reason": "tool_calls",
        }
        assert second["finish_reason"] == "stop"
        assert (second["index"], second["message"]["role"]) == (1, "assistant")


class TestBelieved:
    def test_a_usage_that_denies_the_answer_is_a_contradiction(self) -> None:
        body = (
            b'{"choices": [{"message": {"content": "much text"}}],'
            b' "usage": {"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10}}'
        )
        completion = answers.read_completion(body)

        assert completion.usage is None
        assert completion.contradicted


class TestMendEnd:
    @pytest.mark.parametrize(
        ("told", "meant"),
        [
            ("stop", "stop"),
            ("length", "length"),
            ("tool_calls", "tool_calls"),
            ("content_filter", "content_filter"),
            ("function_call", "function_call"),
            ("MAX_TOKENS", "length"),
            ("model_length", "length"),
            ("SAFETY", "content_filter"),
            ("tool_use", "tool_calls"),
            ("eos_token", "stop"),
            ("gpu-7.inside.example", "stop"),
            ("", None),
            (None, None),
        ],
    )
    def test_only_openais_words_are_told(self, told: str | None, meant: str | None) -> None:
        choice: dict[str, Any] = {"finish_reason": told}
        answers.mend_end(choice)
        assert choice["finish_reason"] == meant

    @pytest.mark.parametrize("told", [5, True, ["stop"], {"stop": 1}])
    def test_what_is_no_word_is_garbage(self, told: Any) -> None:
        with pytest.raises(answers.Garbage):
            answers.mend_end({"finish_reason": told})


class TestFailed:
    def test_a_choice_that_ends_in_an_error_is_no_answer(self) -> None:
        body = b'{"choices": [{"message": {"content": "x"}, "finish_reason": "error"}]}'
        read = answers.read_completion(body)
        assert (read.error is not None, read.fields) == (True, {})

    def test_other_ends_are_answers(self) -> None:
        assert answers.failed([{"finish_reason": "stop"}, {"finish_reason": None}, 5]) is None

"""What is kept of a call's words, and what stands for its files."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from uuid import UUID

import pytest
from django.test import override_settings

from proxy import transcripts
from proxy.transcripts import Said

FILE = b"\x89PNG" + bytes(range(256))
TEXT = base64.b64encode(FILE).decode()
DIGEST = hashlib.sha256(FILE).hexdigest()


def said(asked: dict[str, Any], answered: Any) -> Said:
    return Said(UUID(int=1), 1, 1, json.dumps(asked).encode(), answered, 0)


class TestWordsOf:
    def test_words_stay_as_they_were_said(self) -> None:
        asked = {"messages": [{"role": "user", "content": "Größe? 🙂"}], "n": 1, "seed": 2**63}
        words = transcripts.words_of(said(asked, b'{"a":"\\u00fc"}'))
        assert json.loads(words.request) == asked
        assert words.answer == '{"a":"ü"}'
        assert (words.request_cut, words.answer_cut) == (False, False)

    @pytest.mark.parametrize(
        "part",
        [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{TEXT}"}},
            {"type": "input_audio", "input_audio": {"data": TEXT, "format": "wav"}},
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{TEXT}"}},
            {"type": "input_image", "image_url": f"data:image/png;charset=x;base64,{TEXT}"},
            {"type": "input_file", "file_data": TEXT},
            {"type": "text", "text": f"Look: ![](data:image/png;base64,{TEXT}) here"},
            {"type": "file", "file": {"file_data": TEXT.replace("+", "-").replace("/", "_")}},
        ],
    )
    def test_files_are_told_by_size_and_digest(self, part: dict[str, Any]) -> None:
        asked = {"messages": [{"role": "user", "content": [part]}]}
        words = transcripts.words_of(said(asked, {"data": [{"b64_json": TEXT}]}))
        for text in (words.request, words.answer):
            assert TEXT[:40] not in text
            assert f"{len(FILE)} bytes, sha256 {DIGEST}" in text

    def test_an_address_of_a_picture_stays(self) -> None:
        asked = {"image_url": {"url": "https://example.com/cat.png"}}
        assert "https://example.com/cat.png" in transcripts.words_of(said(asked, {})).request

    def test_vectors_are_told_by_their_size(self) -> None:
        answer = {"data": [{"embedding": [0.25] * 1000}, {"embedding": TEXT}]}
        words = transcripts.words_of(said({"input": [1, 2, 3]}, answer))
        assert json.loads(words.request) == {"input": [1, 2, 3]}
        assert len(words.answer) < 400
        assert "[vector, " in words.answer

    def test_a_file_that_cannot_be_read_is_told_by_its_text(self) -> None:
        asked = {"url": "data:image/png;base64,AAAAA"}
        assert "[image/png, 5 bytes," in transcripts.words_of(said(asked, {})).request

    def test_what_is_too_long_is_cut_and_says_so(self) -> None:
        with override_settings(PROMPT_LOG_BYTES=1000):
            words = transcripts.words_of(said({"a": "ä" * 2000}, {"b": "x" * 2000}))
            short = transcripts.words_of(said({"a": "b"}, {"b": "x" * 900}))
            shorter = transcripts.words_of(said({"b": "x" * 900}, {"a": "b"}))
        assert words.request_cut
        assert words.answer_cut
        assert len(words.request.encode()) + len(words.answer.encode()) <= 1000
        for each in (short, shorter):
            assert (each.request_cut, each.answer_cut) == (False, False)


class Plain:
    """A rendering that says nothing."""

    def chunk(self, chunk: dict[str, Any], leg: Any) -> bytes:
        return b"told"

    async def end(self, outcome: Any) -> bytes:
        return b"end"

    async def broken(self, error: dict[str, Any]) -> bytes:
        return b"broken"


def overheard(*chunks: dict[str, Any]) -> transcripts.Overheard:
    heard = transcripts.Overheard(Plain())
    for chunk in chunks:
        assert heard.chunk(chunk, None) == b"told"  # type: ignore[arg-type]  # no leg is looked at
    return heard


def chunk(delta: dict[str, Any], end: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": end}]}


class TestOverheard:
    def test_makes_one_answer_of_a_stream(self) -> None:
        heard = overheard(
            chunk({"role": "assistant", "content": "Hel"}),
            chunk({"content": "lo", "reasoning": "hm"}),
            chunk({"content": "Ja"}, index=1),
            chunk({}, "stop"),
            chunk({"content": "!"}, "length", index=1),
            {"choices": [], "usage": {}},
        )
        assert heard.size == 10
        assert heard.answered() == {
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Hello", "reasoning": "hm"},
                    "finish_reason": "stop",
                },
                {
                    "index": 1,
                    "message": {"role": "assistant", "content": "Ja!"},
                    "finish_reason": "length",
                },
            ]
        }

    def test_puts_calls_of_tools_together(self) -> None:
        first = {"index": 0, "id": "call_1", "function": {"name": "f", "arguments": '{"a"'}}
        more = {"index": 0, "function": {"arguments": ": 1}"}}
        heard = overheard(chunk({"tool_calls": [first]}), chunk({"tool_calls": [more]}))
        [choice] = heard.answered()["choices"]
        [call] = choice["message"]["tool_calls"]
        assert call["id"] == "call_1"
        assert call["function"] == {"name": "f", "arguments": '{"a": 1}'}

    def test_keeps_whole_pictures_alone(self) -> None:
        heard = overheard(
            {"type": "image_generation.partial_image", "b64_json": "half"},
            {"type": "image_generation.completed", "b64_json": TEXT},
        )
        assert heard.answered() == {"data": [{"b64_json": TEXT}]}
        assert heard.size == len(TEXT)

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.sandbox import lettering, vectors
from tests.fakes.sandbox import TOKEN, SandboxServer


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxServer]:
    with SandboxServer(log_path=tmp_path / "sandbox-calls.jsonl") as server:
        yield server


@pytest.fixture
def client(sandbox: SandboxServer) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {TOKEN}", "x-request-id": "req_x"}
    with httpx.Client(base_url=sandbox.url, headers=headers, timeout=10) as client:
        yield client


def embed(client: httpx.Client, **fields: Any) -> httpx.Response:
    body = {"model": "sandbox/embedding", "input": "two words", **fields}
    return client.post("/v1/embeddings", json=body)


def draw(client: httpx.Client, **fields: Any) -> httpx.Response:
    body = {"model": "sandbox/image", "prompt": "a cat", "size": "256x256", **fields}
    return client.post("/v1/images/generations", json=body)


class TestEmbeddings:
    def test_base64_is_the_same_vector(self, client: httpx.Client) -> None:
        plain = embed(client).json()["data"][0]["embedding"]
        packed = embed(client, encoding_format="base64").json()["data"][0]["embedding"]

        assert list(struct.unpack("<16f", base64.b64decode(packed))) == plain

    def test_tokens_are_counted_one_by_one(
        self, client: httpx.Client, sandbox: SandboxServer
    ) -> None:
        body = embed(client, input=[[1, 2, 3], [4]]).json()

        assert body["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
        assert len(body["data"]) == 2
        [start, end] = sandbox.ends()
        assert (start["prompt_tokens"], end["completion_tokens"], end["finished"]) == (4, 0, True)

    def test_texts_that_share_words_lie_near(self) -> None:
        def near(one: str, other: str) -> float:
            pair = (vectors.vector(text, size=256) for text in (one, other))
            return sum((a * b for a, b in zip(*pair, strict=True)), 0.0)

        assert near("the cat sat", "the cat slept") > near("the cat sat", "bills are due") + 0.3

    def test_a_chat_model_is_not_served_here(self, client: httpx.Client) -> None:
        assert embed(client, model="sandbox/echo").status_code == 404


class TestImages:
    def test_tells_what_it_made(self, client: httpx.Client) -> None:
        body = draw(client, n=2, size="auto").json()

        assert len(body["data"]) == 2
        assert (body["size"], body["quality"], body["output_format"]) == (
            "1024x1024",
            "medium",
            "png",
        )
        assert body["usage"]["input_tokens"] == 2

    def test_a_url_carries_the_picture_itself(self, client: httpx.Client) -> None:
        [one] = draw(client, response_format="url").json()["data"]

        assert one["url"].startswith("data:image/png;base64,")

    @pytest.mark.parametrize("fail", ["429", "500"])
    def test_refuses_as_asked(
        self, client: httpx.Client, sandbox: SandboxServer, fail: str
    ) -> None:
        assert draw(client, sandbox={"fail": fail}).status_code == int(fail)
        assert [line["finished"] for line in sandbox.ends()] == [False, False]

    @pytest.mark.parametrize("stream", [False, True])
    def test_cuts_as_asked(
        self, client: httpx.Client, sandbox: SandboxServer, stream: bool
    ) -> None:
        with pytest.raises(httpx.RemoteProtocolError):
            draw(client, stream=stream, sandbox={"fail": "cut"})
        assert sandbox.ends()[1]["finished"] is False


class TestPng:
    def test_words_are_drawn_in_the_fonts_dots(self) -> None:
        data = lettering.png("I", width=40, height=30)

        start = data.index(b"IDAT") + 4
        pixels = zlib.decompress(data[start:-16])
        rows = [pixels[place + 1 : place + 41] for place in range(0, len(pixels), 41)]
        # Dots of 2 by 2 behind a margin of 4: an I is 3 dots wide on top, 1 in the middle.
        assert len(rows) == 30
        assert [rows[y][4:10] for y in (4, 6)] == [b"\1" * 6, b"\0\0\1\1\0\0"]
        assert not any(rows[0]) + any(rows[29])

    def test_lines_break_at_words_and_long_words_are_cut(self) -> None:
        assert lettering.wrapped("one two threefour", columns=7) == ["one two", "threefo", "ur"]

    def test_letters_of_other_alphabets_are_spelled(self) -> None:
        assert lettering.spelled("Щука, café") == "SHCHUKA, CAFE"

    def test_a_text_longer_than_the_picture_is_cut(self) -> None:
        assert len(lettering.png("word " * 5000, width=64, height=64)) < 10_000

"""``POST images/generations``: held at the dearest, charged as made, relayed as encoded."""

from __future__ import annotations

import base64
import json
import struct
import threading
import time
import zlib
from typing import Any

import httpx
import openai
import pytest

from billing import prices
from billing.invariants import check
from billing.pricing import Rates
from common import money
from proxy.models import Provider, Route
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.sandbox import SandboxServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import PAST, Shop, make_provider
from tests.proxy.surfaces.conftest import Sell

PATH = "/v1/images/generations"
PNG = base64.b64encode(b"\x89PNG and so on").decode()
CENT = 10_000_000


def usd(text: str) -> int:
    return money.pico_from_usd(text)


GPT_IMAGE = Rates(
    image={
        "1024x1024": {"low": usd("0.01"), "medium": usd("0.04"), "high": usd("0.17")},
        "1536x1024": {"low": usd("0.02"), "medium": usd("0.06"), "high": usd("0.25")},
    }
)
DALL_E = Rates(
    image={
        "1024x1024": {"standard": usd("0.04"), "hd": usd("0.08")},
        "1792x1024": {"standard": usd("0.08"), "hd": usd("0.12")},
    }
)


@pytest.fixture
def models(sell: Sell) -> None:
    sell("gpt-image-1", kind="image", rates=GPT_IMAGE)
    sell("dall-e-3", kind="image", rates=DALL_E, unsupported=["n"])
    sell("per/call", kind="image", rates=Rates(per_call=usd("0.05")))


def ask(model: str = "gpt-image-1", **fields: Any) -> dict[str, Any]:
    return {"model": model, "prompt": "a cat", **fields}


def made(count: int = 1, **told: Any) -> fake.Reply:
    """Return an upstream's answer as gpt-image-1 gives it."""
    usage = {
        "input_tokens": 2,
        "input_tokens_details": {"text_tokens": 2, "image_tokens": 0},
        "output_tokens": 272,
        "total_tokens": 274,
    }
    return fake.answer(
        {"created": 1, "data": [{"b64_json": PNG}] * count, "usage": usage, "id": "up-1", **told}
    )


def refused(client: httpx.Client, **fields: Any) -> tuple[int, str, str | None]:
    response = client.post(PATH, json=ask(**fields))
    error = response.json()["error"]
    return response.status_code, error["reason"], error["param"]


class TestAnswer:
    @pytest.mark.parametrize("base", ["/v1", "/api/v1"])
    def test_passes_the_picture_on_and_tells_the_cost(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop, base: str
    ) -> None:
        """NA-11, NA-12"""
        upstream.script(made(size="1024x1024", quality="high", background="opaque"))

        response = client.post(
            f"{base}/images/generations", json=ask(size="1024x1024", quality="high")
        )

        body = response.json()
        assert response.status_code == 200, body
        assert body["data"] == [{"b64_json": PNG}]
        assert (body["size"], body["quality"]) == ("1024x1024", "high")
        assert body["usage"]["cost"] == 0.17
        assert "id" not in body
        assert response.headers["x-tollgate-cost"] == "0.170000"
        assert (shop.last.charged, shop.last.pictures, shop.last.surface) == (
            17 * CENT,
            1,
            "images",
        )
        assert (shop.holds, shop.last.uncollected) == (0, 0)

    def test_every_parameter_travels(self, client: httpx.Client, upstream: FakeUpstream) -> None:
        """NA-11, NA-12: model, prompt, n, size, quality and what else OpenAI documents."""
        upstream.script(made(2))
        wishes: dict[str, Any] = {
            "n": 2,
            "size": "1536x1024",
            "quality": "low",
            "background": "transparent",
            "output_format": "webp",
            "output_compression": 50,
            "moderation": "low",
            "user": "u",
            "brand_new": True,
        }

        client.post(PATH, json=ask(**wishes, provider={"order": ["first"]}))

        [call] = upstream.calls
        assert call.path == PATH
        assert call.body == {"model": "up-gpt-image-1", "prompt": "a cat", **wishes}

    def test_a_picture_of_megabytes_arrives_byte_for_byte(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        text = "QUJD" * (2 * 2**20)
        upstream.script(fake.answer({"data": [{"b64_json": text}]}))

        response = client.post(PATH, json=ask(size="1024x1024", quality="low"))

        assert response.json()["data"][0]["b64_json"] == text


class TestPrice:
    @pytest.mark.parametrize(
        ("fields", "told", "cents", "held_cents"),
        [
            ({}, {"size": "1024x1024", "quality": "low"}, 1, 25),
            ({"size": "auto", "quality": "auto"}, {"size": "1536x1024", "quality": "low"}, 2, 25),
            ({"quality": "low"}, {"size": "1024x1024", "quality": "low"}, 1, 2),
            ({}, {}, 25, 25),
            ({}, {"size": "9x9", "quality": "ultra"}, 25, 25),
            ({}, {"size": "1024x1024"}, 17, 25),
            ({"quality": "low", "size": "1024x1024"}, {"quality": "high"}, 1, 1),
        ],
    )
    def test_auto_holds_the_dearest_and_charges_what_was_made(
        self,
        client: httpx.Client,
        upstream: FakeUpstream,
        shop: Shop,
        fields: dict[str, str],
        told: dict[str, Any],
        cents: int,
        held_cents: int,
    ) -> None:
        """NA-12: quality and size default to auto and may be sent as "auto"."""
        upstream.script(made(**told))

        client.post(PATH, json=ask(**fields))

        assert (shop.last.charged, shop.last.hold) == (cents * CENT, held_cents * CENT)
        assert check().ok

    def test_dall_e_makes_a_standard_picture_where_nothing_is_asked(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        """NA-11: dall-e-3, url or b64_json; it never tells what it made."""
        upstream.script(fake.answer({"created": 1, "data": [{"url": "https://pics.example/1"}]}))

        plain = client.post(PATH, json=ask("dall-e-3", response_format="url"))
        client.post(PATH, json=ask("dall-e-3", size="1792x1024", quality="hd", style="vivid"))

        assert plain.json()["data"] == [{"url": "https://pics.example/1"}]
        assert [row.charged for row in shop.usage] == [4 * CENT, 12 * CENT]
        assert [row.picture_quality for row in shop.usage] == ["standard", "hd"]

    def test_pictures_are_counted_in_the_answer(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        """NA-11: n, 1 by default."""
        upstream.script(made(2))

        client.post(PATH, json=ask(n=3, size="1024x1024", quality="low"))

        assert (shop.last.hold, shop.last.charged, shop.last.pictures) == (3 * CENT, 2 * CENT, 2)

    def test_a_price_per_call_needs_no_list(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script(made(size="1024x1024"))

        client.post(PATH, json=ask("per/call", size="77x77"))

        assert (shop.last.charged, shop.last.hold) == (5 * CENT, 5 * CENT)
        assert check().ok

    def test_a_price_per_call_is_paid_for_each_picture(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop, gateway: GatewayServer
    ) -> None:
        route = Route.objects.get(model__slug="per/call")
        cost = Rates(per_call=usd("0.01"))
        prices.set_price(subject=route.subject, role="cost", rates=cost, now=PAST)
        gateway.catch_up()
        upstream.script(made(2))

        response = client.post(PATH, json=ask("per/call", n=3))

        assert response.headers["x-tollgate-cost"] == "0.100000"
        assert upstream.calls[0].body["n"] == 3
        assert (shop.last.hold, shop.last.charged, shop.last.pictures) == (15 * CENT, 10 * CENT, 2)
        assert shop.last.upstream_cost == 2 * CENT
        assert check().ok


class TestRefusals:
    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"size": "77x77"}, "size"),
            ({"quality": "ultra"}, "quality"),
            ({"size": "large"}, "size"),
            ({"quality": 1}, "quality"),
            ({"n": 0}, "n"),
            ({"n": 11}, "n"),
            ({"model": "dall-e-3", "n": 2}, "n"),
            ({"prompt": ""}, "prompt"),
            ({"prompt": None}, "prompt"),
            ({"partial_images": 4}, "partial_images"),
            ({"output_format": "bmp"}, "output_format"),
            ({"background": "red"}, "background"),
            ({"response_format": "text"}, "response_format"),
        ],
    )
    def test_what_is_wrong_or_has_no_price_is_named(
        self,
        client: httpx.Client,
        upstream: FakeUpstream,
        shop: Shop,
        fields: dict[str, Any],
        param: str,
    ) -> None:
        assert refused(client, **fields) == (400, "invalid_parameter", param)
        assert (upstream.calls, shop.usage, shop.holds) == ([], [], 0)

    def test_needs_its_scope_and_a_model_of_its_kind(
        self, gateway: GatewayServer, client: httpx.Client, shop: Shop
    ) -> None:
        with gateway.client(shop.secret) as other:
            assert refused(other) == (403, "scope_missing", None)
        assert refused(client, model="test/tokens") == (404, "model_not_found", "model")

    def test_more_than_1_mb_is_413(self, client: httpx.Client) -> None:
        assert client.post(PATH, json=ask(prompt="x" * 2**20)).status_code == 413


class TestTrouble:
    @pytest.mark.parametrize(
        "reply",
        [
            [fake.Cut()],
            fake.error(500),
            fake.error(408),
            [fake.Head(), b'{"da', fake.Cut()],
            fake.answer(b"<html>"),
            fake.answer({"data": [{"b64_json": None}]}),
        ],
    )
    def test_what_may_have_made_a_picture_is_never_asked_again(
        self, provider: Provider, sell: Sell, shop: Shop, upstream: FakeUpstream, reply: fake.Reply
    ) -> None:
        """The official SDK is told not to, either."""
        with FakeUpstream() as second:
            others = (provider, make_provider("second", second.base_url))
            sell("two/routes", kind="image", rates=GPT_IMAGE, providers=others)
            upstream.script(reply)
            _, secret = shop.new_key(scopes=["images"])
            with GatewayServer() as gateway, gateway.client(secret) as client:
                response = client.post(PATH, json=ask("two/routes"))

            assert response.status_code == 502
            assert response.headers["x-should-retry"] == "false"
            assert (len(upstream.calls), second.calls) == (1, [])
        assert (shop.last.state, shop.last.charged, shop.holds) == ("voided", 0, 0)

    @pytest.mark.parametrize("status", [429, 401, 404])
    def test_another_route_is_tried_where_none_was_made(
        self, provider: Provider, sell: Sell, shop: Shop, upstream: FakeUpstream, status: int
    ) -> None:
        """NA-02"""
        with FakeUpstream() as second:
            others = (provider, make_provider("second", second.base_url))
            sell("two/routes", kind="image", rates=GPT_IMAGE, providers=others)
            upstream.script(fake.error(status))
            second.script(made(size="1024x1024", quality="low"))
            _, secret = shop.new_key(scopes=["images"])
            with GatewayServer() as gateway, gateway.client(secret) as client:
                response = client.post(PATH, json=ask("two/routes"))

        assert response.headers["x-tollgate-attempts"] == "2"
        assert (shop.last.charged, shop.holds) == (CENT, 0)

    def test_a_refused_prompt_is_the_callers(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script(fake.error(400, code="moderation_blocked"))

        assert refused(client) == (400, "content_filter", None)
        assert (shop.last.charged, shop.holds) == (0, 0)


def event(name: str, **fields: Any) -> bytes:
    body = {"type": name, "created_at": 1, "id": "up-1", **fields}
    return f"event: {name}\ndata: {json.dumps(body)}\n\n".encode()


def partial(index: int) -> bytes:
    return event("image_generation.partial_image", b64_json="cGFydA==", partial_image_index=index)


def completed(**told: Any) -> bytes:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    return event("image_generation.completed", b64_json=PNG, usage=usage, **told)


FAILED = event("error", error={"message": "secret words of the provider", "code": "server_error"})


def events(text: str) -> list[tuple[str, Any]]:
    """Return the names and data of a stream's events."""
    blocks = [block.split("\n") for block in text.strip().split("\n\n") if block[:1] != ":"]
    return [(block[0][7:], json.loads(block[1][6:])) for block in blocks]


class TestStream:
    def test_partial_pictures_come_first_and_the_last_tells_its_cost(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        """NA-12"""
        upstream.script(
            [
                fake.STREAM_HEAD,
                partial(0),
                partial(1),
                completed(size="1024x1024", quality="medium"),
            ]
        )

        response = client.post(PATH, json=ask(stream=True, partial_images=2))

        told = events(response.text)
        assert [name for name, _ in told] == [
            "image_generation.partial_image",
            "image_generation.partial_image",
            "image_generation.completed",
        ]
        assert [body["type"] for _, body in told] == [name for name, _ in told]
        assert told[1][1]["partial_image_index"] == 1
        assert (told[2][1]["b64_json"], told[2][1]["usage"]["cost"]) == (PNG, 0.04)
        assert all("id" not in body for _, body in told)
        assert (shop.last.charged, shop.last.pictures, shop.last.stream) == (4 * CENT, 1, True)
        assert (shop.last.hold, shop.holds) == (25 * CENT, 0)
        assert check().ok

    def test_a_whole_picture_alone_is_a_stream_too(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        text = "QUJD" * (3 * 2**20)
        one = event("image_generation.completed", b64_json=text)
        upstream.script(fake.in_pieces([fake.STREAM_HEAD, one], 2**16, every_s=0))

        response = client.post(PATH, json=ask(stream=True, size="1024x1024", quality="low"))

        [(_, body)] = events(response.text)
        assert body["b64_json"] == text
        assert shop.last.charged == CENT

    def test_several_pictures_are_all_counted(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script([fake.STREAM_HEAD, completed(), completed()])

        response = client.post(PATH, json=ask(stream=True, n=2, size="1024x1024", quality="low"))

        assert len(events(response.text)) == 2
        assert (shop.last.charged, shop.last.pictures) == (2 * CENT, 2)

    @pytest.mark.parametrize(
        "end", [[FAILED], [fake.Cut()], [b"data: {}\n\n", fake.Cut(reset=False)], [b"data: x\n\n"]]
    )
    def test_a_failure_after_a_partial_picture_is_told_and_free(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop, end: list[fake.Step]
    ) -> None:
        upstream.script([fake.STREAM_HEAD, partial(0), fake.Pause(0.05), *end])

        response = client.post(PATH, json=ask(stream=True, partial_images=1))

        *_, (name, body) = events(response.text)
        assert (name, body["type"], body["error"]["code"]) == ("error", "error", 502)
        assert "secret" not in response.text
        assert (shop.last.charged, shop.last.pictures, shop.holds) == (0, 0, 0)

    def test_a_failure_after_one_of_two_pictures_charges_that_one(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script([fake.STREAM_HEAD, completed(), fake.Pause(0.05), fake.Cut()])

        response = client.post(PATH, json=ask(stream=True, n=2, size="1024x1024", quality="low"))

        assert [name for name, _ in events(response.text)] == [
            "image_generation.completed",
            "error",
        ]
        assert (shop.last.charged, shop.last.reason) == (CENT, "stream_interrupted")

    def test_a_failure_before_anything_is_an_ordinary_error(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script([fake.STREAM_HEAD, FAILED])

        response = client.post(PATH, json=ask(stream=True))

        assert (response.status_code, response.json()["error"]["code"]) == (502, 502)
        assert (shop.last.state, shop.holds) == ("voided", 0)

    def test_who_hangs_up_pays_for_the_picture_that_a_draining_provider_makes(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop, gateway: GatewayServer
    ) -> None:
        left = threading.Event()
        upstream.script([fake.STREAM_HEAD, partial(0), fake.Gate(left), completed()])

        with client.stream(
            "POST", PATH, json=ask(stream=True, size="1024x1024", quality="low")
        ) as response:
            next(response.iter_raw())
        gateway.notice_hang_up()
        left.set()

        upstream.wait_for_calls(1, ended=True)
        wait_until_closed(shop)
        assert (shop.last.charged, shop.last.cancelled, shop.holds) == (CENT, True, 0)

    def test_who_hangs_up_on_a_cancelling_provider_pays_whole_pictures_only(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        shop.provider_cancels()
        with GatewayServer() as gateway, gateway.client(client.headers["authorization"][7:]) as new:
            upstream.script([fake.STREAM_HEAD, partial(0), fake.Stall()])
            with new.stream("POST", PATH, json=ask(stream=True)) as response:
                next(response.iter_raw())
            [call] = upstream.wait_for_calls(1, ended=True)
            wait_until_closed(shop)

        assert call.hung_up
        assert (shop.last.charged, shop.last.cancelled, shop.holds) == (0, True, 0)


def wait_until_closed(shop: Shop) -> None:
    deadline = time.monotonic() + 30
    while not shop.usage or shop.holds:
        assert time.monotonic() < deadline, "the hold was not closed"
        time.sleep(0.01)


def picture(encoded: str) -> tuple[int, int, bytes]:
    """Return width, height and pixels of a PNG, its checksums proven."""
    data = base64.b64decode(encoded)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        name, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        (crc,) = struct.unpack(">I", data[place + 8 + size : place + 12 + size])
        assert crc == zlib.crc32(name + content)
        chunks[name] = content
        place += 12 + size
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    return width, height, zlib.decompress(chunks[b"IDAT"])


class TestSandbox:
    @pytest.mark.parametrize(
        ("size", "width", "height", "cents"),
        [("1024x1024", 1024, 1024, 2), ("1536x1024", 1536, 1024, 3), ("1024x1536", 1024, 1536, 3)],
    )
    def test_the_official_sdk_gets_a_real_picture_of_the_size(
        self,
        sandbox: SandboxServer,
        sdk: openai.OpenAI,
        shop: Shop,
        size: Any,
        width: int,
        height: int,
        cents: int,
    ) -> None:
        """NG-12, NA-01, NA-12"""
        answer = sdk.images.generate(
            model="sandbox/image", prompt="Hello, мир!", size=size, quality="medium"
        )

        assert answer.data is not None
        wide, high, pixels = picture(str(answer.data[0].b64_json))
        assert (wide, high, len(pixels)) == (width, height, (width + 1) * height)
        assert 0 < pixels.count(1) < len(pixels) / 2
        assert (answer.size, answer.quality) == (size, "medium")
        assert shop.last.charged == cents * CENT
        assert [line["model"] for line in sandbox.ends()] == ["sandbox/image"] * 2

    def test_other_words_are_another_picture(
        self, sandbox: SandboxServer, sdk: openai.OpenAI
    ) -> None:
        first, again, other = (
            sdk.images.generate(model="sandbox/image", prompt=words)
            for words in ("one", "one", "two")
        )

        assert first.data == again.data
        assert first.data != other.data

    def test_streams_to_the_official_sdk(
        self, sandbox: SandboxServer, sdk: openai.OpenAI, shop: Shop
    ) -> None:
        stream = sdk.images.generate(
            model="sandbox/image", prompt="stream", stream=True, partial_images=2
        )

        told = list(stream)
        assert [one.type for one in told] == [
            "image_generation.partial_image",
            "image_generation.partial_image",
            "image_generation.completed",
        ]
        # auto is made at medium quality, 1024x1024.
        assert shop.last.charged == 2 * CENT

    def test_the_official_sdk_raises_where_a_stream_breaks_off(
        self, sandbox: SandboxServer, sdk: openai.OpenAI, shop: Shop
    ) -> None:
        stream = sdk.images.generate(
            model="sandbox/image",
            prompt="stream",
            stream=True,
            partial_images=3,
            extra_body={"sandbox": {"fail": "cut", "after_chunks": 2, "chunk_delay_ms": 20}},
        )

        with pytest.raises(openai.APIError, match="broke off"):
            list(stream)
        assert (shop.last.charged, shop.holds) == (0, 0)

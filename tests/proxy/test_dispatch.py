"""Providers that cannot be reached, or do not answer in time."""

from __future__ import annotations

import threading

import httpx
import pytest
from django.test import override_settings

from proxy.models import Provider
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.ports import free_port
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello, request_id


def failed(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["reason"]


class TestUnreachable:
    @pytest.mark.parametrize("stream", [False, True])
    def test_a_refused_connection_is_no_timeout(self, shop: Shop, stream: bool) -> None:
        Provider.objects.update(base_url=f"http://127.0.0.1:{free_port()}/v1")
        with GatewayServer() as gateway, gateway.client(shop.secret) as client:
            response = client.post("/v1/chat/completions", json=hello(stream=stream))

        assert failed(response) == (502, "upstream_failed")
        assert [a.cause for a in shop.attempts(request_id(response))] == ["connect_failed"]
        assert (shop.balance.held, shop.last.charged) == (0, 0)

    @pytest.mark.parametrize("stream", [False, True])
    def test_silence_is_a_timeout(self, shop: Shop, upstream: FakeUpstream, stream: bool) -> None:
        upstream.script([fake.Stall()])
        with override_settings(FIRST_BYTE_TIMEOUT_S=0.4), GatewayServer() as gateway:
            with gateway.client(shop.secret) as client:
                response = client.post("/v1/chat/completions", json=hello(stream=stream))

        assert failed(response) == (502, "upstream_timeout")
        assert [a.cause for a in shop.attempts(request_id(response))] == ["read_timeout"]
        assert (shop.balance.held, shop.last.charged) == (0, 0)

    def test_a_connection_found_closed_is_tried_anew_and_both_are_written_down(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        upstream.script([fake.Cut(reset=False)], fake.completion())

        response = client.post("/v1/chat/completions", json=hello())

        assert response.status_code == 200
        attempts = shop.attempts(request_id(response))
        assert [(a.outcome, a.cause) for a in attempts] == [
            ("lost", "stale_connection"),
            ("won", ""),
        ]
        assert len(upstream.calls) == 2


class TestAStreamThatFallsSilent:
    def test_is_broken_off_and_charged_for_what_came(
        self, shop: Shop, upstream: FakeUpstream
    ) -> None:
        event = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"12345678"}}]}\n\n'
        upstream.script(
            [fake.Head(200, (("content-type", "text/event-stream"),)), event, fake.Stall()]
        )
        with override_settings(IDLE_TIMEOUT_S=1), GatewayServer() as gateway:
            with gateway.client(shop.secret) as client:
                response = client.post("/v1/chat/completions", json=hello(stream=True))

        assert "stream_interrupted" in response.text
        assert (shop.last.output_tokens, shop.last.source) == (2, "count")
        assert shop.balance.held == 0

    def test_before_its_first_word_gets_comments_and_a_true_end(
        self, shop: Shop, upstream: FakeUpstream
    ) -> None:
        heard = threading.Event()
        upstream.script([fake.Gate(heard), *fake.error(500)])
        told = ""
        with (
            override_settings(KEEPALIVE_S=0.3),
            GatewayServer() as gateway,
            gateway.client(shop.secret) as client,
            client.stream("POST", "/v1/chat/completions", json=hello(stream=True)) as response,
        ):
            for part in response.iter_text():
                told += part
                heard.set()

        assert response.status_code == 200
        assert told.startswith(": keep-alive\n\n")
        assert '"finish_reason":"error"' in told
        assert shop.last.charged == 0

"""Stalled stores, odd providers, impatient callers, and our own stop: the money stays exact."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test import override_settings

from billing import invariants
from billing.models import Account, Hold
from proxy import due, forward
from proxy.models import GatewayProcess, Provider
from proxy.sweep import sweep
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello, request_id
from tests.proxy.test_streams import DONE, SSE, chunk, events, usage_chunk, wait_until_closed

JSON = (("content-type", "application/json"),)


class TestAnOddProvider:
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        "reply",
        [
            pytest.param([fake.Raw(b"HTTP/1.1 2O0 what\r\n\r\n")], id="status line"),
            pytest.param(
                [fake.Raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20_000 + b"\r\n\r\n")], id="header"
            ),
            pytest.param(
                [fake.Raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")],
                id="chunk size",
            ),
            pytest.param([fake.Head(200, JSON), b'{"choices": [{"message": 5}]}'], id="message"),
            pytest.param([SSE, b'data: {"choices": [{"index": [1], "delta": 7}]}\n\n'], id="delta"),
            pytest.param([SSE, DONE], id="nothing but done"),
        ],
    )
    def test_is_a_502_that_costs_nothing_and_leaves_no_hold(
        self,
        client: httpx.Client,
        shop: Shop,
        upstream: FakeUpstream,
        reply: fake.Reply,
        stream: bool,
    ) -> None:
        upstream.script(reply)

        response = client.post("/v1/chat/completions", json=hello(stream=stream))

        assert response.status_code == 502, response.text
        assert (shop.last.state, shop.last.charged, shop.holds) == ("voided", 0, 0)
        assert invariants.check().ok

    def test_whose_id_has_a_nul_is_paid_all_the_same(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        upstream.script(fake.completion(id="a\x00b"))

        response = client.post("/v1/chat/completions", json=hello())

        assert response.status_code == 200
        assert (shop.last.state, shop.last.charged) == ("settled", 16_000)
        assert shop.attempts(request_id(response))[0].upstream_id == "ab"

    def test_that_finishes_one_of_two_choices_broke_off(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        other = chunk(choices=[{"index": 1, "delta": {"content": "b"}, "finish_reason": None}])
        upstream.script([SSE, chunk("a"), other, chunk(finish="stop")])

        response = client.post("/v1/chat/completions", json=hello(stream=True, n=2))

        assert events(response.text)[-1]["error"]["reason"] == "stream_interrupted"


class TestACallerWhoLeavesDuringAdmission:
    def test_is_given_the_money_back_and_no_provider_is_called(
        self, gateway: GatewayServer, shop: Shop, upstream: FakeUpstream
    ) -> None:
        with gateway.client(shop.secret) as client:
            client.post("/v1/chat/completions", json=hello())
        gateway.wait_for_connections(0)
        with transaction.atomic():
            list(Account.objects.select_for_update().filter(workspace=shop.workspace))
            with gateway.leaving(shop.secret, hello()):
                until(lambda: asks_the_ledger(gateway))
                # Of a call that takes no longer nobody asks whether its caller is still there.
                time.sleep(forward.PATIENCE_MS / 1000 * 2)
            gateway.wait_for_connections(0)

        until(lambda: len(shop.usage) == 2)
        assert [row.state for row in shop.usage] == ["settled", "voided"]
        assert len(upstream.calls) == 1
        assert shop.holds == 0


def asks_the_ledger(gateway: GatewayServer) -> bool:
    """Whether a call is at a desk of the till: it never waits in the database for long."""
    desks = gateway.application.gateway.runtime.till.desks
    return any(not desk.lane.idle.is_set() for desk in desks)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


class TestSilence:
    @pytest.fixture
    def process(self, gateway: GatewayServer, client: httpx.Client, shop: Shop) -> GatewayProcess:
        """A process that holds money and was last heard of a minute ago."""
        with connection.cursor() as cursor:
            cursor.execute(
                "insert into proxy_gatewayprocess (hostname, pid, started_at, heartbeat_at)"
                " values ('x', 1, now(), now() - interval '1 minute') returning id"
            )
            row = GatewayProcess.objects.get(pk=cursor.fetchone()[0])
        client.post("/v1/chat/completions", json=hello())
        usage = shop.last
        Hold.objects.create(
            id="01990000-0000-7000-8000-000000000001",
            account_id=usage.account_id,
            usd_account_id=usage.account_id,
            workspace_id=usage.workspace_id,
            key_id=usage.key_id,
            asset="USD",
            amount=1,
            unit_nanos=1,
            day=usage.day,
            process_id=row.pk,
            model="m",
            expires_at=Now() + timedelta(minutes=10),
        )
        return row

    def test_that_lasts_is_death(self, process: GatewayProcess) -> None:
        assert due.dead_processes() == [process.pk]

    def test_of_a_stalled_database_is_not(
        self, process: GatewayProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Meanwhile:
            """The wait for one heartbeat more, in which it comes."""

            @staticmethod
            def sleep(seconds: float) -> None:
                assert seconds > settings.HEARTBEAT_S
                GatewayProcess.objects.filter(pk=process.pk).update(heartbeat_at=Now())

        assert set(due.silent_processes()) == {process.pk}
        monkeypatch.setattr(due, "time", Meanwhile)

        assert due.dead_processes() == []


class TestOurOwnStop:
    def test_leaves_a_cut_stream_to_the_evidence(self, shop: Shop, upstream: FakeUpstream) -> None:
        upstream.script([SSE, chunk("12345678"), fake.Stall()])
        with override_settings(CHECKPOINT_S=60), GatewayServer(grace_s=0.1) as gateway:
            thread = threading.Thread(target=quiet_stream, args=(gateway, shop.secret))
            thread.start()
            upstream.wait_for_stall()
            gateway.notice()
        thread.join()

        assert (shop.usage, shop.holds) == ([], 1)
        sweep()
        assert (shop.last.source, shop.last.output_tokens) == ("checkpoint", 2)
        assert shop.holds == 0
        assert invariants.check().ok

    def test_leaves_a_stream_that_went_on_after_its_usage_to_the_evidence(
        self, shop: Shop, upstream: FakeUpstream
    ) -> None:
        early = chunk("word", usage=fake.usage(10, 1))
        upstream.script([SSE, early, chunk("x" * 100), fake.Stall()])
        with override_settings(CHECKPOINT_S=60), GatewayServer(grace_s=0.1) as gateway:
            thread = threading.Thread(target=quiet_stream, args=(gateway, shop.secret))
            thread.start()
            upstream.wait_for_stall()
            gateway.notice()
        thread.join()

        sweep()
        assert (shop.last.source, shop.last.output_tokens) == ("checkpoint", 26)
        assert shop.holds == 0

    def test_leaves_a_stream_whose_evidence_is_looked_for_to_the_sweep(
        self, shop: Shop, upstream: FakeUpstream
    ) -> None:
        Provider.objects.update(generation_lookup="sandbox")
        upstream.script([SSE, chunk("12345678"), chunk(finish="stop"), DONE])
        upstream.script([fake.Stall()], path="/generation")
        with override_settings(CHECKPOINT_S=60), GatewayServer(grace_s=0.1) as gateway:
            thread = threading.Thread(target=quiet_stream, args=(gateway, shop.secret))
            thread.start()
            upstream.wait_for_calls(2)
        thread.join()

        assert (shop.usage, shop.holds) == ([], 1)
        Provider.objects.update(generation_lookup="none")
        sweep()
        assert (shop.last.source, shop.last.output_tokens) == ("checkpoint", 2)


def quiet_stream(gateway: GatewayServer, key: str) -> None:
    with gateway.client(key) as client:
        try:
            client.post("/v1/chat/completions", json=hello(stream=True))
        except httpx.TransportError:
            return


class TestSilenceBeforeTheEnd:
    def test_the_keep_alive_goes_on_for_others_when_one_does_not_read(
        self, shop: Shop, upstream: FakeUpstream
    ) -> None:
        kept = threading.Event()
        upstream.script(
            [SSE, chunk("a"), fake.Gate(kept), chunk(finish="stop"), usage_chunk(7, 2), DONE]
        )
        told = ""
        with (
            override_settings(KEEPALIVE_S=0.3),
            GatewayServer() as gateway,
            gateway.client(shop.secret) as client,
            client.stream("POST", "/v1/chat/completions", json=hello(stream=True)) as response,
        ):
            for part in response.iter_text():
                told += part
                if told.count(": keep-alive") >= 2:
                    kept.set()

        assert kept.is_set()
        assert events(told)[-1] == "[DONE]"
        wait_until_closed(shop)

"""``/api/v2/generate`` through the real gateway, its status call, and a real Celery worker."""

from __future__ import annotations

import base64
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import redis
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from billing.models import Hold
from billing.pricing import Rates
from common import ids
from proxy import keeping
from proxy.models import GatewayProcess as ProcessRow
from proxy.models import Generation, Model, Provider
from proxy.sweep import sweep
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayProcess, GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import AddModel, Shop
from tests.proxy.neuralbox import (
    CLAUDE,
    GOLDEN,
    URL,
    ask,
    books,
    box,
    ended,
    sold,
    status,
    stranger,
    tokens_left,
)

__all__ = ["books", "box", "sold"]


class TestAGeneration:
    def test_the_documented_case_costs_three_tokens(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        """NB-01, NB-02, NB-08, NB-09: the reference's own numbers."""
        upstream.script(GOLDEN)

        response = box.post(URL, json=ask())

        assert response.status_code == 200, response.text
        body = response.json()
        created_at = body.pop("created_at")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", created_at)
        assert body == {
            "id": response.headers["x-request-id"].replace("req_", "gen_"),
            "status": "completed",
            "model": CLAUDE,
            "content": "Privet!",
            "tokens_used": 3,
            "balance_remaining": 297,
            "usage": {"prompt_tokens": 142, "completion_tokens": 387, "total_tokens": 529},
        }
        assert tokens_left(shop) == 297
        assert (shop.last.asset, shop.last.charged, shop.last.surface) == ("TOK", 3, "generate")

    def test_short_names_are_aliases(
        self,
        gateway: GatewayServer,
        box: httpx.Client,
        add_model: AddModel,
        upstream: FakeUpstream,
    ) -> None:
        """NB-02: the slugs that the reference names; the answer has the name that was asked."""
        for alias in ("gpt-5", "gemini-3-pro", "deepseek-r1"):
            add_model(f"vendor/{alias}", rates=Rates(completion=1_000_000), alias=alias)
        gateway.catch_up()

        for alias in ("gpt-5", "gemini-3-pro", "deepseek-r1"):
            answer = box.post(URL, json=ask() | {"model": alias})
            assert answer.json()["model"] == alias
            assert upstream.calls[-1].body["model"] == f"up-vendor/{alias}"

    def test_the_smallest_call_costs_one_token(
        self, box: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """NB-08: platform tokens are whole."""
        upstream.script(fake.completion("x", prompt_tokens=1, completion_tokens=1))

        assert box.post(URL, json=ask()).json()["tokens_used"] == 1

    @pytest.mark.parametrize("stream", [False, True])
    def test_of_a_model_that_refuses_is_its_refusal(
        self, box: httpx.Client, upstream: FakeUpstream, stream: bool
    ) -> None:
        said = {"role": "assistant", "content": None, "refusal": "I cannot."}
        chunks = [fake.chunk(said), fake.chunk({}, finish_reason="stop")]
        upstream.script(fake.events(chunks) if stream else fake.completion(message=said))

        text = box.post(URL, json=ask(stream=stream)).text

        whole = text.split("data: ")[-2] if stream else text
        assert json.loads(whole)["content"] == "I cannot."

    def test_defaults_are_sent_and_what_is_ours_is_not(
        self, box: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """NB-05, NB-06, NB-07: temperature 0.7, no limit, system first."""
        body = ask(system="Be brief.", max_tokens=None)
        body["messages"] = [
            {"role": "system", "content": "Second."},
            {"role": "user", "content": "Hello!"},
        ]

        assert box.post(URL, json={**body, "async": False}).status_code == 200

        sent = upstream.calls[0].body
        assert sent["temperature"] == 0.7
        assert sent["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "system", "content": "Second."},
            {"role": "user", "content": "Hello!"},
        ]
        assert not {"max_tokens", "system", "async"} & sent.keys()

    def test_what_is_given_goes_before_the_defaults(
        self, box: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """NB-05, NB-06: temperature 0.0 to 2.0, max_tokens an integer."""
        assert box.post(URL, json=ask(temperature=0, max_tokens=77)).status_code == 200

        sent = upstream.calls[0].body
        assert (sent["temperature"], sent["max_tokens"]) == (0, 77)
        assert box.post(URL, json=ask(temperature=2.1)).json()["error"]["param"] == "temperature"

    def test_no_temperature_is_sent_to_a_model_that_refuses_one(
        self, gateway: GatewayServer, box: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """NB-05: the default is ours, so nothing the caller sent is ignored."""
        Model.objects.filter(slug="anthropic/claude-sonnet-4.5").update(unsupported=["temperature"])
        gateway.catch_up()

        response = box.post(URL, json=ask(provider={"require_parameters": True}))
        asked = box.post(URL, json=ask(temperature=1))

        assert response.status_code == 200, response.text
        assert "temperature" not in upstream.calls[0].body
        assert "x-tollgate-ignored" not in response.headers
        assert asked.headers["x-tollgate-ignored"] == "temperature"

    def test_pictures_travel_in_a_message(self, box: httpx.Client, upstream: FakeUpstream) -> None:
        """NB-11: content as a list of image_url and text parts."""
        parts = [
            {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
            {"type": "text", "text": "What is it?"},
        ]
        body = {"model": CLAUDE, "messages": [{"role": "user", "content": parts}]}

        assert box.post(URL, json=body).status_code == 200
        assert upstream.calls[0].body["messages"][0]["content"] == parts

    def test_the_caller_sends_the_whole_history(
        self, box: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """NB-03, NB-12: three roles, nothing is remembered between requests."""
        turns = [
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "Two."},
            {"role": "user", "content": "Three?"},
        ]
        box.post(URL, json=ask("Forget me."))
        box.post(URL, json={"model": CLAUDE, "messages": turns})

        assert upstream.calls[1].body["messages"] == turns

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"messages": []}, "messages"),
            ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
            ({"system": 1}, "system"),
            ({"async": "yes"}, "async"),
            ({"async": True, "stream": True}, "async"),
            ({"n": 2}, "n"),
            ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ],
    )
    def test_what_it_does_not_take_is_refused(
        self, box: httpx.Client, upstream: FakeUpstream, fields: dict[str, Any], param: str
    ) -> None:
        """NB-03, NB-07: typed and named."""
        response = box.post(URL, json=ask() | fields)

        assert (response.status_code, response.json()["error"]["param"]) == (400, param)
        assert upstream.calls == []

    def test_without_tokens_it_is_402_whatever_the_dollars(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        """NB-08: 402 names the asset; dollars are not taken instead."""
        response = client.post(URL, json=ask(model="test/tokens"))

        assert response.status_code == 402
        assert response.json()["error"]["asset"] == "TOK"
        assert "platform tokens (TOK)" in response.json()["error"]["message"]
        assert upstream.calls == []

    def test_a_failed_one_is_free_and_says_so_when_fetched(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        """NB-08, NB-10: content null, tokens_used 0, and the error."""
        upstream.script(fake.error(500))

        refused = box.post(URL, json=ask())
        told = status(box, refused.headers["x-request-id"])

        assert (refused.status_code, told.status_code) == (502, 200)
        body = told.json()
        assert (body["status"], body["content"], body["tokens_used"]) == ("failed", None, 0)
        assert body["balance_remaining"] == 300
        assert body["error"]["reason"] == refused.json()["error"]["reason"]


class TestAStream:
    def test_is_deltas_then_the_whole_object_then_done(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        """NB-04: server-sent events."""
        upstream.script(fake.stream(["Pri", "vet!"], prompt_tokens=142, completion_tokens=387))

        response = box.post(URL, json=ask(stream=True))

        events = [line[6:] for line in response.text.split("\n\n") if line.startswith("data: ")]
        *deltas, whole, done = events
        id_ = response.headers["x-request-id"].replace("req_", "gen_")
        assert [json.loads(delta) for delta in deltas] == [
            {"id": id_, "model": CLAUDE, "delta": "Pri"},
            {"id": id_, "model": CLAUDE, "delta": "vet!"},
        ]
        assert done == "[DONE]"
        told = json.loads(whole)
        assert (told["content"], told["tokens_used"]) == ("Privet!", 3)
        assert told["balance_remaining"] == 297
        assert status(box, id_).json() == told

    def test_that_breaks_off_has_failed(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        """NB-04, NB-10: it never looks whole."""
        upstream.script(fake.cut_at(fake.stream(["Pri", "vet!"]), 600))

        response = box.post(URL, json=ask(stream=True))

        last = json.loads(response.text.strip().rpartition("data: ")[2])
        assert (last["status"], last["content"]) == ("failed", None)
        assert last["error"]["reason"] == "stream_interrupted"
        assert "[DONE]" not in response.text
        assert last.keys() >= {"tokens_used", "balance_remaining", "usage", "created_at", "model"}
        assert last["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        assert last["balance_remaining"] == tokens_left(shop)
        assert status(box, last["id"]).json() == last

    @pytest.mark.parametrize(
        ("on_disconnect", "expected"), [("drain", "completed"), ("cancel", "failed")]
    )
    def test_whose_caller_left_can_be_fetched(
        self,
        box: httpx.Client,
        gateway: GatewayServer,
        upstream: FakeUpstream,
        shop: Shop,
        on_disconnect: str,
        expected: str,
    ) -> None:
        """NB-04, NB-10: it goes on where the provider bills it anyway."""
        Provider.objects.update(on_disconnect=on_disconnect)
        gateway.catch_up()
        left = threading.Event()
        head, role, word, *others = fake.stream(["word"] * 20, prompt_tokens=142)
        upstream.script([head, role, word, fake.Gate(left), *others])
        with (
            gateway.client(shop.secret) as leaver,
            leaver.stream("POST", URL, json=ask(stream=True)) as response,
        ):
            first = next(line for line in response.iter_lines() if line)
        id_ = json.loads(first.removeprefix("data: "))["id"]
        if on_disconnect == "drain":
            gateway.notice_hang_up()
            left.set()

        told = ended(box, id_)

        assert told["status"] == expected
        assert told["content"] == ("word" * 20 if expected == "completed" else None)


class TestStatus:
    def test_takes_any_form_of_the_id(self, box: httpx.Client) -> None:
        """NB-10: every generation can be fetched."""
        body = box.post(URL, json=ask()).json()
        for prefix in ids.REQUEST_PREFIXES:
            told = status(box, body["id"].replace("gen_", prefix))
            assert (told.status_code, told.json()) == (200, body)

    def test_of_another_workspace_does_not_exist(
        self, box: httpx.Client, gateway: GatewayServer
    ) -> None:
        """NB-10: only its workspace can fetch it."""
        body = box.post(URL, json=ask()).json()
        _, secret = stranger()

        with gateway.client(secret) as other:
            refused = status(other, body["id"])

        assert (refused.status_code, refused.json()["error"]["reason"]) == (404, "not_found")

    def test_of_one_whose_gateway_died_is_failed_after_the_sweep(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop, settings: Settings
    ) -> None:
        """NB-10: what the ledger knows is told, nothing is charged without evidence."""
        upstream.script([fake.Stall()])
        with GatewayProcess() as gateway, ThreadPoolExecutor(1) as thread:
            call = thread.submit(
                httpx.post,
                f"{gateway.url}{URL}",
                json=ask(),
                headers={"authorization": f"Bearer {shop.secret}"},
                timeout=30,
                trust_env=False,
            )
            upstream.wait_for_calls(1)
            gateway.kill()
            assert isinstance(call.exception(), httpx.TransportError)
        id_ = ids.form("gen_", Generation.objects.get().id)
        assert status(box, id_).json()["status"] == "pending"
        settings.SILENT_AFTER_S = 0.01
        ProcessRow.objects.filter(id=Hold.objects.get().process_id).update(
            stopped_at=timezone.now()
        )

        sweep()

        told = status(box, id_).json()
        assert (told["status"], told["tokens_used"]) == ("failed", 0)
        assert told["balance_remaining"] == 300

    def test_ends_with_its_time(self, box: httpx.Client) -> None:
        """NB-10: after 24 hours it is gone, also from the table."""
        id_ = box.post(URL, json=ask()).json()["id"]
        row = Generation.objects.get()
        assert 23 < (row.expires_at - row.created_at).total_seconds() / 3600 <= 24
        Generation.objects.update(expires_at=timezone.now())

        assert status(box, id_).status_code == 404
        assert keeping.tidy().expired == 1
        assert not Generation.objects.exists()

    @pytest.mark.parametrize(
        ("asked", "code"), [("", 400), ("gen_1", 404), ("x", 404), ("gen_" + "0" * 26, 404)]
    )
    def test_of_what_is_no_generation(self, box: httpx.Client, asked: str, code: int) -> None:
        """NB-10: nothing else is found."""
        assert status(box, asked).status_code == code

    def test_needs_a_key(self, gateway: GatewayServer) -> None:
        """NB-10: like every call."""
        with gateway.client() as nobody:
            assert status(nobody, "gen_" + "0" * 26).status_code == 401


class TestWhatIsKept:
    def test_is_sealed(
        self, box: httpx.Client, upstream: FakeUpstream, redis_server: redis.Redis
    ) -> None:
        """NB-10: neither prompt nor answer lies anywhere in clear."""
        upstream.script(fake.completion("SECRET-ANSWER"))
        box.post(URL, json=ask("SECRET-PROMPT"))
        box.post(URL, json=ask("SECRET-PROMPT") | {"async": True})

        with connection.cursor() as cursor:
            cursor.execute("select g::text || encode(g.sealed, 'escape') from proxy_generation g")
            rows = "".join(row[0] for row in cursor.fetchall())
        queued = [json.loads(message) for message in redis_server.lrange("celery", 0, -1)]
        bodies = [base64.b64decode(message["body"]) for message in queued]
        [id_] = Generation.objects.filter(background=True).values_list("id", flat=True)
        assert "SECRET" not in rows
        assert [json.loads(body)[0] for body in bodies] == [[str(id_)]]
        assert list(redis_server.keys("*generation*")) == []

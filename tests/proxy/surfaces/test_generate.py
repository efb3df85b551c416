"""``/api/v2/generate`` through the real gateway, its status call, and a real Celery worker."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest
import redis
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from accounts import keys, signup
from accounts.models import Workspace
from billing import grants, invariants, ledger, prices
from billing.models import Hold
from billing.pricing import Rates
from common import ids
from proxy import keeping
from proxy.models import GatewayProcess as ProcessRow
from proxy.models import Generation, Model, Provider
from proxy.sweep import sweep
from proxy.tasks import make_generation, tidy_kept
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayProcess, GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.fakes.worker import WorkerProcess
from tests.proxy.conftest import AddModel, Shop, request_id

URL = "/api/v2/generate"
CLAUDE = "claude-sonnet-4.5"
GOLDEN = fake.completion("Privet!", prompt_tokens=142, completion_tokens=387)


@pytest.fixture
def _tokens(shop: Shop, add_model: AddModel) -> None:
    """Sell a model at $3 / $15 per million to a workspace with 300 tokens."""
    rates = Rates(prompt=3_000_000, completion=15_000_000)
    add_model("anthropic/claude-sonnet-4.5", rates=rates, alias=CLAUDE, max_output_tokens=500)
    give(shop.workspace, 300)


@pytest.fixture
def box(_tokens: None, client: httpx.Client) -> httpx.Client:
    return client


@pytest.fixture
def worker(box: httpx.Client) -> Iterator[WorkerProcess]:
    with WorkerProcess() as worker:
        yield worker


@pytest.fixture(autouse=True)
def _books(transactional_db: None) -> Iterator[None]:
    yield
    report = invariants.check()
    assert report.ok, report


def give(workspace: Workspace, tokens: int) -> None:
    grants.grant(workspace=workspace, asset="TOK", amount=tokens, reason="test", paid=True)


def ask(text: str = "Hello!", **fields: object) -> dict[str, Any]:
    return {"model": CLAUDE, "messages": [{"role": "user", "content": text}], **fields}


def status(client: httpx.Client, generation_id: str) -> httpx.Response:
    return client.get(f"{URL}/status", params={"id": generation_id})


def ended(client: httpx.Client, generation_id: str, *, within_s: float = 20) -> dict[str, Any]:
    """Return a generation once it is not pending any more."""
    deadline = time.monotonic() + within_s
    while (told := status(client, generation_id).json())["status"] == "pending":
        assert time.monotonic() < deadline, "it stays pending"
        time.sleep(0.05)
    return dict(told)


def tokens_left(shop: Shop) -> int:
    return ledger.balance(workspace_id=shop.workspace.pk, asset="TOK").available


def stranger() -> tuple[Workspace, str]:
    """Return another customer's workspace and key."""
    user = signup.register(email="bob@example.com", password="a-long-pass-word", verified=True)
    workspace = Workspace.objects.get(personal_of=user)
    _, secret = keys.create(
        name="key", workspaces=[workspace], user=user, by=user, scopes=["chat", "models:read"]
    )
    return workspace, secret


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
        self, box: httpx.Client, add_model: AddModel, upstream: FakeUpstream
    ) -> None:
        """NB-02: the slugs that the reference names; the answer has the name that was asked."""
        for alias in ("gpt-5", "gemini-3-pro", "deepseek-r1"):
            add_model(f"vendor/{alias}", rates=Rates(completion=1_000_000), alias=alias)
        time.sleep(0.8)

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
        self, box: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """NB-05: the default is ours, so nothing the caller sent is ignored."""
        Model.objects.filter(slug="anthropic/claude-sonnet-4.5").update(unsupported=["temperature"])
        time.sleep(0.8)

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
        assert status(box, last["id"]).json()["status"] == "failed"

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
        time.sleep(0.8)
        upstream.script(fake.stream(["word"] * 20, every_s=0.05, prompt_tokens=142))
        with (
            gateway.client(shop.secret) as leaver,
            leaver.stream("POST", URL, json=ask(stream=True)) as response,
        ):
            first = next(line for line in response.iter_lines() if line)
        id_ = json.loads(first.removeprefix("data: "))["id"]

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
        time.sleep(0.1)

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


class TestAsync:
    def test_is_pending_at_once_and_made_by_a_worker(
        self, box: httpx.Client, upstream: FakeUpstream, worker: WorkerProcess, shop: Shop
    ) -> None:
        """NB-08, NB-10: pending, then completed."""
        upstream.script([fake.Pause(0.5), *GOLDEN])

        response = box.post(URL, json=ask() | {"async": True})

        assert response.status_code == 200
        body = response.json()
        assert (body["status"], body["content"], body["tokens_used"]) == ("pending", None, 0)
        assert shop.holds == 1
        told = ended(box, body["id"])
        assert told["status"] == "completed"
        assert (told["content"], told["tokens_used"]) == ("Privet!", 3)
        assert (told["balance_remaining"], told["model"]) == (297, CLAUDE)
        assert told["usage"]["total_tokens"] == 529
        assert told["created_at"] == body["created_at"]
        assert len(upstream.calls) == 1
        assert (shop.last.charged, shop.holds) == (3, 0)
        assert shop.last.id == request_id(response)

    def test_a_failure_is_told_by_the_status(
        self, box: httpx.Client, upstream: FakeUpstream, worker: WorkerProcess, shop: Shop
    ) -> None:
        """NB-08, NB-10: the status call itself is 200."""
        upstream.script(fake.error(500))

        told = ended(box, box.post(URL, json=ask() | {"async": True}).json()["id"])

        assert (told["status"], told["content"], told["tokens_used"]) == ("failed", None, 0)
        assert told["error"]["reason"] == "upstream_failed"
        assert tokens_left(shop) == 300

    def test_without_tokens_it_is_402_at_once(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """NB-08: the money is taken aside at submission."""
        response = client.post(URL, json=ask(model="test/tokens") | {"async": True})

        assert response.status_code == 402
        assert not Generation.objects.exists()

    def test_told_many_times_it_is_made_once(
        self, box: httpx.Client, upstream: FakeUpstream, worker: WorkerProcess
    ) -> None:
        """NB-08: a message that comes twice is no second call."""
        upstream.script([fake.Pause(0.3), *GOLDEN])
        id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
        for _ in range(10):
            make_generation.delay(str(ids.parse_request(id_)))

        assert ended(box, id_)["status"] == "completed"
        time.sleep(0.5)
        assert len(upstream.calls) == 1

    def test_it_bills_the_price_it_was_admitted_with(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        """NB-09: a price that rises meanwhile is for others."""
        upstream.script(GOLDEN)
        id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
        dearer = Rates(prompt=300_000_000, completion=1_500_000_000)
        prices.set_price(
            subject="anthropic/claude-sonnet-4.5",
            role="retail",
            rates=dearer,
            now=timezone.now(),
        )

        with WorkerProcess():
            assert ended(box, id_)["tokens_used"] == 3

    def test_a_worker_killed_in_the_middle_never_leads_to_a_second_call(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop, settings: Settings
    ) -> None:
        """NB-10: the sweep closes the hold on evidence, then it has failed."""
        upstream.script([fake.Stall()])
        with WorkerProcess() as worker:
            id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
            upstream.wait_for_calls(1)
            worker.kill()
        settings.SILENT_AFTER_S = 0.01
        ProcessRow.objects.filter(id=Hold.objects.get().process_id).update(
            stopped_at=timezone.now()
        )
        with WorkerProcess():
            requeue()
            time.sleep(1)
            assert status(box, id_).json()["status"] == "pending"

            sweep()
            time.sleep(0.1)
            told = status(box, id_).json()

            assert (told["status"], told["content"], told["tokens_used"]) == ("failed", None, 0)
            assert told["error"]["reason"] == "internal"
            requeue()
            time.sleep(1)
        assert len(upstream.calls) == 1
        assert shop.holds == 0
        assert tokens_left(shop) == 300

    def test_a_worker_that_is_stopped_finishes_what_it_began(
        self, box: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """NB-08: a deployment loses nothing."""
        upstream.script([fake.Pause(2), *GOLDEN])
        with WorkerProcess():
            id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
            upstream.wait_for_calls(1)

        assert status(box, id_).json()["status"] == "completed"

    def test_a_queue_that_is_away_is_no_error(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        """NB-08: the row waits for beat, the caller does not."""
        with GatewayProcess(REDIS_URL="redis://127.0.0.1:9/0") as gateway:
            response = httpx.post(
                f"{gateway.url}{URL}",
                json=ask() | {"async": True},
                headers={"authorization": f"Bearer {shop.secret}"},
                trust_env=False,
            )

        assert response.json()["status"] == "pending"
        assert keeping.tidy().waiting == ()
        Generation.objects.update(created_at=timezone.now() - timedelta(seconds=11))
        assert keeping.tidy().waiting == (request_id(response),)

    def test_a_worker_killed_after_the_answer_loses_nothing(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop, settings: Settings
    ) -> None:
        """NB-10: what was drafted and is charged on evidence is completed."""
        upstream.script(GOLDEN)
        with WorkerProcess():
            id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
            whole = ended(box, id_)
        # As if the worker had died between the ledger's commit and its own.
        Generation.objects.update(
            status="pending", drafted=True, tokens_used=0, balance_remaining=None
        )
        settings.SILENT_AFTER_S = 0.01

        assert status(box, id_).json() == whole

    def test_what_waits_belongs_to_nobody_the_sweep_could_close(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop, settings: Settings
    ) -> None:
        """NB-08: a gateway that is restarted takes nothing from the queue."""
        settings.SILENT_AFTER_S = 0.01
        upstream.script(GOLDEN)
        id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
        ProcessRow.objects.update(stopped_at=timezone.now())
        sweep()
        assert shop.holds == 1

        with WorkerProcess():
            requeue()
            assert ended(box, id_)["status"] == "completed"

    def test_what_no_worker_takes_is_given_back(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop, settings: Settings
    ) -> None:
        """NB-10: it has failed, and was never dispatched."""
        id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
        settings.HOLD_TTL_S = 0

        assert keeping.tidy().abandoned == 1

        told = status(box, id_).json()
        assert (told["status"], told["balance_remaining"]) == ("failed", 300)
        assert shop.holds == 0
        with WorkerProcess():
            requeue()
            time.sleep(1)
        assert upstream.calls == []

    def test_one_without_a_message_is_queued_again(
        self, box: httpx.Client, upstream: FakeUpstream, redis_server: redis.Redis
    ) -> None:
        """NB-08: the row is the truth, the broker's message is not."""
        upstream.script(GOLDEN)
        id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
        redis_server.flushdb()
        Generation.objects.update(created_at=timezone.now() - timedelta(seconds=11))
        with WorkerProcess():
            tidy_kept()
            assert ended(box, id_)["status"] == "completed"


def requeue() -> None:
    """Send every generation's message again, as a broker may."""
    for row in Generation.objects.all():
        make_generation.delay(str(row.id))

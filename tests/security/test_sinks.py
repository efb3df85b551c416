"""Prompts and keys stay where they belong: in no log, table, queue, file or page in clear."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import psycopg.sql
import pytest
import redis
from django.db import connection
from django.utils import timezone

from accounts import keytext, promptlogging
from billing import grants
from common.pagination import Wanted
from proxy import prompts
from proxy.models import Generation, IdempotencyKey, PromptLog
from proxy.tasks import tidy_kept
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayProcess
from tests.fakes.upstream import FakeUpstream
from tests.fakes.worker import WorkerProcess
from tests.proxy import neuralbox
from tests.proxy.conftest import (  # noqa: F401 - fixtures
    Shop,
    add_model,
    hello,
    provider,
    shop,
    upstream,
)

pytestmark = pytest.mark.django_db(transaction=True)

PROMPT = "canary-of-a-prompt"
ANSWER = "canary-of-an-answer"
PROVIDERS_KEY = "upstream-key"
CHAT = "/v1/chat/completions"


# How each kind of value in Redis is read whole.
READ: dict[str, Callable[[redis.Redis, bytes], object]] = {
    "string": lambda server, name: server.get(name),
    "list": lambda server, name: server.lrange(name, 0, -1),
    "hash": lambda server, name: server.hgetall(name),
    "set": lambda server, name: server.smembers(name),
    "zset": lambda server, name: server.zrange(name, 0, -1),
    # Gone since its name was read: it had its time, or a worker has taken the message.
    "none": lambda server, name: None,
}


def shapes(canary: str) -> Iterator[bytes]:
    """A canary, and what encodings that are none of our sealing make of it."""
    yield canary.encode()
    yield canary.encode("utf-16-le")
    yield canary.encode().hex().encode()
    for shift in range(3):
        # Wherever in a text of base64 it may stand.
        yield base64.b64encode(b"x" * shift + canary.encode())[4:-4]


def stored() -> Iterator[tuple[str, bytes]]:
    """Everything in the database, table by table."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select relname from pg_class where relkind in ('r', 'p')"
            " and relnamespace = 'public'::regnamespace and not relispartition"
        )
        tables = [row[0] for row in cursor.fetchall()]
        assert len(tables) > 40
        for table in tables:
            query = psycopg.sql.SQL("select coalesce(string_agg(t::text, ' '), '') from {} t")
            cursor.execute(query.format(psycopg.sql.Identifier(table)))
            yield f"table {table}", cursor.fetchone()[0].encode()
        # What is binary is in these texts as hexadecimal digits.


def remembered(server: redis.Redis) -> Iterator[tuple[str, bytes]]:
    """Everything in Redis: names and values, whatever their kind."""
    for name in server.scan_iter(count=1000):
        yield "the name of a key in Redis", name
        yield f"Redis {name!r}", server.dump(name) or b""
        # Long texts are compressed in a dump: as they are read, too.
        kind = server.type(name)
        kind = kind if isinstance(kind, str) else kind.decode()
        yield f"Redis {name!r}", repr(READ[kind](server, name)).encode()


def written(*folders: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below folders."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                yield str(path), path.read_bytes()


def call_in_every_way(url: str, upstream: FakeUpstream, secret: str) -> list[str]:  # noqa: F811
    """Calls that end well and badly; return what was answered to those that ended badly."""
    headers = {"authorization": f"Bearer {secret}"}
    body = hello() | {"messages": [{"role": "user", "content": PROMPT}], "user": PROMPT}
    refusals = []
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
        upstream.script(fake.completion(ANSWER))
        good = client.post(CHAT, json=body, headers={"idempotency-key": "once"})
        assert ANSWER in good.text, good.text
        upstream.reset()
        stream = client.post(CHAT, json=body | {"stream": True})
        assert stream.status_code == 200
        for reply in (
            fake.answer({"error": {"message": PROMPT}}, status=400),
            fake.answer({"error": {"message": PROMPT}}, status=500),
            fake.answer(PROMPT.encode()),
            fake.hang_up(),
        ):
            upstream.script(reply)
            refusals.append(client.post(CHAT, json=body).text)
        for wrong in (
            {"json": body | {"model": "none"}},
            {"json": body | {"temperature": PROMPT}},
            {"json": body | {"max_tokens": -1}},
            {"content": f'{{"messages": "{PROMPT}'.encode()},
            {"content": b"{" + PROMPT.encode() * 10},
        ):
            refusals.append(client.post(CHAT, **wrong).text)
        query = {"key": secret, "q": PROMPT}
        for path in ("/nothing", "/v1/nothing", "/api/v1/nothing", "/dashboard/logs", "/login"):
            refusals.append(client.get(path, params=query).text)
            refusals.append(client.post(path, params=query, content=PROMPT.encode()).text)
        refusals.append(client.post("/v1/x", headers={"content-encoding": PROMPT}).text)
        upstream.script(fake.completion(ANSWER))
        made = client.post("/api/v2/generate", json=body | {"async": True}).json()
        deadline = time.monotonic() + 60
        while neuralbox.status(client, made["id"]).json()["status"] == "pending":
            assert time.monotonic() < deadline
            time.sleep(0.1)
    return refusals


def test_prompts_answers_and_keys_are_nowhere_in_clear(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
    redis_server: redis.Redis,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    grants.grant(workspace=shop.workspace, asset="TOK", amount=1000, reason="test")
    temporary, kept = tmp_path / "tmp", tmp_path / "var"
    temporary.mkdir()
    terms = {"TMPDIR": str(temporary), "DATA_DIR": str(kept), "LOG_LEVEL": "DEBUG"}
    unknown = keytext.mint(prefix="sk-tg-")
    canaries = (PROMPT, ANSWER, shop.secret, unknown, PROVIDERS_KEY)
    with GatewayProcess(**terms) as gateway, WorkerProcess(**terms):
        refusals = call_in_every_way(gateway.url, upstream, shop.secret)
        for bearer in (unknown, f"{shop.secret}x"):
            headers = {"authorization": f"Bearer {bearer}"}
            url = f"{gateway.url}{CHAT}"
            refused = httpx.post(url, headers=headers, timeout=30, trust_env=False)
            refusals.append(refused.text)
        logged = capfd.readouterr()
        sinks = [*stored(), *remembered(redis_server), *written(temporary, kept)]
    logged_at_the_end = capfd.readouterr()
    for said in (logged, logged_at_the_end):
        sinks += [("standard output", said.out.encode()), ("the log", said.err.encode())]
    assert "The gateway is up" in logged.err, "the log is looked at"
    for canary in canaries:
        for place, content in sinks:
            for shape in shapes(canary):
                assert shape not in content, (canary[:8], place)
        if canary not in (PROMPT, ANSWER):
            # A caller's own words may come back in what is wrong with them, a key never.
            assert all(canary not in text for text in refusals)


def test_what_was_kept_is_sealed_and_gone_after_its_time(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
    redis_server: redis.Redis,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    wish = promptlogging.Wish(enabled=True, days=3)
    promptlogging.change(workspace=shop.workspace, wish=wish, by=shop.user)
    grants.grant(workspace=shop.workspace, asset="TOK", amount=1000, reason="test")
    terms = {"TMPDIR": str(tmp_path), "DATA_DIR": str(tmp_path / "var"), "LOG_LEVEL": "DEBUG"}
    with GatewayProcess(**terms) as gateway, WorkerProcess(**terms):
        call_in_every_way(gateway.url, upstream, shop.secret)
    # Of a whole answer, a stream and what a worker made; of no refusal.
    kept = prompts.page(workspace=shop.workspace, query={}, wanted=Wanted(limit=10)).rows
    assert len(kept) == 3
    assert all(PROMPT in each.words.request for each in kept)
    assert sum(ANSWER in each.words.answer for each in kept) == 2
    sinks = [*stored(), *remembered(redis_server), *written(tmp_path)]
    sinks.append(("the log", capfd.readouterr().err.encode()))
    for canary in (PROMPT, ANSWER):
        for place, content in sinks:
            assert all(shape not in content for shape in shapes(canary)), (canary[:8], place)
    sealed = [bytes(each) for each in Generation.objects.values_list("sealed", flat=True) if each]
    sealed += [
        bytes(each) for each in IdempotencyKey.objects.values_list("answer", flat=True) if each
    ]
    assert len(sealed) >= 2
    sealed += [bytes(each) for each in PromptLog.objects.values_list("sealed", flat=True)]
    with connection.cursor() as cursor:
        for table in ("proxy_generation", "proxy_idempotencykey"):
            cursor.execute(
                f"update {table} set created_at = created_at - interval '40 days',"  # noqa: S608 - two names
                " expires_at = expires_at - interval '40 days'"
            )
    PromptLog.objects.update(created_at=timezone.now() - timedelta(days=3))
    tidy_kept()
    left = list(stored())
    assert not Generation.objects.exists()
    assert not IdempotencyKey.objects.exists()
    assert not PromptLog.objects.exists()
    for each in sealed:
        assert all(each.hex().encode() not in content for _, content in left)

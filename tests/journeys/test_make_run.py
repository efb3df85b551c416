"""What a newcomer does with `make run`: the official SDK, the dashboard, and a crash."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest

from tests.product import UP_WITHIN_S, Product, launch, until

STREAMS = 50
# After this a gateway is taken for dead (SILENT_AFTER_S), and a heartbeat more.
SILENT_S = 25
HELLO: list[Any] = [{"role": "user", "content": "Hello from the SDK"}]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    running = launch(folder=tmp_path_factory.mktemp("journey") / "var")
    yield running
    running.interrupt()


@pytest.fixture
def key(product: Product) -> str:
    """A key of the demo user that is not limited to the demo's pace."""
    return str(issue_key(product)["key"])


def issue_key(product: Product) -> dict[str, Any]:
    demo = product.demo
    words = ("--workspace", demo["workspace_id"], "--owner", demo["email"], "--rpm", "100000")
    return dict(json.loads(product.manage("issue_key", *words, "--scope", "chat", "--json")))


def books(product: Product) -> dict[str, Any]:
    return dict(json.loads(product.manage("verify_ledger", "--json")))


def usage(product: Product) -> list[dict[str, Any]]:
    """Return what the ledger knows of every call."""
    code = (
        "import json; from billing.models import Usage; from common import ids;"
        "print('ROWS' + json.dumps([[ids.form('req_', u.id), u.input_tokens, u.output_tokens,"
        " u.charged, u.source, u.state] for u in Usage.objects.all()]))"
    )
    said = product.manage("shell", "-c", code).rpartition("ROWS")[2]
    names = ("id", "input", "output", "charged", "source", "state")
    return [dict(zip(names, row, strict=True)) for row in json.loads(said)]


class TestTheOfficialSdk:
    def test_chats_and_streams_with_the_demo_key(self, product: Product) -> None:
        demo = product.demo
        with openai.OpenAI(base_url=demo["openai_base_url"], api_key=demo["api_key"]) as client:
            whole = client.chat.completions.create(model="sandbox/echo", messages=HELLO)
            chunks = list(
                client.chat.completions.create(model="sandbox/echo", messages=HELLO, stream=True)
            )

        assert whole.choices[0].message.content == "Hello from the SDK"
        told = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert told.split() == ["Hello", "from", "the", "SDK"]
        assert books(product)["ok"]

    def test_the_dashboard_shows_the_request_with_its_exact_price(
        self, product: Product, key: str
    ) -> None:
        with browser(product) as page, httpx.Client(timeout=30, trust_env=False) as caller:
            answer = caller.post(
                f"{product.demo['openai_base_url']}/chat/completions",
                headers={"authorization": f"Bearer {key}"},
                json={"model": "sandbox/lorem", "messages": HELLO, "max_tokens": 7},
            )
            overview = page.get("/dashboard").text

        assert answer.headers["x-request-id"] in overview
        assert answer.headers["x-tollgate-cost"] in overview


class TestAKeyDisabledInTheDashboard:
    def test_is_refused_on_the_very_next_request(self, product: Product) -> None:
        issued = issue_key(product)
        headers = {"authorization": f"Bearer {issued['key']}"}
        base = product.demo["openai_base_url"]
        body = {"model": "sandbox/echo", "messages": HELLO}
        with (
            browser(product) as page,
            httpx.Client(headers=headers, timeout=30, trust_env=False) as caller,
        ):
            assert caller.post(f"{base}/chat/completions", json=body).status_code == 200
            done = page.post(f"/dashboard/keys/{issued['id']}/disable", data=csrf(page))
            assert done.status_code in (200, 302), done.text[:500]
            paid = caller.post(f"{base}/chat/completions", json=body)
            free = caller.get(f"{base}/models")

        assert paid.json()["error"]["reason"] == "key_disabled"
        assert free.json()["error"]["reason"] == "key_disabled"


class TestAGatewayKilledInTheMiddleOfStreams:
    def test_comes_back_and_every_call_is_charged_exactly(self, product: Product, key: str) -> None:
        before = {row["id"] for row in usage(product)}
        first_pid = product.pids["web"]

        asyncio.run(streams_then_kill(product, key))
        killed_at = time.monotonic()
        until(lambda: product.get("/livez") == 200, within_s=UP_WITHIN_S)
        assert product.pids["web"] != first_pid
        # Nobody gives it up before: to ask meanwhile would only keep the machine busy.
        time.sleep(max(0.0, killed_at + SILENT_S - time.monotonic()))
        json.loads(product.manage("sweep", "--json"))

        assert books(product)["ok"]
        assert books(product)["holds_pending"] == 0
        rows = {row["id"]: row for row in usage(product) if row["id"] not in before}
        calls = product.folder / "sandbox-calls.jsonl"
        log = {line["request_id"]: line for line in map(json.loads, calls.read_text().splitlines())}
        assert len(rows) == STREAMS
        for name, row in rows.items():
            counted = (row["input"], row["output"])
            assert counted == (log[name]["prompt_tokens"], log[name]["completion_tokens"])
            assert row["charged"] > 0


async def streams_then_kill(product: Product, key: str) -> None:
    """Open streams through the sandbox and kill the gateway under them."""
    async with httpx.AsyncClient(
        base_url=product.demo["base_url"],
        headers={"authorization": f"Bearer {key}"},
        timeout=60,
        trust_env=False,
        limits=httpx.Limits(max_connections=STREAMS),
    ) as client:
        heard = [asyncio.Event() for _ in range(STREAMS)]
        calls = [asyncio.create_task(one_stream(client, n, heard[n])) for n in range(STREAMS)]
        async with asyncio.timeout(UP_WITHIN_S):
            await asyncio.gather(*(each.wait() for each in heard))
        os.kill(product.pids["web"], signal.SIGKILL)
        await asyncio.gather(*calls)


async def one_stream(client: httpx.AsyncClient, number: int, heard: asyncio.Event) -> None:
    body = {
        "model": "sandbox/lorem",
        "messages": [{"role": "user", "content": "word " * (number + 1)}],
        "max_tokens": 900,
        "stream": True,
        "sandbox": {"chunk_delay_ms": 20},
    }
    try:
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.status_code == 200
            async for _ in response.aiter_bytes():
                heard.set()
    except httpx.TransportError:
        return


@contextmanager
def browser(product: Product) -> Iterator[httpx.Client]:
    """Give a client that is signed in to the demo's dashboard."""
    with httpx.Client(
        base_url=product.demo["base_url"], follow_redirects=True, timeout=30, trust_env=False
    ) as page:
        sign_in(page, product)
        yield page


def sign_in(page: httpx.Client, product: Product) -> None:
    """Fill in the form."""
    form = page.get("/login")
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
    assert token is not None
    answer = page.post(
        "/login",
        data={
            "csrfmiddlewaretoken": token[1],
            "login": product.demo["email"],
            "password": product.demo["password"],
        },
        headers={"referer": f"{product.demo['base_url']}/login"},
    )
    assert answer.url.path == "/dashboard", answer.text[:500]


def csrf(page: httpx.Client) -> dict[str, str]:
    """Return the form field that every POST needs."""
    token = page.cookies.get("csrftoken") or ""
    return {"csrfmiddlewaretoken": token}

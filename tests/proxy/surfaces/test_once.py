"""Every paid endpoint keeps its answers for an ``Idempotency-Key``."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from billing import grants, invariants
from billing.pricing import Rates
from common import money
from proxy.gateway import SURFACES
from tests.fakes import upstream as fake
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello
from tests.proxy.surfaces.conftest import Sell

PAID = sorted(path for path, (method, _) in SURFACES.items() if method == "POST")
BODIES: dict[str, dict[str, Any]] = {
    "chat/completions": hello(),
    "completions": {"model": "test/tokens", "prompt": "Say hello."},
    "responses": {"model": "test/tokens", "input": "Say hello."},
    "embeddings": {"model": "test/embedding", "input": "hello"},
    "images/generations": {"model": "test/image", "prompt": "a cat"},
    "generate": hello(),
}


@pytest.fixture
def models(shop: Shop, sell: Sell, upstream: FakeUpstream) -> None:
    grants.grant(workspace=shop.workspace, asset="TOK", amount=300, reason="test")
    sell("test/embedding", kind="embedding", rates=Rates(prompt=1_000_000), context_length=100)
    sell("test/image", kind="image", rates=Rates(per_call=money.pico_from_usd("0.05")))
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    vector = {"object": "embedding", "index": 0, "embedding": [0.5]}
    upstream.script(
        fake.answer({"object": "list", "data": [vector], "usage": usage}), path="/embeddings"
    )
    upstream.script(
        fake.answer({"created": 1, "data": [{"b64_json": "aGk="}]}), path="/images/generations"
    )


@pytest.mark.parametrize("path", PAID)
def test_a_second_request_is_answered_from_the_first(
    client: httpx.Client, upstream: FakeUpstream, shop: Shop, path: str
) -> None:
    [body] = [body for end, body in BODIES.items() if path.partition("/v1/")[2] == end] or [
        body for end, body in BODIES.items() if path.endswith(f"/{end}")
    ][:1]
    headers = {"idempotency-key": "one"}

    first = client.post(path, json=body, headers=headers)
    again = client.post(path, json=body, headers=headers)

    assert first.status_code == 200, first.text
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["x-request-id"] == first.headers["x-request-id"]
    assert len(upstream.calls) == 1
    assert len(shop.usage) == 1
    assert invariants.check().ok

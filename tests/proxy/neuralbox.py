"""A shop for /api/v2/generate: a model at $3 / $15 per million, a customer with 300 tokens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from accounts import keys, signup
from accounts.models import Workspace
from billing import grants, invariants, ledger
from billing.pricing import Rates
from proxy.models import Generation
from proxy.tasks import make_generation
from tests.fakes import upstream as fake
from tests.fakes.worker import WorkerProcess
from tests.proxy.conftest import AddModel, Shop

URL = "/api/v2/generate"
CLAUDE = "claude-sonnet-4.5"
GOLDEN = fake.completion("Privet!", prompt_tokens=142, completion_tokens=387)


@pytest.fixture
def sold(shop: Shop, add_model: AddModel) -> None:
    """Sell a model at $3 / $15 per million to a workspace with 300 tokens."""
    rates = Rates(prompt=3_000_000, completion=15_000_000)
    add_model("anthropic/claude-sonnet-4.5", rates=rates, alias=CLAUDE, max_output_tokens=500)
    give(shop.workspace, 300)


@pytest.fixture
def box(sold: None, client: httpx.Client) -> httpx.Client:
    return client


@pytest.fixture
def worker(box: httpx.Client) -> Iterator[WorkerProcess]:
    with WorkerProcess() as worker:
        yield worker


@pytest.fixture(autouse=True)
def books(transactional_db: None) -> Iterator[None]:
    yield
    report = invariants.check()
    assert report.ok, report


def give(workspace: Workspace, tokens: int) -> None:
    grants.grant(workspace=workspace, asset="TOK", amount=tokens, reason="test", paid=True)


def ask(text: str = "Hello!", **fields: object) -> dict[str, Any]:
    return {"model": CLAUDE, "messages": [{"role": "user", "content": text}], **fields}


def status(client: httpx.Client, generation_id: str) -> httpx.Response:
    return client.get(f"{URL}/status", params={"id": generation_id})


def ended(client: httpx.Client, generation_id: str, *, within_s: float = 60) -> dict[str, Any]:
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


def requeue() -> None:
    """Send every generation's message again, as a broker may."""
    for row in Generation.objects.all():
        make_generation.delay(str(row.id))

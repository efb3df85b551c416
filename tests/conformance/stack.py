"""One real stack for all clients: `make run`, and a scripted provider in its catalogue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import openai
import yaml

from tests.fakes import assistant, upstream
from tests.fakes.steps import Call
from tests.fakes.upstream import FakeUpstream, Reply
from tests.product import Product, launch, until

MODEL = "openai/gpt-4o"
ALIAS = "gpt-4o"
SLOW_S = 1.0
PRICE = {"prompt": "1.00", "completion": "2.00"}
# A call of fake/dear costs more than the demo has; the other prices are under it.
PER_CALL = {"fake/dear": "1000", "fake/slow": "0.01"}
FAKES = ("fake/dear", "fake/slow", "fake/broken", "fake/cut", "fake/silent")
CUT_AFTER_BYTES = 600
NEXT_TO_NOTHING = "0.000001"
# Under it fits a call of fake/slow or a chat, not the one beside the other.
ONE_AT_A_TIME = "0.0103"


@dataclass(frozen=True, slots=True)
class Stack:
    """What a client is told, whatever language it is written in."""

    base_url: str
    key: str
    paced_key: str
    capped_key: str
    shared_key: str
    narrow_key: str
    model: str = MODEL
    alias: str = ALIAS
    embedding_model: str = "sandbox/embedding"
    image_model: str = "sandbox/image"
    slow_s: float = SLOW_S

    def told(self) -> str:
        """Return it as JSON, for programs."""
        return json.dumps(asdict(self))


@contextmanager
def standing(folder: Path) -> Iterator[tuple[Stack, FakeUpstream]]:
    """Give a stack that runs, and the provider behind it."""
    with FakeUpstream() as provider:
        script(provider)
        product = launch(folder=folder)
        try:
            sell(product, provider)
            yield describe(product), provider
        finally:
            product.interrupt()


def script(provider: FakeUpstream) -> None:
    """Tell the provider how each of its models behaves."""
    provider.script(assistant.reply)
    provider.script(upstream.error(500, "Broken."), model="broken")
    provider.script(upstream.silence(), model="silent")
    provider.script(cut, model="cut")
    provider.script(slow, model="slow")


def cut(call: Call) -> Reply:
    """Begin an answer and break off."""
    return upstream.cut_at(upstream.stream(("never", " ends") * 10), CUT_AFTER_BYTES)


def slow(call: Call) -> Reply:
    """Fail after a while, so that nothing is charged of what was held."""
    return [upstream.Pause(SLOW_S), *upstream.error(500, "Slow and broken.")]


def sell(product: Product, provider: FakeUpstream) -> None:
    """Put the provider's models up for sale, as an operator does; wait until they are."""
    file = product.folder / "conformance.yaml"
    file.write_text(yaml.safe_dump(catalogue(provider.base_url)))
    product.manage("load_catalogue", str(file))
    until(lambda: knows(product, MODEL))


def knows(product: Product, model: str) -> bool:
    """Whether the gateway has heard of a model."""
    with openai.OpenAI(
        base_url=product.demo["openai_base_url"], api_key=product.demo["api_key"]
    ) as client:
        return any(each.id == model for each in client.models.list())


def catalogue(base_url: str) -> dict[str, Any]:
    """Return the catalogue's file."""
    provider = {
        "slug": "fake",
        "kind": "openai",
        "base_url": base_url,
        "api_key": "provider-key",
        "on_disconnect": "cancel",
    }
    models = [_model(MODEL, ALIAS, aliases=[ALIAS])]
    models += [_model(slug, slug.removeprefix("fake/")) for slug in FAKES]
    return {"providers": [provider], "models": models}


def describe(product: Product) -> Stack:
    """Return what clients need to know."""
    free = ("--rpm", "100000")
    key, paced, capped, shared, narrow = issue(
        product,
        free,
        ("--rpm", "60"),
        (*free, "--daily-usd", NEXT_TO_NOTHING),
        (*free, "--daily-usd", ONE_AT_A_TIME),
        (*free, "--scope", "embeddings"),
    )
    return Stack(
        base_url=product.demo["openai_base_url"],
        key=key,
        paced_key=paced,
        capped_key=capped,
        shared_key=shared,
        narrow_key=narrow,
    )


def issue(product: Product, *several: tuple[str, ...]) -> list[str]:
    """Return new keys of the demo's workspace, all made in one process."""
    given = ("--workspace", product.demo["workspace_id"], "--json")
    code = "from django.core.management import call_command\n"
    code += "".join(f"call_command('issue_key', *{given + terms!r})\n" for terms in several)
    said = product.manage("shell", "--no-imports", "-c", code).splitlines()
    return [str(json.loads(line)["key"]) for line in said]


def _model(slug: str, upstream_model: str, **terms: Any) -> dict[str, Any]:
    price = {"per_call": PER_CALL[slug]} if slug in PER_CALL else PRICE
    return {
        "slug": slug,
        "kind": "chat",
        "context_length": 8000,
        "max_output_tokens": 1000,
        "max_image_tokens": 100,
        "capabilities": ["vision", "tools", "json_schema"],
        "price": price,
        "routes": [{"provider": "fake", "upstream_model": upstream_model, "cost": price}],
        **terms,
    }

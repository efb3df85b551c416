"""Who buys and what is sold in one run, made with the operator's own commands."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management import call_command

from accounts.models import Workspace
from tests.chaos.provider import COMPLETION_NANOS, OUR_NANOS, PROMPT_NANOS

CATALOGUE = """
providers:
  - {{slug: looked, kind: sandbox, base_url: {url}/looked/v1, api_key: secret,
      on_disconnect: cancel, generation_lookup: sandbox}}
  - {{slug: plain, kind: sandbox, base_url: {url}/plain/v1, api_key: secret,
      on_disconnect: drain, generation_lookup: none}}
models:
"""
MODEL = """
  - slug: chaos/{name}
    kind: chat
    context_length: 8000
    max_output_tokens: 400
    price: {{prompt: "{prompt}", completion: "{completion}"}}
    routes: {routes}
"""
ROUTE = (
    "{{provider: {name}, upstream_model: {name}, priority: {priority}, "
    "cost: {{prompt: '{cost}', completion: '{cost}'}}}}"
)
MODELS = {"looked": ("looked",), "plain": ("plain",), "both": ("looked", "plain")}
FIXED_CAP_NANOS = 3_000_000


@dataclass(frozen=True, slots=True)
class Customer:
    """One workspace with a key."""

    name: str
    workspace: str
    workspace_pk: int
    key_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Market:
    """The customers; some of them are there to be stopped."""

    buyers: tuple[Customer, ...]
    capped: Customer
    lowered: Customer
    disabled: Customer
    far: Customer

    @property
    def all(self) -> tuple[Customer, ...]:
        """Everybody who calls at all times."""
        return (*self.buyers, self.capped, self.lowered, self.disabled)


def ask(*command: str) -> dict[str, Any]:
    """Run a management command and return its answer."""
    out = io.StringIO()
    call_command(*command, "--json", stdout=out)
    return dict(json.loads(out.getvalue()))


def open_market(*, upstream_url: str, folder: Path) -> Market:
    """Make the catalogue and the customers."""
    path = folder / "catalogue.yaml"
    path.write_text(catalogue(upstream_url))
    call_command("load_catalogue", str(path), stdout=io.StringIO())
    market = Market(
        buyers=tuple(customer(f"buyer-{number}") for number in range(3)),
        capped=customer("capped"),
        lowered=customer("lowered"),
        disabled=customer("disabled"),
        far=customer("far"),
    )
    ask("set_limits", "--workspace", market.capped.workspace, "--daily-usd", "0.003")
    return market


def catalogue(upstream_url: str) -> str:
    """Return the YAML of what is sold."""
    usd = {"prompt": f"{PROMPT_NANOS / 1000:g}", "completion": f"{COMPLETION_NANOS / 1000:g}"}
    text = CATALOGUE.format(url=upstream_url)
    for name, providers in MODELS.items():
        routes = ", ".join(
            ROUTE.format(name=p, priority=n, cost=OUR_NANOS / 1000) for n, p in enumerate(providers)
        )
        text += MODEL.format(name=name, routes=f"[{routes}]", **usd)
    return text


def customer(name: str) -> Customer:
    """Make a user with money and a key without narrow limits."""
    made = ask(
        "create_user",
        "--email",
        f"{name}@example.com",
        "--password",
        "a-long-pass-word",
        "--verified",
    )
    workspace = made["workspace_id"]
    ask("grant", "--workspace", workspace, "--usd", "1000", "--reason", "chaos", "--paid")
    ask("grant", "--workspace", workspace, "--tokens", "100000", "--reason", "chaos")
    ask("set_limits", "--workspace", workspace, "--daily-usd", "none", "--monthly-usd", "none")
    key = ask("issue_key", "--workspace", workspace, "--scope", "chat", "--rpm", "100000")
    pk = Workspace.objects.get(public_id=workspace).pk
    return Customer(name, workspace, pk, key["id"], key["key"])

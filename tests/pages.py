"""People, keys and requests for tests of pages, and a parser that sees what a browser refuses."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser
from uuid import UUID

from django.test import Client
from django.utils import timezone

from accounts import keys, signup
from accounts.models import ApiKey, User, Workspace
from billing import ledger, prices
from billing.models import Usage
from billing.pricing import Rates
from common import ids
from proxy.models import Model, Provider, Route

PASSWORD = "a-long-enough-pass"
PAST = datetime(2026, 1, 1, tzinfo=UTC)
# The request that was made last.
LAST = [UUID(int=0)]


def person(name: str, *, verified: bool = True) -> User:
    """Somebody who signed up."""
    return signup.register(email=f"{name}@example.com", password=PASSWORD, verified=verified)


def home(user: User) -> Workspace:
    """Somebody's personal workspace."""
    return Workspace.objects.get(personal_of=user)


def browser(user: User | None = None, *, workspace: Workspace | None = None) -> Client:
    """A browser in which somebody is signed in and has chosen a workspace."""
    client = Client()
    if user is not None:
        client.force_login(user)
    if workspace is not None:
        answer = client.post("/dashboard/workspace", {"workspace": workspace.public_id})
        assert answer.status_code == 302
    return client


def make_key(user: User, *workspaces: Workspace, name: str = "key", **terms: object) -> ApiKey:
    """A key of a person, by default for chat at home."""
    places = workspaces or (home(user),)
    wanted = {"scopes": ["chat"]} | terms
    return keys.create(name=name, workspaces=places, user=user, by=user, **wanted)[0]  # type: ignore[arg-type]


def sell(slug: str, **terms: object) -> Model:
    """A model that is for sale for $1 and $2 per million tokens."""
    provider, _ = Provider.objects.get_or_create(
        slug="first", defaults={"kind": "openai", "base_url": "http://127.0.0.1:9/v1"}
    )
    fields = {"kind": "chat", "context_length": 8000, "max_output_tokens": 1000} | terms
    model = Model.objects.create(slug=slug, name=slug.upper(), owned_by="tests", **fields)
    Route.objects.create(model=model, provider=provider, upstream_model=slug)
    rates = Rates(prompt=1_000_000, completion=2_000_000)
    prices.set_price(subject=slug, role="retail", rates=rates, now=PAST)
    return model


def next_id() -> UUID:
    """A new request's id, above the one before it, also where both are of one millisecond."""
    made = ids.request_id()
    if made.int >> 80 == LAST[0].int >> 80:
        made = max(made, UUID(int=LAST[0].int + 1))
    LAST[0] = made
    return made


def closed_request(key: ApiKey, workspace: Workspace, **facts: object) -> Usage:
    """A request of a key as its closed hold."""
    now = timezone.now()
    row = {
        "id": next_id(),
        "day": now.date(),
        "workspace": workspace,
        "key": key,
        "account_id": ledger.open_accounts(workspace_id=workspace.pk).usd_id,
        "asset": "USD",
        "unit_nanos": 1,
        "hold": 10**9,
        "granted": 0,
        "charged": 123,
        "uncollected": 0,
        "cost": 123,
        "state": "settled",
        "unknown": False,
        "source": "provider",
        "model": "test/model",
        "served": "test/model",
        "provider": "first",
        "surface": "chat",
        "stream": False,
        "cancelled": False,
        "status": 200,
        "reason": "",
        "input_tokens": 7,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": 5,
        "reasoning_tokens": 0,
        "pictures": 0,
        "picture_size": "",
        "picture_quality": "",
        "searches": 0,
        "created_at": now,
        "closed_at": now,
        "latency_ms": 42,
        "upstream_cost": 0,
    }
    return Usage.objects.create(**(row | facts))


class Inline(HTMLParser):
    """Collects what a policy without 'unsafe-inline' refuses, and what comes from elsewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        named = dict(attrs)
        if tag == "style":
            self.found.append("<style>")
        if tag == "script" and "src" not in named and named.get("type") != "application/json":
            self.found.append("inline <script>")
        for name, value in named.items():
            if name == "style" or name.startswith(("on", "hx-on")):
                self.found.append(f"{tag} {name}")
            if name in ("src", "href") and (value or "").startswith(("http:", "https:", "//")):
                self.found.append(f"{tag} {name}={value}")

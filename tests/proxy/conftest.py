"""A small shop: one customer with money and a key, two models, a scripted upstream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import httpx
import pytest

from accounts import keys, signup
from accounts.models import ApiKey, User, Workspace
from billing import grants, ledger, prices
from billing.models import Hold, Usage
from billing.pricing import Rates
from common import crypto, ids, money
from proxy.models import Attempt, Model, ModelAlias, Provider, Route
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream

PAST = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Shop:
    """What a test needs to buy and to look behind the counter."""

    user: User
    workspace: Workspace
    key: ApiKey
    secret: str
    routes: dict[str, Route] = field(default_factory=dict)

    def fund(self, usd: str) -> None:
        """Give the workspace paid money."""
        grants.grant(
            workspace=self.workspace,
            asset="USD",
            amount=money.nanos_from_usd(usd),
            reason="test",
            paid=True,
        )

    def take(self, usd: str) -> None:
        """Take paid money away again."""
        ledger.post(
            ledger.Transfer(
                kind="test",
                source=ids.request_id(),
                debit=ledger.open_accounts(workspace_id=self.workspace.pk).usd_id,
                credit=ledger.house_account(kind="adjustment", asset="USD"),
                asset="USD",
                amount=money.nanos_from_usd(usd),
            )
        )

    def new_key(self, *, name: str = "another", **terms: object) -> tuple[ApiKey, str]:
        """Make one more key."""
        return keys.create(
            name=name,
            workspaces=[self.workspace],
            user=self.user,
            by=self.user,
            **({"scopes": ["chat", "models:read"]} | terms),  # type: ignore[arg-type]
        )

    def provider_cancels(self) -> None:
        """Let all providers stop billing when a call is cancelled."""
        Provider.objects.update(on_disconnect="cancel")

    @property
    def balance(self) -> ledger.Balance:
        """The workspace's US dollars."""
        return ledger.balance(workspace_id=self.workspace.pk, asset="USD")

    @property
    def usage(self) -> list[Usage]:
        """Its closed holds, oldest first."""
        return list(Usage.objects.filter(workspace_id=self.workspace.pk).order_by("id"))

    @property
    def last(self) -> Usage:
        """Its newest closed hold."""
        return self.usage[-1]

    @property
    def holds(self) -> int:
        """How many of its holds are open."""
        return Hold.objects.filter(workspace_id=self.workspace.pk).count()

    def attempts(self, request_id: UUID) -> list[Attempt]:
        """The attempts of one request in order."""
        return list(Attempt.objects.filter(request_id=request_id).order_by("n"))


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
def provider(transactional_db: None, upstream: FakeUpstream) -> Provider:
    return make_provider("first", upstream.base_url)


def make_provider(slug: str, base_url: str, **terms: str) -> Provider:
    sealed, key_id = crypto.seal(b"upstream-key")
    return Provider.objects.create(
        slug=slug,
        kind=terms.pop("kind", "openai"),
        base_url=base_url,
        api_key_encrypted=sealed,
        api_key_key_id=key_id,
        **terms,
    )


AddModel = Callable[..., Model]


@pytest.fixture
def add_model(provider: Provider) -> AddModel:
    def add(
        slug: str,
        *,
        rates: Rates,
        providers: tuple[Provider, ...] = (),
        alias: str | None = None,
        **terms: object,
    ) -> Model:
        fields = {"context_length": 8000, "max_output_tokens": 1000, "prompt_overhead_tokens": 10}
        model = Model.objects.create(
            slug=slug, name=slug, owned_by="tests", kind="chat", **(fields | terms)
        )
        if alias:
            ModelAlias.objects.create(alias=alias, model=model)
        prices.set_price(subject=slug, role="retail", rates=rates, now=PAST)
        for priority, each in enumerate(providers or (provider,)):
            Route.objects.create(
                model=model, provider=each, upstream_model=f"up-{slug}", priority=priority
            )
        return model

    return add


@pytest.fixture
def shop(transactional_db: None, add_model: AddModel) -> Shop:
    """A funded customer; ``test/tokens`` costs $1 / $2 per million, ``test/call`` $0.01 a call."""
    add_model("test/tokens", rates=Rates(prompt=1_000_000, completion=2_000_000), alias="tokens")
    add_model("test/call", rates=Rates(per_call=money.pico_from_usd("0.01")))
    user = signup.register(email="alice@example.com", password="a-long-pass-word", verified=True)
    workspace = Workspace.objects.get(personal_of=user)
    key, secret = keys.create(
        name="key", workspaces=[workspace], user=user, by=user, scopes=["chat", "models:read"]
    )
    shop = Shop(user=user, workspace=workspace, key=key, secret=secret)
    shop.fund("10")
    return shop


@pytest.fixture
def gateway(shop: Shop) -> Iterator[GatewayServer]:
    with GatewayServer() as gateway:
        yield gateway


@pytest.fixture
def client(gateway: GatewayServer, shop: Shop) -> Iterator[httpx.Client]:
    with gateway.client(shop.secret) as client:
        yield client


def request_id(response: httpx.Response) -> UUID:
    """Return the id a response was given."""
    found = ids.parse_request(response.headers["x-request-id"])
    assert found is not None
    return found


def hello(model: str = "test/tokens", **fields: object) -> dict[str, object]:
    """Return a small request body."""
    messages = [{"role": "user", "content": "Say hello."}]
    return {"model": model, "messages": messages, **fields}

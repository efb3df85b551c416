"""
What right requests name: a workspace with one of everything, a fake Stripe and a fake chain.

What a request uses up (a card, an invitation, a workspace that is closed) is made anew for the
next one, so every operation can be seen to succeed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from django.core import mail
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts import invitations, keys, members, service_accounts, signup, webhooks, workspaces
from accounts.models import AuditEvent, User, WebhookEndpoint, Workspace
from billing.chains import exchange, wallets
from billing.models_tokens import TokenPackage
from common import crypto, ids
from proxy import api_exportkinds, exports
from proxy.models import Export, PromptLog
from tests import pages
from tests.api.conftest import another_session
from tests.billing.chains import counter
from tests.billing.chains.counter import USDC, USDT, Counter
from tests.billing.stripe.payer import Payer
from tests.fakes.evm import FakeChain
from tests.fakes.stripe.process import FakeStripe
from tests.proxy.conftest import Shop

COINS = 10**12


@contextmanager
def chain(settings: Settings, folder: Path) -> Iterator[Counter]:
    """A chain that pays, watched, with a price for its coins."""
    with FakeChain(decimals={USDC: 6, USDT: 6}) as fake:
        urls = [fake.endpoint().url, fake.endpoint().url]
        counter.configure(settings, folder, counter.plan(urls))
        counter.set_wallet()
        counter.quote("USDC", "1")
        made = Counter(fake)
        assert made.look().trouble == ""
        yield made


def cookies(user: User) -> dict[str, str]:
    """The headers of a browser in which somebody is signed in."""
    client, token = Client(), "c" * 32
    client.force_login(user)
    session = client.cookies["sessionid"].value
    return {"cookie": f"sessionid={session}; csrftoken={token}", "x-csrftoken": token}


class Seeds:
    """Names what exists, by the names of parameters and of fields."""

    def __init__(self, shop: Shop, stripe: FakeStripe, coins: Counter) -> None:
        self.shop, self.numbers = shop, count()
        TokenPackage.objects.create(slug="small", name="Small", tokens=10, price_nanos=5 * 10**9)
        self.payer = Payer(stripe, shop.user, shop.workspace)
        self.paid = self.payer.pay(4000)
        self.card = self.card_id()
        self.friend = pages.person("friend")
        address = wallets.give(workspace=shop.workspace)
        exchange.set_keep(address=address, keep=True)
        coins.chain.mine(coins.pay(address, COINS))
        coins.chain.finalise()
        assert coins.look().new == 1
        self.coin = coins.asset("USDC")

    def name(self) -> str:
        """A name that nothing has."""
        return f"n{next(self.numbers)}"

    def email(self) -> str:
        """An address that nobody has."""
        return f"e{next(self.numbers)}@example.com"

    def token(self) -> str:
        """What stands in the link of an invitation to somebody else's workspace."""
        place = workspaces.create(owner=self.friend, name=self.name(), by=self.friend)
        address = self.shop.user.email
        invitations.create(workspace=place, email=address, role="viewer", by=self.friend)
        return str(mail.outbox[-1].body).split("/invitations/")[1].split()[0]

    def top_up_id(self) -> str:
        """A payment of which enough can go back."""
        return self.paid.public_id

    def card_id(self) -> str:
        """A saved card to remove."""
        return self.payer.save_card().public_id

    def session_id(self) -> str:
        """Another browser of the person."""
        return str(another_session(self.shop.user).pk)

    def workspace_id(self) -> str:
        """The workspace."""
        return self.shop.workspace.public_id

    def passing_workspace_id(self) -> str:
        """A workspace that can be left or closed."""
        place: Workspace = workspaces.create(owner=self.shop.user, name=self.name(), by=None)
        members.add(workspace=place, user=self.friend, role="owner", by=None)
        return place.public_id

    def key_id(self) -> str:
        """A key."""
        return self.shop.new_key(scopes=["chat"])[0].public_id

    def member_id(self) -> str:
        """A member."""
        user = signup.register(email=self.email(), password="a-long-pass-1")
        place = self.shop.workspace
        return members.add(workspace=place, user=user, role="viewer", by=None).public_id

    def service_account_id(self) -> str:
        """A service account."""
        return service_accounts.create(
            workspace=self.shop.workspace, name=self.name(), role="viewer", by=None
        ).public_id

    def invitation_id(self) -> str:
        """An open invitation."""
        return invitations.create(
            workspace=self.shop.workspace, email=self.email(), role="viewer", by=None
        ).public_id

    def event_id(self) -> str:
        """An event of the audit log."""
        keys.disable(key=self.shop.new_key(scopes=["chat"])[0], by=None)
        return AuditEvent.objects.filter(workspace=self.shop.workspace)[0].public_id

    def webhook_id(self) -> str:
        """A webhook; a workspace has few of them."""
        WebhookEndpoint.objects.all().delete()
        self.webhook, _ = webhooks.create(
            workspace=self.shop.workspace,
            url="https://hooks.example.com/",
            events=["key.created"],
            by=None,
        )
        return self.webhook.public_id

    def delivery_id(self) -> str:
        """A delivery to the webhook that is named before it."""
        return webhooks.send_test(endpoint=self.webhook, by=None).public_id

    def request_id(self) -> str:
        """A request whose words were kept."""
        usage = pages.closed_request(self.shop.key, self.shop.workspace)
        sealed, key_id = crypto.seal(json.dumps({"request": '"a"', "answer": '"b"'}).encode())
        PromptLog.objects.create(
            id=usage.id,
            workspace_id=self.shop.workspace.pk,
            key_id=self.shop.key.pk,
            sealed=sealed,
            sealed_key_id=key_id,
            bytes=1,
            created_at=timezone.now(),
        )
        return ids.form("req_", usage.id)

    def export_id(self) -> str:
        """A file that is built."""
        Export.objects.all().delete()
        made = exports.create(
            workspace=self.shop.workspace, kind="logs", query={}, rows_expected=None, by=None
        )
        api_exportkinds.build(public_id=made.public_id)
        return made.public_id

    def correct(self, operation: str, body: dict[str, Any]) -> None:
        """Give the fields of a body values that are right here; it keeps its form."""
        for name in ("version", "expires_at", "workspaces", "service_account_id", "external_id"):
            body.pop(name, None)
        right: dict[str, Any] = {
            "name": self.name(),
            "scopes": ["chat"],
            "models": None,
            "rpm": 1,
            "ips": [],
            "role": "viewer",
            "email": self.email(),
            "language": "en",
            "time_zone": "UTC",
            "package": "small",
            "price_usd": "5",
            "daily_usd": "1",
            "monthly_usd": "1",
            "low_balance_usd": "1",
            "filter": {},
            "amount_usd": "20",
            "threshold_usd": "0.5",
            "monthly_limit_usd": "100",
            "enabled": bool(next(self.numbers) % 2),
            "url": "https://hooks.example.com/in",
            "asset": self.coin,
        }
        if "kind" in body:
            body["filter"] = {}
        body.update({name: right[name] for name in right if name in body})
        getattr(self, f"_{operation}", dict)(body)

    def _create_top_up(self, body: dict[str, Any]) -> None:
        if "package" in body or "amount_usd" not in body:
            body.pop("amount_usd", None)
            body["package"] = "small"
        if "card" in body:
            body["card"] = self.card

    def _set_auto_top_up(self, body: dict[str, Any]) -> None:
        body["card"] = self.card if body["enabled"] else None

    def _create_refund(self, body: dict[str, Any]) -> None:
        body["amount_usd"] = "0.01"

    def _update_prompt_logging(self, body: dict[str, Any]) -> None:
        body.pop("delete_kept", None)
        body.update({"enabled": True, "days": 7})

    def _convert_crypto(self, body: dict[str, Any]) -> None:
        body["amount"] = "0.5"

    def _accept_invitation(self, body: dict[str, Any]) -> None:
        body["token"] = self.token()

"""A customer with accounts and a key, and the SQL functions as the gateway calls them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from django.db import connection

from accounts.models import ApiKey, ApiKeyWorkspace, ServiceAccount, Tier, Workspace
from billing import grants, ledger
from billing.models import Account, Hold, KeyMeter, Transfer, Usage
from common import ids

Item = dict[str, Any]
Answer = dict[str, Any]
Run = Callable[[str, list[Any]], Any]


def run_django(statement: str, parameters: list[Any]) -> Any:
    """Run a statement on Django's connection and return its one value."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()[0]


def run_on(own: psycopg.Connection[Any]) -> Run:
    """Run statements on a connection of its own, each committed."""

    def run(statement: str, parameters: list[Any]) -> Any:
        row = own.execute(statement, parameters).fetchone()
        assert row is not None
        return row[0]

    return run


def connect() -> psycopg.Connection[Any]:
    """Open another connection to the test database."""
    settings = connection.get_connection_params()
    names = ("host", "port", "user", "password", "dbname")
    given = {name: settings[name] for name in names if name in settings}
    return psycopg.connect(**given, autocommit=True)


def admit(*items: Item, careful: bool = False, run: Run = run_django) -> list[Answer]:
    """Call billing_admit."""
    answers: list[Answer] = json.loads(run(ledger.ADMIT, [json.dumps(items), careful]))
    return answers


def settle(*items: Item, careful: bool = False, run: Run = run_django) -> list[Answer]:
    """Call billing_settle."""
    answers: list[Answer] = json.loads(run(ledger.SETTLE, [json.dumps(items), careful]))
    return answers


def revise(item: Item, *, run: Run = run_django) -> Answer:
    """Call billing_revise."""
    answer: Answer = json.loads(run(ledger.REVISE, [json.dumps(item)]))
    return answer


def repeat(call: str, day: str, *, run: Run = run_django) -> None:
    """Call billing_repeat."""
    run(ledger.REPEAT, [call, day])


def void(*ids_: str, run: Run = run_django) -> list[str]:
    """Call billing_void and return its verdicts."""
    return [answer["v"] for answer in json.loads(run(ledger.VOID, [list(ids_), False]))]


def expire(*ids_: str, run: Run = run_django) -> list[str]:
    """Call billing_expire and return its verdicts."""
    return [answer["v"] for answer in json.loads(run(ledger.EXPIRE, [list(ids_), False, True]))]


def verdicts(answers: list[Answer]) -> list[str]:
    """Return the verdicts alone."""
    return [answer["v"] for answer in answers]


def set_clock(now: datetime) -> None:
    """Put the clock of money at a time; a test's rollback puts it back."""
    with connection.cursor() as cursor:
        cursor.execute(
            "create or replace function billing_now() returns timestamptz"
            f" language sql volatile as $$ select timestamptz '{now.isoformat()}' $$"
        )


@dataclass(slots=True)
class Customer:
    """A workspace with one key."""

    workspace: Workspace
    key: ApiKey
    usd: int
    tok: int
    asked: dict[str, Item] = field(default_factory=dict)

    def ask(self, want: int, need: int | None = None, **changes: Any) -> Item:
        """Return an item of billing_admit."""
        tokens = changes.pop("tokens", False)
        return {
            "id": str(ids.request_id()),
            "account": self.tok if tokens else self.usd,
            "usd_account": self.usd,
            "workspace": self.workspace.pk,
            "key": self.key.pk,
            "version": self.key.version,
            "want": want,
            "need": want if need is None else need,
            "unit": 2_500_000 if tokens else 1,
            "ttl": 660,
            "process": 1,
            "model": "sandbox/echo",
            "price": None,
        } | changes

    def hold(self, want: int, **changes: Any) -> tuple[str, str]:
        """Take a hold and return its id and day."""
        item = self.ask(want, **changes)
        [answer] = admit(item)
        assert answer["v"] == "ok", answer
        return item["id"], answer["day"]

    def use(self, cost: int, *, want: int | None = None, **facts: Any) -> Answer:
        """Hold, then settle."""
        tokens = facts.pop("tokens", False)
        hold_id, day = self.hold(want or cost, tokens=tokens)
        [answer] = settle(bill(hold_id, cost, day=day, **facts))
        return answer

    def home(self, asset: str = "USD") -> Account:
        """Return the home account as it is now."""
        return Account.objects.get(workspace=self.workspace, kind="paid", asset=asset)

    def meter(self) -> KeyMeter:
        """Return the key's meter as it is now."""
        return KeyMeter.objects.get(pk=self.key.pk)

    def balance(self, asset: str = "USD") -> ledger.Balance:
        """Return the balance."""
        return ledger.balance(workspace_id=self.workspace.pk, asset=asset)

    def usage(self) -> list[Usage]:
        """Return the closed calls, oldest first."""
        return list(Usage.objects.filter(workspace=self.workspace).order_by("id"))

    def holds(self) -> list[Hold]:
        """Return the calls in flight."""
        return list(Hold.objects.filter(workspace_id=self.workspace.pk))

    def caps(self, **caps: int | None) -> None:
        """Set caps: ws_day, ws_month, key_day, key_month."""
        home = {f"{n[3:]}_cap": v for n, v in caps.items() if n.startswith("ws_")}
        meter = {f"{n[4:]}_cap": v for n, v in caps.items() if n.startswith("key_")}
        if home:
            Account.objects.filter(pk=self.usd).update(**home)
        if meter:
            KeyMeter.objects.filter(pk=self.key.pk).update(**meter)


def bill(hold_id: str, cost: int, *, state: str = "settled", **facts: Any) -> Item:
    """Return an item of billing_settle."""
    return {"id": hold_id, "state": state, "cost": cost, "source": "provider"} | facts


def legs(source: str) -> dict[str, int]:
    """Return the transfers of one request by kind."""
    return dict(Transfer.objects.filter(source=source).values_list("kind", "amount"))


def customer(
    *, usd: int = 0, granted: int = 0, tokens: int = 0, granted_tokens: int = 0
) -> Customer:
    """Make a customer with money and without caps."""
    tier = Tier.objects.get(is_default=True)
    workspace = Workspace.objects.create(name="Customer", tier=tier)
    robot = ServiceAccount.objects.create(workspace=workspace, name="robot", role="developer")
    key = ApiKey.objects.create(
        name="key",
        prefix="sk-tg-",
        last4="last",
        digest=secrets.token_bytes(32),
        pepper_id="1",
        service_account=robot,
        scopes=["chat"],
    )
    ApiKeyWorkspace.objects.create(key=key, workspace=workspace)
    key.refresh_from_db()
    accounts = ledger.open_accounts(workspace_id=workspace.pk)
    ledger.open_meter(key_id=key.pk)
    made = Customer(workspace=workspace, key=key, usd=accounts.usd_id, tok=accounts.tok_id)
    made.caps(ws_day=None, ws_month=None, key_day=None, key_month=None)
    for asset, amount, paid in (
        ("USD", usd, True),
        ("USD", granted, False),
        ("TOK", tokens, True),
        ("TOK", granted_tokens, False),
    ):
        if amount:
            grants.grant(workspace=workspace, asset=asset, amount=amount, reason="test", paid=paid)
    return made

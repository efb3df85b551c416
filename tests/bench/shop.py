"""
Makes the database of one measurement: a catalogue, customers with keys, caps and money.

A program: it takes a `Plan` as JSON and prints the keys that the load may use.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import django
import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from accounts.models import ApiKey, User, Workspace

MOST_NANOS = 10**15
RPM = 1_000_000
BATCH = 5_000
CROWD_MODELS = 5
# Pico-dollars per token: 1 and 2 dollars per million.
PROMPT, COMPLETION = 1_000_000, 2_000_000


class Plan(Struct):
    """
    What to make: how many customers, calls in the past, and keys to tell.

    ``crowd``: so many keys in the first workspace, which then makes the calls evenly.
    """

    upstream_port: int
    stream_port: int
    customers: int = 1
    calls: int = 0
    keys: int = 1
    crowd: int = 0


def main(plan: Plan) -> list[str]:
    """Make everything; return the keys."""
    from django.core.management import call_command

    from tests.bench import past

    call_command("migrate", verbosity=0)
    make_catalogue(plan)
    secrets: list[str] = []
    for first in range(0, plan.customers, BATCH):
        secrets += make_customers(first, min(BATCH, plan.customers - first))
    fund()
    if plan.crowd:
        make_crowd(plan.crowd)
    if plan.calls and plan.crowd:
        past.make(calls=plan.calls, models=CROWD_MODELS, skew=1)
    elif plan.calls:
        past.make(calls=plan.calls)
    step = max(1, plan.customers // plan.keys)
    return secrets[::step][: plan.keys]


def make_catalogue(plan: Plan) -> None:
    """Make three models at the stubs: whole answers, streams, streams that fall silent."""
    from billing import prices
    from billing.pricing import Rates
    from common import crypto
    from proxy.models import Model, Provider, Route

    sealed, key_id = crypto.seal(b"stub")
    for slug, port, upstream_model in (
        ("bench/model", plan.upstream_port, "stub"),
        ("bench/stream", plan.stream_port, "stub"),
        ("bench/idle", plan.stream_port, "stub-idle"),
    ):
        provider, _ = Provider.objects.get_or_create(
            slug=f"stub-{port}",
            kind="openai",
            base_url=f"http://127.0.0.1:{port}/v1",
            on_disconnect="cancel",
            defaults={"api_key_encrypted": sealed, "api_key_key_id": key_id},
        )
        model = Model.objects.create(
            slug=slug, name=slug, owned_by="bench", kind="chat",
            context_length=8000, max_output_tokens=1000,
        )  # fmt: skip
        Route.objects.create(model=model, provider=provider, upstream_model=upstream_model)
        rates = Rates(prompt=PROMPT, completion=COMPLETION)
        prices.set_price(
            subject=slug, role="retail", rates=rates, now=datetime(2025, 1, 1, tzinfo=UTC)
        )


def make_customers(first: int, count: int) -> list[str]:
    """Make people, each with a workspace and a key in it; return the keys."""
    from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
    from django.db import transaction

    from accounts.models import ApiKeyWorkspace, Membership, Tier, User, Workspace

    tier = Tier.objects.get(is_default=True)
    with transaction.atomic():
        users = User.objects.bulk_create(
            User(email=f"{n}@example.com", password=UNUSABLE_PASSWORD_PREFIX)
            for n in range(first, first + count)
        )
        workspaces = Workspace.objects.bulk_create(
            Workspace(name=f"Customer {user.email}", tier=tier, personal_of=user) for user in users
        )
        Membership.objects.bulk_create(
            Membership(workspace=workspace, user=user, role="owner")
            for workspace, user in zip(workspaces, users, strict=True)
        )
        keys, secrets = make_keys(users)
        ApiKeyWorkspace.objects.bulk_create(
            ApiKeyWorkspace(key=key, workspace=workspace)
            for key, workspace in zip(keys, workspaces, strict=True)
        )
        open_accounts(workspaces, keys)
    return secrets


def make_crowd(count: int) -> None:
    """Make many keys in the first workspace."""
    from accounts.models import ApiKeyWorkspace, Workspace
    from billing.models import KeyMeter

    place = Workspace.objects.select_related("personal_of").order_by("pk")[0]
    if place.personal_of is None:
        raise RuntimeError("The first workspace is somebody's own.")
    for first in range(0, count, BATCH):
        keys, _ = make_keys([place.personal_of] * min(BATCH, count - first))
        ApiKeyWorkspace.objects.bulk_create(
            ApiKeyWorkspace(key=key, workspace=place) for key in keys
        )
        KeyMeter.objects.bulk_create(
            KeyMeter(key=key, day_cap=MOST_NANOS, month_cap=MOST_NANOS) for key in keys
        )


def make_keys(users: list[User]) -> tuple[list[ApiKey], list[str]]:
    """Make a key for each person; return rows and secrets."""
    from django.conf import settings

    from accounts import keytext
    from accounts.models import ApiKey

    secrets = [keytext.mint(prefix=settings.API_KEY_PREFIX) for _ in users]
    rows = []
    for user, secret in zip(users, secrets, strict=True):
        pepper_id, digest = keytext.current_digest(secret, peppers=settings.KEY_PEPPERS)
        rows.append(
            ApiKey(
                name="bench",
                prefix=keytext.shown_prefix(secret),
                last4=secret[-4:],
                digest=digest,
                pepper_id=pepper_id,
                user=user,
                scopes=["chat"],
                rpm=RPM,
                created_by=user,
            )
        )
    return ApiKey.objects.bulk_create(rows), secrets


def open_accounts(workspaces: list[Workspace], keys: list[ApiKey]) -> None:
    """Open all accounts and meters, with a daily and a monthly cap each."""
    from django.db import connection

    from billing.models import KeyMeter

    with connection.cursor() as cursor:
        cursor.execute(
            "select billing_open_account(id, asset, cap, cap) from unnest(%s::bigint[]) id,"
            " (values ('USD', %s), ('TOK', null::bigint)) a (asset, cap)",
            [[workspace.pk for workspace in workspaces], MOST_NANOS],
        )
    KeyMeter.objects.bulk_create(
        KeyMeter(key=key, day_cap=MOST_NANOS, month_cap=MOST_NANOS) for key in keys
    )


def fund() -> None:
    """Credit every customer the same amount."""
    from billing import grants, ledger
    from billing.models import Account
    from common import ids

    house = ledger.house_account(kind="adjustment", asset="USD")
    homes = list(
        Account.objects.filter(kind="paid", asset="USD").order_by("id").values_list("id", flat=True)
    )
    for first in range(0, len(homes), BATCH):
        ledger.post(
            *(
                ledger.Transfer(
                    kind=grants.CREDIT, source=ids.request_id(), debit=house, credit=home,
                    asset="USD", amount=MOST_NANOS, reason="bench",
                )
                for home in homes[first : first + BATCH]
            )
        )  # fmt: skip


if __name__ == "__main__":
    django.setup()
    sys.stdout.write(json.dumps(main(msgspec.json.decode(sys.argv[1], type=Plan))) + "\n")

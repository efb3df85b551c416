"""
The demo: a customer with money and a key, staff with a second factor, the sandbox's models.

Made again it changes nothing that was changed by hand since, except what would make its
printed logins untrue. The texts of keys and passwords are stored nowhere in the database:
who seeds again brings what the last seeding returned.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Literal

from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.mfa.utils import decrypt
from django.contrib.auth.models import Group
from django.db import transaction
from django.utils import timezone
from msgspec import Struct

from accounts import keys, signup
from accounts.models import User, Workspace
from accounts.scopes import EITHER, INFERENCE
from billing import grants, ledger
from billing.models import TokenPackage
from common import ids, money
from proxy import catalogue_changes
from proxy.catalogue_file import CatalogueFile, ModelEntry, PriceEntry, ProviderEntry, RouteEntry
from proxy.models import Model, Provider

EMAIL = "demo@example.com"
STAFF_EMAIL = "staff@example.com"
# Larger sums take two: this one approves what the other asks, and the other way round.
SECOND_STAFF_EMAIL = "second@example.com"
BILLING_GROUP = "billing"
SANDBOX = "sandbox"
PAID_NANOS = money.nanos_from_usd("20")
GRANTED_TOKENS = 10_000
# Slug: name, tokens, price in US dollars, bonus. A token is worth $0.0025.
PACKAGES = {
    "starter": ("Starter", 4_000, "10", 0),
    "team": ("Team", 20_000, "50", 1_000),
    "studio": ("Studio", 80_000, "200", 8_000),
}
PRICES = {"sandbox/echo": ("1.00", "2.00"), "sandbox/lorem": ("0.50", "1.50")}
EMBEDDING_PRICE = PriceEntry(prompt="0.10")
PICTURE_PRICE = PriceEntry(
    image={
        "1024x1024": {"low": "0.01", "medium": "0.02", "high": "0.04"},
        "1536x1024": {"low": "0.015", "medium": "0.03", "high": "0.06"},
        "1024x1536": {"low": "0.015", "medium": "0.03", "high": "0.06"},
    }
)


class Demo(Struct, frozen=True):
    """What a newcomer needs to use it."""

    workspace_id: str
    api_key: str
    email: str
    password: str
    staff_email: str
    staff_password: str
    staff_totp_secret: str
    second_staff_email: str
    second_staff_password: str
    second_staff_totp_secret: str


@transaction.atomic
def seed(*, previous: Mapping[str, str], sandbox_url: str, sandbox_token: str) -> Demo:
    """
    Make what is missing of the demo; ``previous`` is what an earlier call returned.

    :raises proxy.catalogue_file.CatalogueError: the sandbox's address is no URL
    """
    user, password = _person(EMAIL, "Demo", previous.get("password", ""))
    staff, staff_password = _person(STAFF_EMAIL, "Staff", previous.get("staff_password", ""))
    if not (staff.is_staff and staff.is_superuser):
        staff.is_staff = staff.is_superuser = True
        staff.save(update_fields=["is_staff", "is_superuser"])
    second, second_password = _second_staff(previous.get("second_staff_password", ""))
    workspace = signup.welcome(user=user)
    _fund(workspace)
    _sell_tokens()
    _sell_sandbox(base_url=f"{sandbox_url}/v1", token=sandbox_token)
    return Demo(
        workspace_id=workspace.public_id,
        api_key=_key(user, workspace, previous.get("api_key", "")),
        email=EMAIL,
        password=password,
        staff_email=STAFF_EMAIL,
        staff_password=staff_password,
        staff_totp_secret=_totp_secret(staff),
        second_staff_email=SECOND_STAFF_EMAIL,
        second_staff_password=second_password,
        second_staff_totp_secret=_totp_secret(second),
    )


def _person(email: str, name: str, password: str) -> tuple[User, str]:
    user = User.objects.filter(email=email).first()
    if user is not None and password and user.check_password(password):
        return user, password
    password = secrets.token_urlsafe(12)
    if user is None:
        return signup.register(email=email, password=password, name=name, verified=True), password
    user.set_password(password)
    user.save(update_fields=["password"])
    return user, password


def _second_staff(password: str) -> tuple[User, str]:
    user, password = _person(SECOND_STAFF_EMAIL, "Second staff", password)
    if not user.is_staff:
        user.is_staff = True
        user.save(update_fields=["is_staff"])
        user.groups.set(Group.objects.filter(name=BILLING_GROUP))
    return user, password


def _totp_secret(user: User) -> str:
    found = Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP).first()
    if found is not None:
        return str(decrypt(found.data["secret"]))
    secret = str(generate_totp_secret())
    TOTP.activate(user, secret)
    return secret


def _fund(workspace: Workspace) -> None:
    for asset, amount, paid in (
        (ledger.USD, PAID_NANOS, True),
        (ledger.TOK, GRANTED_TOKENS, False),
    ):
        grants.grant(
            workspace=workspace,
            asset=asset,
            amount=amount,
            paid=paid,
            reason="Demo balance",
            source=ids.source("demo", f"{workspace.public_id}:{asset}"),
        )


def _sell_tokens() -> None:
    for slug, (name, tokens, price, bonus) in PACKAGES.items():
        TokenPackage.objects.get_or_create(
            slug=slug,
            defaults={
                "name": name,
                "tokens": tokens,
                "price_nanos": money.nanos_from_usd(price),
                "bonus_tokens": bonus,
                "bonus_days": 365 if bonus else None,
            },
        )


def _key(user: User, workspace: Workspace, text: str) -> str:
    if text and _works(text, workspace):
        return text
    _, text = keys.create(
        name="Demo",
        workspaces=[workspace],
        by=None,
        user=user,
        scopes=sorted(INFERENCE | EITHER),
    )
    return text


def _works(text: str, workspace: Workspace) -> bool:
    record = keys.find(text=text)
    return (
        record is not None
        and not (record.disabled or record.deleted)
        and not record.expired(now=timezone.now())
        and record.workspace(workspace.public_id) is not None
    )


def _sell_sandbox(*, base_url: str, token: str) -> None:
    present = Provider.objects.filter(slug=SANDBOX).first()
    known = set(Model.objects.values_list("slug", flat=True))
    models = [model for model in sandbox_models() if model.slug not in known]
    provider = sandbox_provider(base_url=base_url, token=token)
    if present is None or models:
        providers = [] if present else [provider]
        catalogue_changes.apply(file=CatalogueFile(providers=providers, models=models))
    if present is None:
        return
    if (present.base_url, present.api_key()) != (base_url, token):
        # Its port may be another one each time; everything else may be changed by hand.
        present.base_url = base_url
        present.set_api_key(token)
        present.save()


def sandbox_provider(*, base_url: str, token: str) -> ProviderEntry:
    """Return the sandbox as a provider."""
    return ProviderEntry(
        slug=SANDBOX,
        kind="sandbox",
        base_url=base_url,
        api_key=token,
        on_disconnect="cancel",
        generation_lookup="sandbox",
        cost_report="sandbox",
    )


def sandbox_models() -> list[ModelEntry]:
    """Return what the sandbox sells: chats, vectors and pictures."""
    return [
        *(_chat(slug) for slug in PRICES),
        _other("sandbox/embedding", "embedding", EMBEDDING_PRICE, context_length=8192),
        _other("sandbox/image", "image", PICTURE_PRICE),
    ]


def _other(
    slug: str,
    kind: Literal["embedding", "image"],
    price: PriceEntry,
    *,
    context_length: int | None = None,
) -> ModelEntry:
    return ModelEntry(
        slug=slug,
        name=slug.replace("/", " ").title(),
        owned_by=SANDBOX,
        kind=kind,
        context_length=context_length,
        prompt_overhead_tokens=0,
        price=price,
        routes=[RouteEntry(provider=SANDBOX, upstream_model=slug, cost=price)],
    )


def _chat(slug: str) -> ModelEntry:
    prompt, completion = PRICES[slug]
    price = PriceEntry(prompt=prompt, completion=completion)
    return ModelEntry(
        slug=slug,
        name=slug.replace("/", " ").title(),
        owned_by=SANDBOX,
        kind="chat",
        context_length=128_000,
        max_output_tokens=16_384,
        price=price,
        routes=[RouteEntry(provider=SANDBOX, upstream_model=slug, cost=price, max_stop=10)],
    )

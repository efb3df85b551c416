"""A row of everything that the admin site shows, so that each page has something to show."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.postgres.fields import ArrayField
from django.db import IntegrityError, connection, models, transaction
from django.utils import timezone

from accounts import approvals
from accounts.actors import Staff
from accounts.models import ApiKey, Approval, Impersonation, User, WebhookEndpoint, Workspace
from billing import claims, incidents, ledger, limits, orders, packages, prices, topups
from billing.fields import UnitsField
from billing.models import Claim, TokenPackage, TopUp
from billing.pricing import Rates
from common import ids
from proxy.models import Model, Provider, ProviderReport, Route, Trial
from tests import pages, staffing
from tests.billing.bank import Customer, customer, expire

USD = 10**9
PAST = datetime(2026, 1, 1, tzinfo=UTC)
LONG = "They wrote that three payments of the same day are on their card and one is missing here."
PLAIN: dict[type, Any] = {
    models.DateTimeField: timezone.now,
    models.DateField: date(2026, 11, 20),
    models.UUIDField: uuid.uuid4,
    models.BinaryField: b"sealed",
    models.BooleanField: False,
    models.JSONField: {},
    ArrayField: [],
    models.DecimalField: Decimal(1),
    UnitsField: 7,
    models.GenericIPAddressField: "203.0.113.7",
    models.IntegerField: 7,
}
# What is no row of its own: a view over others.
VIEWS = {"Suspended", "UnknownCall", "Customer"}


def fill() -> User:
    """Make rows; return somebody who may see and do all of it."""
    boss = staffing.member("boss.of.staff@example.com", superuser=True)
    other = staffing.member("second.pair.of.eyes@example.com", group="billing")
    _people()
    one = customer(usd=120 * USD, granted=30 * USD)
    Workspace.objects.filter(pk=one.workspace.pk).update(name="Fernwood Analytics GmbH & Co. KG")
    _catalogue(boss)
    _calls(one)
    _payments(one)
    _orders(one, other)
    _incidents()
    for model in _empty():
        _make(model)
    return boss


def _people() -> None:
    for name in ("ada.lovelace", "a-very-long-name-of-somebody-who-signed-up-last-week"):
        user = pages.person(name)
        UserSession.objects.create(
            user=user, session_key=uuid.uuid4().hex, ip="203.0.113.7",
            user_agent="Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0 Safari/537",
        )  # fmt: skip
        pages.make_key(user, name="production")
        EmailAddress.objects.filter(user=user).update(verified=True)


def _catalogue(boss: User) -> None:
    for slug in ("openai", "another-provider-in-frankfurt"):
        provider = Provider(slug=slug, kind="openai", base_url=f"https://{slug}.example.com/v1")
        provider.set_api_key("a-key-of-tests")
        provider.save()
        model = Model.objects.create(
            slug=f"{slug}/gpt-4o-mini-2024-07-18", name="GPT-4o mini", owned_by=slug, kind="chat",
            context_length=128_000, max_output_tokens=16_384,
        )  # fmt: skip
        route = Route.objects.create(model=model, provider=provider, upstream_model="gpt-4o-mini")
        for subject, role, prompt in ((model.slug, "retail", 150), (route.subject, "cost", 170)):
            rates = Rates(prompt=prompt * 1000, completion=600_000, cached_prompt=75_000)
            prices.set_price(subject=subject, role=role, rates=rates, now=PAST)
        days = ((1, "drift", "12.5000"), (2, "unavailable", None))
        for ago, status, drift in days:
            ProviderReport.objects.create(
                provider=provider, day=timezone.now().date() - timedelta(days=ago), status=status,
                ours_nanos=81 * USD, theirs_nanos=90 * USD if drift else None, ours_calls=1204,
                theirs_calls=1210 if drift else None, drift_percent=drift,
                problem="" if drift else "It answered 503 three times.", fetched_at=timezone.now(),
            )  # fmt: skip
        for outcome, problem in (("answered", ""), ("failed", "http_401: It refused our key.")):
            Trial.objects.create(
                id=ids.request_id(), provider=provider, route_id=route.pk,
                upstream_model="gpt-4o-mini", outcome=outcome, problem=problem, reason="A new key",
                cost_nanos=50_000, latency_ms=412, estimate=bool(problem), created_by=boss,
            )  # fmt: skip


def _calls(one: Customer) -> None:
    one.use(5)
    one.hold(USD)
    key = ApiKey.objects.get(key_workspaces__workspace=one.workspace)
    facts: list[dict[str, Any]] = [
        {"charged": 2_400_000, "cost": 2_400_000, "upstream_cost": 1_900_000},
        {"status": 502, "reason": "upstream_failed", "charged": 0, "cost": 0, "state": "voided"},
        {"reason": "usage_contradiction"},
        {"uncollected": 5, "cost": 128},
    ]
    for day, each in enumerate(facts):
        at = timezone.now() - timedelta(days=day)
        pages.closed_request(
            key, one.workspace, model="openai/gpt-4o-mini-2024-07-18", provider="openai",
            day=at.date(), **each,
        )  # fmt: skip
    call_id, _ = one.hold(USD)
    expire(call_id)
    _attempt(call_id)


def _attempt(call_id: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into proxy_attempt (request_id, day, n, provider, route_id, upstream_model,"
            " outcome, cause) values (%s, current_date, 1, 'openai', %s, 'gpt-4o-mini',"
            " 'unknown', 'disconnected')",
            [call_id, Route.objects.order_by("pk")[0].pk],
        )


def _payments(one: Customer) -> None:
    TokenPackage.objects.create(slug="starter", name="Starter", tokens=2000, price_nanos=5 * USD)
    packages.buy(workspace=one.workspace, slug="starter", source=uuid.uuid4())
    for number, (kind, cents) in enumerate(
        ((Claim.Kind.DISPUTE, 2000), (Claim.Kind.WARNING, 1500), (Claim.Kind.REFUND, 900_000))
    ):
        paid = TopUp.objects.create(
            workspace=one.workspace, method="checkout", status="paid", amount_cents=cents,
            intent_id=f"pi_3PkQ2eFv8Zr{number}", paid_at=timezone.now(),
        )  # fmt: skip
        name = f"dp_1PkQ2eFv8Zr{number}"
        claims.take(kind=kind, external_id=name, top_up=paid, amount_nanos=cents * 10**7)
        facts = {"top_up": paid.public_id, "owed_nanos": "0"}
        incidents.begin(kind="payment.disputed", subject=name, facts=facts)
    topups.suspend(
        source=ids.source("stripe", "pi_lost"), house="clearing:stripe", asset="USD",
        amount=30 * USD, reference="pi_3PkQ2eFv8ZrLost", why="no payment of ours has this amount",
    )  # fmt: skip


def _orders(one: Customer, other: User) -> None:
    for dollars in (500, 20, 7_000):
        orders.grant(
            workspace=one.workspace, asset=ledger.USD, amount=dollars * USD, reason=LONG,
            by=Staff(other), source=uuid.uuid4(),
        )  # fmt: skip
    last = Approval.objects.latest("pk")
    approvals.refuse(
        approval=last,
        by=Staff(User.objects.get(is_superuser=True)),
        note="Ask them for the invoice first.",
    )
    limits.set_workspace_caps(
        workspace=one.workspace, daily=50 * USD, monthly=None, by=Staff(other), past_tier=True,
        reason="They asked for it",
    )  # fmt: skip


def _incidents() -> None:
    facts = {"name": "x", "violations": 2, "examples": ["account 5 counts 7", "account 6 counts 8"]}
    for number in (2, 3):
        incidents.begin(kind="ledger.violation", subject=f"invariant:{number}", facts=facts)
    incidents.end(kind="ledger.violation", subject="invariant:3")
    incidents.begin(kind="settlement.refused", subject="2026-11-21", facts={"lines": 1})


def _empty() -> Iterator[Any]:
    """Models of the admin site that have no row yet; those that others point at come first."""
    waiting = [
        page.model for page in admin.site._registry.values()
        if page.model.__name__ not in VIEWS and not page.model._default_manager.exists()
    ]  # fmt: skip
    while waiting:
        ready = [each for each in waiting if not _pointed_at(each) & set(waiting)] or waiting[:1]
        yield from ready
        waiting = [each for each in waiting if each not in ready]


def _pointed_at(model: Any) -> set[Any]:
    found = {field.related_model for field in model._meta.fields if field.is_relation}
    return found - {model}


def _make(model: Any) -> None:
    fields = [each for each in model._meta.concrete_fields if _is_wanted(each)]
    given = {field.attname: _value(field) for field in fields}
    if model is Impersonation:
        given["customer_id"] = User.objects.filter(is_staff=False)[0].pk
    if model is WebhookEndpoint:
        given["events"] = ["balance.low"]
    # Where a rule wants one of several that may be empty, the first that it takes.
    owners = [each for each in model._meta.concrete_fields if each.null]
    for more in ({}, *({each.attname: _value(each)} for each in owners)):
        with suppress(IntegrityError), transaction.atomic():
            model._base_manager.bulk_create([model(**given, **more)])
            return
    raise AssertionError(f"{model.__name__} takes no such row: make one in this module")


def _is_wanted(field: Any) -> bool:
    return not (field.has_default() or field.null or isinstance(field, models.AutoField))


def _value(field: Any) -> Any:
    if field.is_relation:
        return field.related_model._base_manager.values_list("pk", flat=True).first()
    if field.choices:
        return field.choices[0][0]
    for kind, value in PLAIN.items():
        if isinstance(field, kind):
            return value() if callable(value) else value
    return "something"[: field.max_length or 20]

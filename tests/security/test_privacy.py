"""What is kept about people: every table is listed, and an ended account is gone from all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.mfa.models import Authenticator
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, connection, models, transaction
from django.test import Client
from django.utils import timezone

from accounts import (
    audit,
    erasure,
    invitations,
    keys,
    members,
    personal,
    profiles,
    service_accounts,
    workspaces,
)
from accounts.models import (
    AuditEvent,
    Consent,
    KeptAnswer,
    User,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
    Workspace,
)
from billing import grants
from billing.models import Alert, AlertPreference
from billing.models_funding import AutoTopUp, SavedCard, TopUp
from common import crypto, ids, origin
from proxy.models import Export, ExportPiece, Generation, IdempotencyKey, PromptLog
from tests import pages

LIST = Path(__file__).resolve().parents[2] / "docs/privacy.md"
# Columns that name somebody without a foreign key.
NAMING = {"workspace_id", "key_id", "user_id", "request_id", "caller"}
CANARY = "zebrafink"
ADDRESS = "203.0.113.77"
# Stripe is told first: tests/billing/stripe/test_cards.py.
LATER = {"billing.StripeCustomer"}


@dataclass(frozen=True, slots=True)
class Listed:
    """One row of the list."""

    export: str
    end: str
    why: str


def listed() -> dict[str, Listed]:
    """The list as the documentation shows it."""
    rows = re.findall(r"^\| (\w+\.\w+) \| (.+?) \| (\w+) \| (.*?) ?\|$", LIST.read_text(), re.M)
    return {name: Listed(*rest) for name, *rest in rows}


def tables() -> dict[str, type[models.Model]]:
    """Every model of the product's database."""
    found = apps.get_models(include_auto_created=True)
    return {model._meta.label: model for model in found if not model._meta.proxy}


def naming() -> set[str]:
    """The models from which a key leads to a person or a workspace, over however many others."""
    found = {"accounts.User", "accounts.Workspace"}
    while True:
        more = {
            label
            for label, model in tables().items()
            if label not in found and any(_leads(field, found) for field in _columns(model))
        }
        if not more:
            return found
        found |= more


def _columns(model: type[models.Model]) -> list[Any]:
    return list(model._meta.concrete_fields)


def _leads(field: Any, found: set[str]) -> bool:
    if field.related_model is None:
        return field.column in NAMING
    return field.related_model._meta.concrete_model._meta.label in found


class TestTheList:
    def test_has_every_table_with_a_person_a_workspace_or_a_key(self) -> None:
        assert set(listed()) == naming()

    def test_says_of_each_what_becomes_of_it_and_why(self) -> None:
        for name, row in listed().items():
            assert row.end in ("erased", "blanked", "kept"), name
            assert row.end == "erased" or row.why, name

    @pytest.mark.django_db
    def test_names_parts_of_the_download_that_are_there(self) -> None:
        parts = set(personal.record(user=pages.person("ada")))
        shown = {row.export for row in listed().values()}
        assert {each.strip("`") for each in shown if each.startswith("`")} == parts
        for each in shown:
            assert each.startswith(("`", "page: ", "file: ", "no: ")), each


def texts() -> Iterator[tuple[str, str]]:
    """Every row of every table in the database, as text."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select c.relname from pg_class c where c.relkind in ('r', 'p')"
            " and c.relnamespace = 'public'::regnamespace and not c.relispartition"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f'select row_to_json(t)::text from "{table}" t')  # noqa: S608 - a name
            yield from ((table, text) for (text,) in cursor.fetchall())


def found_in(*words: str) -> set[str]:
    """The tables in which a word stands in clear."""
    lower = [word.lower() for word in words]
    return {table for table, text in texts() if any(word in text.lower() for word in lower)}


def keys_of(labels: set[str]) -> dict[str, set[Any]]:
    """The primary keys that some tables have now."""
    known = tables()
    return {
        label: set(known[label]._default_manager.values_list("pk", flat=True)) for label in labels
    }


def settle_in(user: User, friend: User) -> None:
    """Leave traces of a person wherever there are any to leave."""
    home = pages.home(user)
    browser = Client(REMOTE_ADDR=ADDRESS, HTTP_USER_AGENT=CANARY)
    browser.post("/login", {"login": user.email, "password": pages.PASSWORD})
    profile = {"name": f"{CANARY} Person", "language": "en", "time_zone": "UTC"}
    browser.post("/dashboard/settings/profile", profile)
    user.refresh_from_db()
    assert user.name
    workspaces.rename(workspace=home, name=f"{CANARY} home", by=user)
    key = keys.create(
        name=f"{CANARY} key", workspaces=[home], user=user, scopes=["chat"], by=user, ips=[ADDRESS]
    )[0]
    service_accounts.create(workspace=home, name=f"{CANARY} robot", role="developer", by=user)
    club = workspaces.create(owner=friend, name="Club")
    invitations.create(workspace=club, email=user.email, role="developer", by=friend)
    members.add(workspace=club, user=user, role="developer", by=friend)
    profiles.change(user=user, given={"time_zone": "Europe/Berlin"})
    grants.grant(workspace=home, asset="USD", amount=1000, reason="a gift", paid=True)
    _of_accounts(user, home)
    _of_billing(home)
    _of_the_gateway(home, key_id=key.pk)


def _of_accounts(user: User, home: Workspace) -> None:
    later = timezone.now() + timedelta(hours=1)
    address = EmailAddress.objects.get(user=user)
    EmailConfirmation.objects.create(email_address=address, key=CANARY, sent=timezone.now())
    Authenticator.objects.create(user=user, type="totp", data={"secret": CANARY})
    Consent.objects.create(user=user, document="terms", digest="0" * 64, address=ADDRESS)
    KeptAnswer.objects.create(
        caller=f"user:{user.pk}@0", endpoint=CANARY, digest=b"1", fingerprint=b"1", expires_at=later
    )
    endpoint = WebhookEndpoint.objects.create(
        workspace=home,
        url=f"https://{CANARY}.example",
        events=["key.created"],
        sealed=b"x",
        sealed_key_id="x",
    )
    event = WebhookEvent.objects.create(
        public_id=CANARY, workspace=home, kind="key.created", body=f'{{"name": "{CANARY}"}}'
    )
    WebhookDelivery.objects.create(
        public_id=CANARY, event=event, endpoint=endpoint, log=[{"said": CANARY}]
    )
    LogEntry.objects.create(
        user=user,
        content_type=ContentType.objects.get_for_model(User),
        object_id=str(user.pk),
        object_repr=user.email,
        action_flag=2,
        change_message=CANARY,
    )


def _of_billing(home: Workspace) -> None:
    card = SavedCard.objects.create(
        workspace=home, method_id="pm_1", brand=CANARY, last4="4242", exp_month=1, exp_year=2030
    )
    amounts = {"threshold_nanos": 1, "amount_cents": 500, "monthly_limit_cents": 500}
    AutoTopUp.objects.create(workspace=home, card=card, enabled=True, **amounts)
    Alert.objects.create(
        workspace=home, kind=Alert.Kind.values[0], subject=CANARY, window="w", facts={}
    )
    AlertPreference.objects.create(workspace=home, low_balance_nanos=1)
    TopUp.objects.create(
        workspace=home, method="card", amount_cents=500, invoice_url=f"https://x.example/{CANARY}"
    )


def _of_the_gateway(home: Workspace, *, key_id: int) -> None:
    later = timezone.now() + timedelta(hours=1)
    sealed, sealed_by = crypto.seal(CANARY.encode())
    export = Export.objects.create(
        workspace=home, kind="logs", query={"q": CANARY}, expires_at=later
    )
    ExportPiece.objects.create(export=export, n=0, sealed=sealed, sealed_key_id=sealed_by)
    Generation.objects.create(
        id=ids.request_id(),
        workspace_id=home.pk,
        key_id=key_id,
        status="completed",
        model="m",
        sealed=sealed,
        sealed_key_id=sealed_by,
        expires_at=later,
    )
    PromptLog.objects.create(
        id=ids.request_id(),
        workspace_id=home.pk,
        key_id=key_id,
        sealed=sealed,
        sealed_key_id=sealed_by,
        bytes=1,
    )
    IdempotencyKey.objects.create(
        key_id=key_id,
        endpoint="/v1/x",
        digest=b"1",
        fingerprint=b"1",
        request_id=ids.request_id(),
        answer=sealed,
        answer_key_id=sealed_by,
        expires_at=later,
    )


@pytest.mark.django_db
class TestTheEndOfAnAccount:
    def test_leaves_no_trace_but_in_the_ledger_and_the_invoices(self) -> None:
        erased = {name for name, row in listed().items() if row.end == "erased"} - LATER
        kept = {
            tables()[name]._meta.db_table
            for name, row in listed().items()
            if row.end == "kept" and row.why.startswith(("ledger", "invoices"))
        }
        friend = pages.person("bob")
        others = keys_of(erased)
        user = pages.person(CANARY)
        settle_in(user, friend)
        before = keys_of(erased)
        assert [name for name in erased if before[name] == others[name]] == []
        assert len(found_in(CANARY, ADDRESS)) > 15

        erasure.erase(user=user)

        assert keys_of(erased) == others
        left = found_in(CANARY, ADDRESS)
        assert "billing_topup" in left
        assert left - kept == set()

    def test_leaves_what_was_done_by_whom_in_the_audit_log(self) -> None:
        friend, user = pages.person("bob"), pages.person(CANARY)
        settle_in(user, friend)
        columns = ("action", "user_id", "target", "at", "request_id")
        before = set(AuditEvent.objects.values_list(*columns))

        erasure.erase(user=user)

        assert before < set(AuditEvent.objects.values_list(*columns))
        club = AuditEvent.objects.filter(workspace__name="Club", action="workspace.created")
        assert club.get().target_name == "Club"


@pytest.mark.django_db
class TestTheAuditLog:
    @pytest.mark.parametrize(
        "change", ["action = 'x'", "target_name = 'x'", "after = '{}'", "target_name = ''"]
    )
    def test_is_blanked_for_nobody_who_is_still_here(self, change: str) -> None:
        user = pages.person("ada")
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("select set_config('tollgate.erased_user', %s, true)", [str(user.pk)])
            with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
                cursor.execute(f"update accounts_auditevent set {change}")  # noqa: S608 - ours

    @pytest.mark.parametrize("change", ["action = 'x'", "target_name = 'x'", "after = '{}'"])
    def test_is_rewritten_for_nobody(self, change: str) -> None:
        user = pages.person("ada")
        erasure.erase(user=user)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("select set_config('tollgate.erased_user', %s, true)", [str(user.pk)])
            with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
                cursor.execute(f"update accounts_auditevent set {change}")  # noqa: S608 - ours

    @pytest.mark.parametrize("column", ["target_name", "before", "after", "address"])
    def test_is_blanked_in_the_events_of_who_is_erased_alone(self, column: str) -> None:
        """Every event that says something of somebody else stays as it is, column by column."""
        empty = "null" if column in ("before", "after") else "''"
        friend, user = pages.person("bob"), pages.person("ada")
        club = workspaces.create(owner=friend, name="Club", by=friend)
        with origin.during(origin.Origin(address="192.0.2.7")), transaction.atomic():
            audit.record(
                action="x.changed",
                by=friend,
                target=audit.Target("x_1", "theirs"),
                workspaces=[club],
                before={"role": "viewer"},
                after={"role": "admin"},
            )
        event = AuditEvent.objects.get(target="x_1")
        assert getattr(event, column)
        erasure.erase(user=user)

        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("select set_config('tollgate.erased_user', %s, true)", [str(user.pk)])
            with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
                cursor.execute(
                    f"update accounts_auditevent set {column} = {empty} where id = %s",  # noqa: S608 - ours
                    [event.pk],
                )

        event.refresh_from_db()
        assert getattr(event, column)

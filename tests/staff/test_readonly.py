"""Money is read-only by permission and by the database: whatever a superuser posts, it stays."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import Error, connection, transaction
from django.test import Client
from django.urls import reverse

from accounts.models import User
from billing import invariants
from billing.adminrows import ReadOnlyAdmin
from billing.models import Account
from tests import staffing
from tests.billing.bank import Customer, customer

pytestmark = pytest.mark.django_db

# What is sold may be edited; what was sold has its own terms.
EDITED = {"billing.TokenPackage"}
BOOKS = ["billing_transfer", "accounts_auditevent"]


@pytest.fixture
def one() -> Customer:
    made = customer(usd=1000, granted=10)
    made.use(5)
    made.hold(5)
    return made


@pytest.fixture
def desk(client: Client) -> Client:
    root = staffing.member("root@example.com", superuser=True)
    # Also with each permission by name: being a superuser is not what opens or shuts it.
    root.user_permissions.set(Permission.objects.all())
    return staffing.sign_in(client, root)


def rows(model: Any) -> list[Any]:
    return sorted(model.objects.values_list(), key=repr)


def money() -> list[Any]:
    return [
        model
        for model in apps.get_app_config("billing").get_models()
        if model._meta.label not in EDITED
    ]


class TestByPermission:
    def test_nobody_has_a_way_to_edit(self) -> None:
        assert len(money()) > 25
        for model in money():
            page = admin.site.get_model_admin(model)
            assert isinstance(page, ReadOnlyAdmin), model
            assert not page.inlines, model

    def test_what_superusers_post_changes_nothing(self, desk: Client, one: Customer) -> None:
        posted = 0
        before = {model: rows(model) for model in money()}
        for model in money():
            name = f"{model._meta.app_label}_{model._meta.model_name}"
            answers = [desk.post(reverse(f"admin:{name}_add"), form(model))]
            for row in model.objects.all()[:2]:
                for action in ("change", "delete"):
                    url = reverse(f"admin:{name}_{action}", args=[row.pk])
                    answers.append(desk.post(url, {**form(model), "post": "yes"}))
                chosen = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
                desk.post(reverse(f"admin:{name}_changelist"), chosen)
                desk.post(reverse(f"admin:{name}_changelist"), edited(model, row))
            posted += len(answers)
            assert {answer.status_code for answer in answers} == {403}, model
        assert posted > 40
        assert {model: rows(model) for model in money()} == before


def form(model: Any) -> dict[str, str]:
    return {field.name: "7" for field in model._meta.concrete_fields}


def edited(model: Any, row: Any) -> dict[str, str]:
    """A list as a browser sends it that could be edited in place."""
    counts = {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "_save": "Save"}
    cells = {f"form-0-{name}": value for name, value in form(model).items()}
    return {**counts, **cells, f"form-0-{model._meta.pk.name}": str(row.pk)}


class TestByTheDatabase:
    @pytest.mark.parametrize("table", BOOKS)
    @pytest.mark.parametrize(
        "statement", ["update {} set id = id", "delete from {}", "truncate {}"]
    )
    def test_what_is_written_stays(self, one: Customer, table: str, statement: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute("set constraints all immediate")
            with pytest.raises(Error), transaction.atomic():
                cursor.execute(statement.format(table))

    def test_no_balance_is_typed_in_unseen(self) -> None:
        one = customer(usd=1000)
        assert invariants.check().ok
        # A running counter that its transfers do not make.
        Account.objects.filter(pk=one.usd).update(credits_posted=10**15)
        assert not invariants.check().ok


def test_whoever_is_no_superuser_has_no_more(client: Client, one: Customer) -> None:
    user = staffing.member("all@example.com")
    user.user_permissions.set(Permission.objects.all())
    staffing.sign_in(client, User.objects.get(pk=user.pk))
    for model in money():
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        assert client.post(reverse(f"admin:{name}_add"), form(model)).status_code == 403

"""Nothing is assigned that was not meant: unknown and read-only fields are refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps

from accounts.models import AuditEvent
from config import policies
from tests.api.conftest import Tenant, refusal
from tests.api.entries import MANAGEMENT
from tests.api.test_matrix import address, filled

OURS = ("accounts", "billing", "proxy")
WRITING = [route for route in policies.routes() if route.method not in ("GET", "HEAD")]


def columns() -> set[str]:
    """Every field of every table of ours, by both of its names."""
    found = set()
    for app in OURS:
        for model in apps.get_app_config(app).get_models():
            for field in model._meta.get_fields():
                found |= {field.name, getattr(field, "attname", field.name)}
    return found


def read_only(operation: Any) -> set[str]:
    """What an endpoint shows."""
    return set(operation.answer().fields) if operation.answer else set()


class TestEveryWritableEndpoint:
    @pytest.mark.parametrize("route", WRITING, ids=lambda route: f"{route.method} {route.path}")
    def test_refuses_every_field_that_is_not_meant(self, alice: Tenant, route: Any) -> None:
        taken = set(route.operation.body().fields)
        others = (columns() | read_only(route.operation) | {"__proto__", "by", "is_staff"}) - taken
        before = AuditEvent.objects.count()
        path = filled(address(route.path), alice.addresses())

        response = alice.session().ask(route.method, path, dict.fromkeys(others, "1"))

        error = refusal(response)
        assert response.status_code == 400
        assert set(error["fields"]) >= others
        assert error["param"] in error["fields"]
        assert AuditEvent.objects.count() == before

    def test_there_are_many(self) -> None:
        assert len(WRITING) == len([1 for method, _ in MANAGEMENT if method != "GET"])
        assert len(columns()) > 200


class TestQueries:
    def test_an_unknown_filter_is_refused_by_name(self, alice: Tenant) -> None:
        for method, path in MANAGEMENT:
            if method == "GET":
                place = filled(path, alice.addresses())
                error = refusal(alice.session().ask("GET", f"{place}?nonsense=1"))
                assert (error["reason"], error["param"]) == ("unsupported_parameter", "nonsense")


def references(alice: Tenant, bob: Tenant) -> list[tuple[str, str, dict[str, Any]]]:
    """Calls for alice that name what is bob's in a field that is accepted."""
    theirs, key = bob.addresses(), f"keys/{alice.key.public_id}"
    wishes = {"enabled": True, "threshold_usd": "1", "amount_usd": "20", "monthly_limit_usd": "40"}
    new = {"name": "x", "scopes": ["chat"]}
    return [
        ("POST", "keys", new | {"workspaces": [theirs["workspace_id"]]}),
        ("POST", "keys", new | {"workspaces": [alice.workspace.public_id, theirs["workspace_id"]]}),
        ("POST", "keys", new | {"service_account_id": theirs["service_account_id"]}),
        ("PATCH", key, {"workspaces": [theirs["workspace_id"]]}),
        ("PATCH", key, {"workspaces": [alice.workspace.public_id, theirs["workspace_id"]]}),
        ("POST", "top-ups", {"amount_usd": "20", "card": theirs["card_id"]}),
        ("PUT", "auto-top-up", wishes | {"card": theirs["card_id"]}),
        ("POST", "exports", {"kind": "logs", "filter": {"workspace_id": theirs["workspace_id"]}}),
    ]


class TestReferences:
    @pytest.mark.parametrize("by_key", [True, False])
    def test_to_what_is_anothers_change_nothing(
        self, alice: Tenant, bob: Tenant, settings: Any, by_key: bool
    ) -> None:
        settings.STRIPE_SECRET_KEY = "sk_test_x"
        program = alice.program() if by_key else alice.session()
        before = AuditEvent.objects.count()

        for method, path, body in references(alice, bob):
            response = program.ask(method, path, body)
            assert response.status_code in (400, 403, 404), (method, path, response.content)
            assert bob.owner.email not in response.content.decode()

        assert AuditEvent.objects.count() == before

    def test_are_all_tried(self) -> None:
        """A field that names something by its id is tried above, or names nobody's."""
        tried = {"workspaces", "service_account_id", "card"}
        harmless = {"external_id", "token", "package", "asset", "kind"}
        naming = {
            name
            for route in WRITING
            for name in route.operation.body().fields
            if name.endswith("_id") or name in tried | {"workspace", "key", "user", "member"}
        }

        assert naming - harmless == tried

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

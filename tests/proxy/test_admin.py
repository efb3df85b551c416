from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.test import RequestFactory
from django.urls import reverse

from accounts.models import User
from common import ids
from proxy.models import Attempt, GatewayProcess

pytestmark = pytest.mark.django_db

KEPT = ["provider", "model", "route", "attempt", "checkpoint", "gatewayprocess"]
READ_ONLY = ["attempt", "checkpoint", "gatewayprocess", "taskheartbeat", "catalogueversion"]


@pytest.fixture
def staff() -> User:
    return User.objects.create_superuser("s@example.com", "a-long-pass-word")


class TestRegistry:
    def test_every_model_is_registered(self) -> None:
        for model in apps.get_app_config("proxy").get_models():
            assert admin.site.is_registered(model), model

    @pytest.mark.parametrize("name", READ_ONLY)
    def test_evidence_is_read_only(self, name: str, rf: RequestFactory, staff: User) -> None:
        request = rf.get("/")
        request.user = staff
        site = admin.site.get_model_admin(apps.get_model("proxy", name))
        assert not site.has_add_permission(request)
        assert not site.has_change_permission(request)
        assert site.has_view_permission(request)

    @pytest.mark.parametrize("name", KEPT)
    def test_what_receipts_refer_to_is_never_deleted(
        self, name: str, rf: RequestFactory, staff: User
    ) -> None:
        request = rf.get("/")
        request.user = staff
        site = admin.site.get_model_admin(apps.get_model("proxy", name))
        assert not site.has_delete_permission(request)


class TestPages:
    @pytest.mark.parametrize(
        "model", [m._meta.model_name for m in apps.get_app_config("proxy").get_models()]
    )
    def test_every_list_opens(self, model: str, rf: RequestFactory, staff: User) -> None:
        GatewayProcess.objects.create(hostname="h", pid=1)
        with connection.cursor() as cursor:
            cursor.execute(
                "insert into proxy_attempt (request_id, day, n, provider, upstream_model, outcome)"
                " select %s, current_date, n, 'p', 'm', 'won' from generate_series(1, 2) n",
                [ids.request_id()],
            )
        url = reverse(f"admin:proxy_{model}_changelist")
        request = rf.get(url)
        request.user = staff
        site = admin.site.get_model_admin(apps.get_model("proxy", model))
        response = site.changelist_view(request).render()  # type: ignore[attr-defined]
        assert response.status_code == 200

    def test_a_request_with_several_attempts_can_be_opened(
        self, rf: RequestFactory, staff: User
    ) -> None:
        request_id = ids.request_id()
        with connection.cursor() as cursor:
            cursor.execute(
                "insert into proxy_attempt (request_id, day, n, provider, upstream_model, outcome)"
                " select %s, current_date, n, 'p', 'm', 'won' from generate_series(1, 2) n",
                [request_id],
            )
        site = admin.site.get_model_admin(Attempt)
        found = site.get_object(rf.get("/"), str(request_id))
        assert found is not None
        assert found.n == 1
        assert site.get_object(rf.get("/"), "not-an-id") is None

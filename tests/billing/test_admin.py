from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client, RequestFactory
from django.urls import reverse

from accounts.models import AuditEvent, User
from billing import incidents, packages
from billing.adminrows import ReadOnlyAdmin
from billing.models import Alert
from tests import staffing
from tests.billing.bank import customer
from tests.staff.desk import clerk, desk, take

pytestmark = pytest.mark.django_db

EDITED = {"TokenPackage"}
MODELS = sorted(
    (each for each in apps.get_app_config("billing").get_models() if each.__name__ not in EDITED),
    key=lambda model: model.__name__,
)


@pytest.fixture
def staff(client: Client) -> Client:
    """Return a client that is signed in as a superuser."""
    return staffing.sign_in(client, User.objects.create_superuser("staff@example.com", "x"))


class TestReadOnlyAdmin:
    def test_every_model_of_money_is_registered_and_read_only(self) -> None:
        assert MODELS
        assert all(isinstance(admin.site.get_model_admin(each), ReadOnlyAdmin) for each in MODELS)

    @pytest.mark.parametrize("model", MODELS)
    def test_it_can_be_seen_and_not_changed(
        self, staff: Client, model: type, rf: RequestFactory
    ) -> None:
        one = customer(usd=1000, granted=10)
        one.use(5)
        one.hold(5)
        name = model._meta.model_name  # type: ignore[attr-defined]  # Django's own convention
        page = staff.get(reverse(f"admin:billing_{name}_changelist"))
        assert page.status_code == 200
        assert staff.get(reverse(f"admin:billing_{name}_add")).status_code == 403
        page_of: Any = admin.site.get_model_admin(model)
        row = page_of.get_queryset(rf.get("/")).first()
        if row is not None:
            url = reverse(f"admin:billing_{name}_change", args=[row.pk])
            assert staff.get(url).status_code == 200
            assert staff.post(url, {}).status_code == 403
            delete = reverse(f"admin:billing_{name}_delete", args=[row.pk])
            assert staff.post(delete, {"post": "yes"}).status_code == 403


class TestTokenPackageAdmin:
    def test_an_operator_sells_a_package(self, staff: Client) -> None:
        form = {
            "slug": "starter", "name": "Starter", "tokens": "400", "price_nanos": "9.90",
            "bonus_tokens": "0", "bonus_days": "", "enabled": "on", "reason": "A new offer",
        }  # fmt: skip
        staff.post(reverse("admin:billing_tokenpackage_add"), form)
        [package] = packages.listed()
        assert (package.slug, package.tokens, package.price_nanos) == (
            "starter",
            400,
            9_900_000_000,
        )
        page = staff.get(reverse("admin:billing_tokenpackage_changelist"))
        assert "9.90" in page.content.decode()

    def test_nothing_is_sold_for_nothing(self, staff: Client) -> None:
        form = {"slug": "gift", "name": "Gift", "tokens": "400", "price_nanos": "0",
                "bonus_tokens": "0", "enabled": "on", "reason": "A present"}  # fmt: skip
        page = staff.post(reverse("admin:billing_tokenpackage_add"), form)
        assert "what is free is a grant" in page.content.decode()
        assert packages.listed() == []


class TestAlertAdmin:
    def test_staff_end_refused_settlements_with_a_reason_and_nothing_else(
        self, staff: Client
    ) -> None:
        for kind in ("settlement.refused", "ledger.violation"):
            incidents.begin(kind=kind, subject="x", facts={})
        for alert in Alert.objects.all():
            url = reverse("admin:billing_alert_end", args=[alert.pk])
            if alert.kind == "settlement.refused":
                take(staff, url, reason="Compared by hand")
            else:
                assert staff.get(url).status_code == 302
        assert [each.kind for each in Alert.objects.filter(closed_at=None)] == ["ledger.violation"]
        written = AuditEvent.objects.get(action="alert.ended")
        assert written.after == {"open": False, "reason": "Compared by hand"}

    def test_who_may_only_look_ends_nothing(self) -> None:
        incidents.begin(kind="settlement.refused", subject="x", facts={})
        looker = desk(clerk("billing.view_alert"))
        [alert] = Alert.objects.all()
        assert looker.get(reverse("admin:billing_alert_changelist")).status_code == 200
        url = reverse("admin:billing_alert_end", args=[alert.pk])
        assert looker.post(url, {"reason": "Mine"}).status_code == 403
        alert.refresh_from_db()
        assert alert.closed_at is None

"""Lists of the admin site: what is found in them, and what they lead to."""

from __future__ import annotations

import re

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from accounts.actors import Staff
from accounts.models import AuditEvent, Workspace
from billing import freezing, incidents
from billing.models import Usage
from common import ids
from tests import pages
from tests.billing.bank import Customer, customer
from tests.staff.desk import clerk, desk

pytestmark = pytest.mark.django_db


@pytest.fixture
def one() -> Customer:
    return customer(usd=10**10)


@pytest.fixture
def staff() -> Client:
    return desk(clerk(superuser=True))


class TestSearch:
    def test_a_call_is_found_by_its_id_as_its_caller_was_told_it(
        self, one: Customer, staff: Client
    ) -> None:
        one.use(5)
        one.use(7)
        call = Usage.objects.latest("id")
        address = reverse("admin:billing_usage_changelist")
        for told in (ids.form("req_", call.pk), ids.form("chatcmpl-", call.pk), str(call.pk)):
            page = staff.get(address, {"q": f" {told} "}).content.decode()
            assert re.findall(r"(\d+) result", page) == ["1"], told
            assert ids.form("req_", call.pk) in page
            leads_to = reverse("admin:billing_customer_change", args=[one.workspace.pk])
            assert f'<a href="{leads_to}">' in page
        assert "0 results" in staff.get(address, {"q": "req_nothing"}).content.decode()


class TestCustomers:
    def test_who_has_a_personal_one_is_named(self, staff: Client) -> None:
        pages.person("ada")
        page = staff.get(reverse("admin:billing_customer_changelist")).content.decode()
        assert "ada@example.com" in page

    def test_a_frozen_one_is_listed_once(self, one: Customer, staff: Client) -> None:
        one.use(5)
        freezing.freeze(workspace=one.workspace, reason="A test", by=Staff(clerk(name="other")))
        address = reverse("admin:billing_customer_changelist")
        page = staff.get(address, {"frozen": "yes"}).content.decode()
        assert page.count(one.workspace.public_id) == 1


class TestTimes:
    def test_they_are_written_to_the_second_by_24_hours_and_said_to_be_utc(
        self, one: Customer, staff: Client
    ) -> None:
        one.use(5)
        page = staff.get(reverse("admin:billing_usage_changelist")).content.decode()
        assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", page)
        assert "Times are UTC." in page


class TestHistory:
    def test_it_leads_to_what_the_audit_log_has(self, one: Customer, staff: Client) -> None:
        freezing.freeze(workspace=one.workspace, reason="A test", by=Staff(clerk(name="other")))
        address = reverse("admin:accounts_workspace_history", args=[one.workspace.pk])
        page = staff.get(address).content.decode()
        assert "have a change history" not in page
        [found] = re.findall(r'href="(/admin/accounts/auditevent/\?q=[^"]+)"', page)
        assert "workspace.frozen" in staff.get(found).content.decode().partition("result_list")[2]


class TestIndex:
    def test_what_waits_is_counted_for_who_may_see_it(self, staff: Client, one: Customer) -> None:
        page = staff.get(reverse("admin:index")).content.decode()
        assert "Nothing." in page
        for number in (1, 2):
            facts = {"lines": number}
            incidents.begin(kind="settlement.refused", subject=f"day {number}", facts=facts)
        page = staff.get(reverse("admin:index")).content.decode()
        [found] = re.findall(r'<a href="([^"]+)">Open incidents: <strong>2</strong>', page)
        assert "2 alerts" in staff.get(found.replace("&amp;", "&")).content.decode()
        clerk_of_keys = desk(clerk("accounts.view_apikey", name="other"))
        assert "Open incidents" not in clerk_of_keys.get(reverse("admin:index")).content.decode()

    def test_sections_have_names_that_tell_them_apart(self, staff: Client) -> None:
        request = staff.get(reverse("admin:index")).wsgi_request
        sections = admin.site.get_app_list(request)
        names = [section["name"] for section in sections]
        assert len(set(names)) == len(names)
        assert "Sign-in and groups" in names
        assert sum(len(section["models"]) for section in sections) == len(admin.site._registry)


class TestFactors:
    def test_whose_is_removed_is_said_before(self, staff: Client) -> None:
        user = pages.person("ada")
        factor = TOTP.activate(user, generate_totp_secret()).instance
        address = reverse("admin:mfa_authenticator_delete", args=[factor.pk])
        page = staff.get(address).content.decode()
        assert "ada@example.com" in page
        assert 'name="reason"' in page
        answer = staff.post(address, {"post": "yes"}, follow=True).content.decode()
        assert "Nothing was changed: say why" in answer
        assert Authenticator.objects.filter(user=user).exists()
        assert staff.post(address, {"post": "yes", "reason": "Lost phone"}).status_code == 302
        assert not Authenticator.objects.filter(user=user).exists()

    def test_its_owner_reads_of_it_and_staff_read_why(self, staff: Client) -> None:
        user = pages.person("ada")
        factor = TOTP.activate(user, generate_totp_secret()).instance
        address = reverse("admin:mfa_authenticator_delete", args=[factor.pk])
        staff.post(address, {"post": "yes", "reason": "Lost phone"})
        found = AuditEvent.objects.filter(action="user.second_factor_removed")
        home = Workspace.objects.get(personal_of=user)
        assert found.get(workspace=home).after == {"type": "totp"}
        assert found.get(workspace=None).after == {"type": "totp", "reason": "Lost phone"}
        assert found.count() == 2

    def test_several_at_once_are_not_removed(self, staff: Client) -> None:
        page = staff.get(reverse("admin:mfa_authenticator_changelist")).content.decode()
        assert "delete_selected" not in page

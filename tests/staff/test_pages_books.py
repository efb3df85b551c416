from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent
from billing import incidents
from billing.models import StripeEntry
from proxy import heartbeats, status
from proxy.models import Provider, ProviderReport
from tests.pages import Inline
from tests.staff.desk import clerk, desk, take

pytestmark = pytest.mark.django_db
URL = "/admin/proxy/taskheartbeat/books/"


@pytest.fixture
def staff() -> Client:
    return desk(clerk(superuser=True, name="boss"))


@pytest.fixture
def report() -> ProviderReport:
    """A day of a provider that has no report to be read."""
    provider = Provider.objects.create(slug="first", kind="openai", base_url="http://127.0.0.1:9")
    return ProviderReport.objects.create(
        provider=provider, day=timezone.now().date() - timedelta(days=1), status="unavailable",
        ours_nanos=1, ours_calls=1, problem="It was away.", fetched_at=timezone.now(),
    )  # fmt: skip


class TestBooks:
    def test_all_eleven_hold_where_nothing_was_found(self, staff: Client) -> None:
        page = staff.get(URL).content.decode()
        assert page.count(">holds<") == 11
        assert "never" in page
        assert Inline(page).found == []

    def test_what_was_found_stays_in_the_history_when_it_is_over(self, staff: Client) -> None:
        facts = {"name": "x", "violations": 2, "examples": ["account 5 counts 7"]}
        for number in (2, 3):
            incidents.begin(kind="ledger.violation", subject=f"invariant:{number}", facts=facts)
        incidents.end(kind="ledger.violation", subject="invariant:3")
        page = staff.get(URL).content.decode()
        assert page.count(">violated<") == 1
        assert page.count("account 5 counts 7") == 2
        assert page.count("not yet") == 1

    def test_it_says_when_they_were_last_right_and_what_others_books_say(
        self, staff: Client, report: ProviderReport
    ) -> None:
        status.note_books(0)
        heartbeats.beat(name="sweep")
        StripeEntry.objects.create(
            id="txn_odd", kind="charge", amount_cents=5, fee_cents=0, currency="usd",
            at=timezone.now(), matched=False,
        )  # fmt: skip
        page = staff.get(URL).content.decode()
        for text in (str(timezone.now().date()), "It was away.", "txn_odd", "sweep"):
            assert text in page

    def test_who_may_not_look_sees_nothing(self) -> None:
        assert desk(clerk("billing.view_usage")).get(URL).status_code == 403


class TestReport:
    def test_a_provider_is_asked_for_a_day_again(
        self, staff: Client, report: ProviderReport
    ) -> None:
        url = reverse("admin:proxy_providerreport_ask", args=[report.pk])
        page = take(staff, url, reason="They said it is there now").content.decode()
        assert "unavailable" in page
        assert AuditEvent.objects.get(action="provider.report_asked").target == "first"


class TestIndex:
    def test_it_leads_to_what_staff_need_every_day(self, staff: Client) -> None:
        page = staff.get(reverse("admin:index")).content.decode()
        for name in ("billing_usage_earnings", "proxy_taskheartbeat_books"):
            assert reverse(f"admin:{name}") in page
        assert Inline(page).found == []

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent
from billing import invariants, ledger, prices
from billing.models import Usage
from billing.pricing import Rates
from common import ids
from proxy import due
from proxy.models import Attempt, Model, Provider, Route
from tests.billing.bank import Customer, customer, expire
from tests.pages import Inline
from tests.staff.desk import clerk, desk, open_form, take

pytestmark = pytest.mark.django_db

USD = 10**9
PAST = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def one() -> Customer:
    return customer(usd=20 * USD)


@pytest.fixture
def route() -> Route:
    """A model for $1 and $2 per million, bought for half of that."""
    provider = Provider.objects.create(slug="first", kind="openai", base_url="http://a.example/v1")
    model = Model.objects.create(
        slug="sandbox/echo", name="E", owned_by="a", kind="chat", context_length=8000,
        max_output_tokens=1000,
    )  # fmt: skip
    route = Route.objects.create(model=model, provider=provider, upstream_model="echo")
    for subject, role, factor in ((model.slug, "retail", 2), (route.subject, "cost", 1)):
        rates = Rates(prompt=500_000 * factor, completion=1_000_000 * factor)
        prices.set_price(subject=subject, role=role, rates=rates, now=PAST)
    return route


@pytest.fixture
def lost(one: Customer, route: Route) -> UUID:
    """A call that expired without evidence."""
    call_id, _ = one.hold(USD)
    expire(call_id)
    Usage.objects.filter(pk=call_id).update(reason="unknown")
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into proxy_attempt (request_id, day, n, provider, route_id, upstream_model,"
            " outcome, cause) values (%s, current_date, 1, 'first', %s, 'echo', 'unknown', 'x')",
            [call_id, route.pk],
        )
    return UUID(call_id)


@pytest.fixture
def staff() -> Client:
    return desk(clerk("proxy.view_unknowncall", "accounts.resolve_calls"))


def url(step: str, call_id: UUID) -> str:
    return reverse(f"admin:proxy_unknowncall_{step}", args=[call_id])


def paid(one: Customer) -> int:
    return ledger.balance(workspace_id=one.workspace.pk, asset="USD").paid


class TestUnknown:
    def test_it_finds_unknown_calls_only(self, one: Customer, lost: UUID) -> None:
        found = due.unknown(lost)
        assert found is not None
        assert (found.id, found.expired) == (lost, True)
        call_id, _ = one.hold(5)
        assert due.unknown(UUID(call_id)) is None


class TestList:
    def test_open_ones_are_listed(self, one: Customer, lost: UUID, staff: Client) -> None:
        one.use(5)
        page = staff.get(reverse("admin:proxy_unknowncall_changelist")).content.decode()
        assert ids.form("req_", lost) in page
        assert "1.00 USD" in page
        assert "1 unknown call" in page
        assert Inline(page).found == []


class TestCharge:
    def test_on_evidence_the_customer_pays_what_it_used_once(
        self, one: Customer, lost: UUID, route: Route, staff: Client
    ) -> None:
        form = open_form(staff, url("charge", lost)) | {
            "route": str(route.pk), "upstream_id": "chatcmpl-1", "input": "1000", "cached": "0",
            "output": "500", "reason": "Their console says so",
        }  # fmt: skip
        for _ in range(2):
            staff.post(url("charge", lost), form)
        call = Usage.objects.get(pk=lost)
        assert (call.state, call.source, call.unknown) == ("late", "lookup", False)
        assert call.charged == call.cost == 2_000_000
        assert call.upstream_cost == 1_000_000
        assert paid(one) == 20 * USD - 2_000_000
        [attempt] = Attempt.objects.filter(request_id=lost)
        assert (attempt.outcome, attempt.upstream_id) == ("won", "chatcmpl-1")
        written = AuditEvent.objects.get(action="call.charged", workspace=None)
        assert written.after is not None
        assert (written.after["charged"], written.after["reason"]) == (
            "2000000", "Their console says so",
        )  # fmt: skip
        assert invariants.check().ok

    def test_never_above_what_was_held(
        self, one: Customer, lost: UUID, route: Route, staff: Client
    ) -> None:
        take(
            staff, url("charge", lost), route=str(route.pk), input="0", cached="0",
            output="900000000",
        )  # fmt: skip
        call = Usage.objects.get(pk=lost)
        assert call.charged == USD
        assert call.uncollected > 0
        assert paid(one) == 19 * USD
        assert invariants.check().ok

    def test_nothing_used_is_nothing_to_charge(
        self, lost: UUID, route: Route, staff: Client
    ) -> None:
        page = take(
            staff, url("charge", lost), route=str(route.pk), input="0", cached="0", output="0"
        )
        assert page.status_code == 422
        assert Usage.objects.get(pk=lost).unknown


class TestLetGo:
    def test_it_costs_nothing_and_is_on_the_list_no_more(
        self, one: Customer, lost: UUID, staff: Client
    ) -> None:
        take(staff, url("let_go", lost), reason="They were away all day")
        call = Usage.objects.get(pk=lost)
        assert (call.state, call.unknown, call.charged, call.reason) == (
            "late", False, 0, "let_go",
        )  # fmt: skip
        assert paid(one) == 20 * USD
        assert [each.outcome for each in Attempt.objects.filter(request_id=lost)] == ["lost"]
        [theirs] = AuditEvent.objects.filter(action="call.let_go", workspace=one.workspace)
        assert "away" not in str(theirs.after)
        assert invariants.check().ok

    def test_what_was_let_go_is_never_charged(
        self, lost: UUID, route: Route, staff: Client
    ) -> None:
        form = open_form(staff, url("charge", lost)) | {
            "route": str(route.pk), "input": "5", "cached": "0", "output": "5", "reason": "Late",
        }  # fmt: skip
        take(staff, url("let_go", lost))
        staff.post(url("charge", lost), form)
        assert Usage.objects.get(pk=lost).charged == 0
        with connection.cursor() as cursor:
            item = {"id": str(lost), "state": "settled", "cost": 7}
            cursor.execute(ledger.SETTLE, [json.dumps([item]), False])
            assert json.loads(cursor.fetchone()[0])[0]["v"] == "conflict"


class TestPermissions:
    @pytest.mark.parametrize("step", ["charge", "let_go"])
    def test_who_may_look_may_not_decide(self, lost: UUID, step: str) -> None:
        looker = desk(clerk("proxy.view_unknowncall", name="looker"))
        assert looker.post(url(step, lost), {"reason": "Mine"}).status_code == 403

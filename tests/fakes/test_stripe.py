from __future__ import annotations

from typing import Any

import httpx
import pytest

from billing.stripe.client import API_VERSION
from tests.fakes.stripe import description
from tests.fakes.stripe.process import FakeStripe

REFUND: dict[str, Any] = {
    "id": "re_1",
    "object": "refund",
    "amount": 500,
    "created": 1,
    "currency": "usd",
    "charge": "ch_1",
    "failure_reason": None,
    "metadata": {"refund": "ref_1"},
    "status": "succeeded",
}


class TestVersion:
    def test_the_description_is_that_of_the_version_we_ask_for(self) -> None:
        assert description.VERSION == API_VERSION


class TestFaults:
    def test_what_stripe_could_answer_has_none(self) -> None:
        assert description.faults(REFUND) == []

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            ({"amount": "500"}, "refund.amount is '500', no int"),
            ({"amount": True}, "refund.amount is True, no int"),
            ({"amount": None}, "refund.amount is None, no int"),
            ({"livemode": False}, "refund.livemode is no field"),
            ({"metadata": {"refund": 1}}, "refund.metadata.refund is 1, no str"),
            ({"charge": {"object": "charge"}}, "refund.charge.amount is missing"),
            ({"object": "repayment"}, "no object of Stripe's"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_it_could_not_is_found(self, change: dict[str, Any], fault: str) -> None:
        assert any(fault in each for each in description.faults(REFUND | change))

    def test_a_field_that_is_missing_is_found(self) -> None:
        without = {name: REFUND[name] for name in REFUND if name != "currency"}
        assert description.faults(without) == ["refund.currency is missing"]

    def test_rows_of_lists_and_subjects_of_events_are_looked_at(self) -> None:
        rows = {"object": "list", "data": [REFUND | {"amount": ""}], "has_more": False}
        assert description.faults(rows)
        event = {"object": "event", "id": "evt_1", "created": 1, "livemode": False}
        event |= {"type": "refund.created", "pending_webhooks": 1}
        assert description.faults(event | {"data": {"object": REFUND}}) == []
        assert description.faults(event | {"data": {"object": REFUND | {"amount": ""}}})
        assert description.faults(event | {"type": "refund.made", "data": {"object": REFUND}})


class TestExpandable:
    @pytest.mark.parametrize(
        ("path", "can"),
        [("charge", True), ("charge.payment_intent", True), ("amount", False), ("owner", False)],
    )
    def test_a_field_that_can_be_whole_is_known(self, path: str, can: bool) -> None:
        assert description.expandable(REFUND, path) is can


class TestRefusal:
    @pytest.mark.parametrize(
        ("call", "wanted"),
        [
            ("POST refunds", {"payment_intent": "pi_1", "amount": "5", "metadata": {"a": "b"}}),
            ("POST payment_methods/pm_1/detach", {}),
            ("GET payment_intents/search", {"query": "x"}),
            ("GET events", {"delivery_success": "false", "limit": "100"}),
            ("GET balance_transactions", {"created": {"gte": "1"}, "expand": ["data.source"]}),
        ],
        ids=str,
    )
    def test_what_stripe_takes_is_taken(self, call: str, wanted: dict[str, Any]) -> None:
        method, path = call.split(" ")
        assert description.refusal(method, path, wanted) is None

    @pytest.mark.parametrize(
        ("call", "wanted", "why"),
        [
            ("POST refunds", {"sum": "5"}, "unknown parameter: sum"),
            ("POST refunds", {"amount": "5.5"}, "amount"),
            ("POST refunds", {"reason": "regret"}, "reason"),
            ("POST checkout/sessions", {"mode": "gift"}, "mode"),
            ("POST checkout/sessions", {"adaptive_pricing": {"on": "x"}}, "adaptive_pricing[on]"),
            ("POST tax/calculations", {"currency": "usd"}, "line_items"),
            ("DELETE payment_methods/pm_1", {}, "Unrecognized request URL"),
            ("POST repayments", {}, "Unrecognized request URL"),
        ],
        ids=str,
    )
    def test_what_it_does_not_is_refused(self, call: str, wanted: dict[str, Any], why: str) -> None:
        method, path = call.split(" ")
        assert why in (description.refusal(method, path, wanted) or "")


class TestFake:
    def test_it_refuses_what_stripe_would_and_keeps_what_differs(self) -> None:
        with FakeStripe() as fake:
            answer = httpx.post(f"{fake.url}/v1/customers", data={"nickname": "Ada"})
            assert answer.json()["error"]["code"] == "parameter_unknown"
            assert fake.do("state")["wrong"] == [
                "POST customers: Received unknown parameter: nickname"
            ]
            made = httpx.post(f"{fake.url}/v1/customers", data={"name": "Ada"}).json()
            fake.do("change", id=made["id"], facts={"created": "today"})
            assert "customer.created is 'today', no int" in fake.do("state")["wrong"]

"""When a workspace is told of a low balance."""

from __future__ import annotations

from accounts.models import AuditEvent
from tests.api.conftest import Tenant, refusal


class TestAlerts:
    def test_a_threshold_is_set_and_taken_back(self, alice: Tenant) -> None:
        program = alice.program("billing:read", "billing:manage")
        default = program.get("alerts")
        assert default["is_default"]

        mine = program.patch("alerts", {"low_balance_usd": "7.5", "version": default["version"]})

        assert (mine["low_balance_usd"], mine["is_default"]) == ("7.50", False)
        late = program.ask(
            "PATCH", "alerts", {"low_balance_usd": "1", "version": default["version"]}
        )
        assert refusal(late)["reason"] == "version_conflict"
        assert program.patch("alerts", {"low_balance_usd": None}) == default
        events = AuditEvent.objects.filter(action="alerts.changed").order_by("id")
        assert [event.after for event in events] == [
            {"low_balance_usd": "7.50"},
            {"low_balance_usd": None},
        ]

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from billing import limits
from billing.models import Lot
from tests.billing.bank import Customer, customer

pytestmark = pytest.mark.django_db


def said(*words: str) -> dict[str, Any]:
    """Run a command with --json and return what it prints."""
    out = StringIO()
    call_command(*words, "--json", stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


@pytest.fixture
def one() -> Customer:
    """Return a customer without money."""
    return customer()


class TestVerifyLedger:
    def test_it_prints_the_eleven_invariants(self, one: Customer) -> None:
        report = said("verify_ledger")
        assert report["ok"] is True
        assert (report["holds_pending"], report["unknown_calls"]) == (0, 0)
        assert [each["id"] for each in report["invariants"]] == list(range(1, 12))
        assert all(each["violations"] == 0 for each in report["invariants"])

    def test_it_exits_with_1_on_a_violation(self, one: Customer) -> None:
        with connection.cursor() as cursor:
            cursor.execute("update billing_account set credits_posted = 1 where bounded")
        out = StringIO()
        with pytest.raises(SystemExit) as exit_:
            call_command("verify_ledger", "--full", stdout=out)
        assert exit_.value.code == 1
        assert "VIOLATED" in out.getvalue()

    def test_it_reads_as_text(self, one: Customer) -> None:
        out = StringIO()
        call_command("verify_ledger", stdout=out)
        assert "no balance is below its floor" in out.getvalue()
        assert out.getvalue().endswith("Holds pending: 0. Unknown calls: 0.\n")


class TestGrant:
    def test_dollars_with_an_expiry(self, one: Customer) -> None:
        answer = said(
            "grant", "--workspace", one.workspace.public_id, "--usd", "2.50",
            "--reason", "a gift", "--expires", "2031-01-31",
        )  # fmt: skip
        assert answer["available"] == "2.50 USD"
        lot = Lot.objects.get()
        assert lot.reason == "a gift"
        assert lot.expires_at is not None
        assert lot.expires_at.isoformat() == "2031-01-31T00:00:00+00:00"

    def test_tokens(self, one: Customer) -> None:
        said("grant", "--workspace", one.workspace.public_id, "--tokens", "300", "--reason", "x")
        assert one.balance("TOK").granted == 300

    def test_paid(self, one: Customer) -> None:
        said(
            "grant", "--workspace", one.workspace.public_id, "--usd", "1", "--reason", "x", "--paid"
        )
        assert one.balance().paid == 10**9

    @pytest.mark.parametrize(
        "words",
        [
            ["--usd", "0"],
            ["--usd", "-1"],
            ["--usd", "1.0000000001"],
            ["--usd", "ten"],
            ["--tokens", "0"],
            ["--usd", "1", "--expires", "soon"],
            ["--usd", "1", "--expires", "2031-01-31", "--paid"],
            ["--usd", "9000000001"],
        ],
    )
    def test_nonsense_is_one_clear_line(self, one: Customer, words: list[str]) -> None:
        with pytest.raises(CommandError):
            said("grant", "--workspace", one.workspace.public_id, "--reason", "x", *words)
        assert one.balance().total == 0

    def test_an_unknown_workspace(self) -> None:
        with pytest.raises(CommandError, match="no workspace"):
            said("grant", "--workspace", "ws_nobody", "--usd", "1", "--reason", "x")


class TestSetLimits:
    def test_of_a_workspace(self, one: Customer) -> None:
        said("set_limits", "--workspace", one.workspace.public_id, "--daily-usd", "1.5")
        assert limits.workspace_caps(workspace=one.workspace) == (1_500_000_000, None)

    def test_of_a_key(self, one: Customer) -> None:
        answer = said(
            "set_limits", "--key", one.key.public_id, "--rpm", "7", "--daily-usd", "0",
            "--monthly-usd", "2",
        )  # fmt: skip
        assert limits.key_caps(key=one.key) == (0, 2_000_000_000)
        one.key.refresh_from_db()
        assert one.key.rpm == answer["rpm"] == 7

    def test_of_all_keys_of_a_workspace(self, one: Customer) -> None:
        said("set_limits", "--workspace", one.workspace.public_id, "--rpm", "9")
        one.key.refresh_from_db()
        assert one.key.rpm == 9

    def test_none_is_unlimited_and_what_is_not_named_stays(self, one: Customer) -> None:
        one.caps(ws_day=5, ws_month=6)
        said("set_limits", "--workspace", one.workspace.public_id, "--daily-usd", "none")
        assert limits.workspace_caps(workspace=one.workspace) == (None, 6)

    @pytest.mark.parametrize(
        "words",
        [
            [],
            ["--daily-usd", "-1"],
            ["--daily-usd", "much"],
            ["--rpm", "many"],
        ],
    )
    def test_nonsense_is_one_clear_line(self, one: Customer, words: list[str]) -> None:
        with pytest.raises(CommandError):
            said("set_limits", "--workspace", one.workspace.public_id, *words)

    def test_an_unknown_key(self) -> None:
        with pytest.raises(CommandError, match="no key"):
            said("set_limits", "--key", "key_nobody", "--rpm", "5")

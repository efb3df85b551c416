from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from billing import incidents
from billing.models import Alert
from common import ids
from proxy import hindsight
from proxy.models import Attempt, Generation
from proxy.till import AttemptRow, Bill, Closing
from tests.billing.bank import Customer, bill, customer, settle

pytestmark = pytest.mark.django_db

CALL = ids.request_id()
TODAY = datetime.now(UTC).date()


def row(n: int, outcome: str, *, provider: str = "first", cost: int = 0) -> AttemptRow:
    return AttemptRow(
        request_id=CALL,
        day=TODAY,
        n=n,
        provider=provider,
        route_id=1,
        upstream_model="m",
        price_id=1,
        upstream_id="up",
        outcome=outcome,
        cause="",
        status=200,
        cost=cost,
        latency_ms=1,
    )


def write(n: int, outcome: str, *, provider: str = "first") -> None:
    Attempt.objects.create(
        request_id=CALL, day=TODAY, n=n, provider=provider, outcome=outcome, cause="swept", cost=0
    )


def found() -> list[tuple[int, str, str, int]]:
    rows = Attempt.objects.filter(request_id=CALL).order_by("n")
    return [(each.n, each.provider, each.outcome, each.cost) for each in rows]


class TestAmend:
    def test_what_was_unknown_is_known_now_twice_as_well_as_once(self) -> None:
        write(1, "unknown")
        write(2, "unknown", provider="second")
        write(3, "unknown", provider="third")
        told = [row(1, "lost"), row(2, "won", provider="second", cost=7)]
        for _ in range(2):
            hindsight.amend(told)
            assert found() == [(1, "first", "lost", 0), (2, "second", "won", 7)]

    def test_what_a_sweep_knew_stays(self) -> None:
        write(1, "won")
        hindsight.amend([row(1, "lost", cost=5)])
        assert found() == [(1, "first", "won", 0)]

    def test_nothing_told_changes_nothing(self) -> None:
        write(1, "unknown")
        hindsight.amend([])
        assert found() == [(1, "first", "unknown", 0)]


def closed(one: Customer, cost: int, **facts: Any) -> tuple[UUID, date]:
    """Close a call as a sweep does that has a checkpoint only."""
    hold_id, day = one.hold(500)
    facts = {"source": "checkpoint", "reason": "swept"} | facts
    settle(bill(hold_id, cost, day=day, **facts))
    return UUID(hold_id), date.fromisoformat(day)


def attempt(call: tuple[UUID, date], n: int, outcome: str, provider: str) -> AttemptRow:
    made = row(n, outcome, provider=provider)
    return msgspec.structs.replace(made, request_id=call[0], day=call[1])


def proof(call: tuple[UUID, date], cost: int, *attempts: AttemptRow) -> Closing:
    bill = Bill(id=call[0], day=call[1], state="settled", cost=cost, source="provider")
    return Closing(bill, attempts)


def outcomes(call: tuple[UUID, date]) -> list[tuple[int, str, str]]:
    rows = Attempt.objects.filter(request_id=call[0]).order_by("n")
    return [(each.n, each.provider, each.outcome) for each in rows]


class TestCorrect:
    def test_the_attempts_of_a_guess_make_room_for_those_that_were_made(self) -> None:
        call = closed(customer(usd=1000), 300)
        theirs = [attempt(call, 1, "won", "first"), attempt(call, 2, "unknown", "third")]
        Attempt.objects.bulk_create([Attempt(**msgspec.structs.asdict(each)) for each in theirs])
        made = [attempt(call, 1, "lost", "second"), attempt(call, 2, "won", "first")]
        told = [hindsight.correct(proof(call, 120, *made)).v for _ in range(2)]
        assert told == ["corrected", "already"]
        assert outcomes(call) == [(1, "second", "lost"), (2, "first", "won")]

    def test_without_attempts_those_that_are_known_stay(self) -> None:
        call = closed(customer(usd=1000), 300)
        Attempt.objects.create(**msgspec.structs.asdict(attempt(call, 1, "won", "first")))
        assert hindsight.correct(proof(call, 120)).v == "corrected"
        assert outcomes(call) == [(1, "first", "won")]

    def test_a_generation_tells_the_tokens_that_it_cost(self) -> None:
        one = customer(usd=10, tokens=50)
        hold_id, day = one.hold(20, tokens=True)
        call = (UUID(hold_id), date.fromisoformat(day))
        settle(bill(hold_id, 25_000_000, day=day, source="checkpoint", reason="swept"))
        Generation.objects.create(
            id=call[0], workspace_id=one.workspace.pk, key_id=one.key.pk, status="completed",
            model="m", tokens_used=10, expires_at=datetime.now(UTC),
        )  # fmt: skip
        assert hindsight.correct(proof(call, 7_500_000)).v == "corrected"
        assert Generation.objects.get(pk=call[0]).tokens_used == 3

    def test_what_is_refused_won_nothing(self) -> None:
        call = closed(customer(usd=1000), 300, source="lookup")
        # The sweep's one attempt, and what billing_settle wrote beside it of the gateway's two.
        there = [attempt(call, 1, "won", "first"), attempt(call, 2, "won", "first")]
        Attempt.objects.bulk_create([Attempt(**msgspec.structs.asdict(each)) for each in there])
        made = [attempt(call, 1, "lost", "second"), attempt(call, 2, "won", "first")]
        assert hindsight.correct(proof(call, 120, *made)).v == "conflict"
        assert outcomes(call) == [(1, "first", "won"), (2, "first", "lost")]

    def test_it_ends_the_incident_of_an_earlier_refusal(self) -> None:
        call = closed(customer(usd=1000), 300)
        name = ids.form("req_", call[0])
        incidents.begin(kind=Alert.Kind.SETTLEMENT_REFUSED, subject=name, facts={})
        hindsight.correct(proof(call, 120))
        assert Alert.objects.get(subject=name).closed_at is not None

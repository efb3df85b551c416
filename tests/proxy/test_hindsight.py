from __future__ import annotations

from datetime import UTC, datetime

import pytest

from common import ids
from proxy import hindsight
from proxy.models import Attempt
from proxy.till import AttemptRow

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

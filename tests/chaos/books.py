"""
After quiet and one sweep: does the ledger agree with the providers' log and the callers?

Numbers are those of the eleven invariants; ``lost`` and ``wrong`` count acknowledged
settlements that are not in the ledger, or not with the amount that was told.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from django.db.models import Sum

from billing import invariants
from billing.models import Hold, Revision, Usage
from common import ids
from proxy import spool
from proxy.models import Attempt, Generation
from tests.chaos.callers import Book, Told
from tests.chaos.faults import Closed
from tests.chaos.market import FIXED_CAP_NANOS, Market
from tests.chaos.provider import COMPLETION_NANOS, PROMPT_NANOS, Record

ESTIMATES = ("checkpoint", "count")
REFUSALS = frozenset(
    {
        *("store_unavailable", "cap_reached", "cap_reserved", "key_disabled", "invalid_api_key"),
        *("insufficient_balance", "balance_reserved", "rate_limited"),
    }
)
# What our own count of a prompt may be above the provider's: the words around its text.
SLACK_TOKENS = 16


@dataclass(slots=True)
class Verdict:
    """What was found."""

    acknowledged: int = 0
    lost: int = 0
    wrong: int = 0
    holds_left: int = 0
    upstream_calls: int = 0
    exact: int = 0
    estimated: int = 0
    unknown: int = 0
    late: int = 0
    corrected: int = 0
    free: int = 0
    trouble: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is amiss."""
        return not (self.lost or self.wrong or self.holds_left or self.trouble)


def refused(disk: Path) -> Iterator[str]:
    """Read of which calls the ledger would not take what a disk has: exact evidence of them."""
    for entry in spool.entries(disk / spool.REFUSED):
        if msgspec.json.decode(entry.closing)["bill"]["source"] not in ESTIMATES:
            yield entry.name


def row_name(row: Usage) -> str:
    """Return a record's request id as callers and providers know it."""
    return ids.form("req_", row.id)


class Audit:
    """Everything one run left behind, laid side by side."""

    def __init__(
        self,
        *,
        book: Book,
        records: Sequence[Record],
        closed: Sequence[Closed],
        market: Market,
        disks: Sequence[Path],
    ) -> None:
        self.book = book
        self.records: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            self.records[record.id].append(record)
        self.closed = closed
        self.market = market
        self.usage = {row_name(row): row for row in Usage.objects.all()}
        self.attempts: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in Attempt.objects.all():
            self.attempts[ids.form("req_", attempt.request_id)].append(attempt)
        self.refused = [name for disk in disks for name in refused(disk)]
        self.verdict = Verdict()

    def check(self) -> Verdict:
        """Check everything."""
        verdict = self.verdict
        verdict.holds_left = Hold.objects.count()
        verdict.upstream_calls = sum(map(len, self.records.values()))
        verdict.late = sum(row.state == "late" for row in self.usage.values())
        for name, told in self._acknowledged().items():
            self._check_told(name, told)
        for name, records in self.records.items():
            for problem in self._call_trouble(records, self.usage.get(name)):
                verdict.trouble.append(f"5: {name} {problem}")
        verdict.trouble += [*self._refused(), *self._closed(), *self._repeated(), *self._rest()]
        verdict.trouble += self._standing()
        return verdict

    def _acknowledged(self) -> dict[str, Told]:
        return {each.id: each for each in self.book.told if each.whole and each.nanos is not None}

    def _check_told(self, name: str, told: Told) -> None:
        self.verdict.acknowledged += 1
        row = self.usage.get(name)
        if row is None or row.state not in ("settled", "late"):
            self.verdict.lost += 1
            self.verdict.trouble.append(f"7: {name} was acknowledged and is {row and row.state}")
        elif told.nanos != row.charged * row.unit_nanos:
            self.verdict.wrong += 1
            self.verdict.trouble.append(f"11: {name} was told {told.nanos}, is {row.charged}")

    def _call_trouble(self, records: list[Record], row: Usage | None) -> Iterator[str]:
        """Say what is wrong with one call's closed hold."""
        if row is None:
            yield f"reached a provider and has no record ({len(records)} calls)"
        elif row.state in ("settled", "late"):
            yield from self._charge_trouble(records, row)
        elif row.unknown:
            self.verdict.unknown += 1
        else:
            self.verdict.free += 1
            yield from self._free_trouble(records, row)

    def _free_trouble(self, records: list[Record], row: Usage) -> Iterator[str]:
        """
        Say what is wrong with a call that reached a provider and costs its caller nothing.

        It was given up: by us, at our time limit, or because it failed. Each time it reached a
        provider is an attempt marked lost there, at our exact cost or, where nobody told us, none.
        """
        attempts = self.attempts[row_name(row)]
        if row.charged or row.cost or {each.outcome for each in attempts} != {"lost"}:
            yield f"is {row.state}, costs {row.cost}, attempts {[a.outcome for a in attempts]}"
        for provider in {each.provider for each in records}:
            calls = [each for each in records if each.provider == provider]
            lost = [each for each in attempts if each.provider == provider]
            if len(lost) < len(calls):
                yield f"reached {provider} {len(calls)} times, {len(lost)} attempts are marked lost"
            if wrong := {each.cost for each in lost} - {0, *(each.our_nanos for each in calls)}:
                yield f"is lost at {provider} for {wrong}"

    def _charge_trouble(self, records: list[Record], row: Usage) -> Iterator[str]:
        name = records[0].id
        won = [a for a in self.attempts[name] if a.outcome == "won"]
        served = [r for r in records if not r.failed and won and r.provider == won[0].provider]
        if len(won) != 1 or not served:
            yield f"is charged, {len(won)} attempts won, {len(served)} calls served it"
            return
        if row.source in ESTIMATES:
            self.verdict.estimated += 1
            most = max(r.nanos for r in served) + SLACK_TOKENS * PROMPT_NANOS
            if not 0 < row.cost <= most:
                yield f"is estimated at {row.cost}, its provider made {most}"
        elif row.cost not in [r.nanos for r in served]:
            self.verdict.wrong += 1
            yield (
                f"costs {row.cost} by {row.source}, its provider says "
                f"{[(r.nanos, r.finished) for r in served]}"
            )
        else:
            self.verdict.exact += 1
        lost = sum(a.outcome == "lost" for a in self.attempts[name])
        if row.source == "provider" and len(records) - 1 > lost:
            yield f"reached providers {len(records)} times, {lost} attempts are marked lost"

    def _refused(self) -> Iterator[str]:
        for told in self.book.told:
            if told.reason in REFUSALS and told.id in self.records:
                yield f"6: {told.id} was refused ({told.reason}) and reached a provider"

    def _standing(self) -> Iterator[str]:
        """No estimate may stand where there is evidence, nor anything against it."""
        self.verdict.corrected = Revision.objects.count()
        self.verdict.wrong += len(self.refused)
        for name in self.refused:
            row = self.usage.get(name)
            yield f"7: {name} was refused, stands at {row and (row.source, row.cost)}"

    def _closed(self) -> Iterator[str]:
        for closed in self.closed:
            admitted = Usage.objects.filter(
                workspace__public_id=closed.workspace,
                created_at__gt=closed.since,
                created_at__lt=closed.until,
            ).count()
            if admitted:
                yield f"4: {admitted} calls were admitted past a cap, or by a stopped key"
        spent = Usage.objects.filter(
            workspace__public_id=self.market.capped.workspace, asset="USD"
        ).aggregate(total=Sum("charged"))["total"]
        if (spent or 0) > FIXED_CAP_NANOS:
            yield f"4: {spent} were spent under a cap of {FIXED_CAP_NANOS}"

    def _repeated(self) -> Iterator[str]:
        groups: dict[str, set[str]] = defaultdict(set)
        for told in self.book.told:
            if told.repeated:
                groups[told.repeated].add(told.id)
        for group, names in groups.items():
            charged = [n for n in names if n in self.usage and self.usage[n].charged]
            if len(charged) > 1:
                yield f"8: {group} was charged {len(charged)} times under one Idempotency-Key"

    def _rest(self) -> Iterator[str]:
        report = invariants.check(full=True)
        for finding in report.findings:
            if finding.violations:
                yield f"{finding.id}: {finding.violations} of {finding.name}: {finding.examples}"
        states: Counter[Any] = Counter(Generation.objects.values_list("status", flat=True))
        if states["pending"]:
            yield f"9: {states['pending']} generations are pending"
        recomputed = [
            row
            for row in self.usage.values()
            if row.cost
            and row.cost != row.input_tokens * PROMPT_NANOS + row.output_tokens * COMPLETION_NANOS
        ]
        if recomputed:
            yield f"10: {len(recomputed)} costs do not follow from their counts"

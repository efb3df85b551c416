"""Check the invariants of money."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from billing import invariants
from billing.invariants import Report


class Command(BaseCommand):
    """Print the eleven invariants; exit 1 if one is violated."""

    help = "Check the invariants of money; exits 1 when one is violated. Repairs nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take --full and --json."""
        parser.add_argument(
            "--full",
            action="store_true",
            help="replay every transfer and usage record, not only since the last checkpoint",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Check, print, and tell by the exit code."""
        report = invariants.check(full=options["full"])
        if options["json"]:
            self.stdout.write(json.dumps(report.summary()))
        else:
            self._print(report)
        if not report.ok:
            sys.exit(1)

    def _print(self, report: Report) -> None:
        for each in report.findings:
            mark = "ok" if not each.violations else f"{each.violations} VIOLATED"
            self.stdout.write(f"{each.id:>2}  {mark:<12} {each.name}")
            for example in each.examples:
                self.stdout.write(f"    {example}")
        self.stdout.write(
            f"Holds pending: {report.holds_pending}. Unknown calls: {report.unknown_calls}."
        )

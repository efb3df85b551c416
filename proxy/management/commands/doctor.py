"""Say what works and what does not, and what to do."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

import msgspec
from django.core.management.base import BaseCommand

from proxy import health


class Command(BaseCommand):
    help = (
        "Check settings, database, Redis, Celery and catalogue; say what to do where one "
        "fails. Runs also where the product refuses to start. Exit code 1 if anything failed."
    )
    # It is what is run when these fail.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        lines = health.check_all(health.CHECKS)
        ok = all(line.ok for line in lines)
        if options["json"]:
            self.stdout.write(msgspec.json.encode({"ok": ok, "checks": lines}).decode())
        else:
            for line in lines:
                self.stdout.write(_text(line))
        if not ok:
            raise SystemExit(1)


def _text(line: health.Line) -> str:
    state = "ok    " if line.ok else "failed"
    todo = f"\n        -> {line.todo}" if line.todo else ""
    return f"{state}  {line.name}: {line.message}{todo}"

"""Close what dead gateways left open, now."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

import msgspec
from django.core.management.base import BaseCommand

from proxy.sweep import sweep


class Command(BaseCommand):
    help = (
        "Close the holds of gateways that died, on evidence: the provider's lookup, else the "
        "last checkpoint; with neither the call is free and listed as unknown. Celery does this "
        "each minute; running it twice or at once is safe."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        report = sweep()
        if options["json"]:
            self.stdout.write(msgspec.json.encode(report).decode())
        else:
            counts = msgspec.structs.asdict(report)
            self.stdout.write(", ".join(f"{count} {name}" for name, count in counts.items()))

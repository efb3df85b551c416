"""Seal again what older encryption keys sealed; say which peppers are still needed."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

import msgspec
from django.core.management.base import BaseCommand

from accounts import pepper
from proxy import resealing


class Command(BaseCommand):
    help = (
        "Seal under the first ENCRYPTION_KEY whatever another one sealed, while the product is at "
        "work, and say how many API keys need each KEY_PEPPER: each moves to the first one when it "
        "is used. Afterwards what nothing needs can be taken out of the environment. Safe to "
        "repeat. Exit code 1 where something cannot be read."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        counts = resealing.reseal()
        peppers = pepper.keys_by_pepper()
        if options["json"]:
            told = {"columns": counts, "keys_by_pepper": peppers}
            self.stdout.write(msgspec.json.encode(told).decode())
        else:
            for count in counts:
                self.stdout.write(
                    f"{count.name}: {count.resealed} sealed again, "
                    f"{count.changed_meanwhile} changed meanwhile, {count.unreadable} unreadable"
                )
            for pepper_id, number in peppers.items():
                self.stdout.write(f"KEY_PEPPER {pepper_id}: {number} keys need it")
        if any(count.unreadable for count in counts):
            raise SystemExit(1)

"""Write everything in the database to a file."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError

from proxy import backups, heartbeats


class Command(BaseCommand):
    help = (
        "Write the whole database, as of this moment, to FILE (mode 0600), while the product is "
        "at work. Secrets are not in it: keep DATA_DIR/.env, or wherever they are, as well."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="must not exist yet")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = backups.make(path=options["file"])
        except backups.BackupError as error:
            raise CommandError(str(error)) from None
        heartbeats.beat(name="backup", report={"bytes": made.bytes})
        if options["json"]:
            self.stdout.write(msgspec.json.encode(made).decode())
        else:
            self.stdout.write(f"{made.path}: {made.bytes} bytes, {made.tables} tables")

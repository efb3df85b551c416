"""Add and update providers, models, routes and prices from a YAML file."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError

from proxy import catalogue_changes, catalogue_file
from proxy.catalogue_changes import Report
from proxy.catalogue_file import CatalogueError


class Command(BaseCommand):
    help = (
        "Add and update what a YAML file names: providers, models, aliases, routes, prices. "
        "Removes nothing without --prune. Running gateways follow within a second."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="the catalogue in YAML")
        parser.add_argument(
            "--dry-run", action="store_true", help="say what would change, change nothing"
        )
        parser.add_argument(
            "--prune", action="store_true", help="switch off what the file does not name"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            file = catalogue_file.read(options["file"])
            report = catalogue_changes.apply(
                file=file, prune=options["prune"], dry_run=options["dry_run"]
            )
        except CatalogueError as error:
            raise CommandError(f"{options['file']}: {error}") from None
        self.stdout.write(_json(report) if options["json"] else _text(report))


def _json(report: Report) -> str:
    return msgspec.json.encode(report).decode()


def _text(report: Report) -> str:
    if not report.changes:
        return "Nothing to change: the catalogue is as the file says."
    lines = [
        f"{change.action} {change.what} {change.name}"
        + "".join(f" {name}={value}" for name, value in change.fields.items())
        for change in report.changes
    ]
    done = "would change; nothing was changed" if report.dry_run else "changed"
    return "\n".join([*lines, f"{len(lines)} {done}."])

"""Fill an empty database from a backup, and check the books."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from accounts import pepper
from billing import invariants
from proxy import backups


class Command(BaseCommand):
    help = (
        "Fill the empty database of DATABASE_URL from FILE, apply newer migrations, check that "
        "the secrets fit and that the books are right. Nothing is overwritten. Exit code 1 where "
        "the books are not right."
    )
    # The database that it is run on has no tables yet.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="made by `manage.py backup`")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            backups.restore(path=options["file"])
        except backups.BackupError as error:
            raise CommandError(str(error)) from None
        call_command("migrate", verbosity=0, interactive=False)
        try:
            pepper.check(peppers=settings.KEY_PEPPERS)
        except pepper.PepperError as error:
            raise CommandError(f"Everything is back, but no API key would work: {error}") from None
        # What was open in the copy is overdue by now; it is the sweep's, not a violation.
        call_command("sweep", stdout=self.stdout)
        violated = [found for found in invariants.check().findings if found.violations]
        for found in violated:
            self.stdout.write(f"violated: {found.name}: {found.violations}")
        if violated:
            raise SystemExit(1)
        self.stdout.write("Everything is back, and the books are right.")

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import ProgrammingError

from accounts import pepper


class Command(BaseCommand):
    """Stop a start with the wrong secrets before it refuses every customer."""

    help = "Check that KEY_PEPPER is the one this database's keys were made with."

    def handle(self, *args: Any, **options: Any) -> None:
        """Say nothing when all is well, else one line and exit code 1."""
        try:
            pepper.check(peppers=settings.KEY_PEPPERS)
        except pepper.PepperError as error:
            raise CommandError(str(error)) from None
        except ProgrammingError:
            raise CommandError("The database has no tables yet; run: manage.py migrate") from None

"""Write the management API's OpenAPI document."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts import api_schema

FILE = Path("static", "openapi", "management.json")


class Command(BaseCommand):
    help = f"Write the management API's OpenAPI document to {FILE}, made from its endpoints."
    # It needs no secrets and no database.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="only tell whether it is in step")

    def handle(self, *args: Any, **options: Any) -> None:
        path, text = settings.BASE_DIR / FILE, api_schema.text()
        if not options["check"]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            raise CommandError(f"{FILE} is not in step: run manage.py management_openapi")

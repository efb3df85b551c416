"""Make the demo's people, money, key and models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from accounts.management.operator import OperatorCommand
from proxy import demo
from proxy.catalogue_file import CatalogueError


class Command(OperatorCommand):
    help = (
        "Make the demo: a customer with a balance and a key, staff with a second factor, the "
        "sandbox's models. Idempotent: with the previous output it returns the same again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--previous",
            type=Path,
            metavar="FILE",
            help="JSON of an earlier run; its key and passwords are kept while they work "
            "(default: DATA_DIR/demo.json)",
        )

    def answer(self, **options: Any) -> dict[str, Any]:
        if not (settings.SANDBOX_URL and settings.SANDBOX_TOKEN):
            raise CommandError("Set SANDBOX_URL and SANDBOX_TOKEN: the demo sells the sandbox.")
        try:
            seeded = demo.seed(
                previous=_previous(options["previous"] or settings.DATA_DIR / "demo.json"),
                sandbox_url=settings.SANDBOX_URL,
                sandbox_token=settings.SANDBOX_TOKEN,
            )
        except CatalogueError as error:
            raise CommandError(str(error)) from None
        return msgspec.structs.asdict(seeded)


def _previous(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: value for name, value in content.items() if isinstance(value, str)}

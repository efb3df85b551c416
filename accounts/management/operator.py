"""What operators' commands share: one clear line for a refusal, JSON on request."""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from common.errors import ApiError


class OperatorCommand(BaseCommand):
    """A command that answers with named values, as lines or with --json as one object."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Add --json; commands add their own and call this."""
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run, and print the answer or one line of what is wrong."""
        try:
            answer = self.answer(**options)
        except ApiError as error:
            raise CommandError(error.message) from None
        if options["json"]:
            self.stdout.write(json.dumps(answer))
            return
        for name, value in answer.items():
            self.stdout.write(f"{name}: {_plain(value)}")

    @abstractmethod
    def answer(self, **options: Any) -> dict[str, Any]:
        """Do the work and return what to print."""


def _plain(value: Any) -> str:
    """Write a value as people do."""
    if value is None:
        return "none"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(_plain(one) for one in value) or "none"
    return str(value)

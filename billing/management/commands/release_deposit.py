"""Credit a deposit that waited for a decision."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.management.operator import OperatorCommand
from billing.chains import config, deposits
from billing.models import Deposit


class Command(OperatorCommand):
    """Release a deposit that was too large, or whose sender is on the list."""

    help = "Credit a deposit that is suspended."

    def add_arguments(self, parser: CommandParser) -> None:
        """Say which."""
        super().add_arguments(parser)
        parser.add_argument("deposit", help="dep_…")
        parser.add_argument("--reason", default="", help="kept in the audit log")

    def answer(self, **options: Any) -> dict[str, Any]:
        """Release it."""
        found = Deposit.objects.filter(public_id=options["deposit"]).first()
        token = config.tokens().get(found.asset) if found else None
        if found is None or token is None:
            raise CommandError(f"There is no deposit {options['deposit']!r} of a listed token.")
        try:
            released = deposits.release(deposit=found, token=token, reason=options["reason"])
        except deposits.Contradiction as error:
            raise CommandError(str(error)) from None
        return {"deposit": released.public_id, "state": released.state}

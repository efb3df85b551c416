"""List what lies at deposit addresses, to be signed elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from accounts.management.operator import OperatorCommand
from billing.chains import config, sweepplan


class Command(OperatorCommand):
    """Print addresses, amounts and derivation paths; this server cannot move any of it."""

    help = "List what can be swept from deposit addresses: address, amount, derivation path."

    def answer(self, **options: Any) -> dict[str, Any]:
        """Return the plan."""
        try:
            return {"sweeps": [asdict(line) for line in sweepplan.plan()]}
        except (config.NotConfigured, config.Wrong) as error:
            raise CommandError(str(error)) from None

"""Give back what a dispute or a fraud warning took, where staff find that it is none."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.management.operator import OperatorCommand
from billing import claims
from billing.models_funding import Claim


class Command(OperatorCommand):
    """Release a claim, once."""

    help = (
        "Give back what a dispute, a fraud warning or a refund made at Stripe took, forgive its"
        " debt, and thaw the workspace where the claim froze it and no other one stands."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Say which claim."""
        super().add_arguments(parser)
        parser.add_argument("claim", help="Stripe's id of it: dp_…, issfr_…, re_…")

    def answer(self, **options: Any) -> dict[str, Any]:
        """Release it; say whether that was new."""
        name = options["claim"]
        if not Claim.objects.filter(external_id=name).exists():
            raise CommandError(f"There is no claim {name}.")
        return {"claim": name, "released": claims.reverse(external_id=name)}

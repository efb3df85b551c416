"""Take an extended public key into use, from which deposit addresses are derived."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.management.operator import OperatorCommand
from billing.chains import wallets


class Command(OperatorCommand):
    """Set the extended public key; it is read from standard input, so no history keeps it."""

    help = "Set the extended public key (xpub) of the wallet; give it on standard input."

    def add_arguments(self, parser: CommandParser) -> None:
        """Say which account it is, and what the wallet shows."""
        super().add_arguments(parser)
        parser.add_argument("--path", required=True, help="path of the account: m/44'/60'/0'")
        parser.add_argument(
            "--first-address",
            required=True,
            help="the first receiving address, as the hardware wallet's own display shows it",
        )
        parser.add_argument(
            "--replace", action="store_true", help="retire the key in use; its addresses stay"
        )

    def answer(self, **options: Any) -> dict[str, Any]:
        """Store it sealed; it is shown nowhere again."""
        try:
            key = wallets.set_key(
                text=sys.stdin.readline(),
                path=options["path"],
                first_address=options["first_address"],
                replace=options["replace"],
            )
        except ValueError as error:
            raise CommandError(str(error)) from None
        return {"path": key.path, "first_address": options["first_address"]}

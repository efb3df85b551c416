"""Take an extended public key into use, from which deposit addresses are derived."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import people
from accounts.actors import Staff
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
            "--replace",
            action="store_true",
            help="ask a second member of staff to retire the key in use; its addresses stay",
        )
        parser.add_argument("--staff", metavar="EMAIL", help="with --replace: who asks")
        parser.add_argument("--reason", default="", help="with --replace: why")

    def answer(self, **options: Any) -> dict[str, Any]:
        """Store it sealed, or ask for it; it is shown nowhere again."""
        try:
            offered = wallets.offer(
                text=sys.stdin.readline(),
                path=options["path"],
                first_address=options["first_address"],
            )
            if options["replace"]:
                return _ask(offered, options["staff"], options["reason"])
            key = wallets.set_key(offered=offered)
        except ValueError as error:
            raise CommandError(str(error)) from None
        return {"path": key.path, "first_address": offered.first_address}


def _ask(offered: wallets.Offer, email: str | None, reason: str) -> dict[str, Any]:
    if not email:
        raise CommandError("Say who asks: --staff EMAIL.")
    person = people.by_email(email=email)
    if not person.is_staff:
        raise CommandError(f"{email} is no member of staff.")
    asked = wallets.ask_replacement(offered=offered, by=Staff(person), reason=reason)
    return {"approval": asked.public_id, "state": asked.state, "expires_at": str(asked.expires_at)}

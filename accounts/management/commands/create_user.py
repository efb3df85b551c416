from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from accounts import signup
from accounts.management.operator import OperatorCommand


class Command(OperatorCommand):
    """Make a person who can sign in."""

    help = "Create a user with a personal workspace."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("--email", required=True)
        parser.add_argument("--password", required=True)
        parser.add_argument("--name", default="")
        parser.add_argument(
            "--verified", action="store_true", help="count the email address as confirmed"
        )
        parser.add_argument(
            "--superuser",
            action="store_true",
            help="staff who may do everything, once they have set up a second factor",
        )

    def answer(self, **options: Any) -> dict[str, Any]:
        """Create and name the user and the workspace."""
        user = signup.register(
            email=options["email"],
            password=options["password"],
            name=options["name"],
            verified=options["verified"],
        )
        if options["superuser"]:
            user.is_staff = user.is_superuser = True
            user.save(update_fields=["is_staff", "is_superuser"])
        workspace = signup.welcome(user=user)
        return {"user_id": user.public_id, "workspace_id": workspace.public_id}

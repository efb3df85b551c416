from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from accounts import members, people, workspaces
from accounts.management.operator import OperatorCommand


class Command(OperatorCommand):
    """Make a person a member."""

    help = "Add a user to a workspace."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("--workspace", required=True, help="ws_… or external id")
        parser.add_argument("--email", required=True)
        parser.add_argument(
            "--role", required=True, help="owner, admin, developer, billing or viewer"
        )

    def answer(self, **options: Any) -> dict[str, Any]:
        """Add and name the membership."""
        membership = members.add(
            workspace=workspaces.named(text=options["workspace"]),
            user=people.by_email(email=options["email"]),
            role=options["role"],
            by=None,
        )
        return {"membership_id": membership.public_id, "role": membership.role}

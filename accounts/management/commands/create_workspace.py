from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from accounts import people, tiers, workspaces
from accounts.management.operator import OperatorCommand


class Command(OperatorCommand):
    """Make a workspace."""

    help = "Create a workspace and its first owner's membership."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("--owner", required=True, metavar="EMAIL")
        parser.add_argument("--name", required=True)
        parser.add_argument("--external-id", help="an id of yours, accepted wherever ws_… is")
        parser.add_argument("--tier", help="slug of a tier instead of the default one")

    def answer(self, **options: Any) -> dict[str, Any]:
        """Create and name the workspace."""
        tier = tiers.by_slug(slug=options["tier"]) if options["tier"] else None
        workspace = workspaces.create(
            owner=people.by_email(email=options["owner"]),
            name=options["name"],
            external_id=options["external_id"],
            tier=tier,
        )
        return {"workspace_id": workspace.public_id}

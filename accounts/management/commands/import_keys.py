from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import keyimport, people, workspaces
from accounts.management.operator import OperatorCommand


class Command(OperatorCommand):
    """Take keys of another service, so that its customers need no new ones."""

    help = (
        "Import API keys of any shape: one per line, or CSV with a header line of key and any of "
        "name, workspace, owner, expires_at. Keys are stored as digests only; all or none."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("file", type=Path)
        parser.add_argument("--workspace", help="ws_… or external id for rows that name none")
        parser.add_argument(
            "--owner",
            metavar="EMAIL",
            help="owner for rows that name none (default: a service account of the workspace)",
        )
        parser.add_argument("--scope", action="append", help="default: inference and reading")

    def answer(self, **options: Any) -> dict[str, Any]:
        """Import and count."""
        workspace, owner = options["workspace"], options["owner"]
        try:
            text = options["file"].read_text("utf-8-sig")
            imported = keyimport.import_keys(
                rows=keyimport.read(text.splitlines()),
                workspace=workspaces.named(text=workspace) if workspace else None,
                owner=people.by_email(email=owner) if owner else None,
                wanted=options["scope"] or keyimport.DEFAULT_SCOPES,
            )
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"Cannot read {options['file']}: {error}") from None
        return {"added": imported.added, "already": imported.already}

"""Django's migrate, which leaves the groups of staff as they are listed, too."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate

from accounts import staffgroups


class Command(migrate.Command):
    """Migrate; a whole migration makes the groups, whose permissions it may have made."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate, then make the groups."""
        super().handle(*args, **options)
        part = ("app_label", "plan", "check_unapplied", "prune")
        if not any(options.get(name) for name in part):
            staffgroups.sync()

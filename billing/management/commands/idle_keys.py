"""List the API keys that keep an old KEY_PEPPER needed, disable them, then delete them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from django.core.management.base import CommandParser
from django.utils import timezone

from accounts.management.operator import OperatorCommand
from billing import idlekeys

USUAL_DAYS: Final = 30


class Command(OperatorCommand):
    """What has to happen before an old pepper is taken out."""

    help = (
        "List API keys that still need an older KEY_PEPPER because nobody uses them. --disable "
        "stops them until their owners enable them again, who read of it in the audit log and by "
        "webhook; --delete ends those that are disabled, for good."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument(
            "--days", type=int, default=USUAL_DAYS, help="unused for so many days (default: 30)"
        )
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--disable", dest="how", action="store_const", const="disabled")
        how.add_argument("--delete", dest="how", action="store_const", const="deleted")
        parser.add_argument("--reason", default="", help="why, for the audit log")

    def answer(self, **options: Any) -> dict[str, Any]:
        """List them, or stop them."""
        since = idlekeys.since(now=timezone.now(), days=options["days"])
        how = options["how"]
        if how is None:
            return {"keys": [asdict(told) for _, told in idlekeys.find(unused_since=since)]}
        done = idlekeys.stop(how=how, unused_since=since, reason=options["reason"])
        return {how: [told.id for told in done]}

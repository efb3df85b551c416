"""Set the spending caps of a workspace or key, and a key's rate limit."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from accounts import keylimits, keys, workspaces
from accounts.management.operator import OperatorCommand
from accounts.models import ApiKey, Workspace
from billing import limits
from common import money

UNLIMITED = "none"


class Command(OperatorCommand):
    """Set what is named, leave the rest; an operator may pass a tier's maximum."""

    help = "Set caps and rate limits: 0 = nothing allowed, none = unlimited."

    def add_arguments(self, parser: CommandParser) -> None:
        """Say whose, and what."""
        super().add_arguments(parser)
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--workspace", help="ws_… or external id")
        whose.add_argument("--key", help="key_…")
        parser.add_argument("--rpm", help="a minute, of a key or each of a workspace")
        parser.add_argument("--daily-usd", help="e.g. 25.50")
        parser.add_argument("--monthly-usd", help="e.g. 500")

    def answer(self, **options: Any) -> dict[str, Any]:
        """Set, and return what holds now."""
        if all(options[name] is None for name in ("rpm", "daily_usd", "monthly_usd")):
            raise CommandError("Name a limit: --rpm, --daily-usd or --monthly-usd.")
        try:
            if options["key"]:
                return _set_key(**options)
            return _set_workspace(**options)
        except ValueError as error:
            raise CommandError(str(error)) from None


def _set_workspace(**options: Any) -> dict[str, Any]:
    workspace = workspaces.named(text=options["workspace"])
    with transaction.atomic():
        daily, monthly = _caps(limits.lock_workspace_caps(workspace=workspace), **options)
        limits.set_workspace_caps(
            workspace=workspace, daily=daily, monthly=monthly, by=None, past_tier=True
        )
    answer: dict[str, Any] = {"workspace_id": workspace.public_id, **_shown(daily, monthly)}
    if options["rpm"] is not None:
        answer |= {"rpm": _rpm(options["rpm"]), "keys": _set_all_rpm(workspace, options["rpm"])}
    return answer


def _set_all_rpm(workspace: Workspace, text: str) -> int:
    """Set the rate limit of every key that carries a workspace; return how many."""
    held = ApiKey.objects.filter(workspaces=workspace, deleted_at=None)
    for key in held:
        keys.update(key=key, by=None, rpm=_rpm(text))
    return len(held)


def _set_key(**options: Any) -> dict[str, Any]:
    key = ApiKey.objects.filter(public_id=options["key"], deleted_at=None).first()
    if key is None:
        raise CommandError(f"There is no key {options['key']}.")
    if options["rpm"] is not None:
        key = keys.update(key=key, by=None, rpm=_rpm(options["rpm"]))
    with transaction.atomic():
        daily, monthly = _caps(limits.lock_key_caps(key=key), **options)
        limits.set_key_caps(key=key, daily=daily, monthly=monthly, by=None, past_tier=True)
    return {"key_id": key.public_id, "rpm": key.rpm, **_shown(daily, monthly)}


def _caps(now: tuple[int | None, int | None], **options: Any) -> tuple[int | None, int | None]:
    daily, monthly = now
    if options["daily_usd"] is not None:
        daily = _nanos(options["daily_usd"])
    if options["monthly_usd"] is not None:
        monthly = _nanos(options["monthly_usd"])
    return daily, monthly


def _nanos(text: str) -> int | None:
    return None if text == UNLIMITED else money.nanos_from_usd(text)


def _rpm(text: str) -> int:
    if text == UNLIMITED:
        return keylimits.MAX_RPM
    if not text.isdecimal():
        raise ValueError(f"{text!r} is no number of requests.")
    return int(text)


def _shown(daily: int | None, monthly: int | None) -> dict[str, str | None]:
    return {
        "daily_usd": None if daily is None else money.usd(daily),
        "monthly_usd": None if monthly is None else money.usd(monthly),
    }

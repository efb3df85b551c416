"""Give a workspace money."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.dateparse import parse_date, parse_datetime

from accounts import workspaces
from accounts.management.operator import OperatorCommand
from billing import grants, ledger
from common import money


class Command(OperatorCommand):
    """Grant USD or tokens, or book paid money that came another way."""

    help = "Give a workspace USD or platform tokens."

    def add_arguments(self, parser: CommandParser) -> None:
        """Say who gets what, and why."""
        super().add_arguments(parser)
        parser.add_argument("--workspace", required=True, help="ws_… or external id")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--usd", help="US dollars, e.g. 10 or 2.50")
        what.add_argument("--tokens", type=int, help="platform tokens")
        parser.add_argument("--reason", required=True, help="shown in the ledger")
        parser.add_argument("--expires", help="a UTC date or time; what is left then expires")
        parser.add_argument(
            "--paid", action="store_true", help="money received another way; it never expires"
        )

    def answer(self, **options: Any) -> dict[str, Any]:
        """Grant, and return the balance."""
        workspace = workspaces.named(text=options["workspace"])
        try:
            asset, amount = _amount(usd=options["usd"], tokens=options["tokens"])
            grants.grant(
                workspace=workspace,
                asset=asset,
                amount=amount,
                reason=options["reason"],
                expires_at=_expiry(options["expires"]),
                paid=options["paid"],
            )
        except (ValueError, ledger.LedgerError) as error:
            raise CommandError(str(error)) from None
        balance = ledger.balance(workspace_id=workspace.pk, asset=asset)
        return {
            "workspace_id": workspace.public_id,
            "granted": _text(asset, amount),
            "available": _text(asset, balance.available),
        }


def _amount(*, usd: str | None, tokens: int | None) -> tuple[str, int]:
    asset, amount = (ledger.USD, money.nanos_from_usd(usd)) if usd else (ledger.TOK, tokens or 0)
    if amount <= 0:
        raise ValueError("Grant more than nothing.")
    return asset, amount


def _expiry(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = parse_datetime(text)
    if moment is None:
        day = parse_date(text)
        if day is None:
            raise ValueError(f"{text!r} is no date; write e.g. 2030-01-31.")
        moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(asset: str, amount: int) -> str:
    return f"{money.usd(amount)} USD" if asset == ledger.USD else f"{amount} tokens"

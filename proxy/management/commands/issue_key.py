"""Make an API key for somebody."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from accounts import keys, people, service_accounts, workspaces
from accounts.errors import Missing
from accounts.management.operator import OperatorCommand
from accounts.models import ApiKey, Membership, ServiceAccount, User, Workspace
from accounts.scopes import EITHER, INFERENCE, Role
from billing import limits
from common import money


class Command(OperatorCommand):
    help = "Issue an API key and print it: the only time that it can be read."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--workspace", action="append", required=True, help="ws_… or external id; repeatable"
        )
        owner = parser.add_mutually_exclusive_group()
        owner.add_argument("--owner", metavar="EMAIL", help="default: the workspace's first owner")
        owner.add_argument("--service-account", metavar="NAME", help="made if there is none")
        parser.add_argument("--name", default="Issued by the operator")
        parser.add_argument(
            "--scope", action="append", help="repeatable; default: inference and reading"
        )
        parser.add_argument("--model", action="append", help="repeatable; default: every model")
        parser.add_argument("--rpm", type=int, help="requests per minute; default: the tier's")
        parser.add_argument("--tpm", type=int, help="tokens per minute; default: no limit")
        parser.add_argument("--max-streams", type=int, help="streams at once; default: no limit")
        parser.add_argument("--daily-usd", help="spending cap per UTC day; none = unlimited")
        parser.add_argument("--monthly-usd", help="spending cap per UTC month; none = unlimited")
        parser.add_argument("--ip", action="append", help="address or network; repeatable")
        parser.add_argument("--expires", help="a UTC date or time")

    @transaction.atomic
    def answer(self, **options: Any) -> dict[str, Any]:
        carried = [workspaces.named(text=text) for text in options["workspace"]]
        owner = _owner(carried, options["owner"], options["service_account"])
        key, text = keys.create(
            name=options["name"],
            workspaces=carried,
            by=None,
            user=owner if isinstance(owner, User) else None,
            service_account=owner if isinstance(owner, ServiceAccount) else None,
            scopes=options["scope"] or sorted(INFERENCE | EITHER),
            models=options["model"],
            rpm=options["rpm"],
            tpm=options["tpm"],
            max_streams=options["max_streams"],
            ips=options["ip"] or (),
            expires_at=_moment(options["expires"]),
        )
        daily, monthly = _set_caps(key, options["daily_usd"], options["monthly_usd"])
        return {
            "id": key.public_id,
            "key": text,
            "name": key.name,
            "workspaces": [workspace.public_id for workspace in carried],
            "owner": owner.email if isinstance(owner, User) else owner.public_id,
            "scopes": key.scopes,
            "models": key.models,
            "rpm": key.rpm,
            "tpm": key.tpm,
            "max_streams": key.max_streams,
            "daily_usd": _usd(daily),
            "monthly_usd": _usd(monthly),
            "ips": key.ips,
            "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        }


def _owner(
    carried: list[Workspace], email: str | None, service_account: str | None
) -> User | ServiceAccount:
    if email:
        return people.by_email(email=email)
    if service_account:
        return _service_account(carried[0], service_account)
    owners = Membership.objects.filter(workspace=carried[0], role=Role.OWNER).order_by("pk")
    first = owners.select_related("user").first()
    if first is None:
        raise CommandError("The workspace has no owner; give --owner or --service-account.")
    return first.user


def _service_account(workspace: Workspace, name: str) -> ServiceAccount:
    try:
        return service_accounts.named(workspace=workspace, name=name)
    except Missing:
        return service_accounts.create(workspace=workspace, name=name, role=Role.DEVELOPER, by=None)


def _set_caps(
    key: ApiKey, daily_usd: str | None, monthly_usd: str | None
) -> tuple[int | None, int | None]:
    daily, monthly = limits.key_caps(key=key)
    try:
        daily = _nanos(daily_usd, default=daily)
        monthly = _nanos(monthly_usd, default=monthly)
        if daily_usd is not None or monthly_usd is not None:
            limits.set_key_caps(key=key, daily=daily, monthly=monthly, by=None, past_tier=True)
    except ValueError as error:
        raise CommandError(str(error)) from None
    return daily, monthly


def _nanos(text: str | None, *, default: int | None) -> int | None:
    if text is None:
        return default
    return None if text == "none" else money.nanos_from_usd(text)


def _usd(nanos: int | None) -> str | None:
    return None if nanos is None else money.usd(nanos)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{text!r} is no date; write e.g. 2030-01-31.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

"""What the page of limits reads: caps and rates of a workspace and of its keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from accounts import keys
from accounts.models import ApiKey, Workspace
from accounts.scopes import Scope
from accounts.seats import Seat
from billing import ledger
from billing.models import Account, KeyMeter
from billing.selectors import Window
from common import pagination
from common.pagination import Page, Wanted


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """One key: what it may spend, what is spent, how fast it may ask."""

    key: ApiKey
    window: Window
    rpm: int
    may_change: bool


def of_workspace(*, workspace: Workspace, today: date) -> Window:
    """The caps of a workspace and what is used of them."""
    home = ledger.open_accounts(workspace_id=workspace.pk).usd_id
    return Window.of(Account.objects.get(pk=home), today=today)


def of_keys(*, seat: Seat, seats: Sequence[Seat], today: date, wanted: Wanted) -> Page:
    """A page of the keys that a person may see, the newest first."""
    found = keys.visible(workspace=seat.workspace, by=seat.user).prefetch_related("workspaces")
    rows, following = pagination.by_id(found, wanted)
    meters = KeyMeter.objects.in_bulk([key.pk for key in rows])
    managed = {other.workspace.pk for other in seats if other.may(Scope.KEYS_MANAGE)}
    limits = [
        KeyLimits(
            key=key,
            window=Window.of(meters.get(key.pk), today=today),
            rpm=seat.workspace.tier.default_rpm if key.rpm is None else key.rpm,
            may_change=key.user_id == seat.user.pk
            or all(place.pk in managed for place in key.workspaces.all()),
        )
        for key in rows
    ]
    return Page(limits, following)

"""What pages read about keys: state, limits, and who may act on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.http import Http404
from django.utils.translation import gettext as _

from accounts import keys, scopes
from accounts.models import ApiKey, Workspace
from accounts.scopes import Scope
from accounts.seats import Seat
from billing.models import KeyMeter
from billing.selectors import Window
from common import pagination
from common.pagination import Page, Wanted

SOON: Final = timedelta(days=7)
MOST_ENDING: Final = 5


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key as the dashboard shows it."""

    key: ApiKey
    owner: str
    owner_is_service: bool
    workspaces: list[str]
    state: str
    ends_at: datetime | None
    window: Window
    last_used_at: datetime | None
    rpm: int
    may_change: bool
    may_rotate: bool

    @property
    def capped(self) -> bool:
        """Whether the key has a spending limit of its own."""
        return self.window.day.limit is not None or self.window.month.limit is not None


def key_rows(*, seat: Seat, seats: Sequence[Seat], now: datetime, wanted: Wanted) -> Page:
    """A page of the keys of a workspace that a person may see, the newest first."""
    found = keys.visible(workspace=seat.workspace, by=seat.user).prefetch_related("workspaces")
    rows, following = pagination.by_id(found, wanted)
    meters = KeyMeter.objects.in_bulk([key.pk for key in rows])
    return Page(
        [_row(key, meter=meters.get(key.pk), seat=seat, seats=seats, now=now) for key in rows],
        following,
    )


def key_row(*, public_id: str, seat: Seat, seats: Sequence[Seat], now: datetime) -> KeyRow:
    """
    One key of the current workspace.

    :raises Http404: there is none of that id here that the person may see
    """
    key = keys.visible(workspace=seat.workspace, by=seat.user).filter(public_id=public_id).first()
    if key is None:
        raise Http404
    meter = KeyMeter.objects.filter(key=key).first()
    return _row(key, meter=meter, seat=seat, seats=seats, now=now)


def ending_keys(*, seat: Seat, seats: Sequence[Seat], now: datetime) -> list[tuple[ApiKey, bool]]:
    """
    The keys that will soon expire, the next first, and whether this person may rotate each.

    One that was rotated is meant to expire.
    """
    found = keys.visible(workspace=seat.workspace, by=seat.user).filter(
        expires_at__gt=now, expires_at__lte=now + SOON, disabled_at=None, replaced_by=None
    )
    soon = found.prefetch_related("workspaces").order_by("expires_at")[:MOST_ENDING]
    return [(key, _rotates(key, seat=seat, seats=seats)) for key in soon]


def _rotates(key: ApiKey, *, seat: Seat, seats: Sequence[Seat]) -> bool:
    """Whether the server would: a person's key is rotated by that person, within the role."""
    needed = {Scope.KEYS_MANAGE} if key.user_id is None else {Scope.CHAT, *map(Scope, key.scopes)}
    allowed = {other.workspace.pk: scopes.of_role(other.role) for other in seats}
    within = all(needed <= allowed.get(each.pk, frozenset()) for each in key.workspaces.all())
    return seat.verified and within and key.user_id in (None, seat.user.pk)


def _row(
    key: ApiKey, *, meter: KeyMeter | None, seat: Seat, seats: Sequence[Seat], now: datetime
) -> KeyRow:
    carried = list(key.workspaces.all())
    managed = {other.workspace.pk for other in seats if other.may(Scope.KEYS_MANAGE)}
    own = key.user_id == seat.user.pk
    keeps = all(workspace.pk in managed for workspace in carried)
    state = _state(key, now=now)
    return KeyRow(
        key=key,
        owner=str(key.owner),
        owner_is_service=key.service_account_id is not None,
        workspaces=_names(carried, seats),
        state=state,
        ends_at=key.expires_at,
        window=Window.of(meter, today=now.date()),
        last_used_at=meter.last_used_at if meter else None,
        rpm=key.rpm if key.rpm is not None else seat.workspace.tier.default_rpm,
        may_change=own or keeps,
        may_rotate=state == "active" and _rotates(key, seat=seat, seats=seats),
    )


def _names(carried: Sequence[Workspace], seats: Sequence[Seat]) -> list[str]:
    """Return the names of a key's workspaces; those of strangers are only counted."""
    known = {other.workspace.pk for other in seats}
    names = [workspace.name for workspace in carried if workspace.pk in known]
    hidden = len(carried) - len(names)
    return [*names, _("%(count)d more") % {"count": hidden}] if hidden else names


def _state(key: ApiKey, *, now: datetime) -> str:
    if key.disabled_at is not None:
        return "disabled"
    if key.expires_at is not None and key.expires_at <= now:
        return "expired"
    return "active"

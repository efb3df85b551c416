"""
How fast new customers may pay, and how many cards they may try.

Whoever tries stolen cards out makes many payments, uses many cards, or uses one card in many new
workspaces. A workspace's attempts, its new cards and its dollars are counted, and those of each
person over all their workspaces. A card is known by the processor's fingerprint of it, when it
paid or was saved for the first time: money that came is credited, the next payment is refused.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db.models import Min, Q, QuerySet, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import Workspace
from accounts.templatetags.show import grouped
from billing import incidents
from billing.models import Alert
from billing.models_funding import SavedCard, TopUp
from common import money
from common.errors import ApiError, retry_headers

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
# A card is remembered that long.
MONTH: Final = timedelta(days=30)
NANOS_PER_CENT: Final = 10**7


def check(
    *,
    workspace: Workspace,
    amount_cents: int,
    person_id: int | None = None,
    card: SavedCard | None = None,
) -> None:
    """
    Slow down new customers and whoever tries cards out.

    :raises common.errors.ApiError: 429, with when to come back
    """
    now = timezone.now()
    scopes = [TopUp.objects.filter(workspace=workspace)]
    if person_id is not None:
        scopes.append(TopUp.objects.filter(created_by_id=person_id))
    for rows in scopes:
        _check_attempts(rows, now)
        _check_new_cards(_first_paid(rows), now)
    _check_sharing(workspace, card, now)
    _check_sum(workspace, amount_cents, _as_good_as_paid(workspace, now))


def check_day(*, top_up: TopUp, with_pages: bool) -> None:
    """
    Refuse a payment that the day has no room for any more, where pages are open or without them.

    :raises common.errors.ApiError: 429, with when to come back
    """
    now = timezone.now()
    rows = _as_good_as_paid(top_up.workspace, now)
    if with_pages:
        rows = rows | _open_pages(top_up.workspace, now)
    _check_sum(top_up.workspace, top_up.amount_cents, rows.exclude(pk=top_up.pk))


def in_the_way(*, top_up: TopUp) -> list[TopUp]:
    """The open pages, the oldest first, without which the day has room for a payment."""
    now = timezone.now()
    pages = _open_pages(top_up.workspace, now).exclude(pk=top_up.pk)
    others = (_as_good_as_paid(top_up.workspace, now) | pages).exclude(pk=top_up.pk)
    over = _sum(others) + top_up.amount_cents - daily_limit_cents(workspace=top_up.workspace)
    found = []
    for page in pages.order_by("id"):
        if over <= 0:
            break
        found.append(page)
        over -= page.amount_cents
    return found


def check_saving(*, workspace: Workspace) -> None:
    """
    Slow down whoever saves one card after the other.

    :raises common.errors.ApiError: 429, with when to come back
    """
    _check_new_cards(_first_saved(workspace), timezone.now())


def watch(*, top_up: TopUp) -> None:
    """Tell operators of a paid top-up whose card pays for too many new workspaces."""
    spread = _users(top_up.fingerprint, timezone.now()) if top_up.fingerprint else []
    if len(spread) > settings.TOPUP_WORKSPACES_PER_CARD:
        incidents.begin(
            kind=Alert.Kind.CARD_SHARED,
            subject=top_up.fingerprint,
            facts={"top_up": top_up.public_id, "workspaces": len(spread)},
        )


def daily_limit_cents(*, workspace: Workspace) -> int:
    """How much a workspace may pay within a day: little in the tier where everybody begins."""
    if workspace.tier.is_default:
        return int(settings.TOPUP_FIRST_DAILY_CENTS)
    return int(settings.TOPUP_DAILY_CENTS)


def _check_attempts(rows: QuerySet[TopUp], now: datetime) -> None:
    if rows.filter(created_at__gt=now - HOUR).count() >= settings.TOPUP_ATTEMPTS_PER_HOUR:
        raise _too_fast(_("Too many payments were begun within an hour."), HOUR)


def _first_paid(rows: QuerySet[TopUp]) -> dict[str, datetime]:
    """When each card paid for the first time."""
    paid = rows.filter(status=TopUp.Status.PAID).exclude(fingerprint="")
    first = paid.order_by().values("fingerprint").annotate(first=Min("created_at"))
    return dict(first.values_list("fingerprint", "first"))


def _first_saved(workspace: Workspace) -> dict[str, datetime]:
    rows = SavedCard.objects.filter(workspace=workspace).exclude(fingerprint="")
    first = rows.order_by().values("fingerprint").annotate(first=Min("created_at"))
    return dict(first.values_list("fingerprint", "first"))


def _check_new_cards(first_used: dict[str, datetime], now: datetime) -> None:
    fresh = [card for card, first in first_used.items() if first > now - DAY]
    if len(fresh) >= settings.TOPUP_NEW_CARDS_PER_DAY:
        raise _too_fast(_("Too many new cards within a day."), DAY)


def _check_sharing(workspace: Workspace, card: SavedCard | None, now: datetime) -> None:
    """Refuse a new workspace whose card came to it after too many others had it."""
    if not workspace.tier.is_default:
        return
    most = settings.TOPUP_WORKSPACES_PER_CARD
    used = {card.fingerprint} if card else _cards_of(workspace, now)
    for fingerprint in used - {""}:
        users = _users(fingerprint, now)
        if workspace.pk in users[most:]:
            raise _too_fast(
                _("This card pays for %(most)s new workspaces already; ask the operator.")
                % {"most": most},
                DAY,
            )


def _cards_of(workspace: Workspace, now: datetime) -> set[str]:
    paid = TopUp.objects.filter(workspace=workspace, created_at__gt=now - MONTH)
    return set(paid.exclude(fingerprint="").values_list("fingerprint", flat=True))


def _users(fingerprint: str, now: datetime) -> list[int]:
    """The new workspaces that paid with a card or saved it of late, who had it first first."""
    first: dict[int, datetime] = {}
    for model in (TopUp, SavedCard):
        rows = model.objects.filter(
            fingerprint=fingerprint,
            created_at__gt=now - MONTH,
            workspace__tier__is_default=True,
        )
        for workspace_id, at in rows.order_by().values_list("workspace_id", "created_at"):
            first[workspace_id] = min(at, first.get(workspace_id, at))
    return sorted(first, key=lambda each: (first[each], each))


def _as_good_as_paid(workspace: Workspace, now: datetime) -> QuerySet[TopUp]:
    """The day's payments; a saved card that is about to be charged is as good as paid."""
    charged = Q(status=TopUp.Status.PENDING, card__isnull=False)
    counted = Q(status=TopUp.Status.PAID) | charged
    return TopUp.objects.filter(counted, workspace=workspace, created_at__gt=now - DAY)


def _open_pages(workspace: Workspace, now: datetime) -> QuerySet[TopUp]:
    """The day's pages that somebody has the address of and may pay on."""
    waiting = Q(status=TopUp.Status.PENDING, session_id__isnull=False)
    return TopUp.objects.filter(waiting, workspace=workspace, created_at__gt=now - DAY)


def _sum(rows: QuerySet[TopUp]) -> int:
    return int(rows.aggregate(sum=Sum("amount_cents"))["sum"] or 0)


def _check_sum(workspace: Workspace, amount_cents: int, rows: QuerySet[TopUp]) -> None:
    paid, most = _sum(rows), daily_limit_cents(workspace=workspace)
    if paid + amount_cents > most:
        raise _too_fast(
            _("At most %(most)s USD can be paid within a day for now, %(paid)s are paid.")
            % {"most": _usd(most), "paid": _usd(paid)},
            DAY,
        )


def _too_fast(message: str, pause: timedelta) -> ApiError:
    after_ms = int(pause.total_seconds()) * 1000
    return ApiError("rate_limited", message, headers=retry_headers(after_ms=after_ms))


def _usd(cents: int) -> str:
    return grouped(money.usd(cents * NANOS_PER_CENT))

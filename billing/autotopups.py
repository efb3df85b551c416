"""
Automatic top-ups: a saved card is charged when the balance falls below a threshold.

Off by default. One attempt at a time for each workspace, which a unique index holds; never more
than the limit of the month; after a decline an hour of silence, after three it is off.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit, versions
from accounts.actors import Actor
from accounts.errors import Invalid
from accounts.models import Workspace
from billing import ledger, topups, velocity
from billing.models_funding import AutoTopUp, SavedCard, TopUp
from common import money
from common.errors import ApiError

SILENCE: Final = timedelta(hours=1)
MOST_FAILURES: Final = 3
TELL: Final = """
insert into billing_alert (workspace_id, kind, subject, "window", facts, told)
values (%s, %s, %s, %s, %s, '{}') on conflict do nothing
"""


def of(*, workspace: Workspace) -> AutoTopUp:
    """The workspace's wishes; off, with sensible amounts, where it has none."""
    found = AutoTopUp.objects.filter(workspace=workspace).select_related("card").first()
    return found or AutoTopUp(
        workspace=workspace,
        threshold_nanos=5 * money.NANOS_PER_USD,
        amount_cents=2000,
        monthly_limit_cents=10000,
    )


@transaction.atomic
def choose(
    *,
    workspace: Workspace,
    enabled: bool,
    threshold_nanos: int,
    amount_cents: int,
    monthly_limit_cents: int,
    card: SavedCard | None,
    by: Actor,
    version: str | None = None,
) -> AutoTopUp:
    """
    Switch automatic top-ups on or off, or change them; what stopped them is forgotten.

    :raises accounts.errors.Conflict: they are not at the version that was asked for
    :raises accounts.errors.Invalid: an amount out of bounds, or no card to charge
    :raises accounts.errors.NotVerified: their address is not proved
    """
    if enabled:
        topups.require_verified(by)
    before = facts(_locked(workspace))
    versions.require(wanted=version, current=versions.of(before))
    topups.check_amount(amount_cents)
    if monthly_limit_cents < amount_cents:
        raise Invalid(_("The monthly limit is below one top-up."), param="monthly_limit_usd")
    if enabled and (card is None or card.detached_at or card.workspace_id != workspace.pk):
        raise Invalid(_("Save a card first, and choose it."), param="card")
    wanted = {
        "enabled": enabled,
        "threshold_nanos": threshold_nanos,
        "amount_cents": amount_cents,
        "monthly_limit_cents": monthly_limit_cents,
        "card": card,
        "failures": 0,
        "retry_after": None,
        "stopped_because": "",
    }
    made, _created = AutoTopUp.objects.update_or_create(workspace=workspace, defaults=wanted)
    audit.record(
        action="auto_top_up.changed",
        by=by,
        target=audit.Target(workspace.public_id, workspace.name),
        workspaces=[workspace],
        before=before,
        after=facts(made),
    )
    return made


def _locked(workspace: Workspace) -> AutoTopUp:
    """The wishes; those that nobody has made yet are made, so that two cannot be the first."""
    AutoTopUp.objects.bulk_create([of(workspace=workspace)], ignore_conflicts=True)
    return AutoTopUp.objects.select_for_update().get(workspace=workspace)


def facts(wishes: AutoTopUp) -> dict[str, Any]:
    """What can be changed of the wishes, as it is written down."""
    return {
        "enabled": wishes.enabled,
        "threshold_usd": money.usd(wishes.threshold_nanos),
        "amount_usd": money.usd(wishes.amount_cents * topups.NANOS_PER_CENT),
        "monthly_limit_usd": money.usd(wishes.monthly_limit_cents * topups.NANOS_PER_CENT),
        "card": wishes.card.public_id if wishes.card else None,
    }


def begin_due(*, now: datetime) -> list[TopUp]:
    """Note a payment for each workspace that needs one; they are charged afterwards."""
    wishes = AutoTopUp.objects.filter(Q(retry_after=None) | Q(retry_after__lte=now), enabled=True)
    low = [each.pk for each in wishes.order_by("workspace_id") if not _enough(each)]
    begun = [_begin(workspace_id, now=now) for workspace_id in low]
    return [each for each in begun if each is not None]


@transaction.atomic
def _begin(workspace_id: int, *, now: datetime) -> TopUp | None:
    # Before the wishes, as where a payment is booked: pages that are opened count this one.
    ledger.lock_homes(workspace_id=workspace_id, assets=(ledger.USD,))
    # One at a time, by what is wanted now: who is second finds what the first has begun.
    rows = AutoTopUp.objects.select_for_update(of=("self",)).select_related("workspace__tier")
    wishes = rows.get(pk=workspace_id)
    workspace = wishes.workspace
    if not wishes.enabled or _is_silent(wishes, now) or _is_open(workspace):
        return None
    if _enough(wishes) or workspace.closed_at or _is_frozen(workspace):
        return None
    if spent_cents(workspace=workspace, now=now) + wishes.amount_cents > wishes.monthly_limit_cents:
        return None
    try:
        velocity.check(workspace=workspace, amount_cents=wishes.amount_cents, card=wishes.card)
        with transaction.atomic():
            return TopUp.objects.create(
                workspace=workspace,
                method=TopUp.Method.AUTO,
                amount_cents=wishes.amount_cents,
                card=wishes.card,
            )
    except (IntegrityError, ApiError):
        # Another attempt is open, or the customer is to be slowed down.
        return None


def _is_silent(wishes: AutoTopUp, now: datetime) -> bool:
    return wishes.retry_after is not None and wishes.retry_after > now


def _is_open(workspace: Workspace) -> bool:
    open_ones = TopUp.objects.filter(workspace=workspace, status=TopUp.Status.PENDING)
    return open_ones.filter(method=TopUp.Method.AUTO).exists()


def _enough(wishes: AutoTopUp) -> bool:
    balance = ledger.balance(workspace_id=wishes.workspace_id, asset=ledger.USD)
    return balance.available >= wishes.threshold_nanos


def _is_frozen(workspace: Workspace) -> bool:
    return workspace.accounts.filter(kind="paid", asset=ledger.USD, frozen=True).exists()


def spent_cents(*, workspace: Workspace, now: datetime) -> int:
    """What automatic top-ups took, or may yet take, in the month that is running."""
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    counted = TopUp.objects.filter(
        workspace=workspace,
        method=TopUp.Method.AUTO,
        created_at__gte=month,
        status__in=(TopUp.Status.PENDING, TopUp.Status.PAID),
    )
    return int(counted.aggregate(sum=Sum("amount_cents"))["sum"] or 0)


@transaction.atomic
def declined(*, top_up: TopUp, why: str) -> bool:
    """Note that a charge failed; be silent for a while, then stop. True where it is news."""
    changed = TopUp.objects.filter(pk=top_up.pk, status=TopUp.Status.PENDING).update(
        status=TopUp.Status.FAILED, failure=why[:64]
    )
    if not changed:
        return False
    if top_up.method == TopUp.Method.AUTO:
        _step_back(top_up, why)
    return True


def _step_back(top_up: TopUp, why: str) -> None:
    mine = AutoTopUp.objects.filter(workspace_id=top_up.workspace_id)
    mine.update(failures=F("failures") + 1, retry_after=timezone.now() + SILENCE)
    stopped = mine.filter(failures__gte=MOST_FAILURES, enabled=True).update(
        enabled=False, stopped_because=why[:64]
    )
    kind = "auto_top_up.stopped" if stopped else "card.declined"
    tell(top_up=top_up, kind=kind, why=why, pay_with=_by_hand(top_up, why))


def _by_hand(top_up: TopUp, why: str) -> TopUp | None:
    """The same payment for the card's owner to make: only they can answer their bank."""
    if why != "authentication_required":
        return None
    return TopUp.objects.create(
        workspace_id=top_up.workspace_id,
        method=TopUp.Method.CHECKOUT,
        amount_cents=top_up.amount_cents,
    )


def tell(*, top_up: TopUp, kind: str, why: str, pay_with: TopUp | None = None) -> None:
    """Have those who run the workspace told by email, once per payment."""
    facts = {
        "why": why,
        "amount_usd": money.usd(top_up.amount_cents * topups.NANOS_PER_CENT),
        "authenticate": why == "authentication_required",
        "top_up": pay_with.public_id if pay_with else "",
    }
    with connection.cursor() as cursor:
        cursor.execute(TELL, [top_up.workspace_id, kind, top_up.public_id, "", json.dumps(facts)])


def succeeded(*, workspace_id: int) -> None:
    """A payment went through: forget what failed before."""
    AutoTopUp.objects.filter(workspace_id=workspace_id).update(failures=0, retry_after=None)

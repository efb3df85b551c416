"""
Changes that take two members of staff: one asks, another approves, then it is done.

Each kind of change has an executor, registered by the app that owns it::

    approvals.register(kind="grant", execute=...)

``submit`` does a small change of money at once and asks a second person for a larger one, also
where the small ones that somebody made alone for one workspace add up within a day. ``ask``
always asks. An executor runs in the transaction that decides, so it runs once or not at all; it
has no network, and gives its order's ``source`` to whatever it books. A payload holds no secret
in clear: what is secret is sealed by who asks.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q, Sum
from django.utils import timezone

from accounts import audit
from accounts.actors import Staff
from accounts.errors import Conflict, Forbidden, Invalid
from accounts.models import Approval, SoleDecision, User, Workspace
from common import money

DAY: Final = timedelta(hours=24)
DECIDE: Final = "accounts.decide_approval"
FACTORS: Final = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)


@dataclass(frozen=True, slots=True)
class Order:
    """What an executor has to do, for whom, and under which source it books."""

    payload: Mapping[str, Any]
    reason: str
    source: uuid.UUID
    by: Staff
    workspace: Workspace | None = None
    approval: Approval | None = None


Outcome = Mapping[str, Any]
Execute = Callable[[Order], Outcome | None]


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a change: done, with its outcome; or asked, with the request."""

    outcome: Outcome | None = None
    approval: Approval | None = None

    @property
    def done(self) -> bool:
        """Whether it was done."""
        return self.approval is None


executors: Final[dict[str, Execute]] = {}


def register(*, kind: str, execute: Execute) -> None:
    """Say how a kind of change is made.

    :raises ValueError: another executor has the kind
    """
    if executors.setdefault(kind, execute) is not execute:
        raise ValueError(f"{kind!r} has an executor already.")


@transaction.atomic
def submit(
    *,
    kind: str,
    payload: Mapping[str, Any],
    summary: str,
    reason: str,
    by: Staff,
    workspace: Workspace,
    amount_nanos: int,
    source: uuid.UUID | None = None,
) -> Submitted:
    """
    Make a change of money worth ``amount_nanos``, or ask a second person to approve it.

    The same source is submitted once: again it answers what it answered.

    :raises accounts.errors.Refused: what the executor refuses, or no second factor
    """
    source = source or uuid.uuid4()
    require_second_factor(by.user)
    _alone(person=by.user, workspace=workspace)
    if (known := _known(source)) is not None:
        return known
    before = decided_alone(person=by.user, workspace=workspace, now=timezone.now())
    if before + amount_nanos > settings.APPROVAL_NANOS:
        asked = ask(
            kind=kind,
            payload=payload,
            summary=summary,
            reason=reason,
            by=by,
            workspace=workspace,
            amount_nanos=amount_nanos,
            source=source,
        )
        return Submitted(approval=asked)
    order = Order(payload=payload, reason=reason, source=source, by=by, workspace=workspace)
    outcome = executors[kind](order)
    SoleDecision.objects.create(
        source=source,
        kind=kind,
        person=by.user,
        workspace=workspace,
        amount_nanos=amount_nanos,
        outcome=outcome,
    )
    return Submitted(outcome=outcome)


@transaction.atomic
def ask(
    *,
    kind: str,
    payload: Mapping[str, Any],
    summary: str,
    reason: str,
    by: Staff,
    workspace: Workspace | None = None,
    amount_nanos: int | None = None,
    source: uuid.UUID | None = None,
) -> Approval:
    """
    Ask a second person to approve a change; the others are told by mail.

    The same source is asked once.

    :raises accounts.errors.Invalid: no reason
    :raises accounts.errors.Forbidden: no second factor
    :raises KeyError: nobody registered the kind
    """
    executors[kind]
    require_second_factor(by.user)
    if not reason.strip():
        raise Invalid("Say why: the person who approves has to know.", param="reason")
    approval, new = Approval.objects.get_or_create(
        source=source or uuid.uuid4(),
        defaults={
            "kind": kind,
            "payload": dict(payload),
            "summary": summary[:254],
            "reason": reason,
            "workspace": workspace,
            "amount_nanos": amount_nanos,
            "requester": by.user,
        },
    )
    if new:
        _record("approval.asked", approval, by=by)
    return approval


@transaction.atomic
def approve(*, approval: Approval, by: Staff, note: str = "") -> Approval:
    """
    Approve, and do what was asked, in one transaction.

    :raises accounts.errors.Forbidden: the requester, no right, no second factor, or a requester
        who left
    :raises accounts.errors.Conflict: it was decided, or its time is over
    :raises accounts.errors.Refused: what the executor refuses; it stays pending
    """
    locked = _lock(approval, by=by)
    if not (locked.requester.is_active and locked.requester.is_staff):
        raise Forbidden("Whoever asked for it is no staff any more: refuse it.")
    locked.state, locked.approver, locked.note = Approval.State.APPROVED, by.user, note
    locked.decided_at = timezone.now()
    outcome = executors[locked.kind](
        Order(
            payload=locked.payload,
            reason=locked.reason,
            source=locked.source,
            by=Staff(locked.requester),
            workspace=locked.workspace,
            approval=locked,
        )
    )
    locked.outcome = dict(outcome) if outcome is not None else None
    locked.save(update_fields=["state", "approver", "note", "decided_at", "outcome"])
    _record("approval.approved", locked, by=by)
    return locked


@transaction.atomic
def refuse(*, approval: Approval, by: Staff, note: str = "") -> Approval:
    """
    Say no.

    :raises accounts.errors.Forbidden: the requester, no right, or no second factor
    :raises accounts.errors.Conflict: it was decided, or its time is over
    """
    locked = _lock(approval, by=by)
    locked.state, locked.approver, locked.note = Approval.State.REFUSED, by.user, note
    locked.decided_at = timezone.now()
    locked.save(update_fields=["state", "approver", "note", "decided_at"])
    _record("approval.refused", locked, by=by)
    return locked


def expire_due(*, now: datetime) -> int:
    """End the requests that nobody decided in time; return how many."""
    due = Approval.objects.filter(state=Approval.State.PENDING, expires_at__lte=now)
    return sum(_expire(approval_id, now=now) for approval_id in due.values_list("pk", flat=True))


def decided_alone(*, person: User, workspace: Workspace, now: datetime) -> int:
    """What one person gave one workspace without anybody else, in the last 24 hours."""
    rows = SoleDecision.objects.filter(person=person, workspace=workspace, at__gt=now - DAY)
    return int(rows.aggregate(sum=Sum("amount_nanos"))["sum"] or 0)


def has_second_factor(user: User) -> bool:
    """Whether somebody has set one up; whether they used it is the session's to know."""
    return bool(Authenticator.objects.filter(user=user, type__in=FACTORS).exists())


def require_second_factor(user: User) -> None:
    """Prove that somebody has one.

    :raises accounts.errors.Forbidden: none
    """
    if not has_second_factor(user):
        raise Forbidden("Set up a second factor first.")


def deciders(*, approval: Approval) -> list[User]:
    """Who else may decide a request."""
    may = Q(is_superuser=True) | Q(
        groups__permissions__codename="decide_approval",
        groups__permissions__content_type__app_label="accounts",
    )
    people = User.objects.filter(may, is_staff=True, is_active=True)
    return list(people.exclude(pk=approval.requester_id).distinct().order_by("pk"))


def _lock(approval: Approval, *, by: Staff) -> Approval:
    # The people are read after the lock: who decides twice at once is told the second time.
    locked = Approval.objects.select_for_update(no_key=True, of=("self",)).get(pk=approval.pk)
    if locked.requester_id == by.user.pk:
        raise Forbidden("You asked for it: somebody else decides.")
    person = User.objects.get(pk=by.user.pk)
    if not (person.is_active and person.is_staff and person.has_perm(DECIDE)):
        raise Forbidden("Deciding takes a right that you do not have.")
    require_second_factor(person)
    if locked.state != Approval.State.PENDING or locked.expires_at <= timezone.now():
        raise Conflict
    return locked


@transaction.atomic
def _expire(approval_id: int, *, now: datetime) -> bool:
    locked = Approval.objects.select_for_update(no_key=True).get(pk=approval_id)
    if locked.state != Approval.State.PENDING:
        return False
    locked.state, locked.decided_at = Approval.State.EXPIRED, now
    locked.save(update_fields=["state", "decided_at"])
    _record("approval.expired", locked, by=None)
    return True


def _known(source: uuid.UUID) -> Submitted | None:
    done = SoleDecision.objects.filter(source=source).first()
    if done is not None:
        return Submitted(outcome=done.outcome)
    asked = Approval.objects.filter(source=source).first()
    return Submitted(approval=asked) if asked is not None else None


def _alone(*, person: User, workspace: Workspace) -> None:
    """Let one person's changes of one workspace be added up one after another."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))",
            [f"approvals:{person.pk}:{workspace.pk}"],
        )


def _record(action: str, approval: Approval, *, by: Staff | None) -> None:
    asked: dict[str, Any] = {"what": approval.summary, "reason": approval.reason}
    if approval.amount_nanos is not None:
        asked["amount_usd"] = money.usd(approval.amount_nanos)
    audit.record(
        action=action,
        by=by,
        target=audit.Target(approval.public_id, approval.kind),
        # For staff to read: a workspace is told of what was done, not of what was asked.
        workspaces=[None],
        after={**asked, "requester": approval.requester.public_id, "note": approval.note},
    )

"""
Staff who look at the dashboard as a customer, to help: short, with a reason, both written down.

The session stays the staff's own; request by request the customer stands in their place, on
pages of a short list only. Neither secrets nor money nor the account's safety are on it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone

from accounts import seats, signins
from accounts.actors import Staff
from accounts.errors import Forbidden, Invalid
from accounts.models import Impersonation, User

SESSION_KEY: Final = "impersonation"
KEPT_SEAT_KEY: Final = "impersonation_seat"
PERMISSION: Final = "accounts.impersonate"
SHORTEST_REASON: Final = 3

# By name, so that a new page is closed until somebody thinks about it.
SEEN: Final = frozenset(
    {
        *("landing", "docs", "chapter", "api_docs", "gateway_openapi", "management_openapi"),
        *("models", "models_json", "calculator", "dashboard_calculator", "status", "legal"),
        *("overview", "usage", "usage_csv", "logs", "receipt", "keys", "key"),
        *("billing", "crypto_live", "top_up", "limits", "team", "audit_log", "settings"),
        *("webhooks", "webhook"),
    }
)
# What may be set right for somebody who asks for it; each is written down with both names.
DONE: Final = frozenset(
    {
        *("switch_workspace", "settings_profile", "workspace_rename"),
        *("limits_workspace", "limits_key", "limits_alerts"),
        "impersonation_stop",
        # By the browser itself.
        "csp_report",
    }
)


@transaction.atomic
def start(*, request: HttpRequest, customer: User, reason: str, by: Staff) -> Impersonation:
    """
    Begin to look as a customer, in this session.

    :raises accounts.errors.Forbidden: no right, or somebody who cannot be looked as
    :raises accounts.errors.Invalid: no reason
    """
    if not by.user.has_perm(PERMISSION):
        raise Forbidden("Looking as a customer takes a right that you do not have.")
    if customer.is_staff or customer.is_superuser or not customer.is_active:
        raise Forbidden("Nobody looks as staff, or as somebody whose account is closed.")
    if len(reason.strip()) < SHORTEST_REASON:
        raise Invalid("Say why: it is kept in the audit log.", param="reason")
    # One at a time: whoever begins anew has ended the one before.
    User.objects.select_for_update(no_key=True).get(pk=by.user.pk)
    for open_one in Impersonation.objects.filter(staff=by.user, ended_at=None):
        _end(open_one)
    look = Impersonation.objects.create(
        staff=by.user,
        customer=customer,
        reason=reason.strip(),
        expires_at=timezone.now() + timedelta(minutes=settings.IMPERSONATION_MINUTES),
    )
    signins.record(
        "impersonation.started", user=customer, by=by, reason=look.reason, id=look.public_id
    )
    request.session[SESSION_KEY] = look.pk
    request.session[KEPT_SEAT_KEY] = request.session.pop(seats.SESSION_KEY, None)
    return look


@transaction.atomic
def stop(*, request: HttpRequest) -> Impersonation | None:
    """End what this session has begun; None where there is nothing."""
    number = request.session.pop(SESSION_KEY, None)
    request.session.pop(seats.SESSION_KEY, None)
    seat = request.session.pop(KEPT_SEAT_KEY, None)
    if seat is not None:
        request.session[seats.SESSION_KEY] = seat
    look = Impersonation.objects.select_for_update(of=("self",)).filter(pk=number).first()
    if look is not None and look.ended_at is None:
        _end(look)
    return look


def current(request: HttpRequest, *, staff: User) -> Impersonation | None:
    """The look under way in this session; None where there is none, or its time is over."""
    number = request.session.get(SESSION_KEY)
    if number is None:
        return None
    found = Impersonation.objects.select_related("customer", "staff").filter(
        pk=number, staff=staff, ended_at=None, expires_at__gt=timezone.now()
    )
    look = found.first()
    if look is None or look.customer.is_staff or not look.customer.is_active:
        return None
    return look if staff.has_perm(PERMISSION) else None


def is_open(*, view_name: str, method: str) -> bool:
    """Whether a page may be seen, or a thing done, while looking as a customer."""
    if method in ("GET", "HEAD"):
        return view_name in SEEN
    return method == "POST" and view_name in DONE


def end_overdue(*, now: datetime) -> int:
    """End those whose time is over; return how many."""
    due = Impersonation.objects.filter(Q(expires_at__lte=now), ended_at=None)
    return sum(_end_due(number) for number in list(due.values_list("pk", flat=True)))


@transaction.atomic
def _end_due(number: int) -> bool:
    look = Impersonation.objects.select_for_update(of=("self",)).get(pk=number)
    if look.ended_at is not None:
        return False
    _end(look)
    return True


def _end(look: Impersonation) -> None:
    look.ended_at = min(timezone.now(), look.expires_at)
    look.save(update_fields=["ended_at"])
    signins.record(
        "impersonation.stopped", user=look.customer, by=Staff(look.staff), id=look.public_id
    )

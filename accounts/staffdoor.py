"""
The staff's door: a second factor that was used in this session, not one that merely exists.

Staff without one are led to set it up; staff whose use of it is too long ago, to use it again.
Until then nothing but those pages opens, in the admin site, the dashboard and the API alike.
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Final

from allauth.account.internal.flows.login import get_authentication_records
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode

from accounts import approvals
from accounts.models import User

SECONDS_PER_HOUR: Final = 3600
# Whoever has no second factor yet may prove who they are and set one up.
SET_UP: Final = frozenset(
    {
        "account_login",
        "account_logout",
        "account_reauthenticate",
        "account_email",
        "account_email_verification_sent",
        "account_confirm_email",
        "mfa_index",
        "mfa_activate_totp",
        "mfa_add_webauthn",
    }
)
# Whoever has one uses it: the password alone changes nothing about it.
USE: Final = frozenset(
    {"account_login", "account_logout", "mfa_reauthenticate", "mfa_reauthenticate_webauthn"}
)


class Standing(StrEnum):
    """How far somebody is let in."""

    STRANGER = "stranger"
    CUSTOMER = "customer"
    WITHOUT_FACTOR = "without_factor"
    UNPROVED = "unproved"
    STAFF = "staff"


def standing(request: HttpRequest) -> Standing:
    """How far whoever asks is let in."""
    user = request.user
    if not (isinstance(user, User) and user.is_active):
        return Standing.STRANGER
    if not user.is_staff:
        return Standing.CUSTOMER
    if not approvals.has_second_factor(user):
        return Standing.WITHOUT_FACTOR
    return Standing.STAFF if _proved(request, user) else Standing.UNPROVED


def _proved(request: HttpRequest, user: User) -> bool:
    """Whether a factor that still exists was used in this session, not too long ago."""
    oldest = time.time() - settings.STAFF_MFA_HOURS * SECONDS_PER_HOUR
    used = {
        record.get("id")
        for record in get_authentication_records(request, user)
        if record.get("method") == "mfa" and float(record.get("at") or 0) > oldest
    }
    return bool(used) and Authenticator.objects.filter(user=user, pk__in=used).exists()


def is_shut(request: HttpRequest) -> bool:
    """Whether this is staff who may not go on."""
    return standing(request) in (Standing.WITHOUT_FACTOR, Standing.UNPROVED)


def opens(request: HttpRequest) -> bool:
    """Whether the page that is asked for is one on the way through the door."""
    match = request.resolver_match
    name = match.view_name if match is not None else None
    on_the_way = USE if standing(request) is Standing.UNPROVED else SET_UP
    return name in on_the_way


def lead(request: HttpRequest, *, to: str) -> HttpResponseRedirect:
    """
    Send somebody to the next page on their way to ``to``.

    :raises PermissionDenied: no staff
    """
    where = standing(request)
    if where is Standing.STRANGER:
        return redirect_to_login(to, reverse("account_login"))
    if where is Standing.CUSTOMER:
        raise PermissionDenied
    if where is Standing.STAFF:
        return HttpResponseRedirect(to)
    page = "mfa_activate_totp" if where is Standing.WITHOUT_FACTOR else "mfa_reauthenticate"
    return HttpResponseRedirect(f"{reverse(page)}?{urlencode({'next': to})}")

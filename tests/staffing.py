"""Members of staff with a second factor, and clients that have used it in their session."""

from __future__ import annotations

import time

from allauth.account.internal.flows.login import (
    _AUTHENTICATION_METHODS_USER_SESSION_KEY,
    AUTHENTICATION_METHODS_SESSION_KEY,
)
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib.auth.models import Group
from django.test import Client

from accounts.models import User


def member(email: str, *, group: str = "", superuser: bool = False, factor: bool = True) -> User:
    """Make a member of staff."""
    user = User.objects.create_user(email, "a-long-pass", is_staff=True, is_superuser=superuser)
    if group:
        user.groups.add(Group.objects.get(name=group))
    if factor:
        TOTP.activate(user, generate_totp_secret())
    return user


def sign_in(client: Client, user: User, *, age_s: float = 0.0) -> Client:
    """Sign somebody in who used their second factor some time ago; it is set up if it is not."""
    factor = Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP).first()
    if factor is None:
        factor = TOTP.activate(user, generate_totp_secret()).instance
    client.force_login(user)
    session = client.session
    session[_AUTHENTICATION_METHODS_USER_SESSION_KEY] = str(user.pk)
    session[AUTHENTICATION_METHODS_SESSION_KEY] = [
        {"method": "password", "at": time.time() - age_s},
        {"method": "mfa", "at": time.time() - age_s, "id": factor.pk, "type": factor.type},
    ]
    session.save()
    return client

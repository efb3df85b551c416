"""Where a person is signed in: the sessions they have, and ending them."""

from __future__ import annotations

from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from allauth.usersessions.models import UserSession
from django.db import transaction
from django.db.models import QuerySet

from accounts import signins
from accounts.errors import Missing
from accounts.models import User


class SessionsAdapter(DefaultUserSessionsAdapter):  # type: ignore[misc]  # allauth has no types
    """How django-allauth ends sessions here."""

    @transaction.atomic
    def end_sessions(self, sessions: list[UserSession]) -> None:
        """End them, and write it down."""
        super().end_sessions(sessions)
        for session in sessions:
            signins.record(
                "user.session_ended", user=session.user, by=session.user, address=session.ip
            )


def of(*, user: User) -> QuerySet[UserSession]:
    """The sessions of a person that still work."""
    UserSession.objects.purge_and_list(user)
    found: QuerySet[UserSession] = UserSession.objects.filter(user=user).select_related("user")
    return found


def end(*, user: User, session_id: str) -> None:
    """
    End one.

    :raises Missing: the person has none of that id
    """
    found = of(user=user).filter(pk=int(session_id)) if session_id.isdecimal() else None
    session = found.first() if found is not None and len(session_id) < 19 else None
    if session is None:
        raise Missing("There is no such session of yours.")
    SessionsAdapter().end_sessions([session])


def end_others(*, user: User, session_key: str | None) -> int:
    """End all but the one with this key; return how many."""
    others = list(of(user=user).exclude(session_key=session_key))
    SessionsAdapter().end_sessions(others)
    return len(others)

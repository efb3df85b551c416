"""People, as operators name them."""

from __future__ import annotations

from accounts.errors import Missing
from accounts.models import User


def by_email(*, email: str) -> User:
    """The person who signs in with this address.

    :raises Missing: there is none
    """
    user = User.objects.filter(email=email.strip().lower()).first()
    if user is None:
        raise Missing(f"There is no user {email}.")
    return user

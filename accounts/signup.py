"""From a stranger to a person with a workspace, and to one whose address is proved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from allauth.account.models import EmailAddress
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils.translation import gettext as _

from accounts import workspaces
from accounts.errors import Invalid, NotVerified
from accounts.models import User, Workspace

# Called inside the transaction that records the proof, possibly more than once for a person:
# each must be idempotent. Layers above add themselves here; this one knows nothing of them.
on_verified: Final[list[Callable[[User], None]]] = []


@transaction.atomic
def register(*, email: str, password: str, name: str = "", verified: bool = False) -> User:
    """A new person with a personal workspace, as the sign-up page makes one.

    :raises Invalid: the address is taken or malformed, or the password too weak
    """
    email = email.strip().lower()
    _check(email=email, password=password)
    user = User.objects.create_user(email, password, name=name)
    adopt(user=user, verified=verified)
    return user


@transaction.atomic
def adopt(*, user: User, verified: bool) -> None:
    """Give a person that was just stored what sign-up gives: an address and a workspace."""
    EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=verified)
    welcome(user=user)
    if verified:
        announce_verified(user=user)


def _check(*, email: str, password: str) -> None:
    try:
        validate_email(email)
        validate_password(password, User(email=email))
    except ValidationError as error:
        raise Invalid(" ".join(error.messages)) from None
    taken = EmailAddress.objects.filter(email__iexact=email).exists()
    if taken or User.objects.filter(email=email).exists():
        raise Invalid(_("%(email)s has an account already.") % {"email": email}, param="email")


def welcome(*, user: User) -> Workspace:
    """The personal workspace of a person, made on the first call."""
    return workspaces.personal(user=user)


def is_verified(user: User) -> bool:
    """Whether the person has proved the address they sign in with."""
    proofs = EmailAddress.objects.filter(user=user, email=user.email, verified=True)
    return bool(proofs.exists())


def require_verified(user: User) -> None:
    """Stop someone who may only look.

    :raises NotVerified: the address is not proved
    """
    if not is_verified(user):
        raise NotVerified


def announce_verified(*, user: User) -> None:
    """Tell the layers above that an address is proved; harmless when told again."""
    with transaction.atomic():
        for hook in on_verified:
            hook(user)

"""How django-allauth signs people up here."""

from __future__ import annotations

from typing import cast

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.forms import BaseForm
from django.http import HttpRequest
from django.utils.translation import get_language

from accounts import legal, signup
from accounts.models import User


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """E-mail as the only login, a personal workspace from the first minute."""

    def clean_email(self, email: str) -> str:
        """The address in the one form that we store."""
        return str(super().clean_email(email)).strip().lower()

    @transaction.atomic
    def save_user(
        self, request: HttpRequest, user: AbstractBaseUser, form: BaseForm, commit: bool = True
    ) -> AbstractBaseUser:
        """Store a person together with the personal workspace."""
        cast("User", user).language = (get_language() or "en")[:8]
        saved = cast("User", super().save_user(request, user, form, commit))
        if commit:
            signup.welcome(user=saved)
            if form.cleaned_data.get("consent"):
                legal.agree(user=saved)
        return saved

    @transaction.atomic
    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        """Record the proof of an address and what follows from it, or neither."""
        confirmed = bool(super().confirm_email(request, email_address))
        user = cast("User", email_address.user)
        if confirmed and signup.is_verified(user):
            signup.announce_verified(user=user)
        return confirmed

"""How django-allauth signs people up here."""

from __future__ import annotations

from typing import Any, cast

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.account.models import EmailAddress
from allauth.core.exceptions import ImmediateHttpResponse
from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.mail import EmailMessage
from django.db import IntegrityError, transaction
from django.forms import BaseForm
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import get_language, override

from accounts import legal, signins, signup
from accounts.models import User


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Email as the only login, a personal workspace from the first minute."""

    def clean_email(self, email: str) -> str:
        """The address in the one form that we store."""
        return str(super().clean_email(email)).strip().lower()

    def save_user(
        self, request: HttpRequest, user: AbstractBaseUser, form: BaseForm, commit: bool = True
    ) -> AbstractBaseUser:
        """
        Store a person together with the personal workspace.

        :raises ImmediateHttpResponse: the address was taken after the form had looked, as by a
            second click
        """
        try:
            return self._saved(request, user, form, commit=commit)
        except IntegrityError:
            if not User.objects.filter(email=form.cleaned_data["email"]).exists():
                raise
        messages.error(request, self.error_messages["email_taken"])
        raise ImmediateHttpResponse(redirect("account_login"))

    @transaction.atomic
    def _saved(
        self, request: HttpRequest, user: AbstractBaseUser, form: BaseForm, *, commit: bool
    ) -> AbstractBaseUser:
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

    def post_login(
        self, request: HttpRequest, user: AbstractBaseUser, **how: Any
    ) -> HttpResponseBase:
        """Write down that somebody signed in, and by what."""
        methods = [each.get("method", "") for each in get_authentication_records(request, user)]
        signins.record(
            "user.signed_in", user=cast("User", user), by=cast("User", user), methods=methods
        )
        return cast("HttpResponseBase", super().post_login(request, user, **how))

    def logout(self, request: HttpRequest) -> None:
        """Write down that somebody signed out."""
        if isinstance(request.user, User):
            signins.record("user.signed_out", user=request.user, by=request.user)
        super().logout(request)

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """Write down that a password was wrong."""
        super().authentication_failed(request, **credentials)
        signins.failed(email=str(credentials.get("email") or ""))

    @transaction.atomic
    def set_password(self, user: AbstractBaseUser, password: str) -> None:
        """Change a password, or set it by the link in a mail, and write that down."""
        super().set_password(user, password)
        signins.record("user.password_changed", user=cast("User", user), by=cast("User", user))

    def render_mail(
        self,
        template_prefix: str,
        email: str | list[str],
        context: dict[str, Any],
        headers: dict[str, str] | None = None,
    ) -> EmailMessage:
        """Write to people we know in their own language, whatever the browser speaks."""
        user = context.get("user")
        with override(user.language if isinstance(user, User) else get_language()):
            return cast(
                "EmailMessage", super().render_mail(template_prefix, email, context, headers)
            )

    def send_notification_mail(
        self, template_prefix: str, user: AbstractBaseUser, *args: Any, **kwargs: Any
    ) -> None:
        """Write down what allauth tells in no other place."""
        signins.told_by_mail(template=template_prefix, user=cast("User", user))
        super().send_notification_mail(template_prefix, user, *args, **kwargs)

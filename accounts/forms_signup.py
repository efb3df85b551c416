"""What sign-up asks beyond address and password: a word for the operator's legal texts."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy

from accounts import legal
from accounts.models import User


class ConsentForm(forms.Form):
    """The box to tick; there is none where the operator has no terms."""

    consent = forms.BooleanField(
        label=gettext_lazy("I agree to the terms and have read how my data is handled."),
        error_messages={"required": gettext_lazy("Without this there is no account.")},
    )

    # What is agreed to comes last, above the button.
    field_order = ("email", "password1", "consent")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        asked = legal.asked()
        if not asked:
            del self.fields["consent"]
            return
        links = [(reverse("legal", args=[name]), legal.TITLES[name]) for name in asked]
        self.fields["consent"].help_text = format_html_join(
            " · ", '<a href="{}" target="_blank">{}</a>', links
        )

    def signup(self, request: HttpRequest, user: User) -> None:
        """Nothing more: the adapter keeps the word in the transaction that makes the person."""

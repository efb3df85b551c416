"""Forms about limits. billing.limits decides what is allowed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from common import money


class UsdField(forms.CharField):
    """An amount of dollars, exact; empty is None."""

    def to_python(self, value: Any) -> int | None:  # type: ignore[override]
        """Read the amount as nano-dollars."""
        text = super().to_python(value)
        if not text:
            return None
        try:
            nanos = money.nanos_from_usd(text)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        if nanos < 0:
            raise forms.ValidationError(_("A limit cannot be negative."))
        return nanos

    def prepare_value(self, value: Any) -> Any:
        """Write what is stored as exact dollars; what was typed stays as it is."""
        return money.usd(value) if isinstance(value, int) else value


class CapsForm(forms.Form):
    """What may be spent in a day and a month."""

    daily = UsdField(
        label=_("Per day, USD"), required=False, help_text=_("Empty: no limit. 0: nothing.")
    )
    monthly = UsdField(
        label=_("Per month, USD"), required=False, help_text=_("Empty: no limit. 0: nothing.")
    )


class AlertForm(forms.Form):
    """Below which balance to tell the people who look after the money."""

    low_balance = UsdField(
        label=_("Tell us when the balance falls below, USD"),
        required=False,
        help_text=_("0: never. Empty: what the operator has set."),
    )

"""Forms about limits. billing.limits decides what is allowed."""

from __future__ import annotations

import re
from typing import Any, Final

from django import forms
from django.utils.formats import get_format
from django.utils.translation import gettext_lazy as _

from accounts.models import Tier
from accounts.templatetags.show import decimal, dollars, limit_usd
from common import money

# 1.000 is a thousand to a reader who writes 0,5 and one to a machine: it is asked about.
THOUSANDS: Final = re.compile(r"-?\d{1,3}(\.\d{3})+")


class UsdField(forms.CharField):
    """An amount of dollars, exact, with the reader's decimal sign or a point; empty is None."""

    def to_python(self, value: Any) -> int | None:  # type: ignore[override]
        """Read the amount as nano-dollars."""
        text = super().to_python(value)
        if not text:
            return None
        comma = get_format("DECIMAL_SEPARATOR") == ","
        if comma and THOUSANDS.fullmatch(text):
            raise forms.ValidationError(_("Write thousands without a sign between them."))
        try:
            nanos = money.nanos_from_usd(text.replace(",", ".") if comma else text)
        except ValueError:
            words = _("This is no amount of dollars: write at most nine decimals, and no currency.")
            raise forms.ValidationError(words) from None
        if nanos < 0:
            raise forms.ValidationError(_("A limit cannot be negative."))
        return nanos

    def prepare_value(self, value: Any) -> Any:
        """Write what is stored as exact dollars; what was typed stays as it is."""
        return decimal(money.usd(value)) if isinstance(value, int) else value


class CapsForm(forms.Form):
    """What may be spent in a day and a month."""

    daily = UsdField(
        label=_("Per day, USD"),
        required=False,
        help_text=_("Empty: no limit of its own. 0: nothing."),
    )
    monthly = UsdField(
        label=_("Per month, USD"),
        required=False,
        help_text=_("Empty: no limit of its own. 0: nothing."),
    )


class WorkspaceCapsForm(CapsForm):
    """The same of a workspace, whose tier may have a highest cap: then there has to be one."""

    def __init__(self, *args: Any, tier: Tier, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._bound("daily", tier.max_daily_nanos)
        self._bound("monthly", tier.max_monthly_nanos)

    def _bound(self, name: str, most: int | None) -> None:
        field = self.fields[name]
        field.required = most is not None
        field.help_text = _("Empty: no limit. 0: nothing.")
        if most is not None:
            words = _("At most %(most)s in your tier. 0: nothing.")
            field.help_text = words % {"most": dollars(limit_usd(most))}


class AlertForm(forms.Form):
    """Below which balance to tell the people who look after the money."""

    low_balance = UsdField(
        label=_("Tell us when the balance falls below, USD"),
        required=False,
        help_text=_("0: never. Empty: what the operator has set."),
    )

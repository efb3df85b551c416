"""Forms of the Billing page. They read what people type; billing.topups decides."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django import forms
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from billing.forms import UsdField
from billing.models_funding import SavedCard
from billing.topups import NANOS_PER_CENT


class CentsField(UsdField):
    """An amount that can be paid: dollars typed, cents inside."""

    def to_python(self, value: Any) -> int | None:  # type: ignore[override]
        """Read the amount as cents."""
        nanos = super().to_python(value)
        if nanos is None:
            return None
        if nanos % NANOS_PER_CENT:
            raise forms.ValidationError(_("Cards pay whole cents: write at most two decimals."))
        return nanos // NANOS_PER_CENT

    def prepare_value(self, value: Any) -> Any:
        """Write cents as dollars."""
        return super().prepare_value(value * NANOS_PER_CENT if isinstance(value, int) else value)


class TopUpForm(forms.Form):
    """How much is paid, and how."""

    amount = CentsField(label=_("Amount, USD"), initial="20")
    card = forms.ChoiceField(label=_("Pay with"), required=False)
    save_card = forms.BooleanField(label=_("Keep the card for later payments"), required=False)
    # Made with the page: the same form sent again is the same payment.
    once = forms.UUIDField(
        initial=uuid4,
        required=False,
        widget=forms.HiddenInput({"autocomplete": "off", "id": False}),
    )

    def __init__(self, *arguments: Any, cards: list[SavedCard], **named: Any) -> None:
        super().__init__(*arguments, **named)
        chosen = [("", str(_("Another card")))]
        chosen += [(card.public_id, f"{capfirst(card.brand)} •••• {card.last4}") for card in cards]
        self.fields["card"] = forms.ChoiceField(label=_("Pay with"), choices=chosen, required=False)


class AutoTopUpForm(forms.Form):
    """When a card is charged by itself."""

    enabled = forms.BooleanField(label=_("Top up automatically"), required=False)
    threshold = UsdField(label=_("When less than this is available, USD"))
    amount = CentsField(label=_("Pay this amount, USD"))
    monthly_limit = CentsField(label=_("But at most this in a month, USD"))
    auto_card = forms.ChoiceField(label=_("From this card"), required=False)

    def __init__(self, *arguments: Any, cards: list[SavedCard], **named: Any) -> None:
        super().__init__(*arguments, **named)
        chosen = [(card.public_id, f"{capfirst(card.brand)} •••• {card.last4}") for card in cards]
        self.fields["auto_card"] = forms.ChoiceField(
            label=_("From this card"), choices=chosen, required=False
        )

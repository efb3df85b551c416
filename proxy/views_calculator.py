"""The price calculator: public, and the same inside the dashboard."""

from __future__ import annotations

from typing import Any, Final, cast

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from accounts.seats import Seat, seated
from billing.pricing import Tokens, Unpriced
from proxy import calculator
from proxy.calculator import Offer, Quote

MOST_TOKENS: Final = 10**9
MOST_PIECES: Final = 10_000
# What is asked where nothing was typed yet: about a page read and a page written.
USUAL: Final = {"input": 1000, "output": 500}
Counts = dict[str, Any]


def _count(label: Any, most: int) -> forms.IntegerField:
    return forms.IntegerField(label=label, required=False, min_value=0, max_value=most, initial=0)


class CalculatorForm(forms.Form):
    """One call: which model, how much of everything."""

    model = forms.ChoiceField(label=gettext_lazy("Model"))
    input = _count(gettext_lazy("Input tokens, not cached"), MOST_TOKENS)
    cached = _count(gettext_lazy("Cached input tokens"), MOST_TOKENS)
    cache_write = _count(gettext_lazy("Tokens written to the cache"), MOST_TOKENS)
    output = _count(gettext_lazy("Output tokens"), MOST_TOKENS)
    searches = _count(gettext_lazy("Web searches"), MOST_PIECES)
    pictures = _count(gettext_lazy("Images"), MOST_PIECES)
    size = forms.ChoiceField(label=gettext_lazy("Size of images"), required=False)
    quality = forms.ChoiceField(label=gettext_lazy("Quality of images"), required=False)

    def __init__(self, *args: Any, offers: dict[str, Offer], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offers = offers
        self._offer("model", [(slug, slug) for slug in offers])
        open_choice = ("", _("any: the dearest"))
        for name, found in (
            ("size", {each for offer in offers.values() for each in offer.picture_sizes}),
            ("quality", {each for offer in offers.values() for each in offer.picture_qualities}),
        ):
            self._offer(name, [open_choice, *((each, each) for each in sorted(found))])
        for name in self.fields:
            self.fields[name].widget.attrs["data-testid"] = f"calculator-{name}"

    def _offer(self, name: str, choices: list[tuple[str, str]]) -> None:
        cast(forms.ChoiceField, self.fields[name]).choices = choices

    def quote(self) -> Quote | None:
        """The price, or None where the form now says why there is none."""
        asked: Counts = {name: value or 0 for name, value in self.cleaned_data.items()}
        offer = self.offers[asked.pop("model")]
        asked |= {"size": asked["size"] or "", "quality": asked["quality"] or ""}
        try:
            return calculator.quote(offer=offer, tokens=Tokens(**asked))
        except Unpriced:
            self.add_error("pictures", _("This model makes no images of this size and quality."))
        return None


@require_safe
def public(request: HttpRequest) -> HttpResponse:
    """The page for everybody."""
    return _page(request, "public/calculator.html")


@require_safe
@seated
def inside(request: HttpRequest, seat: Seat) -> HttpResponse:
    """The same page in the dashboard."""
    return _page(request, "dashboard/calculator.html")


def _page(request: HttpRequest, template: str) -> HttpResponse:
    offers = calculator.offers(now=timezone.now())
    form = CalculatorForm(_given(request, offers), offers=offers)
    found = form.quote() if offers and form.is_valid() else None
    part = bool(request.headers.get("HX-Request"))
    shown = {"form": form, "quote": found, "offers": offers}
    name = "components/quote.html" if part else template
    # A part of a page is swapped in whatever it says; htmx drops an answer of 400.
    status = 200 if found or part or not offers else 400
    return render(request, name, shown, status=status)


def _given(request: HttpRequest, offers: dict[str, Offer]) -> Counts:
    given: Counts = request.GET.dict()
    if "model" not in given:
        chats = [slug for slug, offer in offers.items() if offer.kind == "chat"]
        given = {"model": next(iter([*chats, *offers]), ""), **USUAL, **given}
    return given

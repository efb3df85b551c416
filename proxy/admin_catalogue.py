"""What is sold, in the admin site: models, routes, price versions and what is left of a price."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, cast

import msgspec
from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model as AnyModel
from django.http import HttpRequest, HttpResponse

from accounts import audit
from accounts.errors import Invalid
from billing import prices
from billing.adminforms import LinesAdmin, ReasonedAdmin
from billing.adminsteps import Step, StepForm, Stepping, Taken
from billing.models import Price
from billing.prices import PriceTaken, Version
from billing.pricing import Rates
from common import money
from proxy import catalogue_file, margins
from proxy.catalogue import database_now
from proxy.catalogue_file import CatalogueError, PriceEntry
from proxy.models import Model, ModelAlias, Route

VERSIONS: Final = 50
TOKENS: Final = {
    "prompt": "Prompt",
    "completion": "Completion",
    "cached_prompt": "Cached prompt",
    "cache_write": "Cache write",
}
PIECES: Final = {"per_call": "Per call", "web_search": "Per web search"}


class PriceForm(StepForm):
    """A price version: whose, what, from when. What is left empty has no price of its own."""

    subject = forms.ChoiceField(label="Price of")
    effective_from = forms.DateTimeField(
        required=False, help_text="UTC, e.g. 2030-01-31 12:00. Empty: from now."
    )

    def __init__(self, *arguments: Any, row: Model, **named: Any) -> None:
        super().__init__(*arguments, row=row, **named)
        choices = [(f"{role} {subject}", name) for role, subject, name in subjects(row)]
        self.fields["subject"] = forms.ChoiceField(label="Price of", choices=choices)
        for name, label in TOKENS.items():
            self.fields[name] = _usd(f"{label}, USD per million tokens")
        for name, label in PIECES.items():
            self.fields[name] = _usd(f"{label}, USD")
        self.fields["image"] = forms.CharField(
            required=False,
            label="Pictures, USD each",
            widget=forms.Textarea(attrs={"rows": 4}),
            help_text="One line each: size, quality, price, e.g. 1024x1024 high 0.04",
        )
        self.order_fields([name for name in self.fields if name != "reason"])

    def clean(self) -> dict[str, Any]:
        """Read the price exactly, as the catalogue's file does."""
        answers = cast("dict[str, Any]", super().clean())
        try:
            entry = PriceEntry(
                **{name: answers.get(name) or None for name in (*TOKENS, *PIECES)},
                image=_pictures(answers.get("image") or ""),
            )
            role = answers.get("subject", "").partition(" ")[0]
            if role == Price.Role.RETAIL:
                catalogue_file.check_price(entry, kind=self.row.kind, place="price")
            answers["rates"] = catalogue_file.rates_of(entry, place="price")
        except CatalogueError as error:
            raise forms.ValidationError(str(error)) from None
        start = answers.get("effective_from")
        if start is not None and start <= database_now():
            self.add_error("effective_from", "Prices never change: choose a time to come.")
        return answers


def _usd(label: str) -> forms.CharField:
    return forms.CharField(label=label, required=False, max_length=40)


def _pictures(text: str) -> dict[str, dict[str, str | int]] | None:
    found: dict[str, dict[str, str | int]] = {}
    for line in filter(str.strip, text.splitlines()):
        words = line.split()
        if len(words) != 3:
            raise CatalogueError(f"{line[:60]!r} is not size, quality and price")
        found.setdefault(words[0], {})[words[1]] = words[2]
    return found or None


def subjects(model: Model) -> Iterator[tuple[str, str, str]]:
    """What of a model has price versions: role, subject, and a name for it."""
    yield Price.Role.RETAIL, model.slug, f"What customers pay for {model.slug}"
    for route in model.routes.select_related("model", "provider"):
        yield Price.Role.COST, route.subject, f"What {route.provider} takes ({route.subject})"
        if route.own_price:
            yield Price.Role.RETAIL, route.subject, f"What customers pay on {route.subject}"


def _versions(model: Model) -> list[Price]:
    wanted = {(role, subject) for role, subject, _ in subjects(model)}
    rows = Price.objects.filter(subject__in={subject for _, subject in wanted})
    rows = rows.order_by("subject", "role", "-effective_from")
    return [row for row in rows if (row.role, row.subject) in wanted][:VERSIONS]


def _price_facts(model: Model) -> dict[str, Any]:
    return {"versions": [row.pk for row in _versions(model)]}


def _lock(model: Model) -> None:
    Model.objects.select_for_update(no_key=True).get(pk=model.pk)


def _set_price(taken: Taken) -> str:
    role, _, subject = taken.form["subject"].partition(" ")
    now = database_now()
    start = taken.form["effective_from"]
    before = prices.rates_at(subject=subject, role=role, now=start or now)
    try:
        made = prices.set_price(
            subject=subject, role=role, rates=taken.form["rates"], now=now, effective_from=start
        )
    except PriceTaken as error:
        raise Invalid(str(error)) from None
    if made is None:
        raise Invalid("That is the price then already.")
    audit.record(
        action="catalogue.price.added",
        by=taken.by,
        target=audit.Target(subject[:64], subject),
        workspaces=[None],
        before=_told(before) | {"reason": None},
        after=_told(prices.version_of(made)) | {"reason": taken.reason},
    )
    start_text = made.effective_from.strftime("%Y-%m-%d %H:%M")
    return f"The new {role} price of {subject} is in force from {start_text} UTC."


def _told(version: Version | None) -> dict[str, Any]:
    if version is None:
        return {}
    told = {
        name: amount
        for name, amount in msgspec.structs.asdict(version.rates).items()
        if amount is not None
    }
    return {"role_from": version.effective_from.isoformat(), **told}


PRICE = Step(
    name="price",
    title="New price",
    text="A new version, from now or from a time to come; versions that were used never change."
    " Calls that were admitted before keep their price.",
    permission="proxy.change_model",
    form=PriceForm,
    run=_set_price,
    facts=_price_facts,
    lock=_lock,
)


class AliasInline(LinesAdmin):
    """Other names of a model."""

    model = ModelAlias
    extra = 0


class RouteInline(LinesAdmin):
    """Ways to serve a model."""

    model = Route
    extra = 0
    can_delete = False


class KeptAdmin(ReasonedAdmin):
    """Rows that receipts and attempts refer to: switched off, never deleted."""

    def has_delete_permission(self, request: HttpRequest, obj: AnyModel | None = None) -> bool:
        """Nobody deletes them."""
        return False


@admin.register(Model)
class ModelAdmin(Stepping, KeptAdmin):
    """What is sold, with its price versions and what is left of them."""

    noun = "model"
    steps = (PRICE,)
    change_form_template = "admin/proxy/model.html"
    list_display = (
        "slug", "name", "kind", "context_length", "max_output_tokens", "enabled", "price",
        "least_margin",
    )  # fmt: skip
    list_filter = ("kind", "enabled")
    search_fields = ("slug", "name", "aliases__alias")
    inlines = (AliasInline, RouteInline)
    list_per_page = 50

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Read the prices of this page's models at once."""
        listed = super().get_changelist_instance(request)
        rows = list(cast("Any", listed.result_list))
        now = database_now()
        found = margins.of_models(models=rows, now=now)
        in_force = prices.all_rates_at(now=now, subjects=[row.slug for row in rows])
        for row in rows:
            row.margins = found[row.pk]
            row.retail = in_force.get((row.slug, Price.Role.RETAIL))
        listed.result_list = rows
        return listed

    @admin.display(description="Price, USD")
    def price(self, model: Any) -> str:
        """What customers pay now."""
        return summary(model.retail.rates) if model.retail else "not sold: no price"

    @admin.display(description="Least margin")
    def least_margin(self, model: Any) -> str:
        """The worst part of the worst route."""
        known = [each.least for each in model.margins if each.least is not None]
        if not known:
            return "-"
        loses = any(each.loses for each in model.margins)
        return f"{min(known)} %{' LOSS' if loses else ''}"

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show prices and margins above the form."""
        model = self.get_object(request, unquote(object_id))
        known: dict[str, Any] = dict(extra_context or {})
        if model is not None and self.has_view_permission(request, model):
            now = database_now()
            known["margins"] = margins.of_models(models=[model], now=now)[model.pk]
            known["versions"] = [_shown(row, now) for row in _versions(model)]
        return super().change_view(request, object_id, form_url, known)


def _shown(row: Price, now: datetime) -> dict[str, Any]:
    return {
        "row": row,
        "rates": summary(prices.version_of(row).rates),
        "to_come": row.effective_from > now,
    }


def summary(rates: Rates) -> str:
    """A price in a line: per million tokens, per piece."""
    parts = []
    if rates.prompt or rates.completion:
        prompt, completion = (per_million(each) for each in (rates.prompt, rates.completion))
        parts.append(f"{prompt} / {completion} per M")
    if rates.cached_prompt is not None:
        parts.append(f"cached {per_million(rates.cached_prompt)}")
    if rates.cache_write is not None:
        parts.append(f"cache write {per_million(rates.cache_write)}")
    if rates.per_call is not None:
        parts.append(f"{money.usd_from_pico(rates.per_call)} per call")
    if rates.web_search is not None:
        parts.append(f"{money.usd_from_pico(rates.web_search)} per search")
    for size, qualities in (rates.image or {}).items():
        parts += [f"{size} {name} {money.usd_from_pico(pico)}" for name, pico in qualities.items()]
    return ", ".join(parts) or "free"


def per_million(pico: int) -> str:
    """Dollars per million of what costs so many pico-dollars each."""
    return money.usd_from_pico(pico * margins.PER_MILLION)


@admin.register(ModelAlias)
class ModelAliasAdmin(KeptAdmin):
    """Other names; they are taken away on their model's page."""

    noun = "alias"
    list_display = ("alias", "model")
    list_select_related = ("model",)
    search_fields = ("alias",)


@admin.register(Route)
class RouteAdmin(KeptAdmin):
    """Which provider serves which model."""

    noun = "route"
    list_display = (
        "model", "provider", "upstream_model", "priority", "own_price", "enabled", "margin",
    )  # fmt: skip
    list_filter = ("provider", "enabled")
    list_select_related = ("model", "provider")
    search_fields = ("model__slug", "upstream_model")

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Read the prices of this page's routes at once."""
        listed = super().get_changelist_instance(request)
        rows = list(cast("Any", listed.result_list))
        found = margins.of_models(models={row.model for row in rows}, now=database_now())
        by_route = {each.route.pk: each for lines in found.values() for each in lines}
        for row in rows:
            row.found = by_route.get(row.pk)
        listed.result_list = rows
        return listed

    @admin.display(description="Margin")
    def margin(self, route: Any) -> str:
        """The worst part of it."""
        least: Decimal | None = route.found.least if route.found else None
        if least is None:
            return "-"
        return f"{least} %{' LOSS' if route.found.loses else ''}"

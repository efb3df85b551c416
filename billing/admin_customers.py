"""Customers in the admin site: balances, ledger and limits, and what staff do about them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final, cast

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from accounts.templatetags.show import grouped
from billing import freezing, ledger, limits, orders, selectors_customers
from billing.admin_claims import IN_LEDGER, told
from billing.adminrows import OneChoice
from billing.adminsteps import Step, StepForm, SteppedAdmin, Taken
from billing.forms import UsdField
from billing.models import Customer
from common import money, pagination
from common.errors import ApiError
from common.pagination import Wanted

LINES: Final = 50
# A typing error, not an order: the ledger's counters hold some thousands of these.
MOST_NANOS: Final = 10**6 * money.NANOS_PER_USD
WHOLE: Final = re.compile(r"-?[0-9]{1,20}")
ASSET_CHOICES: Final = [(asset, asset) for asset in ledger.ASSETS]
ONLY: Final = {"": "Everything", "money": "Money only", "calls": "Calls only"}


class SignedField(forms.CharField):
    """An amount with a sign: dollars, or whole tokens."""

    def clean(self, value: Any) -> Any:
        """Leave the number to the form, which knows the asset."""
        return str(super().clean(value)).strip()


class AmountForm(StepForm):
    """How much of which asset."""

    asset = forms.ChoiceField(choices=ASSET_CHOICES)
    amount = SignedField(max_length=40, help_text="Dollars, e.g. 2.50, or whole tokens.")
    signed = False

    def __init__(self, *arguments: Any, row: Customer, **named: Any) -> None:
        super().__init__(*arguments, row=row, **named)
        self.fields["reason"].help_text = IN_LEDGER

    def clean(self) -> dict[str, Any]:
        """Read the amount in units of its asset."""
        answers = cast("dict[str, Any]", super().clean())
        if "amount" in answers and "asset" in answers:
            try:
                answers["units"] = units(asset=answers["asset"], text=answers["amount"])
            except ValueError as error:
                self.add_error("amount", str(error))
            else:
                self._check(answers["units"])
        return answers

    def _check(self, amount: int) -> None:
        if amount == 0 or (amount < 0 and not self.signed):
            self.add_error("amount", "Write more than nothing.")


class GrantForm(AmountForm):
    """What is given, until when."""

    expires_at = forms.DateTimeField(
        required=False, help_text="UTC, e.g. 2030-01-31 12:00. Empty: it does not expire."
    )
    paid = forms.BooleanField(
        required=False, label="Paid", help_text="Money received another way; it never expires."
    )

    def clean(self) -> dict[str, Any]:
        """Refuse an expiry of paid money, or one that is over."""
        answers = super().clean()
        expires_at = answers.get("expires_at")
        if expires_at is not None and answers.get("paid"):
            self.add_error("expires_at", "Paid money does not expire.")
        elif expires_at is not None and expires_at <= timezone.now():
            self.add_error("expires_at", "That time is over.")
        return answers


class CorrectionForm(AmountForm):
    """What is put right: more with no sign, less with a minus."""

    signed = True
    field_order = ("asset", "amount", "reason")


class LimitsForm(StepForm):
    """Caps in force from now on."""

    daily = UsdField(label="Per day, USD", required=False, help_text="Empty: no cap. 0: nothing.")
    monthly = UsdField(
        label="Per month, USD", required=False, help_text="Empty: no cap. 0: nothing."
    )

    def __init__(self, *arguments: Any, row: Customer, **named: Any) -> None:
        super().__init__(*arguments, row=row, **named)
        daily, monthly = limits.workspace_caps(workspace=row)
        self.fields["daily"].initial, self.fields["monthly"].initial = daily, monthly


def units(*, asset: str, text: str) -> int:
    """
    Read an amount: nano-dollars, or tokens.

    :raises ValueError: no such amount, or more than anybody means
    """
    if asset == ledger.USD:
        found = money.nanos_from_usd(text)
    elif WHOLE.fullmatch(text.strip()):
        found = int(text)
    else:
        raise ValueError(f"{text[:40]!r} is no whole number of tokens.")
    if orders.worth(asset, found) > MOST_NANOS:
        most = grouped(money.usd(MOST_NANOS))
        raise ValueError(f"At most {most} USD, or tokens of that worth, at once.")
    return found


def _lock(customer: Customer) -> None:
    ledger.open_accounts(workspace_id=customer.pk)
    ledger.lock_homes(workspace_id=customer.pk)


def _is_frozen(customer: Customer) -> bool:
    return bool(getattr(customer, "frozen", False))


def _freeze(taken: Taken) -> str:
    freezing.freeze(workspace=taken.row, reason=taken.reason, by=taken.by)
    return "Frozen: new calls are refused, calls in flight are settled as usual."


def _unfreeze(taken: Taken) -> str:
    freezing.unfreeze(workspace=taken.row, reason=taken.reason, by=taken.by)
    return "Unfrozen: calls are admitted again."


def _set_limits(taken: Taken) -> str:
    limits.set_workspace_caps(
        workspace=taken.row,
        daily=taken.form["daily"],
        monthly=taken.form["monthly"],
        by=taken.by,
        past_tier=True,
        reason=taken.reason,
    )
    return "The limits hold from now on."


def _grant(taken: Taken) -> str:
    asset, amount = taken.form["asset"], taken.form["units"]
    submitted = orders.grant(
        workspace=taken.row,
        asset=asset,
        amount=amount,
        reason=taken.reason,
        by=taken.by,
        source=taken.token,
        expires_at=taken.form["expires_at"],
        paid=taken.form["paid"],
    )
    return told(submitted, f"{orders.words(asset, amount)} were given.")


def _correct(taken: Taken) -> str:
    asset, amount = taken.form["asset"], taken.form["units"]
    submitted = orders.correct(
        workspace=taken.row,
        asset=asset,
        amount=amount,
        reason=taken.reason,
        by=taken.by,
        source=taken.token,
    )
    return told(submitted, f"Corrected by {orders.words(asset, amount)}.")


def _caps(customer: Customer) -> dict[str, Any]:
    return limits.facts(limits.workspace_caps(workspace=customer))


def _frozen_facts(customer: Customer) -> dict[str, Any]:
    return {"frozen": _is_frozen(customer)}


FREEZE = Step(
    name="freeze",
    title="Freeze",
    text="New calls are refused with 403 workspace_frozen; calls in flight are settled as usual.",
    permission="accounts.freeze_workspace",
    run=_freeze,
    facts=_frozen_facts,
    lock=_lock,
    refusal=lambda customer: "It is frozen already." if _is_frozen(customer) else "",
)
UNFREEZE = Step(
    name="unfreeze",
    title="Unfreeze",
    text="Calls are admitted again, whatever it was frozen for: look at what is open first.",
    permission="accounts.freeze_workspace",
    run=_unfreeze,
    facts=_frozen_facts,
    lock=_lock,
    refusal=lambda customer: "" if _is_frozen(customer) else "It is not frozen.",
)
LIMITS = Step(
    name="limits",
    title="Change limits",
    text="Spending caps per UTC day and month. Staff may pass the tier's maximum.",
    permission="accounts.set_limits",
    form=LimitsForm,
    run=_set_limits,
    facts=_caps,
    lock=_lock,
)
GRANT = Step(
    name="grant",
    title="Grant",
    text="Give money. Granted money is used before paid money and is never paid out.",
    permission="accounts.move_money",
    form=GrantForm,
    run=_grant,
)
CORRECT = Step(
    name="correct",
    title="Correct",
    text="Put paid money right. Less with a minus: only what no call and no refund holds.",
    permission="accounts.move_money",
    form=CorrectionForm,
    run=_correct,
)


class Frozen(OneChoice):
    """Those whose calls are refused."""

    title = "frozen"
    parameter_name = "frozen"
    choice = ("yes", "Frozen")
    wanted = Q(accounts__frozen=True)


class Owing(OneChoice):
    """Those who owe what a processor took back."""

    title = "owed"
    parameter_name = "owing"
    choice = ("yes", "Owing")
    wanted = Q(pk__in=selectors_customers.owing())


@admin.register(Customer)
class CustomerAdmin(SteppedAdmin):
    """Workspaces as those see them who look after their money."""

    steps = (GRANT, CORRECT, LIMITS, FREEZE, UNFREEZE)
    change_form_template = "admin/billing/customer.html"
    list_display = (
        "name", "personal_of", "paid_usd", "granted_usd", "held_usd", "owed_usd", "is_frozen",
        "tier", "public_id", "created_at", "closed_at",
    )  # fmt: skip
    list_filter = (Frozen, Owing, "tier")
    search_fields = ("=public_id", "=external_id", "name", "=members__email")
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[Customer]:
        """Return customers with their balances."""
        return selectors_customers.customers()

    @admin.display(description="Paid, USD")
    def paid_usd(self, customer: Any) -> str:
        """Paid money."""
        return money.usd(customer.paid, digits=2)

    @admin.display(description="Granted, USD")
    def granted_usd(self, customer: Any) -> str:
        """Given money."""
        return money.usd(customer.granted, digits=2)

    @admin.display(description="Held, USD")
    def held_usd(self, customer: Any) -> str:
        """What calls in flight have set aside."""
        return money.usd(customer.held, digits=2)

    @admin.display(description="Owed, USD")
    def owed_usd(self, customer: Any) -> str:
        """What was taken back and is spent."""
        return money.usd(customer.owed, digits=2)

    @admin.display(description="Frozen", boolean=True)
    def is_frozen(self, customer: Any) -> bool:
        """Whether its calls are refused."""
        return bool(customer.frozen)

    def get_urls(self) -> list[URLPattern]:
        """Add the ledger."""
        view = self.admin_site.admin_view(self.ledger_view)
        own = [path("<path:object_id>/ledger/", view, name="billing_customer_ledger")]
        return own + super().get_urls()

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show everything about one customer."""
        customer = self.get_object(request, unquote(object_id))
        known: dict[str, Any] = dict(extra_context or {})
        if customer is not None and self.has_view_permission(request, customer):
            today = datetime.now(UTC).date()
            known["card"] = selectors_customers.card(customer=customer, today=today)
        return super().change_view(request, object_id, form_url, known)

    def ledger_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what came and went, with the balance after each line."""
        customer = self.get_object(request, unquote(object_id))
        if customer is None or not self.has_view_permission(request, customer):
            raise PermissionDenied
        asset = request.GET.get("asset", ledger.USD)
        asset = asset if asset in ledger.ASSETS else ledger.USD
        only = request.GET.get("only", "")
        only = only if only in ONLY else ""
        name = f"staff ledger {customer.pk} {asset}"
        page = selectors_customers.ledger_page(
            customer=customer,
            asset=asset,
            only=only,
            wanted=Wanted(LINES, _position(name, request.GET.get("after", ""))),
            now=timezone.now(),
        )
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Ledger",
            "subtitle": str(customer),
            "customer": customer,
            "row_url": self.row_url(cast("Model", customer)),
            "asset": asset,
            "assets": ledger.ASSETS,
            "only": only,
            "choices": ONLY.items(),
            "lines": page.rows,
            "next": pagination.seal(name, page.next) if page.next else "",
        }
        return TemplateResponse(request, "admin/billing/ledger.html", context)


def _position(name: str, cursor: str) -> Any:
    try:
        return pagination.unseal(name, cursor) if cursor else None
    except ApiError:
        # Of another list, or made up: from the beginning.
        return None

"""Webhooks of the workspace: where to, what about, what was delivered."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from accounts import webhookdeliveries, webhooks
from accounts.errors import Forbidden, Invalid, Missing
from accounts.models import WebhookEndpoint
from accounts.models_webhook import KINDS
from accounts.outcomes import attempt
from accounts.scopes import Scope
from accounts.seats import Seat, seated
from common import pagination
from common.pagination import Wanted

LOG = "webhook_log"
LOG_ROWS = 25


class WebhookForm(forms.Form):
    """Where events are sent, and which. accounts.webhooks decides what is allowed."""

    url = forms.CharField(
        label=gettext_lazy("URL"),
        max_length=2000,
        widget=forms.URLInput(attrs={"placeholder": "https://", "autocomplete": "off"}),
        help_text=gettext_lazy("https:// on port 443 or 8443 of a public host."),
    )
    events = forms.MultipleChoiceField(
        label=gettext_lazy("Events"),
        choices=[(kind, kind) for kind in KINDS],
        widget=forms.CheckboxSelectMultiple,
    )

    def clean_url(self) -> str:
        """
        Return the address; what is wrong with it is said together with the rest.

        :raises ValidationError: nothing is sent there
        """
        try:
            return webhooks.address(url=self.cleaned_data["url"])
        except Invalid as refusal:
            raise forms.ValidationError(refusal.message) from None


@seated
def webhook_list(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Every webhook, and a form for another."""
    seat.require(Scope.WEBHOOKS_MANAGE)
    form = WebhookForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        made = _create(form, seat)
        if made:
            return _secret_page(request, *made)
    context = {"form": form, "webhooks": webhooks.of(workspace=seat.workspace)}
    status = 400 if form.errors else 200
    return render(request, "dashboard/webhooks/list.html", context, status=status)


def _create(form: WebhookForm, seat: Seat) -> tuple[WebhookEndpoint, str] | None:
    try:
        return webhooks.create(workspace=seat.workspace, by=seat.user, **form.cleaned_data)
    except Invalid as refusal:
        form.add_error(refusal.param if refusal.param in form.fields else None, refusal.message)
    return None


def _secret_page(request: HttpRequest, endpoint: WebhookEndpoint, secret: str) -> HttpResponse:
    context = {"webhook": endpoint, "secret": secret}
    return render(request, "dashboard/webhooks/secret.html", context)


@require_safe
@seated
def webhook_page(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """One webhook and its log."""
    return _page(request, _endpoint(seat, public_id))


def _page(
    request: HttpRequest, endpoint: WebhookEndpoint, *, wrong: WebhookForm | None = None
) -> HttpResponse:
    cursor = request.GET.get("cursor")
    after = pagination.unseal(LOG, cursor) if cursor else None
    found = webhookdeliveries.of(endpoint=endpoint)
    rows, following = pagination.by_id(found, Wanted(limit=LOG_ROWS, after=after))
    known = {"url": endpoint.url, "events": endpoint.events}
    context: dict[str, Any] = {
        "webhook": endpoint,
        "host": _host(endpoint),
        "form": wrong or WebhookForm(initial=known),
        "rows": rows,
        "first": cursor is None,
        "next": f"?cursor={pagination.seal(LOG, following)}" if following else "",
    }
    return render(request, "dashboard/webhooks/page.html", context, status=400 if wrong else 200)


@require_POST
@seated
def change(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """Send elsewhere, or something else."""
    endpoint = _endpoint(seat, public_id)
    form = WebhookForm(request.POST)
    if not form.is_valid():
        return _page(request, endpoint, wrong=form)
    try:
        webhooks.update(endpoint=endpoint, by=seat.user, **form.cleaned_data)
    except Invalid as refusal:
        form.add_error(refusal.param if refusal.param in form.fields else None, refusal.message)
        return _page(request, endpoint, wrong=form)
    messages.success(request, _("Saved."))
    return redirect("webhook", public_id)


@require_POST
@seated
def switch(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """Disable or enable."""
    enabled = request.POST.get("enabled") == "true"
    done = _("The webhook is enabled.") if enabled else _("The webhook is disabled.")
    endpoint = _endpoint(seat, public_id)
    attempt(request, done, webhooks.update, endpoint=endpoint, by=seat.user, enabled=enabled)
    return redirect("webhook", public_id)


@require_POST
@seated
def rotate(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """Another secret; the old one signs as well for a day."""
    try:
        made = webhooks.rotate_secret(endpoint=_endpoint(seat, public_id), by=seat.user)
    except Forbidden as refusal:
        raise PermissionDenied(refusal.message) from None
    return _secret_page(request, *made)


@require_POST
@seated
def send_test(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """Send an event that says nothing happened."""
    done = _("A test is on its way. The log says what became of it.")
    endpoint = _endpoint(seat, public_id)
    attempt(request, done, webhooks.send_test, endpoint=endpoint, by=seat.user)
    return redirect("webhook", public_id)


@require_POST
@seated
def resend(request: HttpRequest, seat: Seat, public_id: str, delivery_id: str) -> HttpResponse:
    """Send a delivery once more."""
    try:
        delivery = webhookdeliveries.get(endpoint=_endpoint(seat, public_id), public_id=delivery_id)
    except Missing:
        raise Http404 from None
    done = _("It is on its way once more.")
    attempt(request, done, webhookdeliveries.resend, delivery=delivery, by=seat.user)
    return redirect("webhook", public_id)


@require_POST
@seated
def delete(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """End a webhook."""
    endpoint = _endpoint(seat, public_id)
    if request.POST.get("name") != _host(endpoint):
        messages.error(request, _("Type the host of the webhook's URL to delete it."))
        return redirect("webhook", public_id)
    done = _("The webhook is deleted.")
    attempt(request, done, webhooks.delete, endpoint=endpoint, by=seat.user)
    return redirect("webhooks")


def _host(endpoint: WebhookEndpoint) -> str:
    return urlsplit(endpoint.url).hostname or endpoint.public_id


def _endpoint(seat: Seat, public_id: str) -> WebhookEndpoint:
    seat.require(Scope.WEBHOOKS_MANAGE)
    try:
        return webhooks.get(workspace=seat.workspace, public_id=public_id)
    except Missing:
        raise Http404 from None

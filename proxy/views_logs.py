"""The requests of a workspace, narrowed and a page at a time, and the receipt of each."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any, Final, cast

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from accounts import promptlogging
from accounts.errors import Forbidden, Missing
from accounts.models import ApiKey
from accounts.scopes import Scope
from accounts.seats import Seat, seated
from common import ids, pagination
from common.errors import ApiError
from common.pagination import Page, Wanted
from proxy import itemised, logs, prompts, receipts, selectors
from proxy.forms import DayInput

# On a telephone each is a card.
ROWS: Final = 25
MOST_KEYS: Final = 200
CURSOR: Final = "dashboard.logs"


class LogForm(forms.Form):
    """Which requests are wanted; what is empty does not narrow."""

    since = forms.DateField(label=gettext_lazy("From (UTC)"), widget=DayInput, required=False)
    until = forms.DateField(label=gettext_lazy("To (UTC)"), widget=DayInput, required=False)
    model = forms.CharField(label=gettext_lazy("Model"), max_length=128, required=False)
    key_id = forms.ChoiceField(label=gettext_lazy("Key"), required=False)
    status = forms.ChoiceField(
        label=gettext_lazy("Status"),
        required=False,
        choices=(
            ("", gettext_lazy("All")),
            ("ok", gettext_lazy("Answered")),
            ("failed", gettext_lazy("Failed")),
        ),
    )

    def __init__(self, *args: Any, seat: Seat, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        found = ApiKey.objects.filter(workspaces=seat.workspace).exclude(
            kind=ApiKey.Kind.PLAYGROUND
        )
        rows = found.order_by("-pk").values_list("public_id", "name")[:MOST_KEYS]
        cast(forms.ChoiceField, self.fields["key_id"]).choices = [("", _("All")), *rows]

    def clean(self) -> dict[str, Any]:
        """Refuse a range that is none."""
        asked: dict[str, Any] = super().clean() or {}
        since, until = asked.get("since"), asked.get("until")
        if since and until and since > until:
            self.add_error("since", _("The first day is after the last."))
        return asked

    def query(self) -> dict[str, Any]:
        """The filter as proxy.logs reads it: until is the day after the last."""
        asked = {name: value for name, value in self.cleaned_data.items() if value}
        if "since" in asked:
            asked["since"] = datetime.combine(asked["since"], time(), UTC)
        if "until" in asked:
            asked["until"] = datetime.combine(asked["until"], time(), UTC) + timedelta(days=1)
        return asked

    def as_export(self) -> dict[str, str]:
        """The same filter in the words of the API, for a file of all that it finds."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else str(value)
            for name, value in self.query().items()
        }


@require_safe
@seated
def log(request: HttpRequest, seat: Seat) -> HttpResponse:
    """A page of requests; an id that is searched for leads to its receipt."""
    seat.require(Scope.USAGE_READ)
    sought = request.GET.get("id", "").strip()
    if sought and (found := ids.parse_request(sought)):
        return redirect("receipt", ids.form("req_", found))
    form = LogForm(request.GET, seat=seat)
    if not form.is_valid():
        return render(request, "dashboard/logs/page.html", {"form": form}, status=400)
    page = _page(request, seat, form)
    context = {
        "form": form,
        "requests": selectors.request_rows(page.rows),
        "next": _next(form, page),
        "first": "cursor" not in request.GET,
        "start": f"{reverse('logs')}?{_kept(form)}",
        "narrowed": bool(form.query()),
        "export": form.as_export(),
        "sought": sought,
    }
    return render(request, "dashboard/logs/page.html", context)


def _page(request: HttpRequest, seat: Seat, form: LogForm) -> Page:
    after = None
    if cursor := request.GET.get("cursor"):
        after = pagination.unseal(CURSOR, cursor)
    wanted = Wanted(limit=ROWS, after=after)
    return logs.read(workspace=seat.workspace, query=form.query(), wanted=wanted)


def _kept(form: LogForm) -> str:
    return urlencode({field.name: str(field.value()) for field in form if field.value()})


def _next(form: LogForm, page: Page) -> str:
    if page.next is None:
        return ""
    cursor = urlencode({"cursor": pagination.seal(CURSOR, page.next)})
    return f"{reverse('logs')}?{_kept(form)}&{cursor}"


@require_safe
@seated
def receipt(request: HttpRequest, seat: Seat, request_id: str) -> HttpResponse:
    """What one request was, what it used and what each part of it cost."""
    seat.require(Scope.USAGE_READ)
    found = ids.parse_request(request_id)
    if found is None:
        raise Http404
    try:
        row = receipts.read(request_id=found, workspace_id=seat.workspace.pk)
    except ApiError:
        shown = {"request_id": ids.form("req_", found)}
        return render(request, "dashboard/logs/missing.html", shown, status=404)
    context = {
        "receipt": row,
        "told": receipts.describe(row),
        "items": itemised.items(row),
        "request_id": ids.form("req_", found),
        "price": selectors.price_text(amount=row.charged, asset=row.asset),
        "hold": selectors.price_text(amount=row.hold, asset=row.asset),
        "failed": row.status is None or row.status >= 400,
        "has_prompt": promptlogging.may_read(workspace=seat.workspace, by=seat.user)
        and prompts.is_kept(request_id=found, workspace=seat.workspace),
    }
    return render(request, "dashboard/logs/receipt.html", context)


@require_POST
@seated
def prompt(request: HttpRequest, seat: Seat, request_id: str) -> HttpResponse:
    """What was said in one request, where the workspace keeps it; who reads is written down."""
    found = ids.parse_request(request_id)
    if found is None:
        raise Http404
    try:
        kept = prompts.read(request_id=found, workspace=seat.workspace, by=seat.user)
    except Forbidden as refusal:
        raise PermissionDenied(refusal.message) from None
    except Missing as refusal:
        messages.error(request, refusal.message)
        return redirect("receipt", ids.form("req_", found))
    context = {"kept": kept, "request_id": ids.form("req_", found)}
    return render(request, "dashboard/logs/prompt.html", context)

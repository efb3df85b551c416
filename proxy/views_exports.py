"""Files of rows: asked for with a page's filter, watched while they are built, downloaded."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from rest_framework.exceptions import ValidationError

from accounts.errors import Refused
from accounts.scopes import of_role
from accounts.seats import Seat, seated
from proxy import api_exportkinds, api_exports, exports, tasks
from proxy.api_exportkinds import KINDS
from proxy.models import Export

SHOWN = 50


@require_http_methods(["GET", "HEAD", "POST"])
@seated
def export_list(request: HttpRequest, seat: Seat) -> HttpResponse:
    """The files of the workspace that the person may read; POST asks for one more."""
    if request.method == "POST":
        _ask(request, seat)
        return redirect("exports")
    kinds = [name for name in KINDS if _may(seat, name)]
    found = Export.objects.filter(
        workspace=seat.workspace, kind__in=kinds, expires_at__gt=timezone.now()
    )
    rows = list(found.order_by("-pk")[:SHOWN])
    context = {
        "exports": [(row, exports.percent(row)) for row in rows],
        "kinds": kinds,
        "pending": any(row.status == Export.Status.PENDING for row in rows),
    }
    part = "rows" if request.headers.get("HX-Request") else "page"
    return render(request, f"dashboard/exports/{part}.html", context)


def _ask(request: HttpRequest, seat: Seat) -> None:
    kind = request.POST.get("kind", "")
    if kind not in KINDS:
        raise Http404
    seat.require(KINDS[kind].scope)
    if not _may(seat, kind):
        raise PermissionDenied
    hidden = ("kind", "csrfmiddlewaretoken")
    given = {name: value for name, value in request.POST.dict().items() if name not in hidden}
    try:
        _build(seat, kind, given)
    except ValidationError:
        messages.error(request, _("This filter cannot be exported. Open the page again."))
    except Refused as refusal:
        messages.error(request, refusal.message)
    else:
        messages.success(request, _("The file is being built."))


@transaction.atomic
def _build(seat: Seat, kind: str, given: dict[str, Any]) -> None:
    query = api_exportkinds.filter_of(kind, given)
    export = exports.create(
        workspace=seat.workspace,
        kind=kind,
        query=given,
        rows_expected=api_exportkinds.expected(kind, query, workspace=seat.workspace),
        by=seat.user,
        kept_for=KINDS[kind].kept_for,
    )
    transaction.on_commit(lambda: tasks.build_export.delay(export.public_id), robust=True)


@require_safe
@seated
def export_file(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponseBase:
    """One file, once it is built."""
    return api_exports.file_of(request, _export(seat, public_id), by=seat.user)


@require_POST
@seated
def export_delete(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """Throw a file away."""
    exports.delete(export=_export(seat, public_id), by=seat.user)
    messages.success(request, _("The file is deleted."))
    return redirect("exports")


def _export(seat: Seat, public_id: str) -> Export:
    found = Export.objects.filter(
        workspace=seat.workspace, public_id=public_id, expires_at__gt=timezone.now()
    ).first()
    if found is None:
        raise Http404
    if not _may(seat, found.kind):
        raise PermissionDenied
    return found


def _may(seat: Seat, kind: str) -> bool:
    rights = of_role(seat.role)
    return KINDS[kind].may_have(rights=rights, workspace=seat.workspace, by=seat.user)

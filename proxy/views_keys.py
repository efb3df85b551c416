"""The keys of a workspace: seen, made, stopped, rotated. accounts.keys decides what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST, require_safe

from accounts import keys, seats
from accounts.errors import Forbidden, ForeignWorkspace, Invalid, NotVerified
from accounts.models import ApiKey
from accounts.seats import Seat, seated
from billing import limits
from common import pagination
from common.pagination import Wanted
from proxy import snippets
from proxy.forms import DeleteForm, KeyForm, RotateForm
from proxy.selectors_keys import KeyRow, key_row, key_rows
from proxy.selectors_models import model_to_try

KEYS_SHOWN: Final = 50
CURSOR: Final = "dashboard.keys"


@require_safe
@seated
def key_list(request: HttpRequest, seat: Seat) -> HttpResponse:
    """The keys of the current workspace that the person may see, a page at a time."""
    cursor = request.GET.get("cursor")
    after = pagination.unseal(CURSOR, cursor) if cursor else None
    wanted = Wanted(limit=KEYS_SHOWN, after=after)
    page = key_rows(seat=seat, seats=seats.seats(request), now=timezone.now(), wanted=wanted)
    following = None if page.next is None else pagination.seal(CURSOR, page.next)
    context = {"rows": page.rows, "later": after is not None, "following": following}
    return render(request, "dashboard/keys/list.html", context)


@seated
def create(request: HttpRequest, seat: Seat) -> HttpResponse:
    """A form, then the new key: the only page that ever shows it."""
    if not seat.verified:
        return render(request, "dashboard/keys/unverified.html", status=403)
    if not seat.makes_keys:
        words = _(
            "Your role in this workspace does not allow you to create keys."
            " Ask an owner or admin for one."
        )
        raise PermissionDenied(words)
    form = KeyForm(request.POST or None, seat=seat, seats=seats.seats(request))
    if request.method == "POST" and form.is_valid():
        made = _make(form, seat)
        if made:
            return fresh_key_page(request, key=made[0], secret=made[1])
    status = 400 if form.errors else 200
    return render(request, "dashboard/keys/new.html", {"form": form}, status=status)


def _make(form: KeyForm, seat: Seat) -> tuple[ApiKey, str] | None:
    """The key and its text; None when the form now says why not."""
    try:
        return _make_or_refuse(form, seat)
    except (Invalid, Forbidden, ForeignWorkspace) as refusal:
        form.add_error(refusal.param if refusal.param in form.fields else None, refusal.message)
    except limits.AboveTier as refusal:
        form.add_error("daily_usd", str(refusal))
    return None


@transaction.atomic
def _make_or_refuse(form: KeyForm, seat: Seat) -> tuple[ApiKey, str]:
    asked: dict[str, Any] = form.cleaned_data
    service = form.service_of.get(asked.get("owner", ""))
    key, secret = keys.create(
        name=asked["name"],
        workspaces=[form.workspace_of[public_id] for public_id in asked["workspaces"]],
        by=seat.user,
        user=None if service else seat.user,
        service_account=service,
        scopes=asked["scopes"],
        models=asked["models"] or None,
        rpm=asked["rpm"],
        tpm=asked["tpm"],
        max_streams=asked["max_streams"],
        ips=asked["ips"],
        expires_at=_expiry(asked["expires"], now=timezone.now()),
        prompt_logging=not asked.get("no_prompts", False),
    )
    daily, monthly = limits.key_caps(key=key)
    limits.set_key_caps(
        key=key,
        by=seat.user,
        daily=daily if asked["daily_usd"] is None else asked["daily_usd"],
        monthly=monthly if asked["monthly_usd"] is None else asked["monthly_usd"],
    )
    return key, secret


def _expiry(days: str, *, now: datetime) -> datetime | None:
    return now + timedelta(days=int(days)) if days else None


def fresh_key_page(request: HttpRequest, *, key: ApiKey, secret: str) -> HttpResponse:
    """Show a key's text, and the first call with it filled in."""
    context = {
        "fresh": key,
        "secret": secret,
        "key": secret,
        "base_url": snippets.base_url(),
        "model": model_to_try(now=timezone.now()) if "chat" in key.scopes else None,
        "snippets": snippets.SNIPPETS,
    }
    return render(request, "dashboard/keys/created.html", context)


@require_GET
@seated
def detail(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """One key and what can be done with it."""
    return _detail(request, _row_of(request, seat, public_id))


def _detail(
    request: HttpRequest,
    row: KeyRow,
    *,
    delete_form: DeleteForm | None = None,
    rotate_form: RotateForm | None = None,
) -> HttpResponse:
    context = {
        "row": row,
        "delete_form": delete_form or DeleteForm(expected=row.key.name),
        "rotate_form": rotate_form or RotateForm(),
    }
    wrong = delete_form or rotate_form
    return render(request, "dashboard/keys/detail.html", context, status=400 if wrong else 200)


def _row_of(request: HttpRequest, seat: Seat, public_id: str) -> KeyRow:
    now = timezone.now()
    return key_row(public_id=public_id, seat=seat, seats=seats.seats(request), now=now)


@require_POST
@seated
def disable(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """Stop a key until it is enabled again."""
    return _act(request, seat, public_id, keys.disable, _("The key is disabled."))


@require_POST
@seated
def enable(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """Let a disabled key work again."""
    return _act(request, seat, public_id, keys.enable, _("The key works again."))


def _act(
    request: HttpRequest, seat: Seat, public_id: str, act: Callable[..., object], done: str
) -> HttpResponse:
    row = _row_of(request, seat, public_id)
    _allowed(request, act, done, key=row.key, by=seat.user)
    back = request.POST.get("back") == "key"
    return redirect("key", public_id) if back else redirect("keys")


def _allowed(request: HttpRequest, act: Callable[..., object], done: str, **values: Any) -> None:
    try:
        act(**values)
    except Forbidden as refusal:
        raise PermissionDenied(refusal.message) from None
    except Invalid as refusal:
        messages.error(request, refusal.message)
    else:
        messages.success(request, done)


@require_POST
@seated
def rotate(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """Make the successor of a key and show it; the old one ends after the overlap."""
    row = _row_of(request, seat, public_id)
    form = RotateForm(request.POST)
    if not form.is_valid():
        return _detail(request, row, rotate_form=form)
    try:
        new, secret = keys.rotate(key=row.key, overlap=form.overlap_of(), by=seat.user)
    except (Forbidden, NotVerified) as refusal:
        raise PermissionDenied(refusal.message) from None
    except ForeignWorkspace:
        raise Http404 from None
    except Invalid as refusal:
        form.add_error(None, refusal.message)
        return _detail(request, row, rotate_form=form)
    return fresh_key_page(request, key=new, secret=secret)


@require_POST
@seated
def delete(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """Stop a key for good, after its name was typed."""
    row = _row_of(request, seat, public_id)
    form = DeleteForm(request.POST, expected=row.key.name)
    if not form.is_valid():
        return _detail(request, row, delete_form=form)
    _allowed(request, keys.delete, _("The key is deleted."), key=row.key, by=seat.user)
    return redirect("keys")

"""A person's own settings, the workspace's name, and the end of either."""

from __future__ import annotations

import zoneinfo
from functools import cache
from typing import TYPE_CHECKING, Any

from allauth.account.decorators import reauthentication_required
from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.forms.utils import flatatt
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from accounts import erasure, personal, profiles, promptlogging, seats, workspaces
from accounts.errors import Invalid
from accounts.models import User
from accounts.outcomes import attempt
from accounts.promptlogging import Wish
from accounts.scopes import Role, Scope
from accounts.seats import Seat, seated

if TYPE_CHECKING:
    UserForm = forms.ModelForm[User]
else:
    UserForm = forms.ModelForm  # Django's own class cannot be subscripted


class LongSelect(forms.Select):
    """A list of six hundred options, written in one go: a template for each takes too long."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """Write the element."""
        options = format_html_join(
            "",
            "<option{}>{}</option>",
            (
                (flatatt({"value": code, "selected": code == value}), label)
                for code, label in self.choices
            ),
        )
        given = flatatt({**self.attrs, **(attrs or {}), "name": name})
        return format_html("<select{}>{}</select>", given, options)


class ProfileForm(UserForm):
    """What a person says about themselves."""

    # Each language and each zone has one name, which no browser should translate.
    language = forms.ChoiceField(
        label=gettext_lazy("Language of pages and emails"),
        widget=forms.Select(attrs={"translate": "no"}),
    )
    time_zone = forms.ChoiceField(
        label=gettext_lazy("Time zone"),
        widget=LongSelect(attrs={"translate": "no"}),
        help_text=gettext_lazy("Pages show UTC; a button at their foot shows this zone."),
    )

    class Meta:
        model = User
        fields = ("name", "language", "time_zone")
        labels = {"name": gettext_lazy("Name")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._offer("time_zone", _zones())
        self._offer("language", list(settings.LANGUAGES))

    def _offer(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        if isinstance(field, forms.ChoiceField):
            field.choices = choices


@cache
def _zones() -> list[tuple[str, str]]:
    """Every time zone; finding them walks a folder of six hundred files."""
    return [(zone, zone) for zone in sorted(zoneinfo.available_timezones())]


@require_safe
@seated
def settings_page(request: HttpRequest, seat: Seat) -> HttpResponse:
    """The page."""
    return _page(request, seat, ProfileForm(instance=seat.user))


def _page(request: HttpRequest, seat: Seat, form: ProfileForm) -> HttpResponse:
    context = {
        "profile": form,
        "may_rename": seat.role in (Role.OWNER, Role.ADMIN),
        "may_close": seat.role is Role.OWNER and seat.workspace.personal_of_id is None,
        "sees_webhooks": seat.may(Scope.WEBHOOKS_MANAGE),
        "may_log_prompts": seat.role is Role.OWNER,
        "most_prompt_days": settings.PROMPT_LOG_MAX_DAYS,
        "prompt_version": promptlogging.version(seat.workspace),
    }
    return render(
        request, "dashboard/settings/page.html", context, status=400 if form.errors else 200
    )


@require_POST
@seated
def profile(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Keep what the person says about themselves; the answer is in the language they chose."""
    form = ProfileForm(request.POST, instance=User.objects.get(pk=seat.user.pk))
    if not form.is_valid():
        return _page(request, seat, form)
    try:
        saved = profiles.change(user=seat.user, given=form.cleaned_data)
    except Invalid as refusal:
        form.add_error(refusal.param, refusal.message)
        return _page(request, seat, form)
    with translation.override(saved.language):
        messages.success(request, _("Saved."))
    return redirect("settings")


@require_POST
@seated
def rename(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Give the workspace another name."""
    name = request.POST.get("name", "")
    done = _("The workspace has its new name.")
    attempt(request, done, workspaces.rename, workspace=seat.workspace, name=name, by=seat.user)
    return redirect("settings")


@require_POST
@seated
def prompt_logging(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Switch the keeping of prompts and answers on or off."""
    days = request.POST.get("days", "")
    wish = Wish(
        enabled=request.POST.get("enabled") == "on",
        days=int(days) if days.isascii() and days.isdigit() and len(days) < 4 else 0,
        forget=request.POST.get("forget") == "on",
    )
    attempt(
        request,
        _("Saved."),
        promptlogging.change,
        workspace=seat.workspace,
        wish=wish,
        by=seat.user,
        version=request.POST.get("version"),
    )
    return redirect("settings")


@require_POST
@seated
def create(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Make a workspace and go there."""
    try:
        made = workspaces.create(owner=seat.user, name=request.POST.get("name", ""), by=seat.user)
    except Invalid as refusal:
        messages.error(request, refusal.message)
        return redirect("settings")
    request.session[seats.SESSION_KEY] = made.public_id
    messages.success(request, _("The workspace is made. You are in it now."))
    return redirect("overview")


@require_POST
@seated
def close(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Close the workspace for good, after its name was typed."""
    if request.POST.get("name", "").strip() != seat.workspace.name:
        messages.error(request, _("That is not the name of this workspace."))
        return redirect("settings")
    done = _("The workspace is closed. Its records are kept.")
    attempt(request, done, workspaces.close, workspace=seat.workspace, by=seat.user)
    return redirect("overview")


@require_safe
@login_required
def personal_record(request: HttpRequest) -> HttpResponse:
    """Everything that names the person, as a file."""
    headers = {"Content-Disposition": 'attachment; filename="my-data.json"'}
    return JsonResponse(
        personal.record(user=_user(request)), json_dumps_params={"indent": 2}, headers=headers
    )


@login_required
@reauthentication_required(allow_get=True)  # type: ignore[untyped-decorator]  # allauth has no types
def delete_account(request: HttpRequest) -> HttpResponse:
    """Say what goes and what stays; then, after the address was typed, end the account."""
    user = _user(request)
    wrong = ""
    if request.method == "POST":
        if request.POST.get("name", "").strip().lower() == user.email:
            wrong = _erased(user)
        else:
            wrong = _("That is not the address you sign in with.")
        if not wrong:
            logout(request)
            return render(request, "public/account_deleted.html")
    context = {"wrong": wrong}
    return render(request, "dashboard/settings/delete.html", context, status=400 if wrong else 200)


def _erased(user: User) -> str:
    """End the account; return why not, or nothing."""
    try:
        erasure.erase(user=user)
    except Invalid as refusal:
        return refusal.message
    return ""


def _user(request: HttpRequest) -> User:
    user = request.user
    if not isinstance(user, User):
        raise TypeError("Only people who are signed in come here.")
    return user

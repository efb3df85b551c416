"""The admin site: Django's own, behind the staff's door, with its sign-in and sign-out ours."""

from __future__ import annotations

from typing import Any, Final

from allauth.account.adapter import get_adapter
from django.contrib.admin import AdminSite
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from accounts import staffdoor
from accounts.staffdoor import Standing
from proxy import books

SIGN_IN: Final = "Sign-in and groups"
# Applications of libraries, a list or two each: one section of the index.
MERGED: Final = frozenset({"account", "auth", "mfa", "usersessions"})
# Their admin pages show what they keep: keys of sessions, secrets of second factors.
NOT_AS_THEY_ARE: Final = ("allauth.",)


def _by_name(model: dict[str, Any]) -> str:
    return str(model["name"])


class StaffSite(AdminSite):
    """For staff who have used their second factor in this session."""

    site_header = "Tollgate staff"
    site_title = "Tollgate staff"
    index_title = "Everything"
    site_url = "/dashboard"

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Register a page, but for those of libraries that would show secrets."""
        if admin_class is not None and admin_class.__module__.startswith(NOT_AS_THEY_ARE):
            return
        super().register(model_or_iterable, admin_class, **options)

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether a request comes through the door."""
        return staffdoor.standing(request) is Standing.STAFF

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """Show what waits for somebody, then everything."""
        waiting = [
            {
                "name": each.name,
                "count": each.count,
                "url": f"{reverse(f'admin:{each.page}_changelist')}?{each.query}".rstrip("?"),
            }
            for each in books.waiting()
            if request.user.has_perm(each.page.replace("_", ".view_", 1))
        ]
        return super().index(request, {"waiting": waiting} | (extra_context or {}))

    def get_app_list(
        self, request: HttpRequest, app_label: str | None = None
    ) -> list[dict[str, Any]]:
        """List ours as they are, and those of libraries in one section."""
        found: list[dict[str, Any]] = super().get_app_list(request, app_label)
        for model in (model for app in found for model in app["models"]):
            model["name"] = str(model["name"]).replace("Api key", "API key")
        if app_label is not None:
            return found
        ours = [app for app in found if app["app_label"] not in MERGED]
        theirs = [app for app in found if app["app_label"] in MERGED]
        if not theirs:
            return ours
        models = sorted((each for app in theirs for each in app["models"]), key=_by_name)
        return [*ours, theirs[0] | {"name": SIGN_IN, "models": models}]

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Send somebody to the next page on their way in."""
        to = request.GET.get(REDIRECT_FIELD_NAME, "")
        if not url_has_allowed_host_and_scheme(to, {request.get_host()}, request.is_secure()):
            to = reverse("admin:index")
        return staffdoor.lead(request, to=to)

    def logout(  # type: ignore[override]  # it leads on, and shows no page
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Sign out as everywhere else, which is written down."""
        if request.method == "POST":
            get_adapter().logout(request)
        return HttpResponseRedirect(reverse("landing"))

    def password_change(  # type: ignore[override]  # it leads on, and shows no page
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Change the password where everybody does."""
        return HttpResponseRedirect(reverse("account_change_password"))

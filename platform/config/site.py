"""The admin site: Django's own, behind the staff's door, with its sign-in and sign-out ours."""

from __future__ import annotations

from typing import Any, Final

from allauth.account.adapter import get_adapter
from django.contrib.admin import AdminSite
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from accounts import staffdoor
from accounts.staffdoor import Standing

# Their admin pages show what they keep: keys of sessions, secrets of second factors.
NOT_AS_THEY_ARE: Final = ("allauth.",)


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

"""Django middleware: the staff's door, and pages in the language that a person has chosen."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import translation
from django.utils.deprecation import MiddlewareMixin

from accounts import impersonation, staffdoor
from accounts.models import User
from accounts.staffdoor import Standing
from common import origin


class StaffDoor(MiddlewareMixin):
    """Lets staff reach nothing until they have used a second factor in this session."""

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponse | None:
        """Lead them to where they set it up or use it; the API refuses by itself."""
        known = settings.SESSION_COOKIE_NAME in request.COOKIES
        if not known or request.path.startswith("/api/") or not staffdoor.is_shut(request):
            return None
        if staffdoor.opens(request):
            return None
        to = request.get_full_path() if request.method == "GET" else reverse("admin:index")
        return staffdoor.lead(request, to=to)


class Impersonating(MiddlewareMixin):
    """
    Puts a customer in the place of staff who look at the dashboard as them.

    The admin site and the API know staff as themselves: the one they need to stop, the other
    refuses by itself.
    """

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        """Change places, or end a look whose time is over."""
        if settings.SESSION_COOKIE_NAME not in request.COOKIES or _knows_staff(request):
            return None
        if impersonation.SESSION_KEY not in request.session:
            return None
        staff = request.user
        if not (isinstance(staff, User) and staffdoor.standing(request) is Standing.STAFF):
            return None
        look = impersonation.current(request, staff=staff)
        if look is None:
            impersonation.stop(request=request)
            messages.info(request, "You look as yourself again: the time was over.")
            return redirect("admin:index")
        request.impersonation = look  # type: ignore[attr-defined]
        request.user = look.customer
        request.auser = partial(_itself, look.customer)
        origin.begin(replace(origin.current(), impersonator_id=staff.pk))
        return None

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponse | None:
        """Open what is on the list, and nothing else."""
        if getattr(request, "impersonation", None) is None:
            return None
        match = request.resolver_match
        name = match.view_name if match is not None else ""
        if impersonation.is_open(view_name=name, method=request.method or ""):
            return None
        raise PermissionDenied("Not while you look as a customer.")


def _knows_staff(request: HttpRequest) -> bool:
    return request.path.startswith(("/api/", reverse("admin:index")))


async def _itself(user: User) -> User:
    return user


class OwnLanguage(MiddlewareMixin):
    """
    Put the person's own language before the browser's.

    The management API and the admin site speak English only, and strangers have no session to look
    into.
    """

    def process_request(self, request: HttpRequest) -> None:
        """Choose the language of this request."""
        if request.path.startswith(("/api/", "/admin/")):
            translation.activate(settings.LANGUAGE_CODE)
            request.LANGUAGE_CODE = settings.LANGUAGE_CODE
            return
        if settings.SESSION_COOKIE_NAME not in request.COOKIES:
            return
        user = request.user
        if isinstance(user, User) and user.language in dict(settings.LANGUAGES):
            translation.activate(user.language)
            request.LANGUAGE_CODE = translation.get_language()

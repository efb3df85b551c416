"""Django middleware: the staff's door, and pages in the language that a person has chosen."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import translation
from django.utils.deprecation import MiddlewareMixin

from accounts import staffdoor
from accounts.models import User


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


class OwnLanguage(MiddlewareMixin):
    """
    Put the person's own language before the browser's.

    The management API speaks English only, and strangers have no session to look into.
    """

    def process_request(self, request: HttpRequest) -> None:
        """Choose the language of this request."""
        if request.path.startswith("/api/"):
            translation.activate(settings.LANGUAGE_CODE)
            return
        if settings.SESSION_COOKIE_NAME not in request.COOKIES:
            return
        user = request.user
        if isinstance(user, User) and user.language in dict(settings.LANGUAGES):
            translation.activate(user.language)
            request.LANGUAGE_CODE = translation.get_language()

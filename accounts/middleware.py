"""Django middleware: pages in the language that a person has chosen."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.utils import translation
from django.utils.deprecation import MiddlewareMixin

from accounts.models import User


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

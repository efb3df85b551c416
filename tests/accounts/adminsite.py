"""Pages of the admin site, asked without a browser."""

from __future__ import annotations

from typing import Any

from django.contrib.messages import get_messages
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from accounts.models import AuditEvent, User


def asked(rf: RequestFactory, user: User, values: dict[str, Any] | None = None) -> HttpRequest:
    request = rf.get("/admin/") if values is None else rf.post("/admin/", values)
    request.user = user
    request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]  # what Django's client does
    for middleware in (SessionMiddleware, MessageMiddleware):
        middleware(lambda _request: HttpResponse()).process_request(request)
    return request


def why(action: str) -> tuple[str, str]:
    """The target and the reason of what one member of the staff did, as only staff read it."""
    event = AuditEvent.objects.get(action=action, workspace=None)
    assert event.after is not None
    return event.target, event.after["reason"]


def said(request: HttpRequest) -> list[str]:
    return [str(message) for message in get_messages(request)]

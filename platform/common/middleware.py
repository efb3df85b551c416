"""Django middleware: the request id on every page, and headers that every page carries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from common import ids


class RequestId:
    """
    Give each request ``request.request_id`` and answer it as ``x-request-id``.

    A caller's own x-request-id is ignored.
    """

    sync_capable = True
    async_capable = True

    def __init__(
        self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]
    ) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        request.request_id = ids.form("req_", ids.request_id())  # type: ignore[attr-defined]
        response = self.get_response(request)
        if isinstance(response, HttpResponseBase):
            return self.finish(request, response)
        return self.finish_later(request, response)

    async def finish_later(
        self, request: HttpRequest, response: Awaitable[HttpResponseBase]
    ) -> HttpResponseBase:
        return self.finish(request, await response)

    def finish(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response["x-request-id"] = request.request_id  # type: ignore[attr-defined]
        if settings.SESSION_COOKIE_NAME in request.COOKIES:
            response.setdefault("Cache-Control", "no-store")
        return response

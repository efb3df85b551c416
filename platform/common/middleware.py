"""Django middleware: the request id on every page, and headers that every page carries."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from common import ids, origin
from common.origin import Origin


class RequestId:
    """
    Give each request ``request.request_id`` and answer it as ``x-request-id``.

    A caller's own x-request-id is ignored. Who is signed in is told in ``Server-Timing`` how long
    the page took us.
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
        began = time.perf_counter()
        with origin.during(_origin(request)):
            response = self.get_response(request)
        if isinstance(response, HttpResponseBase):
            return self.finish(request, response, began)
        return self.finish_later(request, response, began)

    async def finish_later(
        self, request: HttpRequest, response: Awaitable[HttpResponseBase], began: float
    ) -> HttpResponseBase:
        # What is awaited runs in the context of whoever awaits it, not of whoever made it.
        with origin.during(_origin(request)):
            return self.finish(request, await response, began)

    def finish(
        self, request: HttpRequest, response: HttpResponseBase, began: float
    ) -> HttpResponseBase:
        response["x-request-id"] = request.request_id  # type: ignore[attr-defined]
        if settings.SESSION_COOKIE_NAME in request.COOKIES:
            response["Server-Timing"] = f"app;dur={(time.perf_counter() - began) * 1000:.1f}"
            response.setdefault("Cache-Control", "no-store")
        return response


def _origin(request: HttpRequest) -> Origin:
    meta = request.META
    address = origin.address_of(
        peer=meta.get("REMOTE_ADDR", ""),
        forwarded=meta.get("HTTP_X_FORWARDED_FOR", ""),
        trusted=settings.TRUSTED_PROXIES,
    )
    return Origin(request_id=request.request_id, address=address[:64])  # type: ignore[attr-defined]

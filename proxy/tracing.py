"""
The gateway with a trace of each request: its admission, its attempts upstream, its settlement.

Taken instead of the plain one where OpenTelemetry is configured (``config.tracing``); nothing
else imports it, so that without it nothing is spent on it. A caller's ``traceparent`` becomes a
link of our own trace and goes no further. Nothing here tells a prompt, a key or a person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Final
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from common import ids
from common.errors import ApiError
from proxy.catalogue import Route
from proxy.gates import Gates, Passage
from proxy.gateway import MODEL_PREFIXES, NAMES, Gateway
from proxy.guard import Incoming
from proxy.runtime import Runtime
from proxy.till import Ask, Closing, Granted, Settled, Till
from proxy.upstreams.base import UpstreamTrouble

METHODS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})
UNTRACED: Final = "/livez"
STATUS: Final = "http.response.status_code"
CALLERS: Final = TraceContextTextMapPropagator()


def tracer() -> trace.Tracer:
    """Return what makes our spans."""
    return trace.get_tracer("tollgate")


class TracedTill(Till):
    """A till that tells how long it took."""

    async def admit(self, ask: Ask) -> Granted:
        """
        Take money aside for one request.

        :raises StoreAway: the database did not answer; what it may have taken is voided
        """
        with tracer().start_as_current_span(
            "admission", record_exception=False, set_status_on_exception=True
        ) as span:
            granted = await super().admit(ask)
            span.set_attribute("tollgate.verdict", granted.v)
            return granted

    def settle(self, closing: Closing) -> asyncio.Task[Settled]:
        """Close a hold; the task goes on whoever stops waiting for it."""
        told = {"tollgate.state": closing.bill.state, "tollgate.source": closing.bill.source}
        span = tracer().start_span("settlement", attributes=told)
        task = super().settle(closing)
        task.add_done_callback(lambda ended: end_settlement(span, ended))
        return task


def end_settlement(span: Span, task: asyncio.Task[Settled]) -> None:
    """End the span of a settlement."""
    if task.cancelled() or task.exception() is not None:
        span.set_status(StatusCode.ERROR)
    else:
        span.set_attribute("tollgate.verdict", task.result().v)
    span.end()


class TracedGates(Gates):
    """Gates that tell of each attempt."""

    def to(self, route: Route, *, request_id: UUID, attempt: int) -> Passage:
        """Return one attempt's way to a provider."""
        return TracedPassage(self, route, f"{request_id}/{attempt}", attempt)


class TracedPassage(Passage):
    """One attempt, from before the call until its answer's end."""

    def __init__(self, gates: Gates, route: Route, lease: str, attempt: int) -> None:
        super().__init__(gates, route, lease)
        told: dict[str, str | int] = {
            "tollgate.provider": route.provider.slug,
            "tollgate.attempt": attempt,
            "gen_ai.request.model": route.upstream_model,
        }
        self.span = tracer().start_span("upstream", kind=SpanKind.CLIENT, attributes=told)

    async def __aenter__(self) -> None:
        """
        Take a place at the provider.

        :raises UpstreamTrouble: it has none
        """
        try:
            await super().__aenter__()
        except BaseException as error:
            self._end(error)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the place."""
        await super().__aexit__(kind, error, traceback)
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        outcome = "answered"
        if error is not None:
            trouble = isinstance(error, UpstreamTrouble)
            outcome = error.outcome if trouble else type(error).__name__  # type: ignore[attr-defined]  # trouble has one
            self.span.set_status(StatusCode.ERROR)
        self.span.set_attribute("tollgate.outcome", outcome)
        self.span.end()


class TracedRuntime(Runtime):
    """A runtime whose till and gates are traced."""

    tills = TracedTill
    passages = TracedGates


class TracedGateway(Gateway):
    """The gateway, each request a trace."""

    runtimes = TracedRuntime

    async def _answer(self, incoming: Incoming) -> None:
        if incoming.path == UNTRACED:
            return await super()._answer(incoming)
        method, route = method_of(incoming), route_of(incoming.path)
        with tracer().start_as_current_span(
            f"{method} {route}",
            context=Context(),
            kind=SpanKind.SERVER,
            links=links(incoming.headers),
            attributes={
                "http.request.method": method,
                "http.route": route,
                "tollgate.request_id": ids.form("req_", incoming.id),
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                await super()._answer(incoming)
            except ApiError as error:
                span.set_attribute("tollgate.reason", error.reason)
                note_status(span, incoming.status or error.status)
                raise
            except Exception:
                note_status(span, incoming.status or 500)
                raise
            note_status(span, incoming.status)


def note_status(span: Span, status: int) -> None:
    """Tell how a request was answered; 0 where nobody waited for it."""
    span.set_attribute(STATUS, status)
    if status >= 500:
        span.set_status(StatusCode.ERROR)


def method_of(incoming: Incoming) -> str:
    """Return a method that there is."""
    method = str(incoming.scope["method"])
    return method if method in METHODS else "_OTHER"


def route_of(path: str) -> str:
    """Return an endpoint's name: what a caller wrote may be anything."""
    if path.startswith(MODEL_PREFIXES):
        return "models/{model}"
    return NAMES.get(path, "other")


def links(headers: Mapping[bytes, bytes]) -> list[Link]:
    """Return the caller's span, if it told one."""
    told = headers.get(b"traceparent")
    if told is None:
        return []
    carrier = {"traceparent": told.decode("latin-1")}
    context = trace.get_current_span(CALLERS.extract(carrier, Context())).get_span_context()
    return [Link(context)] if context.is_valid else []

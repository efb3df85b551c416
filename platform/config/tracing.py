"""
Traces for OpenTelemetry, where `OTEL_EXPORTER_OTLP_ENDPOINT` is set: the one module, beside
``proxy.tracing``, that imports it (requirements-otel.txt).

The official instrumentations of Django and Celery are used. They also note addresses, user agents
and whole URLs, in which tokens stand: nothing leaves this process but what is listed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from django.conf import settings
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status

OURS: Final = "tollgate."
TOLD: Final = frozenset(
    {
        *("http.method", "http.request.method", "http.route"),
        *("http.status_code", "http.response.status_code"),
        *("celery.action", "celery.state", "messaging.destination", "messaging.destination.name"),
        "gen_ai.request.model",
    }
)


class Unjoined(TextMapPropagator):
    """What passes no trace on: a caller's is none of ours to join, nor ours anybody's."""

    def extract(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        getter: Getter[CarrierT] = default_getter,
    ) -> Context:
        """Return a context without a parent."""
        return Context() if context is None else context

    def inject(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        setter: Setter[CarrierT] = default_setter,
    ) -> None:
        """Tell nothing."""

    @property
    def fields(self) -> set[str]:
        """Return the names of what is told: none."""
        return set()


class Scrubbed(SpanExporter):
    """An exporter that tells no more than is listed: no event, no message of an error."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send some spans."""
        return self.exporter.export([scrubbed(span) for span in spans])

    def shutdown(self) -> None:
        """Send no more."""
        self.exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what waits."""
        return self.exporter.force_flush(timeout_millis)


def scrubbed(span: ReadableSpan) -> ReadableSpan:
    """Return what may be told of a span."""
    attributes = span.attributes or {}
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes={
            name: value
            for name, value in attributes.items()
            if name in TOLD or name.startswith(OURS)
        },
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def begin() -> TracerProvider:
    """Send the spans of this process from now on."""
    endpoint = settings.OTEL_EXPORTER_OTLP_ENDPOINT.rstrip("/")
    provider = TracerProvider(
        resource=Resource.create({"service.name": settings.OTEL_SERVICE_NAME})
    )
    exporter = Scrubbed(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces"))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    propagate.set_global_textmap(Unjoined())
    return provider


def begin_pages() -> None:
    """Trace the gateway and Django; before Django reads its middleware."""
    begin()
    DjangoInstrumentor().instrument(is_sql_commentor_enabled=False)
    CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call]  # it has no types


def begin_tasks() -> TracerProvider:
    """Trace the tasks of a worker's process; after it was forked."""
    provider = begin()
    CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call]  # it has no types
    return provider

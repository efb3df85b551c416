"""Whether requests and tasks are traced: decided without importing what traces."""

from __future__ import annotations

from importlib.util import find_spec

from django.conf import settings


def is_traced() -> bool:
    """Tell whether traces are wanted and can be made."""
    return bool(settings.OTEL_EXPORTER_OTLP_ENDPOINT) and is_installed()


def is_installed() -> bool:
    """Tell whether requirements-otel.txt is installed."""
    return find_spec("opentelemetry") is not None and find_spec("opentelemetry.sdk") is not None

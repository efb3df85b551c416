"""
JSON logs on standard error, one object a line.

Nothing that names a key or a prompt is ever passed to a logger; ``redact`` is the second
line of defence for text that came from elsewhere (tracebacks, libraries).
"""

from __future__ import annotations

import logging
import re
import sys

import structlog
from structlog.typing import EventDict, WrappedLogger

SECRET = re.compile(r"\b(?:sk-[A-Za-z0-9_-]{6}|Bearer\s+\S{4})[^\s\"',]*")


def redact(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Cut what looks like a key or a bearer header out of every text of an event."""
    for field, value in event.items():
        if isinstance(value, str) and ("sk-" in value or "earer" in value):
            event[field] = SECRET.sub("[redacted]", value)
    return event


def configure(*, level: str, plain: bool) -> None:
    """Send structlog and the standard library's logging through one chain."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=False)
        if plain
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "uvicorn.access", "asyncio", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

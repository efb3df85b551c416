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
from structlog.typing import EventDict, Processor, WrappedLogger

from accounts import keytext

SECRET = re.compile(r"\b(?:sk-[A-Za-z0-9_-]{6}|Bearer\s+\S{4})[^\s\"',\\]*")
# The end of a key of ours, whatever API_KEY_PREFIX it was made with: its checksum tells.
ENDING = re.compile(r"[0-9A-Za-z]{32}(?![0-9A-Za-z])")
REDACTED = "[redacted]"


def redact(text: str) -> str:
    """Cut what looks like a key or a bearer header out of a line, however deep it stands in it."""
    if "sk-" in text or "earer" in text:
        text = SECRET.sub(REDACTED, text)
    return ENDING.sub(lambda run: REDACTED if keytext.well_formed(run[0]) else run[0], text)


def redacted(render: Processor) -> Processor:
    """Let a renderer write the whole line, then look at it."""

    def rendered(logger: WrappedLogger, name: str, event: EventDict) -> str:
        return redact(str(render(logger, name, event)))

    return rendered


def configure(*, level: str, plain: bool) -> None:
    """Send structlog and the standard library's logging through one chain."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=False)
        if plain
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redacted(renderer),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "uvicorn.access", "asyncio", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

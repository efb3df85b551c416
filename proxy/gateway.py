"""
The gateway as an ASGI application: which path is whose, and errors in one shape.

It is a plain ASGI application in front of Django: routing is one dictionary look-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar

import msgspec
import structlog

from common import ids
from common.errors import ApiError
from proxy import forward, listing, receipts, standing
from proxy.guard import Incoming, Receive, Scope, Send
from proxy.runtime import Runtime
from proxy.surfaces import generate, prototypes
from proxy.surfaces.chat import CHAT
from proxy.surfaces.completions import COMPLETIONS
from proxy.surfaces.embeddings import EMBEDDINGS
from proxy.surfaces.generate import GENERATE
from proxy.surfaces.images import IMAGES
from proxy.surfaces.prototypes import PROTOTYPES
from proxy.surfaces.responses import RESPONSES

log = structlog.get_logger(__name__)

Surface = Callable[[Runtime, Incoming], Awaitable[None]]
# Wholly the gateway's; under /api/v1 only the paths below are, the rest is Django's.
OWNED = ("/v1/", "/api/v2/", "/api/ds-prototypes/")
BARE = ("/v1", "/api/v2", "/api/ds-prototypes")
BASES = ("/v1", "/api/v1")
SURFACES: dict[str, tuple[str, Surface]] = {
    f"{base}/{name}": (method, surface)
    for base in BASES
    for name, method, surface in (
        ("chat/completions", "POST", forward.served(CHAT)),
        ("completions", "POST", forward.served(COMPLETIONS)),
        ("responses", "POST", forward.served(RESPONSES)),
        ("embeddings", "POST", forward.served(EMBEDDINGS)),
        ("images/generations", "POST", forward.served(IMAGES)),
        ("models", "GET", listing.models),
        ("generation", "GET", receipts.generation),
        ("key", "GET", standing.key),
        ("credits", "GET", standing.credits),
    )
}
SURFACES |= {
    "/api/v2/generate": ("POST", forward.served(GENERATE, generate.answer)),
    "/api/v2/generate/status": ("GET", generate.status),
    "/api/ds-prototypes/chat/completions": ("POST", forward.served(PROTOTYPES)),
    "/api/ds-prototypes/health": ("GET", prototypes.healthy),
}
MODEL_PREFIXES = tuple(f"{base}/models/" for base in BASES)


async def livez(runtime: Runtime, incoming: Incoming) -> None:
    """Tell that the process runs; no I/O."""
    await incoming.answer(status=200, body=b'{"status":"ok"}', headers={})


SURFACES["/livez"] = ("GET", livez)
# What endpoints are called in figures, alike under both bases.
NAMES = {path: path.removeprefix("/api/v1/").removeprefix("/v1/").lstrip("/") for path in SURFACES}


def owns(path: str) -> bool:
    """Tell whether the gateway answers this path; everything else is Django's."""
    return path in SURFACES or path.startswith((*OWNED, *MODEL_PREFIXES)) or path in BARE


class Gateway:
    """The ASGI application of all gateway paths."""

    runtimes: ClassVar[type[Runtime]] = Runtime

    def __init__(self) -> None:
        self.runtime = self.runtimes()
        self.under_way = 0
        # Set once it is draining and the last call has ended.
        self.idle = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        incoming = Incoming(scope, receive, send)
        self.under_way += 1
        try:
            await self._answer(incoming)
        except ApiError as error:
            await refuse(incoming, error)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception(
                "A request failed", id=ids.form("req_", incoming.id), error=type(error).__name__
            )
            message = "Something went wrong on our side. It was not charged."
            await refuse(incoming, ApiError("internal", message))
        finally:
            self.under_way -= 1
            if self.runtime.draining and not self.under_way:
                self.idle.set()
            self.runtime.meters.answered(incoming, surface=NAMES.get(incoming.path, "other"))

    async def _answer(self, incoming: Incoming) -> None:
        method = incoming.scope["method"]
        if method == "OPTIONS":
            return await preflight(incoming)
        found = find_surface(incoming.path)
        if found is None:
            raise ApiError(
                "unsupported_endpoint", f"There is no endpoint {method} {incoming.path[:200]}."
            )
        allowed, surface = found
        if method != allowed and not (method == "HEAD" and allowed == "GET"):
            raise ApiError(
                "unsupported_endpoint",
                f"{incoming.path} takes {allowed}, not {method}.",
                status=405,
                headers={"allow": f"{allowed}, OPTIONS"},
            )
        if self.runtime.draining and surface is not livez:
            raise forward.draining()
        await surface(self.runtime, incoming)


def find_surface(path: str) -> tuple[str, Surface] | None:
    """Return the method and the function of a path."""
    found = SURFACES.get(path)
    if found is None and path.startswith(MODEL_PREFIXES):
        return "GET", listing.model
    return found


async def preflight(incoming: Incoming) -> None:
    """Answer a browser's question before a cross-origin call; no key is needed."""
    headers = {
        "access-control-allow-methods": "GET, POST, OPTIONS",
        "access-control-allow-headers": "*, authorization",
        "access-control-max-age": "86400",
    }
    await incoming.answer(status=204, body=b"", headers=headers)


async def refuse(incoming: Incoming, error: ApiError) -> None:
    """Answer with an error in the one shape; a stream under way ends with an error event."""
    if incoming.answered:
        body = msgspec.json.encode({"error": error.error()})
        return await incoming.write(b"data: " + body + b"\n\n", last=True)
    if not incoming.gone:
        await incoming.answer(status=error.status, body=error.body(), headers=error.headers)

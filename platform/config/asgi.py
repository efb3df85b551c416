"""What uvicorn runs: the gateway in front of Django, told apart by path."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.core.asgi import get_asgi_application

from config.traced import is_traced

if is_traced():
    from config import tracing

    # Before Django reads its middleware.
    tracing.begin_pages()
django = get_asgi_application()

from config.bodies import Bounded  # noqa: E402  models need Django to be set up
from config.protocol import make_room  # noqa: E402
from config.shutdown import Shutdown  # noqa: E402
from config.startup import refuse_if_unfit  # noqa: E402
from proxy.forward import draining  # noqa: E402
from proxy.gateway import Gateway, owns, refuse  # noqa: E402
from proxy.guard import Incoming, Receive, Scope, Send  # noqa: E402


def gateway() -> Gateway:
    """Return the gateway; the one that traces is imported only where it is wanted."""
    if not is_traced():
        return Gateway()
    from proxy.tracing import TracedGateway

    return TracedGateway()


class Application:
    """One server process: its gateway, and Django behind it."""

    def __init__(self) -> None:
        self.gateway = gateway()
        self.pages = Bounded(django)  # type: ignore[arg-type]  # the same in other words
        self.shutdown = Shutdown(self.gateway)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection: a request, or the server's own life span."""
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
        elif scope["type"] == "http" and owns(scope["path"]):
            await self.gateway(scope, receive, send)
        elif (
            scope["type"] == "http" and scope["path"] == "/readyz" and self.gateway.runtime.draining
        ):
            await refuse(Incoming(scope, receive, send), draining())
        elif scope["type"] == "http":
            await self.pages(scope, receive, send)

    async def lifespan(self, receive: Receive, send: Send) -> None:
        """Start the gateway with the server and end it with the server."""
        await receive()
        try:
            refuse_if_unfit()
            make_room()
            await self.gateway.runtime.start()
            self.shutdown.watch()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.gateway.runtime.stop()
        await send({"type": "lifespan.shutdown.complete"})


application = Application()

# What is loaded by now lives as long as the process: the collector need not walk it again and
# again, and what a request leaves behind is mostly freed without it.
gc.collect()
gc.freeze()
gc.set_threshold(50_000, 50, 100)

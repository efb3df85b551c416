"""Addresses at which no provider can be reached, each in another way."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from tests.fakes.replies import unreachable_url

Address = Callable[[], AbstractContextManager[str]]


@contextmanager
def refusing() -> Iterator[str]:
    """Give an address at which nobody listens."""
    yield unreachable_url()


@contextmanager
def nameless() -> Iterator[str]:
    """Give an address whose name never exists, as RFC 6761 promises."""
    yield "http://provider.invalid"


@contextmanager
def deaf() -> Iterator[str]:
    """Give an address whose queue of connections is full, so that no new one comes about."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


UNREACHABLE: dict[str, Address] = {"refused": refusing, "dns": nameless, "connect timeout": deaf}

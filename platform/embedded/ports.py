"""TCP ports of this machine: which are free, which are taken."""

from __future__ import annotations

import errno
import socket

from embedded.refusal import Refusal

LOOPBACK = "127.0.0.1"


def is_free(*, host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    try:
        _listen(host=host, port=port)
    except OSError:
        return False
    return True


def require_free(*, host: str, port: int) -> None:
    """
    Make sure that the web server can listen where it was told to.

    :raises Refusal: if it cannot, with the reason
    """
    try:
        _listen(host=host, port=port)
    except OSError as error:
        raise Refusal(_reason(host=host, port=port, error=error)) from None


def choose(*, preferred: int | None = None) -> int:
    """Return the preferred loopback port if it is free, else any free one."""
    if preferred is not None and is_free(host=LOOPBACK, port=preferred):
        return preferred
    with socket.create_server((LOOPBACK, 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _listen(*, host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family):
        pass


def _reason(*, host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken; choose another: make run PORT={port + 1}"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than you have; choose one from 1024 up"
    return f"cannot listen on HOST={host} PORT={port}: {error.strerror or error}"

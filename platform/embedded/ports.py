"""TCP ports of this machine: which are free, which are taken."""

from __future__ import annotations

import errno
import secrets
import socket

from embedded.refusal import Refusal

LOOPBACK = "127.0.0.1"
# Below the ports that outgoing connections get. A client that keeps trying to reach a server
# while it restarts could be given the server's own port, and keep it.
SERVERS = range(20_000, 30_000)
ANSWER_WITHIN_S = 5.0


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


def require_answer(*, name: str, host: str, port: int) -> None:
    """
    Make sure that a server whose address was given is there.

    :raises Refusal: if it is not, with the reason
    """
    try:
        with socket.create_connection((host, port), timeout=ANSWER_WITHIN_S):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise Refusal(f"nobody answers at {name} ({host}:{port}): {reason}") from None


def choose(*, preferred: int | None = None) -> int:
    """Return the preferred loopback port if it is free, else any free one."""
    if preferred is not None and is_free(host=LOOPBACK, port=preferred):
        return preferred
    tries = (secrets.choice(SERVERS) for _ in range(1000))
    return next(port for port in tries if is_free(host=LOOPBACK, port=port))


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

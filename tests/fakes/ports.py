"""Free ports."""

from __future__ import annotations

from embedded import ports


def free_port() -> int:
    """
    Return a port that nobody listens on now.

    It is none of those that the system gives to connections and to servers that ask for any.
    """
    return ports.choose()

"""
The sandbox as a process: ``uvicorn proxy.sandbox.app:app``.

It is apart from the product's settings on purpose, as any provider is. From the environment:
SANDBOX_TOKEN (the bearer it demands), SANDBOX_LOG (its log of calls) and SANDBOX_LOOKUP
(``on`` or ``off``: the generation lookup).
"""

from __future__ import annotations

import os
from pathlib import Path

from starlette.applications import Starlette

from proxy.sandbox.provider import build


def from_environment() -> Starlette:
    """
    Return the application that the environment describes.

    :raises RuntimeError: SANDBOX_TOKEN is missing, or SANDBOX_LOOKUP is neither on nor off
    """
    token = os.environ.get("SANDBOX_TOKEN", "")
    if not token:
        raise RuntimeError("Set SANDBOX_TOKEN: the bearer token that the sandbox demands.")
    lookup = os.environ.get("SANDBOX_LOOKUP", "on")
    if lookup not in ("on", "off"):
        raise RuntimeError("SANDBOX_LOOKUP is either on or off.")
    path = os.environ.get("SANDBOX_LOG", "")
    return build(token=token, log_path=Path(path) if path else None, lookup=lookup == "on")


app = from_environment()

"""What a scripted upstream can be told to do, and what it remembers of a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and headers; without content-length the body is sent chunked."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes on the wire as they are, without HTTP's framing."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence for a while; over early if the caller hangs up."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Silence until the caller hangs up."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Silence until the test opens it, or the caller hangs up."""

    opened: threading.Event


@dataclass(frozen=True, slots=True)
class Cut:
    """End the connection here: with a reset, or (politely) with an ordinary close."""

    reset: bool = True


@dataclass(frozen=True, slots=True)
class Repeat:
    """A piece of body again and again until the caller hangs up."""

    data: bytes
    every_s: float = 0.0


Step = Head | Raw | Pause | Stall | Gate | Cut | Repeat | bytes
Reply = Sequence[Step]


@dataclass(slots=True)
class Call:
    """One request that arrived, and what became of it."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    body: Any = None
    at: float = field(default_factory=time.monotonic)
    sent: int = 0
    finished: bool = False
    hung_up: bool = False
    stalled: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def model(self) -> str | None:
        """The model that was asked for."""
        model = self.body.get("model") if isinstance(self.body, dict) else None
        return model if isinstance(model, str) else None

    @property
    def stream(self) -> bool:
        """Whether a stream was asked for."""
        return isinstance(self.body, dict) and self.body.get("stream") is True


Script = Reply | Callable[[Call], Reply]

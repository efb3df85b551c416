"""A checked request in the one form that routing, holds and adapters read."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

Kind = Literal["chat", "embedding", "image"]
Sort = Literal["price", "throughput", "latency"]


class BadRequest(Exception):
    """The body is refused: a reason of the closed list, a sentence, the field."""

    def __init__(self, reason: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.param = param


class Preferences(Struct, frozen=True):
    """
    What a caller asks of routing; the most to pay in pico-dollars per token or piece.

    ``across_models``: sort the routes of all named models together, not those of each.
    """

    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    sort: Sort | None = None
    across_models: bool = False
    max_prompt: int | None = None
    max_completion: int | None = None
    max_request: int | None = None
    max_image: int | None = None
    allow_fallbacks: bool = True
    require_parameters: bool = False


class Call(Struct, frozen=True, kw_only=True):
    """
    One request, whatever surface it came through.

    ``fields`` is the body in OpenAI's words for this kind, without what we consume
    ourselves; adapters translate it. Sizes bound the prompt: bytes of text, pictures, and
    ``inputs``, the prompts in one request. ``asked`` is the body in the surface's own words,
    where those are others and the answer repeats them.
    """

    kind: Kind
    model: str
    fields: dict[str, Any]
    models: tuple[str, ...] = ()
    preferences: Preferences = Preferences()
    stream: bool = False
    include_usage: bool = False
    prompt_bytes: int = 0
    pictures: int = 0
    output_limit: int | None = None
    choices: int = 1
    stops: int = 0
    searches: bool = False
    inputs: int = 1
    images: int = 0
    size: str = ""
    quality: str = ""
    asked: dict[str, Any] = {}
    # Answered later, by a worker.
    background: bool = False
    # Fields that the surface filled in: dropped in silence where a route does not take them.
    assumed: frozenset[str] = frozenset()
    # Fields that go only to routes whose model declares them among its capabilities.
    undeclared: frozenset[str] = frozenset()
    # Fields that were sent and that nothing here follows: the answer names them.
    unheard: frozenset[str] = frozenset()

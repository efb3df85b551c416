"""
The commonest chunk of a stream, read and written in one step: words of one choice.

Only what says nothing else is read here; everything else, and everything odd, is left to the
reader that looks at each field. What is written is what that way would write.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Struct, UnsetType

from proxy.wire import sse
from proxy.wire.told import Citations, Fingerprint, Tier

Nothing = UnsetType | None
Text = UnsetType | str | None


class Delta(Struct, gc=False):
    """What was said; the fields that are null at most make it more than words."""

    role: Text = UNSET
    content: Text = UNSET
    refusal: Text = UNSET
    reasoning: Text = UNSET
    reasoning_content: Text = UNSET
    tool_calls: Nothing = UNSET
    function_call: Nothing = UNSET
    annotations: Nothing = UNSET
    images: Nothing = UNSET
    reasoning_details: Nothing = UNSET


class Choice(Struct, gc=False):
    """The one choice of a chunk, not at its end."""

    index: int
    delta: Delta
    message: UnsetType = UNSET
    logprobs: Nothing = UNSET
    finish_reason: Nothing = UNSET


class Words(Struct, gc=False):
    """A chunk with nothing but words."""

    choices: tuple[Choice]
    id: str = ""
    service_tier: Tier | UnsetType = UNSET
    system_fingerprint: Fingerprint | UnsetType = UNSET
    citations: Citations | UnsetType = UNSET
    usage: Nothing = UNSET
    error: Nothing = UNSET

    @property
    def size_bytes(self) -> int:
        """Count the bytes of what is said, as ``answers.text_bytes`` does."""
        delta = self.choices[0].delta
        texts = (delta.content, delta.reasoning_content, delta.reasoning, delta.refusal)
        return sum(len(text.encode()) for text in texts if isinstance(text, str))


class Told(Struct, gc=False):
    """The same chunk as it is told on: under our id and the name that was asked for."""

    id: str
    object: str
    created: int
    model: str
    service_tier: Tier | UnsetType
    system_fingerprint: Fingerprint | UnsetType
    citations: Citations | UnsetType
    choices: tuple[Choice]
    usage: Nothing


DECODER = msgspec.json.Decoder(Words)
ENCODER = msgspec.json.Encoder()


def read(data: bytes) -> Words | None:
    """Read one event's data; None where it is anything else than words."""
    try:
        return DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def write(words: Words, *, id: str, created: int, model: str, usage: Nothing) -> bytes:
    """Write the event of a chunk; ``usage`` null where the caller asked for usage at the end."""
    told = Told(
        id,
        "chat.completion.chunk",
        created,
        model,
        words.service_tier,
        words.system_fingerprint,
        words.citations,
        words.choices,
        usage,
    )
    return sse.event(ENCODER.encode(told))

"""The sandbox's language: one token is one whitespace-separated word."""

from __future__ import annotations

import re
from itertools import cycle, islice

LOREM = (
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt "
    "ut labore et dolore magna aliqua ut enim ad minim veniam quis nostrud exercitation "
    "ullamco laboris nisi ut aliquip ex ea commodo consequat"
).split()
WORD_WITH_SPACE_BEFORE = re.compile(r"\s*\S+")


def count(text: str) -> int:
    """Return how many tokens a text has."""
    return len(text.split())


def pieces(text: str) -> list[str]:
    """Cut a text into one piece per word, such that joined they are the text again."""
    found = WORD_WITH_SPACE_BEFORE.findall(text)
    if found:
        found[-1] += text[len("".join(found)) :]
    return found


def lorem(length: int) -> list[str]:
    """Return the same ``length`` words each time, as pieces."""
    words = islice(cycle(LOREM), length)
    return [word if n == 0 else " " + word for n, word in enumerate(words)]

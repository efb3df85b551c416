"""
What Gemini tells of its searches: how many are charged, and what the answer quotes.

From Gemini 3 on each query is charged, empty ones and repetitions are not; before, a prompt that
was grounded is charged once: https://ai.google.dev/gemini-api/docs/google-search#pricing
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

# From this version on a model is charged by the query, and told a level of thinking.
NEWER = 3


@cache
def version(model: str) -> int:
    """Return the version in a model's name: one without is taken for a new one."""
    found = re.search(r"gemini-(\d+)", model)
    return int(found[1]) if found else NEWER


class Grounding:
    """What was searched for one answer, as far as it was told."""

    def __init__(self) -> None:
        self.queries: set[str] = set()
        self.by_query = True
        self.cited: list[dict[str, Any]] = []

    @property
    def searches(self) -> int:
        """Return the searches that are charged."""
        return len(self.queries) if self.by_query else min(1, len(self.queries))

    def read(self, told: dict[str, Any], *, words: str) -> list[dict[str, Any]]:
        """Take an answer or an event in; return what it says that ``words``, all so far, quote."""
        self.by_query = version(str(told.get("modelVersion") or "")) >= NEWER
        match told:
            case {"candidates": [{"groundingMetadata": dict(metadata)}, *_]}:
                queries = _list(metadata.get("webSearchQueries"))
                self.queries |= {query for query in queries if isinstance(query, str) and query}
                told_now = _citations(metadata, words.encode())
                new = [one for one in told_now if one not in self.cited]
                self.cited += new
                return new
        return []


def _citations(metadata: dict[str, Any], words: bytes) -> list[dict[str, Any]]:
    """Return what is quoted as OpenAI tells it; Google counts places in bytes."""
    sources = [_source(one) for one in _list(metadata.get("groundingChunks"))]
    return [
        {"type": "url_citation", "url_citation": place | source}
        for support in _list(metadata.get("groundingSupports"))
        if isinstance(support, dict)
        for place in _place(support.get("segment"), words)
        for number in _list(support.get("groundingChunkIndices"))
        if type(number) is int and 0 <= number < len(sources)
        for source in sources[number]
    ]


def _source(chunk: Any) -> list[dict[str, str]]:
    """Return the page of a chunk, none where it is not one of the web."""
    match chunk:
        case {"web": {"uri": str(uri), **web}} if uri.startswith(("https://", "http://")):
            return [{"url": uri, "title": str(web.get("title") or "")}]
    return []


def _place(segment: Any, words: bytes) -> list[dict[str, int]]:
    """Return the letters that a segment of bytes is, none where it is not in the words."""
    if not isinstance(segment, dict):
        return []
    begin, end = segment.get("startIndex") or 0, segment.get("endIndex")
    if type(begin) is not int or type(end) is not int or not 0 <= begin < end <= len(words):
        return []
    first, rest = (len(words[:place].decode("utf-8", "ignore")) for place in (begin, end))
    return [{"start_index": first, "end_index": rest}]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

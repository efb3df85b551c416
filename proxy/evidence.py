"""
What a provider itself says about a past call: the best evidence after its own answer.

A lookup ends in one of five verdicts; only ``found`` carries token counts, and only
``absent`` proves that a call never arrived. Errors and timeouts prove nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from enum import StrEnum
from functools import cache
from typing import Any
from uuid import UUID

import httpx
import msgspec
from msgspec import Struct

from common import ids
from proxy.catalogue import Provider
from proxy.wire.answers import Usage

TIMEOUT_S = 5.0
# A call that was just cancelled ends a moment later at the provider.
PAUSES_S = (0.0, 0.05, 0.2, 0.5)
DISABLED = frozenset({405, 410, 501})
LARGEST_COUNT = 2**31
# Sources of counts that are our own guess in part: marked, and never above the hold.
ESTIMATES = ("checkpoint", "count")


class Verdict(StrEnum):
    """What a lookup came to."""

    FOUND = "found"
    RUNNING = "running"
    ABSENT = "absent"
    UNAVAILABLE = "unavailable"
    TROUBLE = "trouble"


class Finding(Struct, frozen=True, kw_only=True):
    """One provider's word on one call."""

    verdict: Verdict
    usage: Usage | None = None
    upstream_id: str = ""
    upstream_model: str = ""
    finished: bool = False

    @property
    def billable(self) -> bool:
        """Whether there was content or an end: with neither there is no charge."""
        return self.usage is not None and (self.finished or self.usage.output > 0)


TROUBLE = Finding(verdict=Verdict.TROUBLE)
UNAVAILABLE = Finding(verdict=Verdict.UNAVAILABLE)


def client() -> httpx.AsyncClient:
    """Return a client for lookups; the caller closes it."""
    return httpx.AsyncClient(
        timeout=TIMEOUT_S,
        verify=_tls(),
        trust_env=False,
        limits=httpx.Limits(max_connections=50, max_keepalive_connections=20),
    )


@cache
def _tls() -> ssl.SSLContext:
    # Loading the certificates takes tens of milliseconds: once per process is enough.
    return ssl.create_default_context()


async def look_up(
    *, lookups: httpx.AsyncClient, provider: Provider, request_id: UUID, upstream_id: str = ""
) -> Finding:
    """Ask a provider once what became of a call."""
    reader = READERS.get(provider.generation_lookup)
    if reader is None or not may_know(provider=provider, upstream_id=upstream_id):
        return UNAVAILABLE
    name = upstream_id if _by_its_own_id(provider) else _our_id(request_id)
    try:
        response = await lookups.get(
            f"{provider.base_url}/generation",
            params={"id": name},
            headers={"authorization": f"Bearer {provider.api_key}"},
        )
        if response.status_code == 404 and _by_its_own_id(provider):
            # It gave us this id: the call arrived, and is listed a moment after it has ended.
            return TROUBLE
        return _judge(response, reader)
    except (httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError, UnicodeDecodeError):
        return TROUBLE


def may_know(*, provider: Provider, upstream_id: str) -> bool:
    """Tell whether there is a name by which a provider may know a call."""
    return bool(upstream_id) or not _by_its_own_id(provider)


def _by_its_own_id(provider: Provider) -> bool:
    # The id may have died with the process, before the first checkpoint.
    return provider.generation_lookup == "openrouter"


async def proven(*, provider: Provider, request_id: UUID, upstream_id: str = "") -> Usage | None:
    """Return the token counts of a call that has ended, if its provider knows them."""
    if provider.generation_lookup not in READERS:
        return None
    async with client() as lookups:
        for pause_s in PAUSES_S:
            await asyncio.sleep(pause_s)
            finding = await look_up(
                lookups=lookups,
                provider=provider,
                request_id=request_id,
                upstream_id=upstream_id,
            )
            if finding.verdict not in (Verdict.RUNNING, Verdict.TROUBLE):
                return finding.usage if finding.billable else None
    return None


def _our_id(request_id: UUID) -> str:
    return ids.form("req_", request_id)


def _judge(response: httpx.Response, reader: Any) -> Finding:
    if response.status_code == 404:
        return Finding(verdict=Verdict.ABSENT)
    if response.status_code in DISABLED:
        return UNAVAILABLE
    if response.status_code != 200:
        return TROUBLE
    body = msgspec.json.decode(response.content)
    generation = body.get("data") if isinstance(body, dict) else None
    finding: Finding = reader(generation) if isinstance(generation, dict) else TROUBLE
    return finding


def _sandbox(generation: dict[str, Any]) -> Finding:
    usage = _usage(generation, prompt="tokens_prompt", completion="tokens_completion")
    finished = generation.get("finished") is True
    if usage is None:
        return TROUBLE
    ended = finished or generation.get("cancelled") is True
    return Finding(
        verdict=Verdict.FOUND if ended else Verdict.RUNNING,
        usage=usage,
        upstream_id=str(generation.get("id") or "")[:200],
        upstream_model=str(generation.get("model") or ""),
        finished=finished,
    )


def _openrouter(generation: dict[str, Any]) -> Finding:
    """Read https://openrouter.ai/docs/api-reference/get-a-generation; it lists ended calls."""
    usage = _usage(
        generation,
        prompt="native_tokens_prompt",
        completion="native_tokens_completion",
        cached="native_tokens_cached",
        reasoning="native_tokens_reasoning",
    )
    if usage is None:
        return TROUBLE
    return Finding(
        verdict=Verdict.FOUND,
        usage=usage,
        upstream_id=str(generation.get("id") or "")[:200],
        finished=generation.get("cancelled") is not True,
    )


def _usage(
    generation: dict[str, Any],
    *,
    prompt: str,
    completion: str,
    cached: str = "",
    reasoning: str = "",
) -> Usage | None:
    names = (prompt, completion, cached, reasoning)
    counts = [(generation.get(name) or 0) if name else 0 for name in names]
    if any(type(count) is not int or not 0 <= count <= LARGEST_COUNT for count in counts):
        return None
    prompt_tokens, output, cached_tokens, reasoning_tokens = counts
    if cached_tokens > prompt_tokens or reasoning_tokens > output:
        return None
    return Usage(
        input=prompt_tokens - cached_tokens,
        cached=cached_tokens,
        cache_write=0,
        output=output,
        reasoning=reasoning_tokens,
    )


READERS = {"sandbox": _sandbox, "openrouter": _openrouter}

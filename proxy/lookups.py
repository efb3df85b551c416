"""Asking providers about many calls at once, within bounds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence

import httpx

from proxy import evidence
from proxy.candidates import Candidates
from proxy.catalogue import Provider
from proxy.due import Call
from proxy.evidence import Finding, Verdict

AT_ONCE = 20
MOST_TROUBLE = 5

Findings = dict[str, Finding]


class Lookups:
    """One sweep's questions; a provider that does not answer is not asked for ever."""

    def __init__(self, lookups: httpx.AsyncClient) -> None:
        self._lookups = lookups
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._trouble: Counter[str] = Counter()
        self._unavailable: set[str] = set()

    async def ask(self, call: Call, providers: Iterable[Provider]) -> Findings:
        """Ask every provider that a call may have gone to; findings by provider."""
        asked = {provider.slug: self._ask(call, provider) for provider in providers}
        return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))

    async def _ask(self, call: Call, provider: Provider) -> Finding:
        upstream_id = call.upstream_id_at(provider.slug)
        if not evidence.may_know(provider=provider, upstream_id=upstream_id):
            return evidence.UNAVAILABLE
        async with self._gate:
            if provider.slug in self._unavailable:
                return evidence.UNAVAILABLE
            if self._trouble[provider.slug] >= MOST_TROUBLE:
                return evidence.TROUBLE
            finding = await evidence.look_up(
                lookups=self._lookups,
                provider=provider,
                request_id=call.id,
                upstream_id=upstream_id,
            )
        if finding.verdict is Verdict.TROUBLE:
            self._trouble[provider.slug] += 1
        elif finding.verdict is Verdict.UNAVAILABLE:
            self._unavailable.add(provider.slug)
        return finding


def ask_all(*, calls: Sequence[Call], candidates: Candidates) -> list[Findings]:
    """Return the findings of each call, by provider; no database is touched meanwhile."""
    return asyncio.run(_ask_all(calls, candidates))


async def _ask_all(calls: Sequence[Call], candidates: Candidates) -> list[Findings]:
    async with evidence.client() as client:
        lookups = Lookups(client)
        return list(
            await asyncio.gather(*(lookups.ask(call, candidates.providers(call)) for call in calls))
        )

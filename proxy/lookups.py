"""Asking providers about many calls at once, within bounds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import httpx

from common.crypto import UnreadableSecret
from proxy import catalogue, evidence, models
from proxy.catalogue import Provider
from proxy.due import Call
from proxy.evidence import Finding, Verdict

AT_ONCE = 20
MOST_TROUBLE = 5

Candidates = Mapping[str, Sequence[Provider]]
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
        async with self._gate:
            if provider.slug in self._unavailable:
                return evidence.UNAVAILABLE
            if self._trouble[provider.slug] >= MOST_TROUBLE:
                return evidence.TROUBLE
            finding = await evidence.look_up(
                lookups=self._lookups, provider=provider, request_id=call.id
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
            await asyncio.gather(
                *(lookups.ask(call, candidates.get(call.model, ())) for call in calls)
            )
        )


def candidates() -> Candidates:
    """Return the providers that each model may have gone to, also those since switched off."""
    providers = {row.pk: _provider(row) for row in models.Provider.objects.all()}
    found: dict[str, dict[str, Provider]] = {}
    for slug, provider_id in models.Route.objects.values_list("model__slug", "provider_id"):
        provider = providers[provider_id]
        found.setdefault(slug, {})[provider.slug] = provider
    return {slug: list(by_slug.values()) for slug, by_slug in found.items()}


def _provider(row: models.Provider) -> Provider:
    try:
        return catalogue.provider_of(row)
    except UnreadableSecret:
        # It will refuse us, which proves nothing: the same as any other trouble.
        row.set_api_key("")
        return catalogue.provider_of(row)

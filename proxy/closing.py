"""
How a due call is closed, given what its providers say.

    running anywhere             not yet
    found with content or end    settled with the provider's counts
    in trouble                   not yet; after ``PATIENCE_S`` as if there were no lookup
    a checkpoint                 settled with its counts: an estimate, never above the hold
    absent everywhere            voided: it never arrived
    otherwise                    expired and listed as unknown
"""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

from msgspec import Struct

from billing import prices, pricing
from billing.models import Price
from billing.prices import Version
from billing.pricing import Tokens
from proxy.due import Call, Checkpoint
from proxy.evidence import Finding, Verdict
from proxy.lookups import Findings
from proxy.models import Attempt, Route
from proxy.wire.answers import Usage

PATIENCE_S = 600.0
WON, LOST, UNKNOWN = Attempt.Outcome.WON, Attempt.Outcome.LOST, Attempt.Outcome.UNKNOWN


class Try(Struct, frozen=True, kw_only=True):
    """One row of ``proxy_attempt``."""

    request_id: UUID
    day: date
    n: int
    provider: str = ""
    route_id: int | None = None
    upstream_model: str = ""
    price_id: int | None = None
    upstream_id: str = ""
    outcome: str
    cause: str
    cost: int = 0


class Closing(Struct, frozen=True):
    """One item of ``billing_settle`` with the attempts that led to it."""

    item: dict[str, Any]
    tries: tuple[Try, ...]

    @property
    def id(self) -> UUID:
        """The request's id."""
        request_id: UUID = self.item["id"]
        return request_id

    @property
    def state(self) -> str:
        """How the hold ends."""
        return str(self.item["state"])


class Registrar:
    """Decides closings; remembers routes and prices for one sweep."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, str], list[Route]] = {}
        for route in Route.objects.select_related("model", "provider").order_by("priority", "id"):
            self._routes.setdefault((route.model.slug, route.provider.slug), []).append(route)
        self._versions: dict[int, Version] = {}

    def close(self, call: Call, findings: Findings) -> Closing | None:
        """Return how a call ends; None if it has to wait, or stays as it is."""
        verdicts = {finding.verdict for finding in findings.values()}
        if Verdict.RUNNING in verdicts:
            return None
        winner = _winner(findings)
        if winner is not None:
            return self._found(call, findings, *winner)
        if call.expired or (Verdict.TROUBLE in verdicts and call.overdue_s < PATIENCE_S):
            return None
        settled_elsewhere = Verdict.FOUND in verdicts
        proof = bool(verdicts) and verdicts <= {Verdict.FOUND, Verdict.ABSENT}
        if call.checkpoint is not None and not (proof and settled_elsewhere):
            return self._counted(call, findings, call.checkpoint)
        return self._void(call, findings) if proof else self._unknown(call, findings)

    def _found(self, call: Call, findings: Findings, winner: str, usage: Usage) -> Closing:
        tokens = _tokens(usage)
        route = self._route(call, winner, findings[winner])
        price = self._retail(call, route)
        item = _item(
            call,
            state="settled",
            source="lookup",
            reason="swept",
            tokens=tokens,
            price=price,
            provider=winner,
            cancelled=not findings[winner].finished,
        )
        item["upstream_cost"] = self._cost(call, route, tokens)
        return Closing(item, self._tries(call, findings, winner=winner))

    def _counted(self, call: Call, findings: Findings, checkpoint: Checkpoint) -> Closing:
        price = self._version(checkpoint.price_id) or self._retail(call, None)
        tokens = _bounded(call, price, checkpoint.input_tokens, checkpoint.output_tokens)
        route = next(
            (r for r in self._served_by(call, checkpoint.provider) if r.pk == checkpoint.route_id),
            None,
        )
        item = _item(
            call,
            state="settled",
            source="checkpoint",
            reason="swept",
            tokens=tokens,
            price=price,
            provider=checkpoint.provider,
            cancelled=True,
        )
        item["upstream_cost"] = self._cost(call, route, tokens)
        tries = self._tries(call, {s: f for s, f in findings.items() if s != checkpoint.provider})
        won = Try(
            request_id=call.id,
            day=call.day,
            n=len(tries) + 1,
            provider=checkpoint.provider,
            route_id=checkpoint.route_id,
            upstream_model=route.upstream_model if route else "",
            price_id=item["price_id"],
            outcome=WON,
            cause="checkpoint",
            cost=item["upstream_cost"],
        )
        return Closing(item, (*tries, won))

    def _void(self, call: Call, findings: Findings) -> Closing:
        arrived = any(finding.verdict is Verdict.FOUND for finding in findings.values())
        reason = "no_output" if arrived else "never_arrived"
        item = _item(call, state="voided", source="none", reason=reason)
        return Closing(item, self._tries(call, findings))

    def _unknown(self, call: Call, findings: Findings) -> Closing:
        item = _item(call, state="expired", source="none", reason="unknown")
        item["unknown"] = True
        tries = self._tries(call, findings) or (
            Try(request_id=call.id, day=call.day, n=1, outcome=UNKNOWN, cause="no_evidence"),
        )
        return Closing(item, tries)

    def _tries(self, call: Call, findings: Findings, *, winner: str = "") -> tuple[Try, ...]:
        return tuple(
            self._try(call, slug, finding, n=n, won=slug == winner)
            for n, (slug, finding) in enumerate(sorted(findings.items()), start=1)
        )

    def _try(self, call: Call, provider: str, finding: Finding, *, n: int, won: bool) -> Try:
        route = self._route(call, provider, finding)
        price = self._retail(call, route)
        known = finding.verdict in (Verdict.FOUND, Verdict.ABSENT)
        tokens = _tokens(finding.usage) if finding.usage else Tokens()
        return Try(
            request_id=call.id,
            day=call.day,
            n=n,
            provider=provider,
            route_id=route.pk if route else None,
            upstream_model=route.upstream_model if route else finding.upstream_model,
            price_id=price.id if price else None,
            upstream_id=finding.upstream_id,
            outcome=WON if won else LOST if known else UNKNOWN,
            cause=f"lookup_{finding.verdict}",
            cost=self._cost(call, route, tokens) if finding.usage else 0,
        )

    def _served_by(self, call: Call, provider: str) -> list[Route]:
        return self._routes.get((call.model, provider), [])

    def _route(self, call: Call, provider: str, finding: Finding) -> Route | None:
        routes = self._served_by(call, provider)
        named = [route for route in routes if route.upstream_model == finding.upstream_model]
        return next(iter(named or routes), None)

    def _retail(self, call: Call, route: Route | None) -> Version | None:
        """Return the price that the call was admitted at, or its route's own one then."""
        if route is not None and route.own_price:
            own = prices.rates_at(subject=route.subject, role="retail", now=call.created_at)
            if own is not None:
                return own
        return self._version(call.price_id) or prices.rates_at(
            subject=call.model, role="retail", now=call.created_at
        )

    def _version(self, price_id: int | None) -> Version | None:
        if price_id is not None and price_id not in self._versions:
            row = Price.objects.filter(pk=price_id).first()
            if row is None:
                return None
            self._versions[price_id] = prices.version_of(row)
        return self._versions[price_id] if price_id is not None else None

    def _cost(self, call: Call, route: Route | None, tokens: Tokens) -> int:
        if route is None:
            return 0
        cost = prices.rates_at(subject=route.subject, role="cost", now=call.created_at)
        return pricing.cost_nanos(rates=cost.rates, tokens=tokens) if cost else 0


def _item(
    call: Call,
    *,
    state: str,
    source: str,
    reason: str,
    tokens: Tokens | None = None,
    price: Version | None = None,
    provider: str = "",
    cancelled: bool = False,
) -> dict[str, Any]:
    tokens = tokens or Tokens()
    return {
        "id": call.id,
        "day": call.day,
        "state": state,
        "cost": pricing.cost_nanos(rates=price.rates, tokens=tokens) if price else 0,
        "unknown": False,
        "source": source,
        "reason": reason,
        "served": call.model if provider else "",
        "provider": provider,
        "price_id": price.id if price else call.price_id,
        "cancelled": cancelled,
        "input_tokens": tokens.input,
        "cached_tokens": tokens.cached,
        "cache_write_tokens": tokens.cache_write,
        "output_tokens": tokens.output,
        "reasoning_tokens": tokens.reasoning,
    }


def _winner(findings: Findings) -> tuple[str, Usage] | None:
    """Return the provider that the customer pays for: the one that got furthest."""
    usages = {slug: f.usage for slug, f in findings.items() if f.billable and f.usage}
    if not usages:
        return None
    slug = max(usages, key=lambda slug: (findings[slug].finished, usages[slug].output))
    return slug, usages[slug]


def _tokens(usage: Usage) -> Tokens:
    return Tokens(
        input=usage.input,
        cached=usage.cached,
        cache_write=usage.cache_write,
        output=usage.output,
        reasoning=usage.reasoning,
    )


def _bounded(call: Call, price: Version | None, prompt: int, output: int) -> Tokens:
    """Cut an estimate so that it stays within the hold: what we guess is never a loss."""
    if price is not None:
        most = pricing.affordable_output(
            rates=price.rates, prompt_tokens=prompt, nanos=call.hold_nanos
        )
        output = min(output, most)
    return Tokens(input=prompt, output=output)

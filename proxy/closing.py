"""
How a due call is closed, given what its providers say.

    running anywhere             not yet
    found with content or end    settled with the provider's counts
    in trouble                   not yet; after ``PATIENCE_S`` as if there were no lookup
    a checkpoint with content    settled with its counts: an estimate, never above the hold
    absent everywhere            voided: it never arrived
    otherwise                    expired and listed as unknown

A call may have gone to several routes, of several models. The evidence says which one it
was: the checkpoint by its route, a lookup by its provider and model. It is charged at the
price that this route had when the call was admitted, and never above the hold. Web searches
that no provider told are those that were counted, else all that were held: an estimate.
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
from proxy.candidates import Candidate, Candidates
from proxy.due import Call, Checkpoint
from proxy.evidence import ESTIMATES, Finding, Verdict
from proxy.lookups import Findings
from proxy.models import Attempt
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
    searches: int = 0


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
    """Decides closings; remembers prices for one sweep."""

    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates
        self._versions: dict[int, Version] = {}

    def close(self, call: Call, findings: Findings) -> Closing | None:
        """Return how a call ends; None if it has to wait, or stays as it is."""
        verdicts = {finding.verdict for finding in findings.values()}
        if Verdict.RUNNING in verdicts:
            return None
        winner = _winner(call.checkpoint, findings)
        if winner is not None:
            return self._found(call, findings, *winner)
        if call.expired or (Verdict.TROUBLE in verdicts and call.overdue_s < PATIENCE_S):
            return None
        noted = call.checkpoint
        if noted is not None and noted.heard and not _refuted(noted, findings):
            return self._counted(call, findings, noted)
        proof = (
            bool(verdicts)
            and verdicts <= {Verdict.FOUND, Verdict.ABSENT}
            and self._candidates.all_known(call)
        )
        return self._void(call, findings) if proof else self._unknown(call, findings)

    def _found(self, call: Call, findings: Findings, winner: str, usage: Usage) -> Closing:
        taken = self._taken(call, winner, findings[winner])
        tokens = _tokens(call, taken, usage)
        guessed = usage.searches is None and tokens.searches > 0
        price = self._retail(call, taken)
        item = _item(
            call,
            state="settled",
            source="count" if guessed else "lookup",
            reason="swept",
            tokens=_bounded(call, price, tokens) if guessed else tokens,
            price=price,
            provider=winner,
            served=_served(call, taken),
            cancelled=not findings[winner].finished,
        )
        item["upstream_cost"] = self._cost(call, taken, tokens)
        return Closing(item, self._tries(call, findings, winner=winner))

    def _counted(self, call: Call, findings: Findings, checkpoint: Checkpoint) -> Closing:
        taken = next(
            (c for c in self._candidates.of(call) if c.route.pk == checkpoint.route_id), None
        )
        price = self._version(checkpoint.price_id) or self._retail(call, taken)
        tokens = _bounded(call, price, checkpoint.tokens)
        item = _item(
            call,
            state="settled",
            source="checkpoint",
            reason="swept",
            tokens=tokens,
            price=price,
            provider=checkpoint.provider,
            served=_served(call, taken),
            cancelled=True,
        )
        item["upstream_cost"] = self._cost(call, taken, tokens)
        tries = self._tries(call, {s: f for s, f in findings.items() if s != checkpoint.provider})
        won = Try(
            request_id=call.id,
            day=call.day,
            n=len(tries) + 1,
            provider=checkpoint.provider,
            route_id=checkpoint.route_id,
            upstream_model=taken.route.upstream_model if taken else "",
            price_id=item["price_id"],
            upstream_id=checkpoint.upstream_id,
            outcome=WON,
            cause="checkpoint",
            cost=item["upstream_cost"],
        )
        return Closing(item, (*tries, won))

    def let_go(self, call: Call, *, reason: str) -> Closing:
        """Charge nothing for an unknown call, for good; as far as we know nobody was paid."""
        item = _item(call, state="settled", source="none", reason=reason)
        candidates = sorted(self._candidates.of(call), key=lambda each: each.slug)
        tries = tuple(
            Try(
                request_id=call.id,
                day=call.day,
                n=n,
                provider=each.slug,
                route_id=each.route.pk,
                upstream_model=each.route.upstream_model,
                upstream_id=call.upstream_id_at(each.slug),
                outcome=LOST,
                cause=reason,
            )
            for n, each in enumerate(candidates, start=1)
        ) or (Try(request_id=call.id, day=call.day, n=1, outcome=LOST, cause=reason),)
        return Closing(item, tries)

    def _void(self, call: Call, findings: Findings) -> Closing:
        arrived = any(finding.verdict is Verdict.FOUND for finding in findings.values())
        reason = "no_output" if arrived else "never_arrived"
        item = _item(call, state="voided", source="none", reason=reason)
        return Closing(item, self._tries(call, findings))

    def _unknown(self, call: Call, findings: Findings) -> Closing:
        """Close a call without evidence; every route is listed, for evidence that comes later."""
        item = _item(call, state="expired", source="none", reason="unknown")
        item["unknown"] = True
        candidates = self._candidates.of(call)
        tries = tuple(
            self._try(call, findings[candidate.slug], candidate, n=n)
            for n, candidate in enumerate(sorted(candidates, key=lambda c: c.slug), start=1)
        ) or (Try(request_id=call.id, day=call.day, n=1, outcome=UNKNOWN, cause="no_evidence"),)
        return Closing(item, tries)

    def _tries(self, call: Call, findings: Findings, *, winner: str = "") -> tuple[Try, ...]:
        tries = []
        for n, (slug, finding) in enumerate(sorted(findings.items()), start=1):
            taken = self._taken(call, slug, finding)
            tries.append(self._try(call, finding, taken, n=n, provider=slug, won=slug == winner))
        return tuple(tries)

    def _try(
        self,
        call: Call,
        finding: Finding,
        taken: Candidate | None,
        *,
        n: int,
        provider: str = "",
        won: bool = False,
    ) -> Try:
        price = self._retail(call, taken)
        known = finding.verdict in (Verdict.FOUND, Verdict.ABSENT)
        outcome = WON if won else LOST if known else UNKNOWN
        tokens = _tokens(call, taken, finding.usage) if finding.usage else Tokens()
        return Try(
            request_id=call.id,
            day=call.day,
            n=n,
            provider=taken.slug if taken else provider,
            route_id=taken.route.pk if taken else None,
            upstream_model=taken.route.upstream_model if taken else finding.upstream_model,
            price_id=price.id if price else None,
            upstream_id=finding.upstream_id or call.upstream_id_at(provider or _slug(taken)),
            outcome=outcome,
            cause=f"lookup_{finding.verdict}",
            cost=self._cost(call, taken, tokens) if finding.usage else 0,
            searches=taken.searches if taken and outcome is UNKNOWN else 0,
        )

    def _taken(self, call: Call, provider: str, finding: Finding) -> Candidate | None:
        """
        Return the route that a call took at a provider, as far as the evidence tells.

        Where several remain the cheapest for the customer is it: nobody pays for our doubt.
        """
        here = [each for each in self._candidates.of(call) if each.slug == provider]
        named = [each for each in here if each.route.upstream_model == finding.upstream_model]
        left = named or here
        if call.checkpoint is not None:
            left = [c for c in left if c.route.pk == call.checkpoint.route_id] or left
        if len(left) > 1:
            left.sort(key=lambda each: self._charge(call, each, finding.usage))
        return left[0] if left else None

    def _charge(self, call: Call, candidate: Candidate, usage: Usage | None) -> int:
        price = self._retail(call, candidate)
        tokens = _tokens(call, candidate, usage) if usage else Tokens()
        return pricing.cost_nanos(rates=price.rates, tokens=tokens) if price else 0

    def _retail(self, call: Call, taken: Candidate | None) -> Version | None:
        """Return the price that a route had when the call was admitted."""
        if taken is not None and taken.price_id is not None:
            return self._version(taken.price_id)
        if taken is not None and taken.route.own_price:
            subject = taken.route.subject
            own = prices.rates_at(subject=subject, role="retail", now=call.created_at)
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

    def _cost(self, call: Call, taken: Candidate | None, tokens: Tokens) -> int:
        if taken is None:
            return 0
        cost = prices.rates_at(subject=taken.route.subject, role="cost", now=call.created_at)
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
    served: str = "",
    cancelled: bool = False,
) -> dict[str, Any]:
    tokens = tokens or Tokens()
    cost = pricing.cost_nanos(rates=price.rates, tokens=tokens) if price else 0
    return {
        "id": call.id,
        "day": call.day,
        "state": state,
        "cost": min(cost, call.hold_nanos) if source in ESTIMATES else cost,
        "unknown": False,
        "source": source,
        "reason": reason,
        "served": served,
        "provider": provider,
        "price_id": price.id if price else call.price_id,
        "cancelled": cancelled,
        "surface": call.surface,
        # Only streams are written down before they end; an older hold does not say.
        "stream": call.stream or call.checkpoint is not None,
        "input_tokens": tokens.input,
        "cached_tokens": tokens.cached,
        "cache_write_tokens": tokens.cache_write,
        "output_tokens": tokens.output,
        "reasoning_tokens": tokens.reasoning,
        "searches": tokens.searches,
    }


def _winner(checkpoint: Checkpoint | None, findings: Findings) -> tuple[str, Usage] | None:
    """
    Return the provider that the customer pays for.

    It is the one that was heard last: after its first words no other is tried. Without a
    checkpoint it is the one that got furthest.
    """
    usages = {slug: f.usage for slug, f in findings.items() if f.billable and f.usage}
    if checkpoint is not None and checkpoint.provider in findings:
        usage = usages.get(checkpoint.provider)
        return (checkpoint.provider, usage) if usage else None
    if not usages:
        return None
    slug = max(usages, key=lambda slug: (findings[slug].finished, usages[slug].output))
    return slug, usages[slug]


def _refuted(checkpoint: Checkpoint, findings: Findings) -> bool:
    """Tell whether the provider that was heard knows the call, and of nothing made in it."""
    finding = findings.get(checkpoint.provider)
    return finding is not None and finding.verdict is Verdict.FOUND


def _served(call: Call, taken: Candidate | None) -> str:
    return taken.route.model.slug if taken else call.model


def _slug(candidate: Candidate | None) -> str:
    return candidate.slug if candidate is not None else ""


def _tokens(call: Call, taken: Candidate | None, usage: Usage) -> Tokens:
    return Tokens(
        input=usage.input,
        cached=usage.cached,
        cache_write=usage.cache_write,
        output=usage.output,
        reasoning=usage.reasoning,
        searches=_searched(call, taken, usage.searches),
    )


def _searched(call: Call, taken: Candidate | None, told: int | None) -> int:
    """Return the searches to charge: those told, else those counted, else all that were held."""
    if taken is None or not taken.searches:
        return 0
    noted = call.checkpoint
    if told is None and noted is not None and noted.route_id == taken.route.pk:
        return noted.searches
    return taken.searches if told is None else told


def _bounded(call: Call, price: Version | None, tokens: Tokens) -> Tokens:
    """Cut an estimate so that it stays within the hold: what we guess is never a loss."""
    if price is None:
        return tokens
    return pricing.within(rates=price.rates, tokens=tokens, nanos=call.hold_nanos)

"""The journal of one request: what was tried, what it cost, how it is written down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import structlog

from billing import pricing
from billing.pricing import Tokens
from common import ids, money
from proxy import pictures
from proxy.admission import Hold
from proxy.auth import Caller
from proxy.evidence import ESTIMATES
from proxy.guard import Incoming
from proxy.routing import Leg, Offer, next_leg
from proxy.till import AttemptRow, Bill, Closing
from proxy.transcripts import Said
from proxy.upstreams.base import UpstreamTrouble
from proxy.wire.answers import Completion, Usage
from proxy.wire.call import Call

if TYPE_CHECKING:
    from proxy.idempotency import Claim
    from proxy.runtime import Runtime
    from proxy.surfaces.base import Outcome, Surface

log = structlog.get_logger(__name__)

BeforeCharge = Callable[["Exchange", Leg, Completion, Usage], Awaitable[None]]
AfterCharge = Callable[["Outcome"], Awaitable[bytes]]


class Exchange:
    """One admitted request from its first attempt to its settlement."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        incoming: Incoming,
        caller: Caller,
        call: Call,
        offer: Offer,
        hold: Hold,
        surface: Surface,
        headers: dict[str, str],
        reserved_tokens: int = 0,
        said: bytes | None = None,
    ) -> None:
        self.runtime = runtime
        self.incoming = incoming
        self.caller = caller
        self.call = call
        self.offer = offer
        self.hold = hold
        self.surface = surface
        self.attempts: list[AttemptRow] = []
        self.headers = headers
        self.first_byte_ms: int | None = None
        self.upstream_ms = 0
        self.checkpointed = False
        self.closed = False
        # For calls that are made once: the right to the caller's Idempotency-Key.
        self.claim: Claim | None = None
        # What the caller sent, where it is to be kept with the answer.
        self.said = said
        # For calls whose answer is kept: what to do before it is charged, and that it was kept.
        self.before_charge: BeforeCharge | None = None
        # For answers that tell of their settlement: what makes the body once it is known.
        self.after_charge: AfterCharge | None = None
        self.completed = False
        # Of its key's tokens per minute: what was taken at admission, what it came to.
        self.reserved_tokens = reserved_tokens
        self.used_tokens = 0
        # The word that the answer ended with: stop, length, tool_calls, …
        self.finish_reason = ""

    @property
    def answer_id(self) -> str:
        """Return the id in the body of answers."""
        return ids.form("chatcmpl-", self.incoming.id)

    def name_of(self, leg: Leg) -> str:
        """Return the model's name in answers: as asked for, or the slug served instead."""
        return self.call.model if leg.model is self.offer.model else leg.model.slug

    @property
    def created(self) -> int:
        """Return the Unix time in the request's id."""
        return (self.incoming.id.int >> 80) // 1000

    def note_attempt(
        self,
        leg: Leg,
        *,
        outcome: str,
        latency_ms: int,
        cause: str = "",
        status: int | None = None,
        upstream_id: str = "",
        cost: int = 0,
    ) -> None:
        """Write down how one attempt ended."""
        self.attempts.append(
            AttemptRow(
                request_id=self.incoming.id,
                day=self.hold.day,
                n=len(self.attempts) + 1,
                provider=leg.provider.slug,
                route_id=leg.route.id,
                upstream_model=leg.route.upstream_model,
                price_id=leg.route.price_id,
                upstream_id=upstream_id,
                outcome=outcome,
                cause=cause,
                status=status,
                cost=cost,
                latency_ms=latency_ms,
                finish_reason=self.finish_reason if outcome == "won" else "",
            )
        )

    def leave(self) -> None:
        """Count what the call used of its key's limits, and free its stream's slot."""
        stream = self.incoming.id if self.call.stream else None
        self.runtime.limiter.end(
            self.caller,
            used=self.used_tokens,
            reserved=self.reserved_tokens,
            elapsed_s=self.incoming.elapsed_ms() / 1000,
            stream=stream,
        )

    def write_down(self, answered: Any, *, size_bytes: int) -> None:
        """Have the words of a completed call kept, where its workspace chose so."""
        if self.said is None:
            return
        key, workspace = self.caller.key, self.caller.workspace
        size = len(self.said) + size_bytes
        said = Said(self.incoming.id, workspace.id, key.id, self.said, answered, size)
        self.runtime.scribe.take(said)

    def note_trouble(self, leg: Leg, trouble: UpstreamTrouble, *, latency_ms: int) -> None:
        """Write down an attempt that another route may make good."""
        self.note_attempt(
            leg,
            outcome="lost",
            cause=trouble.outcome,
            status=trouble.status,
            latency_ms=latency_ms,
        )
        self.runtime.breakers.judge(leg.route, trouble)
        log.warning(
            "A provider failed",
            id=ids.form("req_", self.incoming.id),
            provider=leg.provider.slug,
            model=leg.route.upstream_model,
            cause=trouble.outcome,
            status=trouble.status,
        )

    def leg_after(self, leg: Leg, trouble: UpstreamTrouble) -> Leg | None:
        """Return what to try after a leg that failed, None where nothing may help."""
        longer = trouble.reason == "context_length_exceeded"
        if not (trouble.fallback or longer):
            return None
        # A picture may have been made and billed all the same.
        if self.call.kind == "image" and trouble.ambiguous:
            return None
        return next_leg(self.offer.legs, leg, longer=longer)

    def tokens(self, leg: Leg, usage: Usage) -> Tokens:
        """Return what a call used, as the ledger prices it."""
        listed = usage.pictures and leg.rates.image
        size, quality = pictures.made(leg.rates, self.call, usage) if listed else ("", "")
        return Tokens(
            input=usage.input,
            cached=usage.cached,
            cache_write=usage.cache_write,
            output=usage.output,
            reasoning=usage.reasoning,
            pictures=usage.pictures,
            size=size,
            quality=quality,
            searches=leg.searched(usage.searches),
        )

    def source_of(self, leg: Leg, usage: Usage, source: str) -> str:
        """Return where counts come from: a lookup that lacks the searches is in part a guess."""
        guessed = source == "lookup" and usage.searches is None and leg.searches
        return "count" if guessed else source

    def charge(self, leg: Leg, tokens: Tokens) -> int:
        """Return what tokens cost the customer, in nano-dollars, never above the hold."""
        return min(pricing.cost_nanos(rates=leg.rates, tokens=tokens), self.hold.nanos)

    def upstream_cost(self, leg: Leg, tokens: Tokens) -> int:
        """Return what tokens cost us at this route, in nano-dollars."""
        return pictures.cost_nanos(leg.route.cost_rates, tokens)

    def answered_headers(self, leg: Leg, *, attempts: int) -> dict[str, str]:
        """Return the headers of an answer that do not depend on its cost."""
        overhead_ms = max(0, self.incoming.elapsed_ms() - self.upstream_ms)
        headers = dict(self.headers)
        if ignored := leg.ignored():
            headers["x-tollgate-ignored"] = ", ".join(ignored)
        return {
            **headers,
            "x-tollgate-provider": leg.provider.slug,
            "x-tollgate-attempts": str(attempts),
            "x-tollgate-overhead-ms": str(overhead_ms),
        }

    def settled(
        self,
        leg: Leg,
        tokens: Tokens,
        *,
        source: str,
        status: int,
        reason: str = "",
        cancelled: bool = False,
    ) -> Closing:
        """Return the closing of a call that is charged for ``tokens``."""
        self.closed = True
        upstream_cost = self.upstream_cost(leg, tokens)
        if source in ESTIMATES:
            # What we guess is never a loss.
            tokens = pricing.within(rates=leg.rates, tokens=tokens, nanos=self.hold.nanos)
            cost = self.charge(leg, tokens)
        else:
            cost = pricing.cost_nanos(rates=leg.rates, tokens=tokens)
        self.used_tokens = tokens.input + tokens.cached + tokens.cache_write + tokens.output
        if not (cancelled or reason):
            self._note_pace(leg, tokens)
        bill = Bill(
            id=self.incoming.id,
            day=self.hold.day,
            state="settled",
            cost=cost,
            source=source,
            served=leg.model.slug,
            provider=leg.provider.slug,
            price_id=leg.route.price_id,
            surface=self.surface.name,
            stream=self.call.stream,
            cancelled=cancelled,
            status=status,
            reason=reason,
            input_tokens=tokens.input,
            cached_tokens=tokens.cached,
            cache_write_tokens=tokens.cache_write,
            output_tokens=tokens.output,
            reasoning_tokens=tokens.reasoning,
            pictures=tokens.pictures,
            picture_size=tokens.size,
            picture_quality=tokens.quality,
            searches=tokens.searches,
            first_byte_ms=self.first_byte_ms,
            latency_ms=self.incoming.elapsed_ms(),
            upstream_cost=upstream_cost,
        )
        return Closing(bill, tuple(self.attempts), self.checkpointed)

    def _note_pace(self, leg: Leg, tokens: Tokens) -> None:
        """Take the time that a whole answer took into its route's averages."""
        self.runtime.breakers.paces.note(
            leg.route,
            latency_ms=self.attempts[-1].latency_ms,
            output_tokens=tokens.output,
            first_byte_ms=self.upstream_ms if self.call.stream else None,
        )

    def voided(self, *, status: int, reason: str, cancelled: bool = False) -> Closing:
        """Return the closing of a call that is charged nothing."""
        self.closed = True
        last = self.attempts[-1] if self.attempts else None
        bill = Bill(
            id=self.incoming.id,
            day=self.hold.day,
            state="voided",
            served=self.offer.model.slug,
            provider=last.provider if last else "",
            surface=self.surface.name,
            stream=self.call.stream,
            cancelled=cancelled,
            status=status,
            reason=reason,
            latency_ms=self.incoming.elapsed_ms(),
        )
        return Closing(bill, tuple(self.attempts), self.checkpointed)


def usd(nanos: int) -> str:
    """Return nano-dollars as answers and headers carry them."""
    return money.usd(nanos, at_least=6)

"""
Unknown calls, resolved by people: charged on evidence that they found, or let go.

Both end in the ledger's own settlement of a call that had expired: once, never above what there
is, with an attempt that says who was paid. What staff found counts as a provider's lookup.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.db import transaction

from accounts import audit
from accounts.actors import Staff
from accounts.errors import Conflict, Invalid
from billing.models import Usage
from common import ids, money
from proxy import due, sweep
from proxy.candidates import Candidate, Candidates
from proxy.closing import Closing, Registrar
from proxy.due import Call
from proxy.evidence import Finding, Verdict
from proxy.wire import answers

LET_GO: Final = "let_go"


def candidates(call_id: UUID) -> list[Candidate]:
    """Where a call may have gone."""
    call = due.unknown(call_id)
    return Candidates().of(call) if call is not None else []


@transaction.atomic
def charge(
    *, call_id: UUID, route_id: int, usage: answers.Usage, upstream_id: str, reason: str, by: Staff
) -> Usage:
    """
    Charge a call for what staff found that it used, at the price it was admitted at.

    :raises accounts.errors.Invalid: it cannot have gone that way, or used nothing
    :raises accounts.errors.Conflict: it is resolved
    """
    call = _call(call_id)
    known = Candidates()
    taken = next((each for each in known.of(call) if each.route.pk == route_id), None)
    if taken is None:
        raise Invalid("The call cannot have gone that way.")
    if usage.input + usage.cached + usage.output <= 0:
        raise Invalid("Write what it used; where that is nothing, let the call go.")
    finding = Finding(
        verdict=Verdict.FOUND,
        usage=usage,
        upstream_id=upstream_id,
        upstream_model=taken.route.upstream_model,
        finished=True,
    )
    closing = Registrar(known).close(call, {taken.slug: finding})
    if closing is None:
        raise Conflict
    return _resolve(call, closing, action="call.charged", reason=reason, by=by)


@transaction.atomic
def let_go(*, call_id: UUID, reason: str, by: Staff) -> Usage:
    """
    Charge nothing for a call, for good.

    :raises accounts.errors.Conflict: it is resolved
    """
    call = _call(call_id)
    closing = Registrar(Candidates()).let_go(call, reason=LET_GO)
    return _resolve(call, closing, action="call.let_go", reason=reason, by=by)


def _call(call_id: UUID) -> Call:
    call = due.unknown(call_id)
    if call is None:
        raise Conflict
    return call


def _resolve(call: Call, closing: Closing, *, action: str, reason: str, by: Staff) -> Usage:
    [verdict] = sweep.settle([closing])
    if verdict not in sweep.CLOSED:
        raise Conflict
    usage = Usage.objects.get(pk=call.id)
    audit.decided(
        action=action,
        by=by,
        target=audit.Target(ids.form("req_", call.id), call.model),
        workspace=usage.workspace_id,
        before={"state": "expired", "charged": "0"},
        after=_facts(usage),
        reason=reason,
    )
    return usage


def _facts(usage: Usage) -> dict[str, Any]:
    return {
        "state": usage.state,
        "charged": str(usage.charged),
        "asset": usage.asset,
        "cost_usd": money.usd(usage.cost, at_least=6),
    }

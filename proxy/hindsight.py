"""
What a settlement that came late says of a call which a sweep could only guess about.

A sweep that finds no evidence writes down every way that a call may have taken; one that finds
little charges an estimate. The gateway knew better, but its word waited on a disk: its attempts
take the place of those, and its evidence that of the estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from django.db import connection, transaction

from billing import incidents, revisions
from billing.models import Alert
from billing.revisions import Answer
from common import ids
from proxy.models import Attempt, Generation

if TYPE_CHECKING:
    from proxy.till import AttemptRow, Closing

WON: Final = Attempt.Outcome.WON
DONE: Final = Generation.Status.COMPLETED
AMEND: Final = """
update proxy_attempt a
set provider = x.provider, route_id = x.route_id, upstream_model = x.upstream_model,
    price_id = x.price_id, upstream_id = x.upstream_id, outcome = x.outcome, cause = x.cause,
    status = x.status, cost = x.cost, latency_ms = x.latency_ms, finish_reason = x.finish_reason
from jsonb_to_recordset(%s::jsonb) as x (
    request_id uuid, day date, n smallint, provider text, route_id bigint,
    upstream_model text, price_id bigint, upstream_id text, outcome text, cause text,
    status smallint, cost bigint, latency_ms integer, finish_reason text)
where a.request_id = x.request_id and a.day = x.day and a.n = x.n and a.outcome = 'unknown'
"""
FORGET: Final = """
delete from proxy_attempt
where request_id = %s and day = %s and outcome = 'unknown' and n <> all (%s)
"""


def amend(attempts: Sequence[AttemptRow]) -> None:
    """Put one call's attempts in the place of those that were unknown; twice changes nothing."""
    if not attempts:
        return
    call = attempts[0]
    rows = msgspec.json.encode(attempts).decode()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(AMEND, [rows])
        cursor.execute(FORGET, [call.request_id, call.day, [each.n for each in attempts]])


@transaction.atomic
def correct(closing: Closing) -> Answer:
    """
    Put a settlement in the place of what a sweep guessed, with its attempts; once.

    :raises django.db.OperationalError: somebody keeps one of its rows locked: try again
    """
    call, attempts = closing.bill, closing.attempts
    answer = revisions.revise(call_id=call.id, bill=msgspec.json.encode(call))
    if answer.v == revisions.CORRECTED:
        # One that was refused before there were corrections is on the list of staff.
        incidents.end(kind=Alert.Kind.SETTLEMENT_REFUSED, subject=ids.form("req_", call.id))
        Generation.objects.filter(pk=call.id, status=DONE).update(tokens_used=answer.charged)
        if attempts:
            _replace(attempts)
    elif answer.v == "conflict":
        _yield(attempts)
    return answer


def _replace(attempts: Sequence[AttemptRow]) -> None:
    """The gateway made the attempts: what a sweep inferred of them goes."""
    call = attempts[0]
    # Also those that billing_settle was asked to write beside the sweep's.
    Attempt.objects.filter(request_id=call.request_id, day=call.day).delete()
    Attempt.objects.bulk_create([Attempt(**msgspec.structs.asdict(row)) for row in attempts])


def _yield(attempts: Sequence[AttemptRow]) -> None:
    """A settlement that is refused won nothing: the winner is the one that is charged."""
    for row in attempts:
        theirs = Attempt.objects.filter(request_id=row.request_id, day=row.day, outcome=WON)
        if row.outcome == WON and theirs.exclude(n=row.n).exists():
            theirs.filter(n=row.n).update(outcome=Attempt.Outcome.LOST, cause="refused")

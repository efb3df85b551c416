"""
What a settlement that came late says of attempts which a sweep could only call unknown.

A sweep that finds no evidence writes down every way that a call may have taken. The gateway
knew better, but its word waited on a disk: its attempts take the place of those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from django.db import connection, transaction

if TYPE_CHECKING:
    from proxy.till import AttemptRow

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

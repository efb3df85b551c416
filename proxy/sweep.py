"""
Closing what a dead gateway left open, on evidence.

A hold is due when its process has been silent or when its own time is over. Best evidence
first: the provider's own lookup, else the process's last checkpoint. With neither, nothing
is charged and the call is listed as unknown, for staff and for evidence that comes later.

Candidates are read without a lock, providers are asked outside any transaction, and the
ledger closes batches that pass over locked rows. Two sweeps at once, or one sweep twice,
close each hold once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import msgspec
import structlog
from django.conf import settings
from django.db import OperationalError, connection, transaction
from msgspec import Struct

from billing import ledger
from proxy import due, lookups, spool
from proxy.candidates import Candidates
from proxy.closing import Closing, Registrar
from proxy.due import Call

log = structlog.get_logger(__name__)

PAGE = 500
BATCH = 100
BUSY_ROUNDS = 5
BUSY_PAUSE_S = 0.2
CLOSED = frozenset({"ok", "late"})
ATTEMPTS = """
insert into proxy_attempt (request_id, day, n, provider, route_id, upstream_model, price_id,
                           upstream_id, outcome, cause, cost, searches)
select request_id, day, n, provider, route_id, upstream_model, price_id,
       upstream_id, outcome, cause, cost, searches
from jsonb_to_recordset(%s::jsonb) as x (
    request_id uuid, day date, n smallint, provider text, route_id bigint,
    upstream_model text, price_id bigint, upstream_id text, outcome text, cause text, cost bigint,
    searches bigint)
on conflict (request_id, day, n) do update
set provider = excluded.provider, route_id = excluded.route_id,
    upstream_model = excluded.upstream_model, price_id = excluded.price_id,
    upstream_id = excluded.upstream_id, outcome = excluded.outcome, cause = excluded.cause,
    cost = excluded.cost, searches = excluded.searches
where proxy_attempt.outcome = 'unknown'
"""
# What was unknown of a call under more numbers than its closing has is known now.
KNOWN = """
delete from proxy_attempt a using jsonb_to_recordset(%s::jsonb)
    as closed (request_id uuid, day date, tries smallint)
where a.request_id = closed.request_id and a.day = closed.day and a.n > closed.tries
  and a.outcome = 'unknown'
"""
TIDY = "delete from proxy_checkpoint where request_id = any(%s)"
# A checkpoint that crossed with its call's settlement belongs to nobody.
TIDY_LOST = """
delete from proxy_checkpoint c where c.at < clock_timestamp() - interval '1 hour'
and not exists (select from billing_hold h where h.id = c.request_id)
"""


class Report(Struct, frozen=True):
    """What one sweep closed, by how; ``pending`` counts the holds that are still open."""

    settled: int
    voided: int
    unknown: int
    pending: int


def sweep() -> Report:
    """Close every due call there is evidence for; say what was done."""
    candidates = Candidates()
    registrar = Registrar(candidates)
    done: Counter[str] = Counter()
    dead = due.dead_processes()
    page = due.holds(dead=dead, limit=PAGE)
    while page:
        # What a gateway knew when it could not reach the database is better than any evidence.
        spooled = spool.kept_ids(settings.SPOOL_DIR)
        due_now = [call for call in page if call.id not in spooled]
        done += _close_page(due_now, candidates, registrar)
        page = due.holds(dead=dead, after=page[-1].id, limit=PAGE)
    done += _close_page(due.expired(), candidates, registrar)
    with connection.cursor() as cursor:
        cursor.execute(TIDY_LOST)
    report = Report(
        settled=done["settled"],
        voided=done["voided"],
        unknown=done["expired"],
        pending=due.open_holds(),
    )
    if done:
        log.info("Swept", **msgspec.structs.asdict(report))
    return report


def _close_page(
    calls: Sequence[Call], candidates: Candidates, registrar: Registrar
) -> Counter[str]:
    """Ask about a page of calls, then close them; no transaction is open while asking."""
    done: Counter[str] = Counter()
    if not calls:
        return done
    findings = lookups.ask_all(calls=calls, candidates=candidates)
    decided = [registrar.close(call, found) for call, found in zip(calls, findings, strict=True)]
    closings = [closing for closing in decided if closing is not None]
    for start in range(0, len(closings), BATCH):
        done += _close_batch(closings[start : start + BATCH])
    return done


def _close_batch(closings: Sequence[Closing]) -> Counter[str]:
    """Close a batch; rows that somebody has locked are tried again a few times."""
    done: Counter[str] = Counter()
    for _ in range(BUSY_ROUNDS):
        try:
            verdicts = settle(closings)
        except OperationalError as error:
            log.warning("A batch of the sweep has to wait", error=str(error).partition("\n")[0])
            verdicts = ["busy"] * len(closings)
        for closing, verdict in zip(closings, verdicts, strict=True):
            if verdict in CLOSED:
                done[closing.state] += 1
            elif verdict == "conflict":
                log.info("A call was closed by its gateway meanwhile", id=str(closing.id))
            elif verdict not in ("busy", "already"):
                log.error("A call cannot be closed", id=str(closing.id), verdict=verdict)
        closings = [c for c, verdict in zip(closings, verdicts, strict=True) if verdict == "busy"]
        if not closings:
            break
        time.sleep(BUSY_PAUSE_S)
    return done


def settle(closings: Sequence[Closing]) -> list[str]:
    """Close calls with their attempts in one transaction; return the ledger's verdicts."""
    items = msgspec.json.encode([closing.item for closing in closings]).decode()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(ledger.SETTLE, [items, True])
        verdicts = [answer["v"] for answer in msgspec.json.decode(cursor.fetchone()[0])]
        closed = [c for c, v in zip(closings, verdicts, strict=True) if v in CLOSED]
        tries = [each for closing in closed for each in closing.tries]
        cursor.execute(ATTEMPTS, [msgspec.json.encode(tries).decode()])
        sizes = [{"request_id": c.id, "day": c.item["day"], "tries": len(c.tries)} for c in closed]
        cursor.execute(KNOWN, [msgspec.json.encode(sizes).decode()])
        cursor.execute(TIDY, [[closing.id for closing in closed]])
    return verdicts

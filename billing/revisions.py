"""
Corrected calls: evidence that came after a sweep had to guess, and the difference it makes.

The ledger decides what gives way (``sql/revise.sql``) and books the difference once.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

import msgspec
from django.db import connection, transaction
from msgspec import Struct

from accounts import audit
from billing import grants, ledger
from billing.models import Revision
from common import ids, money

CORRECTED: Final = "corrected"


class Answer(Struct, frozen=True):
    """One verdict of ``billing_revise``; amounts in units of the asset."""

    v: str
    charged: int = 0
    uncollected: int = 0
    returned: int = 0


@transaction.atomic
def revise(*, call_id: UUID, bill: bytes) -> Answer:
    """
    Put a call's bill, an item of ``billing_settle``, in the place of a sweep's guess.

    :raises django.db.OperationalError: somebody keeps one of its rows locked: try again
    """
    with connection.cursor() as cursor:
        cursor.execute(ledger.REVISE, [bill.decode()])
        answer = msgspec.json.decode(cursor.fetchone()[0], type=Answer)
    if answer.v == CORRECTED:
        _write_down(Revision.objects.get(pk=call_id), returned=answer.returned)
    return answer


def _write_down(revision: Revision, *, returned: int) -> None:
    """Give granted money back as a lot, and tell the customer's audit log of both prices."""
    if returned:
        grants.give_back(
            workspace_id=revision.workspace_id,
            asset=revision.asset,
            amount=returned,
            source=revision.pk,
        )
    audit.record(
        action="call.corrected",
        by=None,
        target=audit.Target(ids.form("req_", revision.pk), ""),
        workspaces=[revision.workspace_id, None],
        before=_facts(revision.old_source, revision.old_charged, revision.old_cost),
        after=_facts(revision.source, revision.charged, revision.cost),
    )


def _facts(source: str, charged: int, cost: int) -> dict[str, str]:
    return {
        "source": source,
        "charged": str(charged),
        "cost_usd": money.usd(cost, at_least=6),
    }

"""What can be exported: the lists of the API, read with the filter they would be read with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.utils import timezone
from rest_framework import serializers

from accounts import audit, promptlogging
from accounts.actors import Actor
from accounts.api import Page
from accounts.api_audit import AuditEventSerializer, AuditFilter, narrowed
from accounts.api_csv import columns
from accounts.models import Workspace
from accounts.scopes import Scope
from billing import statement
from billing.api_money import TransactionFilter, TransactionSerializer
from billing.api_usage import UsageFilter, UsageSerializer
from billing.api_usage import read as read_usage
from common import csvtext, pagination
from common.pagination import Wanted
from proxy import exports, logs, prompts
from proxy.api_logs import LogFilter, LogSerializer, PromptFilter, PromptSerializer
from proxy.exports import Piece
from proxy.models import Export

ROWS_PER_PIECE: Final = 2000
PIECES_PER_RUN: Final = 200
# A page's own affairs are no part of a filter.
OF_PAGES: Final = ("limit", "cursor", "format")

Reader = Callable[..., Page]


@dataclass(frozen=True, slots=True)
class Kind:
    """One list: who may have it, its filter, its rows; words are for their own people alone."""

    scope: Scope
    query: type[serializers.Serializer[Any]]
    rows: type[serializers.Serializer[Any]]
    read: Reader
    words: bool = False
    rows_per_piece: int | None = None
    kept_for: timedelta = exports.KEPT_FOR

    def may_have(self, *, rights: frozenset[Scope], workspace: Workspace, by: Actor) -> bool:
        """Whether someone with these rights may have such a file."""
        if self.scope not in rights:
            return False
        return not self.words or promptlogging.may_read(workspace=workspace, by=by)


def _audit(*, workspace: Workspace, query: Mapping[str, Any], wanted: Wanted) -> Page:
    found = narrowed(audit.events(workspace=workspace), query)
    return Page(*pagination.by_time(found, wanted))


def _transactions(*, workspace: Workspace, query: Mapping[str, Any], wanted: Wanted) -> Page:
    now = timezone.now()
    return statement.read(workspace=workspace, asset=query["asset"], wanted=wanted, now=now)


KINDS: Final = {
    "logs": Kind(Scope.USAGE_READ, LogFilter, LogSerializer, logs.read),
    "usage": Kind(Scope.USAGE_READ, UsageFilter, UsageSerializer, read_usage),
    "transactions": Kind(
        Scope.BILLING_READ, TransactionFilter, TransactionSerializer, _transactions
    ),
    "audit_events": Kind(Scope.AUDIT_READ, AuditFilter, AuditEventSerializer, _audit),
    # Sooner gone than other files, as it holds what is to go sooner.
    prompts.EXPORT: Kind(
        Scope.AUDIT_READ,
        PromptFilter,
        PromptSerializer,
        prompts.page,
        words=True,
        rows_per_piece=10,
        kept_for=timedelta(days=1),
    ),
}


def filter_of(kind: str, query: Mapping[str, Any]) -> Mapping[str, Any]:
    """A list's filter, read as the list itself reads it.

    :raises rest_framework.serializers.ValidationError: a field that is wrong or not of a filter
    """
    given = {name: value for name, value in query.items() if name not in OF_PAGES}
    bound = KINDS[kind].query(data=given)
    wrong = {name: ["This is no filter."] for name in query if name in OF_PAGES}
    if not bound.is_valid() or wrong:
        raise serializers.ValidationError({"filter": {**bound.errors, **wrong}})
    found: Mapping[str, Any] = bound.validated_data
    return {name: value for name, value in found.items() if name not in OF_PAGES}


def expected(kind: str, query: Mapping[str, Any], *, workspace: Workspace) -> int | None:
    """How many rows there will be, where that is known without counting them."""
    return logs.expected(workspace=workspace, query=query) if kind == "logs" else None


def read_piece(export: Export) -> Piece:
    """The next lines of a file."""
    kind = KINDS[export.kind]
    rows = kind.rows()
    wanted = Wanted(limit=kind.rows_per_piece or ROWS_PER_PIECE, after=export.position)
    query = filter_of(export.kind, export.query)
    page = kind.read(workspace=export.workspace, query=query, wanted=wanted)
    names = columns(rows)
    head = [names] if export.pieces == 0 else []
    shown = [csvtext.flat(rows.to_representation(row), names) for row in page.rows]
    return Piece(text=csvtext.lines([*head, *shown]), rows=len(shown), next=page.next)


def build(*, public_id: str) -> bool:
    """Write some pieces of a file; return whether there is more to write."""
    for _ in range(PIECES_PER_RUN):
        if not exports.write_piece(public_id=public_id, read=read_piece):
            return False
    return True

"""Exports: asked for, watched, downloaded, thrown away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import transaction
from django.http import StreamingHttpResponse
from django.utils import timezone
from rest_framework import serializers

from accounts import promptlogging
from accounts.actors import Actor
from accounts.api import MEMBER, Call, Endpoint, Page, Strict, operation
from accounts.errors import Forbidden, Invalid, Missing
from common import pagination
from proxy import api_exportkinds, exports, tasks
from proxy.api_exportkinds import KINDS
from proxy.models import Export


class ExportSerializer(serializers.Serializer[Any]):
    """One file; ``percent`` is null where nobody knows how long it will be."""

    id = serializers.CharField(source="public_id")
    kind = serializers.ChoiceField(choices=list(KINDS))
    filter = serializers.DictField(source="query")
    status = serializers.ChoiceField(choices=Export.Status.values)
    rows = serializers.IntegerField()
    bytes = serializers.IntegerField()
    percent = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()

    def get_percent(self, row: Export) -> int | None:
        """How much of it is written."""
        return exports.percent(row)


class NewExportSerializer(Strict):
    """A file to build."""

    kind = serializers.ChoiceField(choices=list(KINDS))
    filter = serializers.DictField(
        child=serializers.CharField(max_length=200, allow_blank=True),
        required=False,
        help_text="What the list of that kind takes as its query, without paging.",
    )


class ExportsView(Endpoint):
    """``/exports``"""

    @operation(name="list_exports", access=MEMBER, answer=ExportSerializer, paged=True)
    def get(self, call: Call) -> Page:
        """The files of the workspace that the caller may read."""
        kinds = [name for name in KINDS if _may(call, name)]
        found = Export.objects.filter(
            workspace=call.workspace, kind__in=kinds, expires_at__gt=timezone.now()
        )
        return Page(*pagination.by_id(found, call.page))

    @operation(
        name="create_export",
        access=MEMBER,
        body=NewExportSerializer,
        answer=ExportSerializer,
        status=202,
        once=True,
    )
    def post(self, call: Call) -> Export:
        """Have a file built of all that a filter finds; it is kept for a week."""
        kind = call.body["kind"]
        _require(call, kind)
        given = dict(call.body.get("filter", {}))
        query = api_exportkinds.filter_of(kind, given)
        export = exports.create(
            workspace=call.workspace,
            kind=kind,
            query=given,
            rows_expected=api_exportkinds.expected(kind, query, workspace=call.workspace),
            by=call.by,
            kept_for=KINDS[kind].kept_for,
        )
        transaction.on_commit(lambda: tasks.build_export.delay(export.public_id), robust=True)
        return export


class ExportView(Endpoint):
    """``/exports/{export_id}``"""

    @operation(name="get_export", access=MEMBER, answer=ExportSerializer)
    def get(self, call: Call, export_id: str) -> Export:
        """How far a file has come."""
        return _export(call, export_id)

    @operation(name="delete_export", access=MEMBER, status=204)
    def delete(self, call: Call, export_id: str) -> None:
        """Throw a file away."""
        exports.delete(export=_export(call, export_id), by=call.by)


class ExportFileView(Endpoint):
    """``/exports/{export_id}/file``"""

    @operation(name="download_export", access=MEMBER, file=True)
    def get(self, call: Call, export_id: str) -> StreamingHttpResponse:
        """The file, once it is built."""
        export = _export(call, export_id)
        return file_of(call.request, export, by=call.by)


def file_of(request: object, export: Export, *, by: Actor) -> StreamingHttpResponse:
    """
    A file, piece after piece; who reads words is written down.

    :raises Invalid: it is not built
    """
    if export.status != Export.Status.COMPLETED:
        raise Invalid(f"The file is {export.status}.")
    if KINDS[export.kind].words:
        exports.note_read(export=export, by=by)
    pieces = exports.texts(export)
    return StreamingHttpResponse(
        _asynchronous(pieces) if isinstance(request, ASGIRequest) else pieces,
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{export.kind}.csv"',
            "Content-Length": str(export.bytes),
        },
    )


async def _asynchronous(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    def following() -> bytes | None:
        return next(pieces, None)

    while (piece := await sync_to_async(following)()) is not None:
        yield piece


def _require(call: Call, kind: str) -> None:
    scope = KINDS[kind].scope
    if scope not in call.caller.rights:
        raise Forbidden(f"Exporting {kind} needs the scope '{scope}'.", param="kind")
    if KINDS[kind].words:
        promptlogging.require_reader(workspace=call.workspace, by=call.by)


def _may(call: Call, kind: str) -> bool:
    rights = call.caller.rights
    return KINDS[kind].may_have(rights=rights, workspace=call.workspace, by=call.by)


def _export(call: Call, export_id: str) -> Export:
    found = Export.objects.filter(
        workspace=call.workspace, public_id=export_id, expires_at__gt=timezone.now()
    )
    export = found.first()
    if export is None or not _may(call, export.kind):
        raise Missing("There is no such export in this workspace.")
    return export

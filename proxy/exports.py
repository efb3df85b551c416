"""
Files of rows, built by a worker: one piece per transaction, so that it can be killed anywhere.

A piece, and where the next one begins, are written in one commit under the row's lock: two
workers at one file take turns and repeat nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actors import Actor
from accounts.errors import Invalid
from accounts.models import Workspace
from common import crypto
from proxy.models import Export, ExportPiece

KEPT_FOR: Final = timedelta(days=7)
MOST_PENDING: Final = 5
STALE_AFTER: Final = timedelta(minutes=2)
MOST_DELETED: Final = 100


@dataclass(frozen=True, slots=True)
class Piece:
    """The next lines of a file, and where it goes on; None at its end."""

    text: str
    rows: int
    next: Any


Read = Callable[[Export], Piece]


@transaction.atomic
def create(
    *,
    workspace: Workspace,
    kind: str,
    query: dict[str, str],
    rows_expected: int | None,
    by: Actor,
    kept_for: timedelta = KEPT_FOR,
) -> Export:
    """
    Ask for a file.

    :raises Invalid: too many of the workspace's files are being built
    """
    Workspace.objects.select_for_update(no_key=True).get(pk=workspace.pk)
    pending = Export.objects.filter(workspace=workspace, status=Export.Status.PENDING)
    if pending.count() >= MOST_PENDING:
        words = _("At most %(most)d exports are built at once. Wait for one.")
        raise Invalid(words % {"most": MOST_PENDING})
    export = Export.objects.create(
        workspace=workspace,
        kind=kind,
        query=query,
        rows_expected=rows_expected,
        expires_at=timezone.now() + kept_for,
    )
    audit.record(
        action="export.created",
        by=by,
        target=audit.Target(export.public_id, kind),
        workspaces=[workspace],
        after={"kind": kind, "query": query},
    )
    export.refresh_from_db()
    return export


@transaction.atomic
def delete(*, export: Export, by: Actor) -> None:
    """Throw a file away."""
    audit.record(
        action="export.deleted",
        by=by,
        target=audit.Target(export.public_id, export.kind),
        workspaces=[export.workspace_id],
        before={"kind": export.kind},
    )
    export.delete()


@transaction.atomic
def note_read(*, export: Export, by: Actor) -> None:
    """Write down who read a file."""
    target = audit.Target(export.public_id, export.kind)
    audit.record(action="export.read", by=by, target=target, workspaces=[export.workspace_id])


@transaction.atomic
def write_piece(*, public_id: str, read: Read) -> bool:
    """Write the next piece of a file; return whether there is more to write."""
    found = Export.objects.select_for_update(of=("self",)).select_related("workspace__tier")
    export = found.filter(public_id=public_id, status=Export.Status.PENDING).first()
    if export is None:
        return False
    piece = read(export)
    plain = piece.text.encode()
    sealed, key_id = crypto.seal(plain)
    ExportPiece.objects.create(export=export, n=export.pieces, sealed=sealed, sealed_key_id=key_id)
    export.pieces += 1
    export.rows += piece.rows
    export.bytes += len(plain)
    export.position = piece.next
    export.written_at = timezone.now()
    if piece.next is None:
        export.status = Export.Status.COMPLETED
    export.save()
    return piece.next is not None


def percent(export: Export) -> int | None:
    """How much of a file is written; None where nobody knows how long it will be."""
    if export.status == Export.Status.COMPLETED:
        return 100
    expected = export.rows_expected
    return min(99, export.rows * 100 // expected) if expected else None


def fail(*, public_id: str) -> None:
    """Give a file up; what there is of it is not shown."""
    Export.objects.filter(public_id=public_id, status=Export.Status.PENDING).update(
        status=Export.Status.FAILED
    )


def texts(export: Export) -> Iterator[bytes]:
    """The file, piece after piece.

    :raises common.crypto.UnreadableSecret: its sealing key is not configured any more
    """
    for n in range(export.pieces):
        piece = ExportPiece.objects.get(export=export, n=n)
        yield crypto.unseal(bytes(piece.sealed), piece.sealed_key_id)


def waiting(*, now: datetime) -> list[str]:
    """The files that no worker has written at for a while."""
    pending = Export.objects.filter(
        status=Export.Status.PENDING, written_at__lt=now - STALE_AFTER, expires_at__gt=now
    )
    return list(pending.order_by("written_at").values_list("public_id", flat=True)[:MOST_DELETED])


def delete_expired(*, now: datetime) -> int:
    """Delete files whose time is over; return how many."""
    old = Export.objects.filter(expires_at__lte=now).order_by("expires_at")
    chosen = list(old.values_list("pk", flat=True)[:MOST_DELETED])
    Export.objects.filter(pk__in=chosen).delete()
    return len(chosen)

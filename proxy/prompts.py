"""
The words that workspaces chose to keep: read by their own people, gone after their time.

How long they are kept is asked of the workspace each time: a shorter time holds at once, also
for what is kept already. What is to go sooner, because the keeping was switched off or a key or
workspace ended, is never read again and deleted in batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from django.conf import settings
from django.db import connection, transaction
from django.utils.translation import gettext as _
from msgspec import Struct

from accounts import promptlogging
from accounts.actors import Actor
from accounts.errors import Missing
from accounts.models import ApiKey, Workspace
from common import crypto, ids
from common.crypto import UnreadableSecret
from common.pagination import Page, Wanted
from proxy.models import Export, PromptErasure
from proxy.transcripts import Words

log = structlog.get_logger(__name__)

BATCH: Final = 1000
MOST_BATCHES: Final = 50
EXPORT: Final = "prompts"

READABLE: Final = """
p.workspace_id = %s and p.created_at > clock_timestamp() - make_interval(days => %s)
and not exists (select from proxy_prompterasure e where p.created_at <= e.before
                and (e.workspace_id = p.workspace_id or e.key_id = p.key_id))
"""
FIND: Final = f"""
select p.id, k.public_id, p.created_at, p.sealed, p.sealed_key_id
from proxy_promptlog p join accounts_apikey k on k.id = p.key_id
where p.id = %s and {READABLE}
"""  # noqa: S608 - made of constants
IS_KEPT: Final = f"""
select 1 from proxy_promptlog p where p.id = %s and {READABLE}
"""  # noqa: S608 - made of constants
LIST: Final = f"""
select p.id, k.public_id, p.created_at, p.sealed, p.sealed_key_id
from proxy_promptlog p join accounts_apikey k on k.id = p.key_id
where {READABLE}
  and (%s::timestamptz is null or p.created_at >= %s)
  and (%s::timestamptz is null or p.created_at < %s)
  and (%s::text is null or k.public_id = %s)
  and (%s::timestamptz is null or (p.created_at, p.id) < (%s, %s::uuid))
order by p.created_at desc, p.id desc limit %s
"""  # noqa: S608 - made of constants
# Each workspace that has any, by one look at the index for each.
EXPIRE: Final = """
with recursive place (id) as (
    select min(workspace_id) from proxy_promptlog
    union all
    select (select min(p.workspace_id) from proxy_promptlog p where p.workspace_id > place.id)
    from place where place.id is not null
)
delete from proxy_promptlog where id in (
    select old.id from place left join accounts_workspace w on w.id = place.id
    cross join lateral (
        select p.id from proxy_promptlog p
        where p.workspace_id = place.id and p.created_at
              <= clock_timestamp() - make_interval(days => least(coalesce(w.prompt_days, 0), %s))
        order by p.created_at limit %s) old
    limit %s)
"""
ERASE: Final = """
delete from proxy_promptlog where id in (
    select id from proxy_promptlog
    where {column} = %s and created_at <= %s order by created_at limit %s)
"""
DONE: Final = """
delete from proxy_prompterasure e where e.id = %s and not exists (
    select from proxy_promptlog p where p.created_at <= e.before
    and (p.workspace_id = e.workspace_id or p.key_id = e.key_id))
"""


class Kept(Struct, frozen=True):
    """The words of one call; none where they cannot be unsealed any more."""

    id: UUID
    key_id: str
    created_at: datetime
    expires_at: datetime
    words: Words | None


@transaction.atomic
def read(*, request_id: UUID, workspace: Workspace, by: Actor) -> Kept:
    """
    Return the words of a call, and write down who read them.

    :raises Forbidden: not theirs to read
    :raises Missing: none are kept
    """
    promptlogging.require_reader(workspace=workspace, by=by)
    rows = _rows(FIND, (request_id, *_readable(workspace)))
    if not rows:
        raise Missing(_("No prompt of this request is kept."))
    name = ids.form("req_", request_id)
    promptlogging.note_read(request_id=name, workspace=workspace, by=by)
    return _kept(rows[0], workspace)


def is_kept(*, request_id: UUID, workspace: Workspace) -> bool:
    """Tell whether the words of a call are kept."""
    return bool(_rows(IS_KEPT, (request_id, *_readable(workspace))))


def page(*, workspace: Workspace, query: Mapping[str, Any], wanted: Wanted) -> Page:
    """Return the words of a workspace's calls, the newest first; for its own people's files."""
    since, until, key_id = query.get("since"), query.get("until"), query.get("key_id")
    moment, last = wanted.after or (None, None)
    bounds = (since, since, until, until, key_id, key_id, moment, moment, last)
    rows = _rows(LIST, (*_readable(workspace), *bounds, wanted.limit + 1))
    found = [_kept(row, workspace) for row in rows[: wanted.limit]]
    if len(rows) <= wanted.limit:
        return Page(found)
    return Page(found, [found[-1].created_at.isoformat(), str(found[-1].id)])


def forget(workspace: Workspace | None, key: ApiKey | None) -> None:
    """Delete all words of a workspace's or a key's calls, and the files that were made of them."""
    column, pk = ("workspace_id", workspace.pk) if workspace else ("key_id", key and key.pk)
    files = Export.objects.filter(kind=EXPORT)
    if workspace is not None:
        files.filter(workspace=workspace).delete()
    else:
        files.filter(workspace__key_workspaces__key=key).delete()
    [(now,)] = _rows("select clock_timestamp()", ())
    if _deleted(ERASE.format(column=column), (pk, now, BATCH)) == BATCH:
        PromptErasure.objects.create(**{column: pk, "before": now})


def tidy() -> int:
    """Delete what is to go and what is past its time, in batches; return how many."""
    gone = sum(_finish(erasure) for erasure in PromptErasure.objects.order_by("pk")[:BATCH])
    most = (settings.PROMPT_LOG_MAX_DAYS, BATCH, BATCH)
    for _batch in range(MOST_BATCHES):
        deleted = _deleted(EXPIRE, most)
        gone += deleted
        if deleted < BATCH:
            break
    return gone


def _finish(erasure: PromptErasure) -> int:
    column, pk = ("workspace_id", erasure.workspace_id)
    if pk is None:
        column, pk = ("key_id", erasure.key_id)
    gone = 0
    for _batch in range(MOST_BATCHES):
        deleted = _deleted(ERASE.format(column=column), (pk, erasure.before, BATCH))
        gone += deleted
        if deleted < BATCH:
            _deleted(DONE, (erasure.pk,))
            break
    return gone


def _readable(workspace: Workspace) -> tuple[int, int]:
    return workspace.pk, promptlogging.days(workspace)


def _kept(row: tuple[Any, ...], workspace: Workspace) -> Kept:
    id_, key_id, created_at, sealed, sealed_by = row
    words = None
    try:
        words = msgspec.json.decode(crypto.unseal(bytes(sealed), sealed_by), type=Words)
    except UnreadableSecret as error:
        log.error("A prompt cannot be read", id=ids.form("req_", id_), error=str(error))
    expires_at = created_at + timedelta(days=promptlogging.days(workspace))
    return Kept(id_, key_id, created_at, expires_at, words)


def _rows(query: str, parameters: tuple[Any, ...]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return list(cursor.fetchall())


def _deleted(statement: str, parameters: tuple[Any, ...]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)

"""
Keys under an older pepper, hashed anew under the current one when they are used.

The text of a key is known only while somebody presents it. Moved are only keys under the pepper
that the database has on record: while processes are restarted one after the other, those that
still write with the old pepper move nothing back. The row is changed once, whoever asks; one that
is locked is left for the key's next use.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.db import connection

from accounts import keytext
from accounts.keyrecord import KeyRecord

REHASH: Final = """
with due as (
    select k.id, given.digest
    from unnest(%s::bigint[], %s::text[], %s::bytea[]) given (id, pepper_id, digest)
    join accounts_apikey k on k.id = given.id and k.pepper_id = given.pepper_id
    join accounts_secretfingerprint recorded
        on recorded.id = 1 and recorded.pepper_id = k.pepper_id
    where k.deleted_at is null
    order by k.id
    for update of k skip locked
)
update accounts_apikey k set digest = due.digest, pepper_id = %s
from due where k.id = due.id
returning k.id
"""


@dataclass(frozen=True, slots=True)
class Move:
    """A key, the pepper it is under, and its digest under the current one."""

    key_id: int
    pepper_id: str
    digest: bytes


def move_of(*, text: str, record: KeyRecord) -> Move | None:
    """What there is to do for a key that was just presented; mostly nothing."""
    if record.pepper_id in ("", next(iter(settings.KEY_PEPPERS))):
        return None
    _, digest = keytext.current_digest(text, peppers=settings.KEY_PEPPERS)
    return Move(record.id, record.pepper_id, digest)


def parameters(moves: Collection[Move]) -> tuple[Any, ...]:
    """The parameters of REHASH, over whichever connection."""
    return (
        [move.key_id for move in moves],
        [move.pepper_id for move in moves],
        [move.digest for move in moves],
        next(iter(settings.KEY_PEPPERS)),
    )


def on_use(*, text: str, record: KeyRecord) -> bool:
    """Hash a presented key anew where it has to be; tell whether it was."""
    move = move_of(text=text, record=record)
    if move is None:
        return False
    with connection.cursor() as cursor:
        cursor.execute(REHASH, parameters([move]))
        return cursor.fetchone() is not None

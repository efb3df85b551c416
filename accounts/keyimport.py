"""
Keys of another service, so that an operator can move its customers without new keys.

A file is either one key per line, or CSV with a first line that names its columns: key and any
of name, workspace, owner (an email address) and expires_at. Keys are hashed at once; no
message ever repeats one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import keylimits, keyrights, keystore, keytext, people, workspaces
from accounts.errors import Invalid, Refused
from accounts.models import ApiKey, ServiceAccount, User, Workspace
from accounts.scopes import EITHER, INFERENCE, Role, Scope

COLUMNS: Final = frozenset({"key", "name", "workspace", "owner", "expires_at"})
DEFAULT_SCOPES: Final = INFERENCE | EITHER
SERVICE_ACCOUNT: Final = "imported"
MIN_LENGTH: Final = 16
MAX_LENGTH: Final = 256


@dataclass(frozen=True, slots=True)
class Row:
    """One key of the file, as written there."""

    line: int
    key: str
    name: str = ""
    workspace: str = ""
    owner: str = ""
    expires_at: str = ""


@dataclass(frozen=True, slots=True)
class Imported:
    """How many keys were new and how many were here before."""

    added: int
    already: int


def read(lines: Iterable[str]) -> list[Row]:
    """The rows of a file.

    :raises Invalid: a column that does not exist, or too many fields on a line
    """
    rows = list(csv.reader(line for line in lines if line.strip()))
    if not rows:
        return []
    header = [field.strip() for field in rows[0]]
    if "key" not in header:
        header, body, first = ["key", "name"], rows, 1
    else:
        body, first = rows[1:], 2
    unknown = sorted(set(header) - COLUMNS)
    if unknown:
        raise Invalid(f"Unknown column {unknown[0]!r}; use {', '.join(sorted(COLUMNS))}.")
    return [_row(number, header, fields) for number, fields in enumerate(body, start=first)]


def _row(number: int, header: list[str], fields: list[str]) -> Row:
    if len(fields) > len(header):
        raise Invalid(f"Line {number} has more fields than columns.")
    values = {name: value.strip() for name, value in zip(header, fields, strict=False)}
    return Row(line=number, **values)


@transaction.atomic
def import_keys(
    *,
    rows: Iterable[Row],
    workspace: Workspace | None = None,
    owner: User | None = None,
    wanted: Iterable[str] = DEFAULT_SCOPES,
) -> Imported:
    """Store every key of a file, or none; a key that is here already stays as it is.

    :raises Invalid: a row that cannot be taken, named by its number
    """
    checked = keystore.proved_scopes(wanted)
    added = already = 0
    for row in rows:
        try:
            new = _import(row, workspace=workspace, owner=owner, wanted=checked)
        except Refused as error:
            raise Invalid(f"Line {row.line}: {error.message}") from None
        added, already = added + new, already + (not new)
    return Imported(added=added, already=already)


def _import(
    row: Row, *, workspace: Workspace | None, owner: User | None, wanted: frozenset[Scope]
) -> bool:
    _check_text(row.key)
    digests = keytext.digests(row.key, peppers=settings.KEY_PEPPERS)
    if ApiKey.objects.filter(digest__in=digests).exists():
        return False
    place = workspaces.named(text=row.workspace) if row.workspace else workspace
    if place is None:
        raise Invalid("Name a workspace, in the file or with --workspace.")
    person = people.by_email(email=row.owner) if row.owner else owner
    holder = person or _service_account(place)
    carried = keystore.open_workspaces([place])
    keyrights.require_to_make(by=None, owner=holder, carried=carried, wanted=wanted)
    terms = keystore.Terms(
        name=workspaces.clean_name(row.name or "Imported"),
        scopes=wanted,
        models=None,
        rpm=None,
        ips=[],
        expires_at=keylimits.expiry(_moment(row.expires_at), now=timezone.now()),
    )
    kind = ApiKey.Kind.IMPORTED
    keystore.store(text=row.key, owner=holder, carried=carried, terms=terms, kind=kind, by=None)
    return True


def _check_text(text: str) -> None:
    if not MIN_LENGTH <= len(text) <= MAX_LENGTH:
        raise Invalid(f"A key has {MIN_LENGTH} to {MAX_LENGTH} characters.")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise Invalid("A key has visible ASCII characters only.")


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"{text!r} is no date; write 2030-01-31 or 2030-01-31T00:00:00Z.") from None
    return moment if moment.tzinfo else timezone.make_aware(moment)


def _service_account(workspace: Workspace) -> ServiceAccount:
    account, _ = ServiceAccount.objects.get_or_create(
        workspace=workspace, name=SERVICE_ACCOUNT, defaults={"role": Role.DEVELOPER}
    )
    return account


def any_imported() -> bool:
    """Whether a key without our checksum may be a key all the same."""
    return ApiKey.objects.filter(kind=ApiKey.Kind.IMPORTED, deleted_at=None).exists()

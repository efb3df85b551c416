"""
What a gateway knows about a key: one consistent reading, by one statement.

`version` is the truth that copies are checked against: the database raises it whenever
anything in the record changes (accounts/sql/keys.sql). Only expiry passes without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

import msgspec
from django.conf import settings
from django.db import connection

from accounts import keytext, scopes

# One statement, so that all parts are of the same moment. The workspaces are text, because
# connections differ in what they make of jsonb.
FIND: Final = """
select k.id, k.public_id, k.version, k.kind, k.scopes, k.models, k.rpm, k.ips, k.expires_at,
       k.disabled_at is not null, k.deleted_at is not null,
       coalesce(u.is_active, s.disabled_at is null), k.user_id, k.service_account_id,
       (select coalesce(jsonb_agg(jsonb_build_object(
                   'id', w.id, 'public_id', w.public_id, 'external_id', w.external_id,
                   'role', coalesce(m.role, s.role), 'rpm', coalesce(k.rpm, t.default_rpm),
                   'closed', w.closed_at is not null,
                   'prompt_logging', w.prompt_logging and k.prompt_logging)
                   order by w.id), '[]')::text
        from accounts_apikeyworkspace kw
        join accounts_workspace w on w.id = kw.workspace_id
        join accounts_tier t on t.id = w.tier_id
        left join accounts_membership m on m.user_id = k.user_id and m.workspace_id = w.id
        where kw.key_id = k.id and (m.id is not null or s.workspace_id = w.id)),
       k.tpm, k.max_streams, k.pepper_id
from accounts_apikey k
left join accounts_user u on u.id = k.user_id
left join accounts_serviceaccount s on s.id = k.service_account_id
where k.digest = any (%s)
"""


class WorkspaceRow(msgspec.Struct, frozen=True):
    """One workspace of a key as the statement gives it."""

    id: int
    public_id: str
    external_id: str | None
    role: str
    rpm: int
    closed: bool
    prompt_logging: bool


@dataclass(frozen=True, slots=True)
class KeyWorkspace:
    """A workspace a key carries, with what the key may do there."""

    id: int
    public_id: str
    external_id: str | None
    role: str
    scopes: frozenset[str]
    rpm: int
    closed: bool
    prompt_logging: bool = False


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """Everything that decides whether a request with this key may go on."""

    id: int
    public_id: str
    version: int
    kind: str
    scopes: frozenset[str]
    models: frozenset[str] | None
    rpm: int | None
    ips: tuple[IPv4Network | IPv6Network, ...]
    expires_at: datetime | None
    disabled: bool
    deleted: bool
    owner_active: bool
    user_id: int | None
    service_account_id: int | None
    workspaces: tuple[KeyWorkspace, ...]
    tpm: int | None = None
    max_streams: int | None = None
    pepper_id: str = ""

    def expired(self, *, now: datetime) -> bool:
        """Whether the key's time is over."""
        return self.expires_at is not None and self.expires_at <= now

    def allows_ip(self, address: str) -> bool:
        """Whether a call may come from this address; without a list from anywhere."""
        if not self.ips:
            return True
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return any(ip in network for network in self.ips)

    def allows_model(self, *names: str) -> bool:
        """Whether one of a model's names is on the key's list; without a list any is."""
        return self.models is None or not self.models.isdisjoint(names)

    def workspace(self, text: str) -> KeyWorkspace | None:
        """The carried workspace with this ws_… id or external id."""
        for workspace in self.workspaces:
            if text in (workspace.public_id, workspace.external_id):
                return workspace
        return None


def find(*, text: str, peppers: Mapping[str, bytes] | None = None) -> KeyRecord | None:
    """The record of a presented key, whatever its state; None for a text that is no key."""
    wanted = digests(text=text, peppers=peppers)
    with connection.cursor() as cursor:
        cursor.execute(FIND, [wanted])
        row = cursor.fetchone()
    return None if row is None else from_row(row)


def digests(*, text: str, peppers: Mapping[str, bytes] | None = None) -> list[bytes]:
    """The one parameter of FIND: the key's digest under each configured pepper."""
    return keytext.digests(text, peppers=settings.KEY_PEPPERS if peppers is None else peppers)


def from_row(row: Sequence[Any]) -> KeyRecord:
    """The record in a row of FIND, read over whichever connection."""
    carried = frozenset(row[4])
    rows = msgspec.json.decode(row[14], type=list[WorkspaceRow])
    return KeyRecord(
        id=row[0],
        public_id=row[1],
        version=row[2],
        kind=row[3],
        scopes=carried,
        models=None if row[5] is None else frozenset(row[5]),
        rpm=row[6],
        ips=tuple(ip_network(text) for text in row[7]),
        expires_at=row[8],
        disabled=row[9],
        deleted=row[10],
        owner_active=row[11],
        user_id=row[12],
        service_account_id=row[13],
        workspaces=tuple(_workspace(workspace, carried) for workspace in rows),
        tpm=row[15],
        max_streams=row[16],
        pepper_id=row[17],
    )


def _workspace(row: WorkspaceRow, carried: frozenset[str]) -> KeyWorkspace:
    return KeyWorkspace(
        id=row.id,
        public_id=row.public_id,
        external_id=row.external_id,
        role=row.role,
        scopes=frozenset(str(scope) for scope in scopes.effective(carried, row.role)),
        rpm=row.rpm,
        closed=row.closed,
        prompt_logging=row.prompt_logging,
    )


def read_version(*, key_id: int) -> int | None:
    """The version of a key now; None when there is no such key."""
    with connection.cursor() as cursor:
        cursor.execute("select version from accounts_apikey where id = %s", [key_id])
        row = cursor.fetchone()
    return None if row is None else row[0]

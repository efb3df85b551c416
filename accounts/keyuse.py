"""
How a key is used: read from the headers, judged by its record, in one of its workspaces.

The gateway and the management API ask the same questions here and refuse in the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from accounts.keyrecord import KeyRecord, KeyWorkspace
from common.errors import ApiError

BAD_KEY: Final = "Invalid API key. Please check your key and try again."


def presented_key(headers: Mapping[bytes, bytes]) -> str:
    """
    Return the key in ``Authorization: Bearer`` or ``X-API-Key``.

    :raises ApiError: none, or two different ones
    """
    bearer = headers.get(b"authorization", b"").decode("latin-1").strip()
    scheme, _, token = bearer.partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    header = headers.get(b"x-api-key", b"").decode("latin-1").strip()
    if token and header and token != header:
        raise ApiError(
            "invalid_parameter",
            "Authorization and X-API-Key carry different keys. Send one of them.",
        )
    if not (token or header):
        raise ApiError(
            "invalid_api_key",
            "No API key was given. Send it as 'Authorization: Bearer <key>'.",
        )
    return token or header


def permitted(
    record: KeyRecord, *, headers: Mapping[bytes, bytes], address: str, scope: str | None
) -> KeyWorkspace:
    """
    Return the workspace in which a key may do what it asks.

    :raises ApiError: 400, 401 or 403 with its reason
    """
    check_state(record, address=address)
    workspace = choose_workspace(record, headers)
    if scope is not None and scope not in workspace.scopes:
        raise ApiError("scope_missing", f"This key does not have the scope {scope!r}.")
    return workspace


def check_state(record: KeyRecord, *, address: str) -> None:
    """
    Refuse a key that is not in use.

    :raises ApiError: 401 deleted, disabled or expired; 403 for another address
    """
    if record.deleted or not record.owner_active:
        raise ApiError("invalid_api_key", BAD_KEY)
    if record.disabled:
        raise ApiError("key_disabled", "This API key is disabled. Enable it in the dashboard.")
    if record.expired(now=datetime.now(tz=UTC)):
        raise ApiError("key_expired", "This API key has expired. Create a new one.")
    if not record.allows_ip(address):
        raise ApiError("ip_not_allowed", f"This API key may not be used from {address}.")


def choose_workspace(record: KeyRecord, headers: Mapping[bytes, bytes]) -> KeyWorkspace:
    """
    Return the workspace a call acts in.

    :raises ApiError: 400 several and none named; 403 one that the key does not carry
    """
    wanted = headers.get(b"x-workspace-id", b"").decode("latin-1").strip()
    if wanted:
        workspace = record.workspace(wanted)
        if workspace is None or workspace.closed:
            raise ApiError("workspace_forbidden", "This key does not carry that workspace.")
        return workspace
    carried = [workspace for workspace in record.workspaces if not workspace.closed]
    if not carried:
        raise ApiError("workspace_forbidden", "This key carries no workspace any more.")
    if len(carried) > 1:
        raise ApiError(
            "workspace_required",
            "This key carries several workspaces. Name one in the header x-workspace-id.",
            param="x-workspace-id",
        )
    return carried[0]

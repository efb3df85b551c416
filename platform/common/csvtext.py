"""Rows as CSV (RFC 4180) that a spreadsheet shows and never runs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

NUMBER: Final = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")
# https://owasp.org/www-community/attacks/CSV_Injection
RISKY: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def lines(rows: Iterable[Sequence[Any]]) -> str:
    """Some rows as text."""
    out = io.StringIO()
    csv.writer(out).writerows([cell(value) for value in row] for row in rows)
    return out.getvalue()


def cell(value: Any) -> str:
    """One value; an object is JSON, and text that would be taken for a formula is quoted."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        # As in JSON: RFC 3339, with Z for UTC.
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, list | tuple):
        return cell("; ".join(cell(each) for each in value))
    if isinstance(value, Mapping):
        return msgspec.json.encode(value).decode()
    text = str(value)
    if text.startswith(RISKY) and not NUMBER.fullmatch(text):
        return "'" + text
    return text


def flat(row: Mapping[str, Any], columns: Sequence[str]) -> list[Any]:
    """The values of a row by dotted names of columns."""
    return [_reach(row, column) for column in columns]


def _reach(row: Any, column: str) -> Any:
    for name in column.split("."):
        if not isinstance(row, Mapping):
            return None
        row = row.get(name)
    return row

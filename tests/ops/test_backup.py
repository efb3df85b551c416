"""A backup that is made under load, brought back on an empty server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import ApiKey
from embedded import throwaway
from proxy import backups
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayProcess
from tests.fakes.upstream import FakeUpstream, Gate
from tests.proxy.conftest import (  # noqa: F401 - fixtures
    Shop,
    add_model,
    provider,
    shop,
    upstream,
)

pytestmark = pytest.mark.django_db(transaction=True)
EMPTY = "tollgate_restored"


@pytest.fixture
def empty_url() -> Iterator[str]:
    """Give the address of a new database."""
    told = connection.settings_dict
    server = f"{told['USER']}:{told['PASSWORD']}@{told['HOST']}:{told['PORT']}"
    name = f"{EMPTY}_{told['NAME']}"
    with psycopg.connect(f"postgres://{server}/postgres", autocommit=True) as admin:
        admin.execute(f'drop database if exists "{name}" with (force)')
        admin.execute(f'create database "{name}"')
        yield f"postgres://{server}/{name}"
        admin.execute(f'drop database if exists "{name}" with (force)')


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a management command as an operator does."""
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-W", "ignore", "manage.py", *arguments],
        cwd=root,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def call(url: str, secret: str) -> int:
    """Make one call; return its status."""
    return httpx.post(
        f"{url}/v1/chat/completions",
        headers={"authorization": f"Bearer {secret}"},
        json={"model": "test/tokens", "messages": [{"role": "user", "content": "Hi"}]},
        trust_env=False,
        timeout=60,
    ).status_code


@pytest.fixture
def other_machine(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Give a machine with nothing on it but an empty PostgreSQL and an empty Redis."""
    with throwaway.servers() as urls:
        (tmp_path / "other").mkdir(mode=0o700)
        yield {
            "DATABASE_URL": urls["DATABASE_URL"],
            "REDIS_URL": urls["REDIS_URL"],
            "DATA_DIR": str(tmp_path / "other"),
        }


def test_a_backup_under_load_comes_back_on_an_empty_machine_with_right_books(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
    other_machine: dict[str, str],
    tmp_path: Path,
) -> None:
    ApiKey.objects.update(rpm=100_000)
    opened = threading.Event()
    upstream.script([Gate(opened), *fake.completion("Hello")], *[fake.completion("Hello")] * 2)
    over, statuses = threading.Event(), []

    def load() -> None:
        while not over.is_set():
            statuses.append(call(gateway.url, shop.secret))

    with GatewayProcess() as gateway:
        # One is under way from before to after; the others come and go.
        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
            upstream.wait_for_calls(1)
        try:
            file = tmp_path / "tollgate.backup"
            made = backups.make(path=file)
        finally:
            over.set()
            opened.set()
            for thread in threads:
                thread.join()
    assert len(statuses) > 4
    assert set(statuses) == {200}
    assert made.tables > 20
    assert file.stat().st_mode & 0o077 == 0

    url = other_machine["DATABASE_URL"]
    restored = manage("restore", str(file), SILENT_AFTER_S="0", HEARTBEAT_S="0", **other_machine)
    assert restored.returncode == 0, restored.stdout + restored.stderr
    verified = manage("verify_ledger", "--full", "--json", **other_machine)
    report = json.loads(verified.stdout)
    assert report["ok"], report
    with psycopg.connect(url) as there:
        (balance,) = there.execute(
            "select credits_posted - debits_posted from billing_account"
            " where workspace_id = %s and kind = 'paid' and asset = 'USD'",
            [shop.workspace.pk],
        ).fetchone() or (0,)
        (holds,) = there.execute("select count(*) from billing_hold").fetchone() or (0,)
        (cut,) = there.execute(
            "select count(*) from billing_usage where state <> 'settled'"
        ).fetchone() or (0,)
    assert balance >= shop.balance.paid, "what came after the backup is not in it"
    assert (holds, cut > 0) == (0, True), "what was open in the copy was closed on evidence"
    with GatewayProcess(**other_machine) as there_now:
        assert call(there_now.url, shop.secret) == 200

    again = manage("restore", str(file), **other_machine)
    assert again.returncode == 1
    assert "nothing is overwritten" in again.stderr
    strange = manage(
        "doctor", "--json", **other_machine | {"KEY_PEPPER": "x:" + "QUFB" * 10 + "QUE="}
    )
    assert "another KEY_PEPPER" in strange.stdout


class TestMake:
    def test_overwrites_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "there").write_text("older")
        with pytest.raises(CommandError, match="overwrites nothing"):
            call_command("backup", str(tmp_path / "there"))
        assert (tmp_path / "there").read_text() == "older"

    def test_a_failure_leaves_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match="cannot be written"):
            call_command("backup", str(tmp_path / "missing" / "file"))
        connection.ensure_connection()
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(connection.settings_dict, "PASSWORD", "wrong")
            with pytest.raises(backups.BackupError, match="pg_dump failed"):
                backups.make(path=tmp_path / "file")
        assert list(tmp_path.iterdir()) == []


class TestRestore:
    def test_a_damaged_file_is_refused_before_anything_is_written(
        self, tmp_path: Path, empty_url: str
    ) -> None:
        (tmp_path / "file").write_bytes(b"PGDMP and nothing else")
        refused = manage("restore", str(tmp_path / "file"), DATABASE_URL=empty_url)
        assert refused.returncode == 1
        assert "pg_restore failed" in refused.stderr

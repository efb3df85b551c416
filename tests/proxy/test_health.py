from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from django.db import connection
from pytest_django import Settings

from accounts.models import ApiKey
from billing.models import Alert
from common import ids
from common.redis import client as redis_client
from proxy import health, heartbeats, spool, tasks
from proxy.models import Model, Provider, TaskHeartbeat
from tests.pages import make_key, person

pytestmark = pytest.mark.django_db


def line(name: str) -> health.Line:
    (line,) = health.check_all([name])
    return line


def stored_key(name: str = "alice") -> ApiKey:
    """A living key under the current pepper."""
    return make_key(person(name))


class TestCheckAll:
    @pytest.mark.parametrize(
        "name", ["configuration", "database", "migrations", "keys", "partitions", "redis"]
    )
    def test_a_healthy_installation_is_ok(self, name: str) -> None:
        assert line(name).ok, line(name)

    def test_a_redis_that_is_away_is_told(self, settings: Settings) -> None:
        redis_client.cache_clear()
        settings.REDIS_URL = "redis://127.0.0.1:1/0"
        try:
            found = line("redis")
        finally:
            redis_client.cache_clear()
        assert not found.ok
        assert "REDIS_URL" in found.todo

    def test_a_missing_table_asks_for_migrations(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("alter table proxy_taskheartbeat rename to elsewhere")
        found = line("beat")
        assert not found.ok
        assert "migrate" in found.todo


class TestConfiguration:
    def test_equal_secrets_are_told(self, settings: Settings) -> None:
        key = os.urandom(32)
        settings.KEY_PEPPERS = {"a": key}
        settings.ENCRYPTION_KEYS = {"b": key}
        found = line("configuration")
        assert not found.ok
        assert "equal" in found.message

    def test_a_file_of_chains_that_cannot_be_read_is_told_before_anybody_pays(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        settings.CHAINS_FILE = str(tmp_path / "nowhere.yaml")
        assert "No such file" in line("configuration").message
        wrong = tmp_path / "chains.yaml"
        wrong.write_text("chains:\n  - rpc: [https://rpc.example/secret-of-ours\nx")
        settings.CHAINS_FILE = str(wrong)
        found = line("configuration")
        assert not found.ok
        assert "line 3" in found.message
        assert "secret-of-ours" not in found.message


class TestKeys:
    def test_another_pepper_is_told(self, settings: Settings) -> None:
        stored_key()
        assert line("keys").ok
        settings.KEY_PEPPERS = {"other": os.urandom(32)}
        found = line("keys")
        assert not found.ok
        assert "KEY_PEPPER" in found.message

    def test_it_says_how_many_keys_still_need_an_older_pepper(self, settings: Settings) -> None:
        name = stored_key().pepper_id
        assert line("keys").ok
        settings.KEY_PEPPERS = {"next": os.urandom(32), **settings.KEY_PEPPERS}
        found = line("keys")
        assert found.ok
        assert f"{name!r}, which 1 keys need" in found.message

    def test_keys_under_a_pepper_that_was_taken_out_too_early_are_told(
        self, settings: Settings
    ) -> None:
        before = dict(settings.KEY_PEPPERS)
        stored_key()
        assert line("keys").ok
        settings.KEY_PEPPERS = {"next": os.urandom(32), **before}
        stored_key("bob")
        settings.KEY_PEPPERS = before
        found = line("keys")
        assert not found.ok
        assert "'next', which 1 keys need" in found.message
        assert found.todo


class TestMonths:
    def test_a_missing_month_is_named(self) -> None:
        day = datetime.now(UTC).date()
        with connection.cursor() as cursor:
            cursor.execute(f"drop table proxy_attempt_{day:%Y_%m}")
        found = line("partitions")
        assert not found.ok
        assert f"proxy_attempt_{day:%Y_%m}" in found.message


class TestBeat:
    def test_it_wants_a_recent_heartbeat(self) -> None:
        assert not line("beat").ok
        heartbeats.beat(name="beat")
        assert line("beat").ok
        TaskHeartbeat.objects.update(at=datetime.now(UTC) - timedelta(minutes=5))
        found = line("beat")
        assert not found.ok
        assert re.search(r" 3\d\d s ago", found.message), found.message


class TestWorker:
    def test_silence_is_told(self) -> None:
        found = line("worker")
        assert not found.ok
        assert "celery -A config worker" in found.todo


class TestSold:
    def test_an_empty_catalogue_is_told(self) -> None:
        assert line("catalogue").message == "Nothing is for sale."

    def test_a_model_that_cannot_be_sold_is_named(self) -> None:
        Model.objects.create(slug="x/y", name="y", owned_by="x", kind="embedding")
        assert "x/y" in line("catalogue").message

    def test_a_provider_whose_key_cannot_be_read_is_named(self, settings: Settings) -> None:
        provider = Provider(slug="closed", kind="openai", base_url="https://example.com")
        provider.set_api_key("x")
        provider.save()
        settings.ENCRYPTION_KEYS = {"other": os.urandom(32)}
        assert "closed" in line("catalogue").message


class TestSettleSpool:
    @pytest.fixture(autouse=True)
    def folder(self, settings: Settings, tmp_path: Path) -> Path:
        settings.SPOOL_DIR = tmp_path / "spool"
        (tmp_path / "spool").mkdir()
        return tmp_path / "spool"

    def wait_for(self, folder: Path, *, age_s: float) -> None:
        entry = spool.Entry(time.time() - age_s, ids.request_id(), msgspec.Raw(b"{}"))
        (folder / f"1{spool.SUFFIX}").write_bytes(spool.line_of(entry))

    def test_what_is_being_booked_is_no_trouble(self, folder: Path) -> None:
        self.wait_for(folder, age_s=5)
        assert line("spool").ok

    def test_what_waits_for_long_is_told_and_logged(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.wait_for(folder, age_s=300)
        found = line("spool")
        assert not found.ok
        assert re.search(r"\b3\d\d s\b", found.message), found.message
        tasks.watch_spool()
        assert {record.levelname for record in caplog.records} == {"CRITICAL"}

    def test_operators_are_told_once_until_it_is_over(self, folder: Path) -> None:
        self.wait_for(folder, age_s=300)
        tasks.watch_spool()
        tasks.watch_spool()
        (alert,) = Alert.objects.filter(kind="spool.trouble")
        assert re.search(r"\b3\d\d s\b", alert.facts["detail"]), alert.facts
        (folder / f"1{spool.SUFFIX}").unlink()
        tasks.watch_spool()
        alert.refresh_from_db()
        assert alert.closed_at is not None

    def test_what_was_refused_is_told(self, folder: Path) -> None:
        (folder / spool.REFUSED).write_text("line\n")
        assert "1 refused" in line("spool").message

    def test_a_folder_that_cannot_be_made_is_told(self, settings: Settings, folder: Path) -> None:
        (folder / "file").touch()
        settings.SPOOL_DIR = folder / "file" / "spool"
        assert "SPOOL_DIR" in line("spool").todo

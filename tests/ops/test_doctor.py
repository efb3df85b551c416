"""Each line of `manage.py doctor`, shown failing once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from common.redis import client as redis_client
from proxy import health, heartbeats
from proxy.models import TaskHeartbeat
from tests.pages import make_key, person

pytestmark = pytest.mark.django_db


class Trouble:
    """Brings each trouble about."""

    def __init__(self, settings: Settings, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.settings = settings
        self.patch = patch
        self.folder = folder

    def configuration(self) -> None:
        self.settings.SECRET_KEY = "short"

    def database(self) -> None:
        self.patch.setattr(health, "OLDEST_POSTGRES", 990000)

    def migrations(self) -> None:
        health._remember_migrated.cache_clear()
        with connection.cursor() as cursor:
            cursor.execute("delete from django_migrations where app = 'proxy'")

    def keys(self) -> None:
        make_key(person("alice"))
        health.check_all(["keys"])
        self.settings.KEY_PEPPERS = {"other": os.urandom(32)}

    def partitions(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"drop table proxy_attempt_{datetime.now(UTC):%Y_%m}")

    def redis(self) -> None:
        client = redis_client()
        told = {"redis_version": "8.2.2", "maxmemory": 1, "maxmemory_policy": "allkeys-lru"}
        self.patch.setattr(client, "info", lambda: told)

    def clock(self) -> None:
        real = time.time
        self.patch.setattr(time, "time", lambda: real() + 60)

    def proxies(self) -> None:
        self.settings.SECURE, self.settings.TRUSTED_PROXIES = True, 0

    def backup(self) -> None:
        heartbeats.beat(name="backup")
        TaskHeartbeat.objects.update(at=datetime.now(UTC) - timedelta(hours=30))

    def worker(self) -> None:
        """None runs in a test."""

    def beat(self) -> None:
        """None runs in a test."""

    def spool(self) -> None:
        (self.folder / "refused").write_text("line\n")
        self.settings.SPOOL_DIR = self.folder

    def catalogue(self) -> None:
        """Nothing is for sale in an empty database."""


@pytest.fixture
def trouble(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Trouble:
    return Trouble(settings, monkeypatch, tmp_path)


@pytest.mark.parametrize("name", list(health.CHECKS))
def test_each_line_fails_and_says_what_to_do(name: str, trouble: Trouble) -> None:
    bring_about: Callable[[], None] = getattr(trouble, name)

    bring_about()
    (line,) = health.check_all([name])

    assert line.name == name
    assert not line.ok
    assert line.message
    assert line.todo


@pytest.mark.parametrize("name", ["clock", "proxies", "backup", "redis"])
def test_each_line_is_well_where_nothing_is_wrong(name: str) -> None:
    (line,) = health.check_all([name])

    assert line.ok, line

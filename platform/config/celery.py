"""The Celery application and its timetable."""

from __future__ import annotations

import os
import threading

from celery import Celery
from celery.signals import (
    beat_init,
    celeryd_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutting_down,
)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# How soon a worker gives the figures of a machine whose gateway has ended.
TAKEN_OVER_WITHIN_S = 5.0

app = Celery("tollgate")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@celeryd_init.connect
@beat_init.connect
def refuse_if_unfit(**kwargs: object) -> None:
    """
    Stop worker and beat where the configuration forbids a start.

    :raises SystemExit: with all problems; Celery swallows any other exception here
    """
    from config import startup

    if problems := startup.problems():
        raise SystemExit("This configuration cannot be started. " + " ".join(problems))


@worker_process_init.connect
def trace_tasks(**kwargs: object) -> None:
    """Trace the tasks of a worker's process, where traces are wanted."""
    from config.traced import is_traced

    if is_traced():
        from config import tracing

        provider = tracing.begin_tasks()
        worker_process_shutdown.connect(lambda **kwargs: provider.shutdown(), weak=False)


_over = threading.Event()


@worker_ready.connect
def give_figures(**kwargs: object) -> None:
    """
    Give the figures of this machine where no gateway does.

    The worker's own process answers, after its children were forked: they count in files of their
    own, and none of them has the address or a connection of the one who answers.
    """
    from django.conf import settings

    if settings.METRICS_PORT:
        _over.clear()
        threading.Thread(target=_keep_open, name="figures", daemon=True).start()


@worker_shutting_down.connect
def give_no_more_figures(**kwargs: object) -> None:
    """Leave the address to another process."""
    _over.set()


def _keep_open() -> None:
    from common import metrics
    from proxy.vitals import Vitals

    endpoint = metrics.Endpoint(Vitals())
    while not _over.is_set():
        endpoint.open()
        _over.wait(TAKEN_OVER_WITHIN_S)
    endpoint.close()

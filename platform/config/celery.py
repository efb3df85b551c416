"""The Celery application and its timetable."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import beat_init, celeryd_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

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

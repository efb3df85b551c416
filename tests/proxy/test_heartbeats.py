from __future__ import annotations

from datetime import timedelta

import pytest

from proxy import heartbeats, tasks
from proxy.models import TaskHeartbeat

pytestmark = pytest.mark.django_db


class TestBeat:
    def test_its_age_starts_again_each_time(self) -> None:
        assert heartbeats.age(name="x") is None
        heartbeats.beat(name="x")
        first = TaskHeartbeat.objects.get(name="x").at
        age = heartbeats.age(name="x")
        assert age is not None
        assert timedelta(0) <= age < timedelta(minutes=1)
        heartbeats.beat(name="x", report={"n": 1})
        again = TaskHeartbeat.objects.get(name="x")
        assert again.at >= first
        assert again.report == {"n": 1}


class TestTasks:
    def test_the_heartbeat_task_leaves_its_trace(self) -> None:
        tasks.heartbeat()
        assert heartbeats.age(name="beat") is not None

    @pytest.mark.django_db(transaction=True)
    def test_the_sweep_task_keeps_its_report(self) -> None:
        tasks.sweep()
        assert TaskHeartbeat.objects.get(name="sweep").report["pending"] == 0


class TestWorkerAnswers:
    def test_nobody_answers_where_nobody_runs(self) -> None:
        assert heartbeats.worker_answers() is False

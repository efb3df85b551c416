"""The status page: measured, not claimed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from billing import tasks
from proxy import heartbeats, status
from proxy.models import GatewayProcess, Incident, TaskHeartbeat
from tests import pages

pytestmark = pytest.mark.django_db


@pytest.fixture
def well() -> None:
    """A gateway and a worker that were heard of just now."""
    GatewayProcess.objects.create(hostname="h", pid=1)
    heartbeats.beat(name="beat")


def text() -> str:
    answer = pages.browser().get("/status")
    assert answer.status_code == 200
    return answer.content.decode()


class TestStatusPage:
    def test_all_is_well(self, well: None) -> None:
        page = text()

        assert 'data-testid="all-work"' in page
        assert 'data-testid="no-incidents"' in page
        assert "not checked yet" in page

    def test_a_silent_gateway_is_told(self, well: None) -> None:
        long_ago = timezone.now() - timedelta(minutes=5)
        GatewayProcess.objects.update(heartbeat_at=long_ago)

        assert 'data-testid="trouble"' in text()

    def test_a_silent_worker_is_told(self, well: None) -> None:
        TaskHeartbeat.objects.update(at=timezone.now() - timedelta(minutes=5))

        assert 'data-testid="trouble"' in text()

    def test_what_staff_writes_is_shown_while_it_lasts(self, well: None) -> None:
        incident = Incident.objects.create(title="Slow <b>answers</b>", text="We look into it.")

        page = text()
        incident.ended_at = timezone.now() + timedelta(seconds=1)
        incident.save()
        later = text()

        assert "Slow &lt;b&gt;answers" in page
        assert 'data-testid="trouble"' in page
        assert 'data-testid="all-work"' in later

    def test_old_incidents_are_forgotten(self, well: None) -> None:
        past = timezone.now() - timedelta(days=20)
        Incident.objects.create(title="Long ago", began_at=past, ended_at=past)

        assert "Long ago" not in text()

    def test_the_books_last_balanced_when_they_were_checked(self, well: None) -> None:
        tasks.verify_ledger()

        noted = TaskHeartbeat.objects.get(name=status.BOOKS)
        assert noted.at.strftime("%Y-%m-%d %H:%M") in text()


class TestNoteBooks:
    def test_books_that_do_not_balance_are_not_noted(self) -> None:
        status.note_books(1)

        assert not TaskHeartbeat.objects.filter(name=status.BOOKS).exists()

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from proxy import health
from tests import staffing

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser() -> Client:
    return Client()


class TestReadyz:
    def test_a_stranger_learns_only_that_we_are_ready(self, browser: Client) -> None:
        response = browser.get("/readyz")
        assert response.status_code == 200
        assert response.json() == {"status": "ok"}
        assert response["Cache-Control"] == "no-store"

    def test_staff_see_each_check(self, browser: Client) -> None:
        staffing.sign_in(browser, staffing.member("s@example.com"))
        body = browser.get("/readyz").json()
        assert list(body["checks"]) == [
            "database",
            "redis",
            "migrations",
            "partitions",
            "worker",
            "beat",
            "spool",
        ]
        assert body["checks"]["database"]["ok"] is True
        # What only waits does not take us out of the load balancer.
        assert body["checks"]["worker"]["ok"] is False
        assert body["status"] == "ok"

    def test_a_customer_sees_no_checks(self, browser: Client) -> None:
        browser.force_login(User.objects.create_user("c@example.com", "a-long-pass"))
        assert browser.get("/readyz").json() == {"status": "ok"}

    def test_without_redis_we_are_not_ready(
        self, browser: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(health.CHECKS, "redis", lambda: health.Line("redis", False, "away"))
        response = browser.get("/readyz")
        assert response.status_code == 503
        assert response.json() == {"status": "unready"}

    def test_what_all_processes_share_can_be_left_out(
        self, browser: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("redis", "database"):
            monkeypatch.setitem(health.CHECKS, name, lambda: health.Line("", False, "away"))
        assert browser.get("/readyz?exclude=redis").status_code == 503
        response = browser.get("/readyz?exclude=redis&exclude=database")
        assert (response.status_code, response.json()) == (200, {"status": "ok"})
        monkeypatch.setitem(health.CHECKS, "migrations", lambda: health.Line("", False, "some"))
        assert browser.get("/readyz?exclude=redis&exclude=database").status_code == 503

    def test_a_check_that_is_none_cannot_be_left_out(self, browser: Client) -> None:
        response = browser.get("/readyz?exclude=redis&exclude=everything")
        assert response.status_code == 400
        assert "not everything" in response.json()["problem"]

    def test_only_reading_is_allowed(self, browser: Client) -> None:
        assert browser.post("/readyz").status_code == 405

"""Webhooks under Settings."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone

from accounts import members, webhooks
from accounts.models import User, WebhookDelivery, WebhookEndpoint, Workspace
from tests import pages

LIST = "/dashboard/settings/webhooks"
URL = "https://hooks.example.com/in"


@pytest.fixture
def endpoint(alice: User, home: Workspace) -> WebhookEndpoint:
    return webhooks.create(workspace=home, url=URL, events=["key.created"], by=alice)[0]


@pytest.fixture
def browser(alice: User) -> Client:
    return pages.browser(alice)


class TestList:
    def test_a_new_one_shows_its_secret_once(self, browser: Client) -> None:
        assert "No webhooks yet" in browser.get(LIST).content.decode()

        answer = browser.post(LIST, {"url": URL, "events": ["key.created", "key.disabled"]})

        made = WebhookEndpoint.objects.get()
        secret = webhooks.secrets_of(made, now=timezone.now())[0]
        assert secret in answer.content.decode()
        for path in (LIST, f"{LIST}/{made.public_id}"):
            text = browser.get(path).content.decode()
            assert URL in text
            assert secret not in text

    def test_what_is_refused_is_said_at_the_field(self, browser: Client) -> None:
        answer = browser.post(LIST, {"url": "https://10.0.0.1/", "events": ["key.created"]})

        assert answer.status_code == 400
        assert "not public" in answer.content.decode()
        assert not WebhookEndpoint.objects.exists()

    def test_it_says_where_events_and_signatures_are_explained(self, browser: Client) -> None:
        page = browser.get(LIST).content.decode()

        assert 'href="/docs/webhooks"' in page
        assert "webhook-signature" in browser.get("/docs/webhooks").content.decode()

    def test_all_that_is_wrong_is_said_at_once(self, browser: Client) -> None:
        page = browser.post(LIST, {"url": "http://10.0.0.1/"}).content.decode()

        url = page.split('name="url"')[1].split("</div>")[0]
        assert 'aria-invalid="true"' in url
        assert "https" in url.split('class="errorlist"')[1]
        assert "This field is required." in page.split("Events")[1]


class TestPage:
    def test_it_is_changed_switched_and_deleted(
        self, browser: Client, endpoint: WebhookEndpoint
    ) -> None:
        page = f"{LIST}/{endpoint.public_id}"
        wanted = {"url": f"{URL}/2", "events": ["key.rotated"]}
        assert browser.post(f"{page}/change", wanted).status_code == 302
        endpoint.refresh_from_db()
        assert (endpoint.url, endpoint.events) == (f"{URL}/2", ["key.rotated"])
        wrong = browser.post(f"{page}/change", wanted | {"url": "https://localhost/"})
        assert wrong.status_code == 400

        browser.post(f"{page}/switch", {"enabled": "false"})
        assert "disabled" in browser.get(page).content.decode()
        browser.post(f"{page}/switch", {"enabled": "true"})
        endpoint.refresh_from_db()
        assert endpoint.disabled_at is None

        assert 'data-must-equal="hooks.example.com"' in browser.get(page).content.decode()
        browser.post(f"{page}/delete", {"name": "something"})
        assert WebhookEndpoint.objects.exists()
        browser.post(f"{page}/delete", {"name": "hooks.example.com"})
        assert not WebhookEndpoint.objects.exists()

    def test_a_new_secret_is_shown_once(self, browser: Client, endpoint: WebhookEndpoint) -> None:
        before = webhooks.secrets_of(endpoint, now=timezone.now())
        answer = browser.post(f"{LIST}/{endpoint.public_id}/rotate")

        endpoint.refresh_from_db()
        now = webhooks.secrets_of(endpoint, now=timezone.now())
        assert now[1:] == before
        assert now[0] in answer.content.decode()

    def test_the_log_shows_attempts_and_sends_again(
        self, browser: Client, endpoint: WebhookEndpoint
    ) -> None:
        page = f"{LIST}/{endpoint.public_id}"
        browser.post(f"{page}/test")
        row = WebhookDelivery.objects.get()
        tried = {"at": "2026-01-01T00:00:00Z", "code": 503, "error": "It answered 503."}
        WebhookDelivery.objects.update(
            status="failed",
            code=503,
            error="It answered 503.",
            attempts=1,
            tries=1,
            log=[tried | {"latency_ms": 12}],
        )

        text = browser.get(page).content.decode()
        assert "webhook.test" in text
        assert "12 ms" in text
        assert "1 attempt" in text

        browser.post(f"{page}/deliveries/{row.public_id}/resend")
        row.refresh_from_db()
        assert (row.status, row.tries) == ("pending", 0)

    def test_the_log_has_pages(self, browser: Client, endpoint: WebhookEndpoint) -> None:
        page = f"{LIST}/{endpoint.public_id}"
        for _ in range(26):
            browser.post(f"{page}/test")

        answer = browser.get(page)
        assert answer.content.decode().count('data-testid="delivery"') == 25
        older = browser.get(page + answer.context["next"])
        assert older.content.decode().count('data-testid="delivery"') == 1

    def test_it_is_nobody_elses(
        self, bob: User, home: Workspace, endpoint: WebhookEndpoint
    ) -> None:
        page = f"{LIST}/{endpoint.public_id}"
        assert pages.browser(bob).get(page).status_code == 404
        members.add(workspace=home, user=bob, role="developer", by=None)
        assert pages.browser(bob, workspace=home).get(page).status_code == 403
        assert pages.browser(bob, workspace=home).get(LIST).status_code == 403

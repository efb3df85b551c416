"""The front page, sign-up, sign-in, the workspace switch and the error pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from django.core import mail
from django.core.exceptions import PermissionDenied
from django.test import Client, RequestFactory

from accounts import signup, views_errors, workspaces
from accounts.models import User, Workspace
from accounts.seats import SESSION_KEY
from common import tries
from tests import pages
from tests.accounts.races import behind

Join = Callable[[User, Workspace, str], None]


class TestLanding:
    def test_strangers_see_it_without_a_database(self, client: Client) -> None:
        page = client.get("/")

        assert page.status_code == 200
        assert "/signup" in page.content.decode()


@pytest.mark.django_db
class TestSignIn:
    @pytest.mark.parametrize("path", ["/login", "/signup"])
    def test_the_short_addresses_work_as_they_are(self, client: Client, path: str) -> None:
        assert client.get(path).status_code == 200

    def test_a_page_of_the_dashboard_asks_for_it_and_comes_back(self, client: Client) -> None:
        answer = client.get("/dashboard/keys")

        assert answer.status_code == 302
        assert answer["Location"] == "/login?next=/dashboard/keys"

    def test_signing_up_leads_to_the_dashboard_and_sends_a_link(self, client: Client) -> None:
        answer = client.post(
            "/signup", {"email": "new@example.com", "password1": pages.PASSWORD}, follow=True
        )

        assert answer.redirect_chain[-1][0] == "/dashboard"
        assert 'data-testid="banner-unverified"' in answer.content.decode()
        assert [message.to for message in mail.outbox] == [["new@example.com"]]
        assert "/confirm-email/" in str(mail.outbox[0].body)

    @pytest.mark.django_db(transaction=True)
    def test_of_two_who_sign_up_at_once_with_one_address_the_second_may_sign_in(self) -> None:
        sent = {"email": "New@example.com", "password1": pages.PASSWORD}

        answer = behind(
            lambda: signup.register(email="new@example.com", password=pages.PASSWORD),
            lambda: Client().post("/signup", sent, follow=True),
        )

        assert answer.redirect_chain == [("/login", 302)]
        assert "already registered" in answer.content.decode()
        assert User.objects.count() == Workspace.objects.count() == 1

    def test_a_form_without_its_token_is_refused(self) -> None:
        browser = Client(enforce_csrf_checks=True)

        answer = browser.post("/login", {"login": "a@example.com", "password": "x"})

        assert answer.status_code == 403
        assert "req_" in answer.content.decode()


class TestSwitchWorkspace:
    def test_a_member_sees_the_chosen_workspace(self, alice: User) -> None:
        second = workspaces.create(owner=alice, name="Second place")
        browser = pages.browser(alice)

        browser.post("/dashboard/workspace", {"workspace": second.public_id})

        assert browser.session[SESSION_KEY] == second.public_id
        assert "Second place" in browser.get("/dashboard").content.decode()

    def test_a_foreign_workspace_is_not_found(self, alice: User, away: Workspace) -> None:
        answer = pages.browser(alice).post("/dashboard/workspace", {"workspace": away.public_id})

        assert answer.status_code == 404

    def test_an_unknown_workspace_is_not_found(self, alice: User) -> None:
        assert pages.browser(alice).post("/dashboard/workspace").status_code == 404

    def test_reading_the_address_switches_nothing(self, alice: User) -> None:
        assert pages.browser(alice).get("/dashboard/workspace").status_code == 405

    @pytest.mark.parametrize(
        ("asked", "sent"),
        [
            ("/dashboard/keys", "/dashboard/keys"),
            ("/dashboard/keys/key_of_the_other_workspace", "/dashboard/keys"),
            ("//evil.example/dashboard", "/dashboard"),
            ("https://evil.example", "/dashboard"),
            ("/admin/", "/dashboard"),
            ("", "/dashboard"),
        ],
    )
    def test_it_goes_back_to_the_section_and_nowhere_else(
        self, alice: User, home: Workspace, asked: str, sent: str
    ) -> None:
        answer = pages.browser(alice).post(
            "/dashboard/workspace", {"workspace": home.public_id, "next": asked}
        )

        assert answer["Location"] == sent

    def test_a_workspace_that_was_left_is_not_shown_any_more(
        self, alice: User, bob: User, away: Workspace, join: Join
    ) -> None:
        join(alice, away, "viewer")
        browser = pages.browser(alice, workspace=away)
        away.memberships.get(user=alice).delete()

        page = browser.get("/dashboard").content.decode()

        assert away.public_id not in page

    def test_a_closed_workspace_is_not_offered(self, alice: User) -> None:
        second = workspaces.create(owner=alice, name="Second place")
        Workspace.objects.filter(pk=second.pk).update(closed_at=second.created_at)

        assert "Second place" not in pages.browser(alice).get("/dashboard").content.decode()


class TestSeated:
    def test_a_person_without_a_workspace_is_told_so(self, alice: User, home: Workspace) -> None:
        Workspace.objects.filter(pk=home.pk).update(closed_at=home.created_at)

        page = pages.browser(alice).get("/dashboard")

        assert page.status_code == 200
        assert "You are not in a workspace" in page.content.decode()


class TestErrorPages:
    def test_an_unknown_address_has_a_page_with_the_request_id(self, client: Client) -> None:
        page = client.get("/no-such-page")

        assert page.status_code == 404
        assert page["x-request-id"] in page.content.decode()

    def test_our_own_fault_has_a_page_too(self, rf: RequestFactory) -> None:
        request = rf.get("/")
        request.request_id = "req_1"  # type: ignore[attr-defined]

        page = views_errors.server_error(request)

        assert page.status_code == 500
        assert "req_1" in page.content.decode()

    def test_a_refusal_says_why(self, rf: RequestFactory) -> None:
        page = views_errors.permission_denied(rf.get("/"), PermissionDenied("Not <yours>."))

        assert page.status_code == 403
        assert "Not &lt;yours&gt;." in page.content.decode()

    def test_a_bad_request_says_so(self, rf: RequestFactory) -> None:
        assert views_errors.bad_request(rf.get("/")).status_code == 400


class TestCspReport:
    @pytest.fixture
    def told(self) -> Iterator[list[Any]]:
        with structlog.testing.capture_logs() as lines:
            yield lines

    def send(self, client: Client, body: Any) -> int:
        text = body if isinstance(body, str) else json.dumps({"csp-report": body})
        kind = "application/csp-report"
        return client.post("/csp-report", text, content_type=kind).status_code

    def test_what_a_browser_refused_is_logged_without_whole_addresses(
        self, client: Client, told: list[Any]
    ) -> None:
        report = {
            "document-uri": "https://gateway.example/invitations/a-secret?token=b-secret",
            "effective-directive": "script-src-elem",
            "blocked-uri": "https://evil.example/c-secret",
        }
        assert self.send(client, report) == 204
        [line] = told
        assert (line["directive"], line["page"]) == ("script-src-elem", "invitation")
        assert line["blocked"] == "https://evil.example"
        assert "secret" not in str(told)

    @pytest.mark.parametrize(
        "body", ["", "[]", "{", "[" * 9000, "\xff", {}, {"violated-directive": 7}]
    )
    def test_what_is_no_report_is_not(self, client: Client, told: list[Any], body: Any) -> None:
        assert self.send(client, body) == 204
        assert told == []

    def test_one_address_is_heard_so_often(
        self, client: Client, told: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # No hour begins anew in the middle of it.
        monkeypatch.setattr(tries, "WINDOW_S", 10**9)
        report = {"violated-directive": "style-src 'self'", "blocked-uri": "inline"}
        for _ in range(views_errors.MOST_REPORTS + 3):
            assert self.send(client, report) == 204
        assert len(told) == views_errors.MOST_REPORTS
        assert {line["blocked"] for line in told} == {"inline"}

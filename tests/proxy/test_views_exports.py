"""The files of a workspace: asked for, watched, downloaded, thrown away."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from accounts import members
from accounts.models import User, Workspace
from proxy import api_exportkinds
from proxy.models import Export
from tests import pages

pytestmark = pytest.mark.django_db
Ask = Callable[..., Export]


@pytest.fixture
def alice() -> User:
    return pages.person("alice")


@pytest.fixture
def home(alice: User) -> Workspace:
    return pages.home(alice)


@pytest.fixture
def ask(alice: User) -> Ask:
    def post(kind: str = "logs", **query: str) -> Export:
        answer = pages.browser(alice).post("/dashboard/exports", {"kind": kind} | query)
        assert answer.status_code == 302
        return Export.objects.latest("pk")

    return post


class TestExports:
    def test_none_yet_says_what_they_are(self, alice: User) -> None:
        page = pages.browser(alice).get("/dashboard/exports").content.decode()

        assert 'data-testid="no-exports"' in page

    def test_a_file_holds_what_the_filter_finds(
        self, alice: User, home: Workspace, ask: Ask
    ) -> None:
        key = pages.make_key(alice)
        pages.closed_request(key, home, model="a/one")
        pages.closed_request(key, home, model="b/two")
        export = ask(model="a/one")
        api_exportkinds.build(public_id=export.public_id)

        answer = pages.browser(alice).get(f"/dashboard/exports/{export.public_id}.csv")

        body = b"".join(answer).decode()
        assert ("a/one" in body, "b/two" in body) == (True, False)
        assert "attachment" in answer["Content-Disposition"]

    def test_a_file_that_is_being_built_is_watched(self, alice: User, ask: Ask) -> None:
        ask()

        page = pages.browser(alice).get("/dashboard/exports", headers={"hx-request": "true"})

        assert 'hx-trigger="every 2s"' in page.content.decode()
        assert "<html" not in page.content.decode()

    def test_a_file_that_is_built_is_watched_no_more(self, alice: User, ask: Ask) -> None:
        api_exportkinds.build(public_id=ask().public_id)

        page = pages.browser(alice).get("/dashboard/exports").content.decode()

        assert "every 2s" not in page
        assert 'data-testid="download"' in page

    def test_a_filter_that_is_none_is_told_and_builds_nothing(
        self, alice: User, home: Workspace
    ) -> None:
        browser = pages.browser(alice)
        answer = browser.post("/dashboard/exports", {"kind": "logs", "planet": "x"}, follow=True)

        assert "cannot be exported" in answer.content.decode()
        assert not Export.objects.exists()

    def test_a_viewer_gets_no_audit_log(self, home: Workspace) -> None:
        bob = pages.person("bob")
        members.add(workspace=home, user=bob, role="viewer", by=None)
        browser = pages.browser(bob, workspace=home)

        assert browser.post("/dashboard/exports", {"kind": "audit_events"}).status_code == 403
        assert browser.post("/dashboard/exports", {"kind": "planets"}).status_code == 404

    def test_another_workspaces_file_is_not_found(self, ask: Ask) -> None:
        export = ask()
        browser = pages.browser(pages.person("bob"))

        for answer in (
            browser.get(f"/dashboard/exports/{export.public_id}.csv"),
            browser.post(f"/dashboard/exports/{export.public_id}/delete"),
        ):
            assert answer.status_code == 404
        assert Export.objects.filter(pk=export.pk).exists()

    def test_a_deleted_file_is_gone(self, alice: User, ask: Ask) -> None:
        export = ask()

        pages.browser(alice).post(f"/dashboard/exports/{export.public_id}/delete")

        assert not Export.objects.filter(pk=export.pk).exists()

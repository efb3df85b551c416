"""From nothing to the first call."""

from __future__ import annotations

import pytest
from django.conf import settings

from accounts import keys, members
from accounts.models import ApiKey, User
from billing import grants
from tests import pages

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return pages.person("alice")


class TestQuickstart:
    def test_without_a_model_it_says_so(self, alice: User) -> None:
        page = pages.browser(alice).get("/dashboard/quickstart").content.decode()

        assert 'data-testid="no-models"' in page

    def test_the_snippets_have_the_readers_own_values(self, alice: User) -> None:
        pages.sell("test/model")

        page = pages.browser(alice).get("/dashboard/quickstart").content.decode()

        assert page.count(f"{settings.BASE_URL}/v1") >= 4
        assert page.count("test/model") >= 4
        assert "sk-tg-YOUR-KEY" in page

    def test_the_sandbox_is_tried_first(self, alice: User) -> None:
        pages.sell("aaa/model")
        pages.sell("sandbox/echo")

        page = pages.browser(alice).get("/dashboard/quickstart").content.decode()

        assert "aaa/model" not in page

    def test_a_fresh_key_is_filled_in_once(self, alice: User) -> None:
        pages.sell("test/model")
        browser = pages.browser(alice)

        page = browser.post("/dashboard/quickstart").content.decode()

        secret = page.partition('data-testid="secret">')[2].partition("<")[0]
        assert keys.find(text=secret) is not None
        assert page.count(secret) == 5
        assert secret not in browser.get("/dashboard/quickstart").content.decode()

    def test_someone_not_verified_gets_no_key(self) -> None:
        stranger = pages.person("new", verified=False)

        assert pages.browser(stranger).post("/dashboard/quickstart").status_code == 403
        assert not ApiKey.objects.exists()

    def test_a_viewer_gets_no_key(self, alice: User) -> None:
        bob = pages.person("bob")
        members.add(workspace=pages.home(alice), user=bob, role="viewer", by=alice)
        browser = pages.browser(bob, workspace=pages.home(alice))

        assert b"quickstart-create-key" not in browser.get("/dashboard/quickstart").content
        assert browser.post("/dashboard/quickstart").status_code == 403

    def test_credit_ticks_its_step(self, alice: User) -> None:
        grants.grant(workspace=pages.home(alice), asset="TOK", amount=7, reason="test")

        page = pages.browser(alice).get("/dashboard/quickstart").content.decode()

        assert "platform tokens are available" in page


class TestFirstRequest:
    def test_it_asks_again_until_there_is_one(self, alice: User) -> None:
        page = pages.browser(alice).get("/dashboard/quickstart/first-request").content.decode()

        assert "hx-get" in page

    def test_it_stops_when_a_call_was_answered(self, alice: User) -> None:
        usage = pages.closed_request(pages.make_key(alice), pages.home(alice))

        page = pages.browser(alice).get("/dashboard/quickstart/first-request").content.decode()

        assert "hx-get" not in page
        assert "req_" in page
        assert usage.status == 200

    def test_a_refused_call_does_not_count(self, alice: User) -> None:
        pages.closed_request(
            pages.make_key(alice), pages.home(alice), status=502, charged=0, cost=0
        )

        page = pages.browser(alice).get("/dashboard/quickstart/first-request").content.decode()

        assert "hx-get" in page

    def test_a_call_in_another_workspace_does_not_count(self, alice: User) -> None:
        bob = pages.person("bob")
        pages.closed_request(pages.make_key(bob), pages.home(bob))

        page = pages.browser(alice).get("/dashboard/quickstart/first-request").content.decode()

        assert "hx-get" in page

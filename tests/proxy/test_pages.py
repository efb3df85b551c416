"""What holds on every page: a strict policy, nothing inline, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.urls import URLPattern

import accounts.urls
import billing.urls
import proxy.urls
from accounts.models import User
from tests import pages

pytestmark = pytest.mark.django_db
OURS = [*accounts.urls.urlpatterns, *billing.urls.urlpatterns, *proxy.urls.urlpatterns]
ALLAUTH = [
    "/accounts/email/",
    "/accounts/password/change/",
    "/accounts/password/reset/",
    "/accounts/reauthenticate/",
    "/accounts/2fa/",
    "/accounts/2fa/totp/activate/",
    "/accounts/2fa/webauthn/",
    "/accounts/sessions/",
]
OF_THE_DASHBOARD = [
    "/dashboard",
    "/dashboard/quickstart",
    "/dashboard/playground",
    "/dashboard/keys",
    "/dashboard/keys/new",
    "/dashboard/usage",
    "/dashboard/logs",
    "/dashboard/exports",
    "/dashboard/limits",
    "/dashboard/team",
    "/dashboard/team/audit",
    "/dashboard/settings",
    "/dashboard/settings/delete",
]
POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
)


def addresses(key_id: str) -> Iterator[str]:
    """Every address of ours, with the id of a real key where one is asked."""
    for pattern in OURS:
        assert isinstance(pattern, URLPattern)
        yield "/" + str(pattern.pattern).replace("<key:public_id>", key_id)


@pytest.fixture
def alice() -> User:
    return pages.person("alice")


def refused(html: str) -> list[str]:
    return pages.Inline(html).found


class TestEveryPage:
    def test_nothing_is_inline_and_nothing_comes_from_elsewhere(self, alice: User) -> None:
        pages.sell("test/model")
        key = pages.make_key(alice)
        pages.closed_request(key, pages.home(alice))
        browser = pages.browser(alice)

        for path in [*addresses(key.public_id), *ALLAUTH, "/no-such-page"]:
            answer = browser.get(path, follow=True)
            assert refused(answer.content.decode()) == [], path
            for directive in POLICY:
                assert directive in answer["Content-Security-Policy"], path

    @pytest.mark.parametrize("path", ["/", "/models", "/login", "/signup", "/no-such-page"])
    def test_strangers_get_the_same_policy(self, path: str) -> None:
        answer = pages.browser().get(path)

        assert refused(answer.content.decode()) == []
        assert POLICY[0] in answer["Content-Security-Policy"]

    def test_every_address_of_the_dashboard_asks_strangers_to_sign_in(self) -> None:
        client = pages.browser()

        for path in addresses("key_1"):
            if not path.startswith("/dashboard"):
                continue
            answers = [client.get(path), client.post(path)]
            assert {answer.status_code for answer in answers} <= {302, 405}, path
            assert any(answer.status_code == 302 for answer in answers), path

    def test_signed_in_pages_are_not_kept_by_the_browser(self, alice: User) -> None:
        assert pages.browser(alice).get("/dashboard")["Cache-Control"] == "no-store"

    def test_every_page_has_a_title_a_heading_and_a_language(self, alice: User) -> None:
        browser = pages.browser(alice)

        for path in (*OF_THE_DASHBOARD, *ALLAUTH):
            page = browser.get(path, follow=True).content.decode()
            assert page.count("<h1") == 1, path
            assert '<html lang="en">' in page, path
            assert "<title> ·" not in page, path

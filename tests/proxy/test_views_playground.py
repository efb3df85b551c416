"""The playground: who may run it, and the key that its page gets."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts import members
from accounts.models import ApiKey, AuditEvent, User, Workspace
from tests import pages

pytestmark = pytest.mark.django_db
KEY = "/dashboard/playground/key"


@pytest.fixture
def alice() -> User:
    return pages.person("alice")


@pytest.fixture
def home(alice: User) -> Workspace:
    return pages.home(alice)


def text(user: User, workspace: Workspace | None = None) -> str:
    """The page as its reader gets it."""
    answer = pages.browser(user, workspace=workspace).get("/dashboard/playground")
    assert answer.status_code == 200
    return answer.content.decode()


def refusals(page: str) -> dict[str, dict[str, str]]:
    """What the script says of a refusal, by reason."""
    found = re.search(r'id="playground-refusals"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found is not None
    told: dict[str, dict[str, str]] = json.loads(found[1])
    return told


class TestPlayground:
    def test_without_a_model_it_says_what_is_missing(self, alice: User) -> None:
        assert 'data-testid="no-models"' in text(alice)

    def test_a_model_for_sale_can_be_chosen(self, alice: User) -> None:
        pages.sell("a/chat")

        page = text(alice)

        assert '<option value="a/chat"' in page
        assert 'data-testid="stop"' in page
        assert 'aria-live="polite"' in page

    def test_no_key_is_on_the_page(self, alice: User) -> None:
        pages.sell("a/chat")
        text(alice)

        assert not ApiKey.objects.exists()

    @pytest.mark.parametrize("role", ["billing", "viewer"])
    def test_a_role_that_calls_nothing_is_told(self, home: Workspace, role: str) -> None:
        pages.sell("a/chat")
        bob = pages.person("bob")
        members.add(workspace=home, user=bob, role=role, by=None)

        assert 'data-testid="may-not-run"' in text(bob, home)

    @pytest.mark.parametrize("language", ["en", "de"])
    def test_a_refusal_says_what_to_do_and_where(self, alice: User, language: str) -> None:
        User.objects.filter(pk=alice.pk).update(language=language)
        pages.sell("a/chat")

        told = refusals(text(alice))

        assert told["insufficient_balance"]["href"] == "/dashboard/billing"
        assert told["cap_reached"]["href"] == "/dashboard/limits"
        assert all(words["text"] for words in told.values())

    def test_who_may_not_pay_is_told_whom_to_ask(self, home: Workspace) -> None:
        pages.sell("a/chat")
        bob = pages.person("bob")
        members.add(workspace=home, user=bob, role="developer", by=None)

        told = refusals(text(bob, home))

        for reason in ("insufficient_balance", "cap_reached"):
            assert "ask an owner, an admin or billing" in told[reason]["text"]
            assert "href" not in told[reason]

    def test_someone_who_is_not_verified_is_told(self) -> None:
        assert 'data-testid="may-not-run"' in text(pages.person("new", verified=False))


class TestPlaygroundKey:
    def test_it_soon_ends_calls_models_and_manages_nothing(
        self, alice: User, home: Workspace
    ) -> None:
        answer = pages.browser(alice).post(KEY)

        key = ApiKey.objects.get()
        assert answer.status_code == 200
        assert answer.json()["key"].endswith(key.last4)
        assert "no-store" in answer["Cache-Control"]
        assert (key.kind, key.user, key.scopes) == ("playground", alice, ["chat", "images"])
        assert [place.pk for place in key.workspaces.all()] == [home.pk]
        assert key.expires_at is not None
        assert key.expires_at - timezone.now() <= timedelta(minutes=20)

    def test_it_is_called_as_its_maker_calls_the_page(self, alice: User) -> None:
        User.objects.filter(pk=alice.pk).update(language="ru")

        pages.browser(alice).post(KEY)

        assert ApiKey.objects.get().name == "Песочница"

    def test_it_is_neither_listed_nor_logged(self, alice: User, home: Workspace) -> None:
        browser = pages.browser(alice)
        browser.post(KEY)

        assert 'data-testid="no-keys"' in browser.get("/dashboard/keys").content.decode()
        assert not AuditEvent.objects.filter(workspace=home, action__startswith="key.").exists()

    @pytest.mark.parametrize("role", ["billing", "viewer"])
    def test_who_may_not_call_gets_none(self, home: Workspace, role: str) -> None:
        bob = pages.person("bob")
        members.add(workspace=home, user=bob, role=role, by=None)

        answer = pages.browser(bob, workspace=home).post(KEY)

        assert answer.status_code in (400, 403)
        assert not ApiKey.objects.exists()

    def test_someone_who_is_not_verified_gets_none(self) -> None:
        answer = pages.browser(pages.person("new", verified=False)).post(KEY)

        assert answer.status_code == 403
        assert "Confirm your email address" in answer.json()["error"]["message"]

    def test_it_takes_a_form_of_ours(self, alice: User) -> None:
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(alice)

        assert browser.post(KEY).status_code == 403
        assert not ApiKey.objects.exists()

"""A generation that ends is told to webhooks, whoever ends it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import webhooks
from accounts.models import User, WebhookEvent, Workspace
from common import ids
from proxy.models import Generation
from tests import pages

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return pages.person("alice")


@pytest.fixture
def home(alice: User) -> Workspace:
    return pages.home(alice)


@pytest.fixture
def generation(alice: User, home: Workspace) -> Generation:
    """One that is being made, in a workspace that wants to know."""
    webhooks.create(
        workspace=home, url="https://h.example.com/", events=["generation.finished"], by=alice
    )
    return Generation.objects.create(
        id=ids.request_id(),
        workspace_id=home.pk,
        key_id=1,
        model="m",
        expires_at=timezone.now() + timedelta(hours=1),
    )


class TestGenerationFinished:
    def test_a_completed_one_is_told_once_with_its_id_and_without_content(
        self, generation: Generation
    ) -> None:
        rows = Generation.objects.filter(pk=generation.pk)
        rows.update(sealed=b"draft", drafted=True)
        assert not WebhookEvent.objects.exists()

        for _ in range(2):
            rows.update(status="completed", tokens_used=7, balance_remaining=93)

        told = json.loads(WebhookEvent.objects.get().body)
        assert told["type"] == "generation.finished"
        assert told["data"] == {
            "id": ids.form("gen_", generation.id),
            "status": "completed",
            "model": "m",
            "tokens_used": 7,
            "balance_remaining": 93,
            "reason": None,
        }

    def test_a_failed_one_is_told_with_its_reason(self, generation: Generation) -> None:
        error = {"type": "server_error", "message": "secret words", "reason": "internal"}
        Generation.objects.filter(pk=generation.pk).update(status="failed", error=error)

        body = WebhookEvent.objects.get().body
        assert json.loads(body)["data"]["reason"] == "internal"
        assert "secret words" not in body

    def test_nobody_is_told_who_did_not_ask(self, generation: Generation, home: Workspace) -> None:
        webhooks.of(workspace=home).delete()
        Generation.objects.filter(pk=generation.pk).update(status="completed")

        assert not WebhookEvent.objects.exists()

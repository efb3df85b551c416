"""Keys that nobody uses keep no pepper alive for ever."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from accounts import keys, pepper, rehashing
from accounts.models import ApiKey, AuditEvent
from billing.models import KeyMeter
from tests import pages

pytestmark = pytest.mark.django_db


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What the command answers."""
    call_command("idle_keys", "--json", *words)
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


@pytest.fixture
def old(settings: Settings) -> ApiKey:
    """A key that was made long ago, under a pepper that is the second by now."""
    key = pages.make_key(pages.person("alice"), name="forgotten")
    ApiKey.objects.update(created_at=timezone.now() - timedelta(days=60))
    settings.KEY_PEPPERS = {"next": os.urandom(32), **settings.KEY_PEPPERS}
    key.refresh_from_db()
    return key


class TestFind:
    def test_unused_keys_under_an_older_pepper_are_listed(
        self, old: ApiKey, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pages.make_key(pages.person("bob"))
        [told] = asked(capsys)["keys"]
        assert (told["id"], told["pepper"], told["last_used_at"]) == (
            old.public_id, old.pepper_id, None,
        )  # fmt: skip
        assert told["workspaces"] == [place.public_id for place in old.workspaces.all()]

    @pytest.mark.parametrize(("days", "listed"), [(30, False), (7, True)])
    def test_one_that_was_used_lately_is_not(
        self, old: ApiKey, days: int, listed: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        used = timezone.now() - timedelta(days=10)
        KeyMeter.objects.update_or_create(key=old, defaults={"last_used_at": used})
        assert bool(asked(capsys, "--days", str(days))["keys"]) == listed


class TestStop:
    def test_first_disabled_then_deleted_and_the_pepper_is_free(
        self, old: ApiKey, settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        why = ("--reason", "Rotation of 2026")
        assert asked(capsys, "--delete", *why) == {"deleted": []}, "nobody was told yet"
        assert asked(capsys, "--disable", *why) == {"disabled": [old.public_id]}
        assert asked(capsys, "--disable", *why) == {"disabled": []}
        assert asked(capsys, "--delete", *why) == {"deleted": [old.public_id]}
        assert pepper.keys_by_pepper() == {}
        events = AuditEvent.objects.filter(target=old.public_id, action__startswith="key.d")
        told = [(event.action, event.workspace is None) for event in events.order_by("id")]
        assert told == [
            ("key.disabled", False), ("key.disabled", True),
            ("key.deleted", False), ("key.deleted", True),
        ]  # fmt: skip
        assert {e.after["reason"] for e in events if e.workspace is None and e.after} == {why[1]}

    def test_one_that_its_owner_enables_and_uses_stays(
        self, settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        user = pages.person("carol")
        terms: dict[str, Any] = {"workspaces": [pages.home(user)], "user": user, "by": user}
        key, text = keys.create(name="k", scopes=["chat"], **terms)
        pepper.check()
        settings.KEY_PEPPERS = {"next": os.urandom(32), **settings.KEY_PEPPERS}
        assert asked(capsys, "--days", "0", "--disable", "--reason", "x y z")["disabled"]
        keys.enable(key=key, by=user)
        record = keys.find(text=text)
        assert record is not None
        assert rehashing.on_use(text=text, record=record)
        assert asked(capsys, "--days", "0") == {"keys": []}

    def test_without_a_reason_nothing_is_stopped(self, old: ApiKey) -> None:
        with pytest.raises(CommandError, match="--reason"):
            call_command("idle_keys", "--disable")
        old.refresh_from_db()
        assert old.disabled_at is None

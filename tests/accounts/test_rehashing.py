from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from pytest_django import Settings

from accounts import keyrecord, keys, pepper, rehashing, signup
from accounts.keyrecord import KeyRecord
from accounts.models import ApiKey, User, Workspace
from accounts.rehashing import Move
from common import ids

NEXT = b"n" * 32


@pytest.fixture
def before(db: None, settings: Settings) -> Mapping[str, bytes]:
    """The peppers so far, of which the database has a record."""
    pepper.check(peppers=settings.KEY_PEPPERS)
    return dict(settings.KEY_PEPPERS)


@pytest.fixture
def text(before: Mapping[str, bytes], alice: User, home: Workspace, settings: Settings) -> str:
    """A key that was made before there was another pepper."""
    _, text = keys.create(name="k", workspaces=[home], user=alice, scopes=["chat"], by=alice)
    settings.KEY_PEPPERS = {"next": NEXT, **before}
    return text


def found(text: str) -> KeyRecord:
    record = keyrecord.find(text=text)
    assert record is not None
    return record


class TestOnUse:
    def test_a_key_is_hashed_anew_once_and_found_without_the_old_pepper(
        self, text: str, settings: Settings
    ) -> None:
        record = found(text)
        assert rehashing.on_use(text=text, record=record)
        assert not rehashing.on_use(text=text, record=record), "it is done already"
        assert not rehashing.on_use(text=text, record=found(text))
        settings.KEY_PEPPERS = {"next": NEXT}
        after = found(text)
        assert (after.id, after.pepper_id) == (record.id, "next")
        assert after.version == record.version, "no copy of it is stale"

    def test_a_process_that_writes_with_the_old_one_moves_nothing_back(
        self, text: str, settings: Settings, before: Mapping[str, bytes]
    ) -> None:
        rehashing.on_use(text=text, record=found(text))
        settings.KEY_PEPPERS = {**before, "next": NEXT}
        assert not rehashing.on_use(text=text, record=found(text))
        assert ApiKey.objects.get().pepper_id == "next"

    def test_a_deleted_key_stays_as_it_is(self, text: str, before: Mapping[str, bytes]) -> None:
        record = found(text)
        ApiKey.objects.update(deleted_at=timezone.now())
        assert not rehashing.on_use(text=text, record=record)
        assert ApiKey.objects.get().pepper_id == next(iter(before))


class TestMoveOf:
    def test_there_is_nothing_to_do_for_a_key_under_the_current_one(
        self, text: str, settings: Settings, before: Mapping[str, bytes]
    ) -> None:
        record = found(text)
        assert rehashing.move_of(text=text, record=record) is not None
        settings.KEY_PEPPERS = {**before, "next": NEXT}
        assert rehashing.move_of(text=text, record=record) is None


class TestTrigger:
    def test_a_secret_changes_only_together_with_its_pepper_and_nothing_else(
        self, key: ApiKey
    ) -> None:
        for changes in (
            {"digest": b"x" * 32},
            {"digest": b"x" * 32, "pepper_id": "next", "scopes": ["images"]},
            {"digest": b"x" * 32, "pepper_id": "next", "expires_at": timezone.now()},
            {"pepper_id": "next", "version": 99},
        ):
            with pytest.raises(IntegrityError, match="API key"), transaction.atomic():
                ApiKey.objects.filter(pk=key.pk).update(**changes)
        key.refresh_from_db()
        ApiKey.objects.filter(pk=key.pk).update(digest=b"x" * 32, pepper_id="next")
        assert ApiKey.objects.get().version == key.version


@pytest.mark.django_db(transaction=True)
class TestRehash:
    def test_of_many_at_once_one_changes_the_row_and_a_locked_row_is_not_waited_for(
        self, settings: Settings
    ) -> None:
        pepper.check(peppers=settings.KEY_PEPPERS)
        user = signup.register(email="a@example.com", password=ids.random_base62(20), verified=True)
        home = Workspace.objects.get(personal_of=user)
        key, text = keys.create(name="k", workspaces=[home], user=user, scopes=["chat"], by=user)
        settings.KEY_PEPPERS = {"next": NEXT, **settings.KEY_PEPPERS}
        move = rehashing.move_of(text=text, record=found(text))
        assert move is not None
        with transaction.atomic():
            ApiKey.objects.select_for_update().get(pk=key.pk)
            assert at_once(move, threads=2) == []
        assert at_once(move, threads=6) == [key.pk]
        assert found(text).pepper_id == "next"


def at_once(move: Move, *, threads: int) -> list[int]:
    """The keys that were changed when many begin at the same moment."""
    changed: list[int] = []
    together = threading.Barrier(threads)

    def run() -> None:
        together.wait()
        with connection.cursor() as cursor:
            cursor.execute(rehashing.REHASH, rehashing.parameters([move]))
            changed.extend(row[0] for row in cursor.fetchall())
        connection.close()

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return changed

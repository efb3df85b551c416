"""Files of rows: whole, exactly the filter's, whatever happens to the worker."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.errors import Invalid
from accounts.models import ApiKey, User, Workspace
from proxy import api_exportkinds, exports, logs, tasks
from proxy.models import Export, ExportPiece
from tests import pages

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return pages.person("alice")


@pytest.fixture
def home(alice: User) -> Workspace:
    return pages.home(alice)


@pytest.fixture
def key(alice: User, home: Workspace) -> ApiKey:
    return pages.make_key(alice, home)


def make(home: Workspace, **query: str) -> Export:
    return exports.create(workspace=home, kind="logs", query=query, rows_expected=None, by=None)


def read(export: Export) -> list[dict[str, str]]:
    export.refresh_from_db()
    text = b"".join(exports.texts(export)).decode()
    assert len(text.encode()) == export.bytes
    return list(csv.DictReader(io.StringIO(text)))


class TestBuild:
    def test_writes_what_the_filter_finds_piece_by_piece(
        self, home: Workspace, key: ApiKey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api_exportkinds, "ROWS_PER_PIECE", 2)
        for status in (200, 500, 200, 200, 200, 200):
            pages.closed_request(key, home, status=status)
        export = make(home, status="ok")

        assert not api_exportkinds.build(public_id=export.public_id)

        rows = read(export)
        assert [row["status"] for row in rows] == ["200"] * 5
        assert (export.status, export.rows, export.pieces) == ("completed", 5, 3)

    def test_goes_on_where_another_worker_was_killed(
        self, home: Workspace, key: ApiKey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api_exportkinds, "ROWS_PER_PIECE", 2)
        for _ in range(5):
            pages.closed_request(key, home)
        export = make(home)
        assert exports.write_piece(public_id=export.public_id, read=api_exportkinds.read_piece)

        later = timezone.now() + exports.STALE_AFTER + timedelta(seconds=1)
        assert exports.waiting(now=later) == [export.public_id]
        tasks.build_export(export.public_id)

        assert len({row["id"] for row in read(export)}) == 5

    def test_what_is_kept_is_sealed(self, home: Workspace, key: ApiKey) -> None:
        pages.closed_request(key, home, model="some/model")
        export = make(home)
        api_exportkinds.build(public_id=export.public_id)

        assert b"some/model" not in bytes(ExportPiece.objects.get().sealed)

    def test_a_file_that_cannot_be_written_fails(self, home: Workspace) -> None:
        export = make(home)
        Export.objects.update(kind="nonsense")

        with pytest.raises(KeyError):
            tasks.build_export(export.public_id)
        export.refresh_from_db()
        assert export.status == "failed"


class TestCreate:
    def test_only_some_are_built_at_once(self, home: Workspace) -> None:
        for _ in range(exports.MOST_PENDING):
            make(home)
        with pytest.raises(Invalid, match="at once"):
            make(home)


class TestDeleteExpired:
    def test_takes_the_pieces_along(self, home: Workspace) -> None:
        export = make(home)
        api_exportkinds.build(public_id=export.public_id)

        assert exports.delete_expired(now=timezone.now()) == 0
        assert exports.delete_expired(now=timezone.now() + exports.KEPT_FOR) == 1
        assert not ExportPiece.objects.exists()


class TestLogs:
    def test_a_seldom_found_request_is_looked_for_in_stretches(
        self, home: Workspace, key: ApiKey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(logs, "SCANNED_AT_ONCE", 2)
        wanted = pages.closed_request(key, home, model="rare")
        for _ in range(5):
            pages.closed_request(key, home)
        program = pages.browser(home.personal_of)
        found, cursor, asked = [], "", 0
        while True:
            page = program.get(f"/api/v1/logs?model=rare{cursor}").json()
            found += page["data"]
            asked += 1
            if not page["has_more"]:
                break
            cursor = f"&cursor={page['next_cursor']}"

        assert [row["created_at"][:10] for row in found] == [str(wanted.day)]
        assert asked >= 3

    def test_times_narrow_it(self, home: Workspace, key: ApiKey) -> None:
        pages.closed_request(key, home)
        program = pages.browser(home.personal_of)

        assert len(program.get("/api/v1/logs?since=2020-01-01T00:00:00Z").json()["data"]) == 1
        assert program.get("/api/v1/logs?until=2020-01-01T00:00:00Z").json()["data"] == []
        assert program.get("/api/v1/logs?since=9999-12-31T00:00:00Z").json()["data"] == []

"""Settlements on the disk: none is lost, none counts before it is there."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from common import ids
from proxy import spool
from proxy.spool import Entry, Fate, Spool


def run(folder: Path, work: Callable[[Spool], Awaitable[None]]) -> None:
    async def begin_and_end() -> None:
        one = Spool(folder)
        one.start()
        await work(one)
        await one.close(timeout_s=1)

    asyncio.run(begin_and_end())


def write(folder: Path, count: int = 1) -> list[UUID]:
    """Keep so many settlements and end, as a process that stops."""
    named = [ids.request_id() for _ in range(count)]

    async def work(one: Spool) -> None:
        await asyncio.gather(*(one.keep(id, b'{"cost":1}') for id in named))

    run(folder, work)
    return named


def empty(folder: Path, *, fate: Fate = Fate.DONE) -> list[UUID]:
    """Empty the spool; return what was sent to the ledger."""
    sent: list[UUID] = []

    async def settle(entries: list[Entry]) -> list[Fate]:
        sent.extend(entry.id for entry in entries)
        return [fate] * len(entries)

    run(folder, lambda one: one.empty(settle))
    return sent


class TestKeep:
    def test_a_settlement_is_on_the_disk_when_it_returns(self, tmp_path: Path) -> None:
        id = ids.request_id()

        async def work(one: Spool) -> None:
            await one.keep(id, b'{"cost":1}')
            (path,) = spool.files(tmp_path)
            (entry,) = spool.entries(path)
            assert (entry.id, bytes(entry.closing)) == (id, b'{"cost":1}')

        run(tmp_path, work)

    def test_nobody_else_may_read_it(self, tmp_path: Path) -> None:
        folder = tmp_path / "spool"
        write(folder)
        (path,) = spool.files(folder)
        assert (folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)

    def test_a_folder_that_cannot_be_written_to_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        async def work(one: Spool) -> None:
            with pytest.raises(OSError, match="Not a directory"):
                await one.keep(ids.request_id(), b"{}")

        run(tmp_path / "file" / "spool", work)

    def test_a_disk_that_was_full_is_written_to_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before, torn, after = (ids.request_id() for _ in range(3))
        sync = os.fsync

        def full(file: int) -> None:
            raise OSError(28, "No space left on device")

        async def work(one: Spool) -> None:
            await one.keep(before, b"{}")
            monkeypatch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space"):
                await one.keep(torn, b"{}")
            monkeypatch.setattr(os, "fsync", sync)
            await one.keep(after, b"{}")

        run(tmp_path, work)
        assert empty(tmp_path) == [before, after]
        assert not (tmp_path / spool.DAMAGED).exists()


class TestEmpty:
    def test_a_file_is_removed_once_all_its_lines_are_answered(self, tmp_path: Path) -> None:
        named = write(tmp_path, count=spool.MOST_AT_ONCE + 3)
        assert sorted(empty(tmp_path)) == sorted(named)
        assert spool.files(tmp_path) == []

    def test_a_file_stays_where_the_database_is_away(self, tmp_path: Path) -> None:
        named = write(tmp_path)

        async def away(entries: list[Entry]) -> list[Fate]:
            raise ConnectionError

        async def work(one: Spool) -> None:
            with pytest.raises(ConnectionError):
                await one.empty(away)

        run(tmp_path, work)
        assert empty(tmp_path) == named

    def test_what_has_to_wait_is_kept(self, tmp_path: Path) -> None:
        named = write(tmp_path, count=3)
        assert sorted(empty(tmp_path, fate=Fate.LATER)) == sorted(named)
        assert sorted(empty(tmp_path)) == sorted(named)

    def test_what_the_ledger_refuses_is_put_aside_for_staff(self, tmp_path: Path) -> None:
        write(tmp_path)
        empty(tmp_path, fate=Fate.REFUSED)
        assert spool.files(tmp_path) == []
        assert spool.waiting(tmp_path).refused == 1

    def test_a_line_that_was_torn_is_put_aside_and_those_before_it_count(
        self, tmp_path: Path
    ) -> None:
        named = write(tmp_path)
        (path,) = spool.files(tmp_path)
        whole = path.read_bytes()
        path.write_bytes(whole + whole[:-9])
        assert empty(tmp_path) == named
        assert (tmp_path / spool.DAMAGED).read_bytes() == whole[:-9] + b"\n"

    def test_a_line_whose_checksum_is_wrong_is_not_believed(self, tmp_path: Path) -> None:
        named = write(tmp_path, count=2)
        (path,) = spool.files(tmp_path)
        path.write_bytes(path.read_bytes().replace(b'"cost":1', b'"cost":9', 1))
        assert len(empty(tmp_path)) == len(named) - 1
        assert spool.waiting(tmp_path).damaged == 1

    def test_a_living_process_keeps_its_file_to_itself(self, tmp_path: Path) -> None:
        id = ids.request_id()

        async def work(one: Spool) -> None:
            await one.keep(id, b"{}")
            assert await asyncio.to_thread(empty, tmp_path) == []

        run(tmp_path, work)
        assert empty(tmp_path) == [id]

    def test_a_file_that_another_process_is_emptying_is_left_alone(self, tmp_path: Path) -> None:
        write(tmp_path)
        (path,) = spool.files(tmp_path)
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert empty(tmp_path) == []

    def test_its_own_file_is_emptied_while_more_is_kept(self, tmp_path: Path) -> None:
        first, second = ids.request_id(), ids.request_id()
        sent: list[UUID] = []

        async def work(one: Spool) -> None:
            async def settle(entries: list[Entry]) -> list[Fate]:
                sent.extend(entry.id for entry in entries)
                if len(sent) == 1:
                    await one.keep(second, b"{}")
                return [Fate.DONE] * len(entries)

            await one.keep(first, b"{}")
            await one.empty(settle)
            await one.empty(settle)

        run(tmp_path, work)
        assert sent == [first, second]


class TestWaiting:
    def test_an_empty_or_absent_folder_has_nothing(self, tmp_path: Path) -> None:
        assert spool.waiting(tmp_path / "none") == spool.Waiting(0, 0.0, 0, 0)

    def test_the_oldest_line_counts(self, tmp_path: Path) -> None:
        write(tmp_path)
        old = Entry(time.time() - 500, ids.request_id(), msgspec.Raw(b"{}"))
        (tmp_path / f"0{spool.SUFFIX}").write_bytes(spool.line_of(old))
        found = spool.waiting(tmp_path)
        assert found.files == 2
        assert 500 <= found.age_s < 520


class TestKeptIds:
    def test_they_are_those_of_all_whole_lines(self, tmp_path: Path) -> None:
        named = write(tmp_path, count=2) + write(tmp_path)
        (tmp_path / f"9{spool.SUFFIX}").write_bytes(b"torn")
        assert spool.kept_ids(tmp_path) == set(named)

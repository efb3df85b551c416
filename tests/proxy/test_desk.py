"""Batches when the database is away, locked or given something broken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
from msgspec import Struct

from proxy.connection import Connection, Unreachable
from proxy.desk import Desk, StoreAway


class Said(Struct, frozen=True):
    """A verdict."""

    v: str


Ask = Callable[[Connection, list[int], bool], Awaitable[list[Said]]]


def put(ask: Ask, items: range, *, patience_s: float = 0.2) -> list[Said | BaseException]:
    async def work() -> list[Said | BaseException]:
        slow = Desk(ask, broken=Said("bad"), patience_s=patience_s)
        desk = Desk(ask, broken=Said("bad"), patience_s=patience_s, later=slow)
        desk.start()
        slow.start()
        said = await asyncio.gather(*map(desk.put, items), return_exceptions=True)
        await desk.close(timeout_s=1)
        await slow.close(timeout_s=1)
        return list(said)

    return asyncio.run(work())


class TestPut:
    def test_all_who_wait_are_turned_away_with_the_first_batch(self) -> None:
        asked: list[int] = []

        async def away(connection: Connection, items: list[int], careful: bool) -> list[Said]:
            asked.extend(items)
            raise Unreachable("refused")

        said = put(away, range(1000))

        assert {type(each) for each in said} == {StoreAway}
        assert not any(each.asked for each in said if isinstance(each, StoreAway))
        assert max(asked) < 200

    def test_a_question_without_an_answer_may_have_been_heard(self) -> None:
        async def silent(connection: Connection, items: list[int], careful: bool) -> list[Said]:
            raise psycopg.OperationalError("server closed the connection")

        (said,) = put(silent, range(1))

        assert isinstance(said, StoreAway)
        assert said.asked

    def test_a_stopped_database_is_waited_for_only_so_long(self) -> None:
        async def stopped(connection: Connection, items: list[int], careful: bool) -> list[Said]:
            await asyncio.sleep(60)
            return []

        (said,) = put(stopped, range(1))

        assert isinstance(said, StoreAway)

    def test_a_broken_item_does_not_fail_its_neighbours(self) -> None:
        async def picky(connection: Connection, items: list[int], careful: bool) -> list[Said]:
            if 3 in items:
                raise psycopg.DataError("3 is not allowed")
            return [Said("ok")] * len(items)

        said = put(picky, range(6))

        assert said == [Said("bad") if n == 3 else Said("ok") for n in range(6)]

    def test_locked_rows_are_asked_for_carefully_and_then_apart(self) -> None:
        slow: list[int] = []

        async def locked(connection: Connection, items: list[int], careful: bool) -> list[Said]:
            if not careful:
                raise psycopg.errors.LockNotAvailable("locked")
            if items == [1] or slow:
                slow.extend(items)
                return [Said("ok")] * len(items)
            return [Said("busy" if n == 1 else "ok") for n in items]

        assert put(locked, range(3)) == [Said("ok")] * 3
        assert slow == [1]

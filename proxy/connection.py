"""The gateway's own PostgreSQL connections: made when needed, healed after a failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import psycopg
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connections
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

P = ParamSpec("P")
T = TypeVar("T")

CONNECT_TIMEOUT_S = 2
# Longer than any batch; a backend that is stuck longer is cancelled, the batch tried again.
STATEMENT_TIMEOUT_MS = 5000


class Unreachable(psycopg.OperationalError):
    """No connection could be made: nothing was asked."""


def conninfo() -> str:
    """Return libpq's connection string for the database in the settings."""
    default = settings.DATABASES["default"]
    return make_conninfo(
        host=default["HOST"] or None,
        port=default["PORT"] or None,
        dbname=default["NAME"],
        user=default["USER"] or None,
        password=default["PASSWORD"] or None,
        connect_timeout=CONNECT_TIMEOUT_S,
        application_name="tollgate-gateway",
        options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c synchronous_commit=on "
        f"-c idle_in_transaction_session_timeout=15000 -c timezone=UTC",
        keepalives_idle=10,
        keepalives_interval=3,
        keepalives_count=3,
        tcp_user_timeout=8000,
    )


class Connection:
    """
    A connection in autocommit mode; after a failure the next use connects anew.

    Not shared: one coroutine uses it at a time.
    """

    def __init__(self) -> None:
        self.connection: AsyncConnection[Any] | None = None

    async def rows(self, query: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        """
        Run one statement in a transaction of its own and return its rows.

        :raises psycopg.Error: the statement failed, or the server is away
        """
        connection = await self._open()
        try:
            cursor = await connection.execute(query, parameters, prepare=True)
            return await cursor.fetchall() if cursor.description else []
        except (psycopg.errors.LockNotAvailable, psycopg.DataError, psycopg.IntegrityError):
            raise
        except psycopg.Error:
            await self.close()
            raise
        except BaseException:
            # Cancelled in the middle: the connection's state is unknown.
            if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                await self.close()
            raise

    async def _open(self) -> AsyncConnection[Any]:
        if self.connection is None or self.connection.closed:
            try:
                self.connection = await AsyncConnection.connect(conninfo(), autocommit=True)
            except (psycopg.OperationalError, OSError) as error:
                raise Unreachable(str(error)) from error
        return self.connection

    async def close(self) -> None:
        """Give the connection up."""
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.close()


class Reader:
    """A few connections for reads that are off the hot path, opened as needed."""

    def __init__(self, *, most: int = 4) -> None:
        self.pool: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
            conninfo(),
            min_size=0,
            max_size=most,
            open=False,
            timeout=CONNECT_TIMEOUT_S,
            max_waiting=1000,
            reconnect_timeout=1,
            check=AsyncConnectionPool.check_connection,
            kwargs={"autocommit": True},
        )

    async def open(self) -> None:
        """Begin; connections are made when first used."""
        await self.pool.open()

    async def rows(self, query: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        """
        Run one statement and return its rows.

        :raises psycopg.Error: the statement failed, or the server is away
        """
        async with self.pool.connection() as connection:
            cursor = await connection.execute(query, parameters, prepare=True)
            return await cursor.fetchall() if cursor.description else []

    async def close(self) -> None:
        """End and close all connections."""
        await self.pool.close()


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that uses Django's ORM; its connection is closed afterwards."""

    def call() -> T:
        try:
            return function(*args, **kwargs)
        finally:
            connections.close_all()

    return await sync_to_async(call, thread_sensitive=False)()

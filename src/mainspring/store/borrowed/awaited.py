"""Connections that are awaited, each as the little that adding jobs needs of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from mainspring.store.borrowed.blocking import Blocking, Driver, Sqlalchemy, psycopg_begun, psycopg_rows
from mainspring.store.borrowed.statements import Row, Statement, named

T = TypeVar("T")


class Awaited(Protocol):
    """A caller's connection that is awaited. `database` and `begun` as in `Blocking`."""

    @property
    def database(self) -> str:
        """What it is connected to."""
        ...

    async def begun(self) -> bool:
        """Whether what is done now becomes part of a transaction."""
        ...

    @property
    def origin(self) -> object:
        """As in `Blocking`."""
        ...

    async def fetch(self, statement: Statement) -> list[Row]:
        """All rows of a statement; none of one that gives no rows."""
        ...

    async def blocking(self, work: Callable[[Blocking], T]) -> T:
        """Run a function over it as one that blocks: only asked when the `database` is SQLite."""
        ...


class Asyncpg:
    """`asyncpg.Connection`, or one out of a pool."""

    database: Final = "postgresql"

    def __init__(self, connection: Driver) -> None:
        self._connection = connection
        self.origin: object = connection

    async def begun(self) -> bool:
        return bool(self._connection.is_in_transaction())

    async def fetch(self, statement: Statement) -> list[Row]:
        return [tuple(row) for row in await self._connection.fetch(statement.sql, *statement.values)]

    async def blocking(self, work: Callable[[Blocking], T]) -> T:
        raise AssertionError("asyncpg speaks to PostgreSQL only")


class PsycopgAwaited:
    """`psycopg.AsyncConnection`."""

    database: Final = "postgresql"

    def __init__(self, connection: Driver) -> None:
        self._connection = connection
        self.origin: object = connection

    async def begun(self) -> bool:
        return psycopg_begun(self._connection)

    async def fetch(self, statement: Statement) -> list[Row]:
        async with self._connection.cursor(row_factory=psycopg_rows()) as cursor:
            await cursor.execute(*named(statement))
            return [] if cursor.description is None else list(await cursor.fetchall())

    async def blocking(self, work: Callable[[Blocking], T]) -> T:
        raise AssertionError("psycopg speaks to PostgreSQL only")


class SqlalchemyAwaited:
    """SQLAlchemy's `AsyncConnection`: its blocking one, run where it may wait."""

    def __init__(self, connection: Driver) -> None:
        self._connection = connection
        self.origin: object = connection.sync_connection.engine

    @property
    def database(self) -> str:
        return str(self._connection.dialect.name)

    async def begun(self) -> bool:
        return await self.blocking(lambda connection: connection.begun)

    async def fetch(self, statement: Statement) -> list[Row]:
        return await self.blocking(lambda connection: connection.fetch(statement))

    async def blocking(self, work: Callable[[Blocking], T]) -> T:
        answer: T = await self._connection.run_sync(lambda connection: work(Sqlalchemy(connection)))
        return answer

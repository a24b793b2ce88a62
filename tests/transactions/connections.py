"""Callers' connections, each opened for a store's URL, in a transaction; what is given as `tx` may be their `tx`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import django.conf
import django.db
import psycopg
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from mainspring.store.postgres.place import Place

Blocks = Callable[[str], AbstractContextManager[Any]]


# --- connections that block


@contextmanager
def sqlite_connection(url: str) -> Iterator[Any]:
    db = sqlite3.connect(path_of(url))
    db.row_factory = lambda _, row: {"a row": row}  # what callers set is not for our statements
    yield db
    db.close()


@contextmanager
def sqlite_that_begins_by_hand(url: str) -> Iterator[Any]:
    db = sqlite3.connect(path_of(url), isolation_level=None)
    db.execute("BEGIN")
    yield Begun(db, lambda: db.execute("BEGIN"))
    db.close()


@contextmanager
def psycopg_connection(url: str) -> Iterator[Any]:
    with psycopg.connect(dsn_of(url), row_factory=psycopg.rows.dict_row) as db:
        yield db


@contextmanager
def sqlalchemy_connection(url: str) -> Iterator[Any]:
    with engine(url) as made, made.connect() as db:
        yield db


@contextmanager
def sqlalchemy_session(url: str) -> Iterator[Any]:
    class Own(Session):
        """A class of the caller's own."""

    with engine(url) as made, Own(made) as db:
        yield db


@contextmanager
def sqlalchemy_scoped_session(url: str) -> Iterator[Any]:
    with engine(url) as made:
        db = scoped_session(sessionmaker(made))
        yield db
        db.remove()


@contextmanager
def django_connection(url: str) -> Iterator[Any]:
    with django_on(url) as db:
        db.set_autocommit(False)
        yield db


BLOCKING: list[Blocks] = [sqlalchemy_connection, sqlalchemy_session, sqlalchemy_scoped_session, django_connection]


class Begun:
    """A connection whose transactions are begun by hand: `commit` and `rollback` begin the next one."""

    def __init__(self, db: Any, begin: Callable[[], object]) -> None:
        self.tx = db
        self._begin = begin

    def commit(self) -> None:
        self.tx.commit()
        self._begin()

    def rollback(self) -> None:
        self.tx.rollback()
        self._begin()


# --- connections that are awaited


@asynccontextmanager
async def asyncpg_connection(url: str) -> AsyncIterator[Any]:
    db = await asyncpg.connect(dsn_of(url))
    # A caller's own codecs are not for our statements.
    await db.set_type_codec("jsonb", schema="pg_catalog", encoder=lambda _: "{}", decoder=len)
    try:
        yield await Awaited.begun(db)
    finally:
        await db.close()


@asynccontextmanager
async def asyncpg_pool(url: str) -> AsyncIterator[Any]:
    async with asyncpg.create_pool(dsn_of(url), min_size=1, max_size=1) as pool, pool.acquire() as db:
        awaited = await Awaited.begun(db)
        yield awaited
        await awaited.end()


@asynccontextmanager
async def psycopg_async_connection(url: str) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(dsn_of(url)) as db:
        yield db


@asynccontextmanager
async def sqlalchemy_asyncpg(url: str) -> AsyncIterator[Any]:
    made = create_async_engine(dsn_of(url).replace("postgresql://", "postgresql+asyncpg://"))
    async with made.connect() as db:
        yield db
    await made.dispose()


@asynccontextmanager
async def sqlalchemy_async_session(url: str) -> AsyncIterator[Any]:
    made = create_async_engine(dsn_of(url).replace("postgresql://", "postgresql+psycopg://"))
    async with AsyncSession(made) as db:
        yield db
    await made.dispose()


@asynccontextmanager
async def sqlalchemy_async_scoped(url: str) -> AsyncIterator[Any]:
    made = create_async_engine(dsn_of(url).replace("postgresql://", "postgresql+asyncpg://"))
    db = async_scoped_session(async_sessionmaker(made), scopefunc=asyncio.current_task)
    yield db
    await db.remove()
    await made.dispose()


class Awaited:
    """asyncpg has its transactions as objects."""

    def __init__(self, db: Any) -> None:
        self.tx = db

    @classmethod
    async def begun(cls, db: Any) -> Awaited:
        made = cls(db)
        await made._begin()
        return made

    async def commit(self) -> None:
        await self._transaction.commit()
        await self._begin()

    async def rollback(self) -> None:
        await self._transaction.rollback()
        await self._begin()

    async def end(self) -> None:
        await self._transaction.rollback()

    async def _begin(self) -> None:
        self._transaction = self.tx.transaction()
        await self._transaction.start()


def dsn_of(url: str) -> str:
    return Place.parse(url).dsn


def path_of(url: str) -> str:
    return url.removeprefix("sqlite:///")


@contextmanager
def engine(url: str) -> Iterator[sqlalchemy.Engine]:
    made = sqlalchemy.create_engine(
        url if url.startswith("sqlite") else dsn_of(url).replace("postgresql://", "postgresql+psycopg://")
    )
    yield made
    made.dispose()


@contextmanager
def django_on(url: str) -> Iterator[Any]:
    """`django.db.connection`, connected to the database of this URL."""
    if not django.conf.settings.configured:
        django.conf.settings.configure(USE_TZ=True)
        django.setup()
    database: dict[str, object] = {"ENGINE": "django.db.backends.sqlite3", "NAME": path_of(url)}
    if not url.startswith("sqlite"):
        parts = urlsplit(dsn_of(url))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": parts.path[1:],
            "USER": parts.username or "",
            "PASSWORD": parts.password or "",
            "HOST": parts.hostname or query["host"],
            "PORT": str(parts.port or query.get("port", "")),
        }
    handler = django.db.utils.ConnectionHandler({"default": database})
    django.db.connections["default"] = handler["default"]
    yield django.db.connection
    django.db.connection.close()

"""Which connection somebody gave as `tx=`: known by the names of its class, so that no driver is imported for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from mainspring.errors import WrongTransaction
from mainspring.store.borrowed.awaited import Asyncpg, Awaited, PsycopgAwaited, SqlalchemyAwaited
from mainspring.store.borrowed.blocking import Blocking, Django, Driver, Psycopg, Sqlalchemy, Sqlite3

KNOWN: Final = (
    "an open connection of asyncpg or psycopg, a connection or session of SQLAlchemy, Django's `connection`, or a"
    " sqlite3.Connection"
)


def borrow(tx: object, database: str, where: str) -> Blocking:
    """The caller's connection that blocks. `database`: of which kind it must be; `where`: what people call ours.

    Raises WrongTransaction that says what to give instead.
    """
    name = name_of(tx)
    make = _BLOCKING.get(name)
    if make is None:
        if name in _AWAITED:
            raise WrongTransaction(f"{name} is awaited: say `await task.options(tx=…).enqueue(…)`, without .sync")
        raise unknown(tx)
    found = make(tx)
    _check_database(name, found.database, database, where)
    if not found.begun:
        raise no_transaction(name)
    return found


async def borrow_awaited(tx: object, database: str, where: str) -> Awaited:
    """The caller's connection that is awaited. Raises as `borrow`."""
    name = name_of(tx)
    make = _AWAITED.get(name)
    if make is None:
        if name in _BLOCKING:
            raise WrongTransaction(f"{name} blocks: say `task.options(tx=…).sync.enqueue(…)`, without await")
        raise unknown(tx)
    found = await make(tx)
    _check_database(name, found.database, database, where)
    if not await found.begun():
        raise no_transaction(name)
    return found


def name_of(tx: object) -> str:
    """The package and class of a connection that is known, whatever class of the caller's own it is; else nothing.

    >>> import contextlib, sqlite3
    >>> with contextlib.closing(sqlite3.connect(":memory:")) as db:
    ...     name_of(db), name_of(3)
    ('sqlite3.Connection', '')
    """
    for each in type(tx).__mro__:
        name = f"{each.__module__.partition('.')[0]}.{each.__qualname__}"
        if name in _BLOCKING or name in _AWAITED:
            return name
    return ""


def no_transaction(name: str) -> WrongTransaction:
    """A connection on which every statement is committed by itself."""
    begin = _BEGIN.get(name, "begin one")
    return WrongTransaction(f"this {name} has no open transaction that the job could be part of: {begin}")


def unknown(tx: object) -> WrongTransaction:
    """Something that is no connection, or none that we know."""
    kind = f"{type(tx).__module__}.{type(tx).__qualname__}".removeprefix("builtins.")
    return WrongTransaction(f"tx= takes {KNOWN}, not {kind}")


def _check_database(name: str, found: str, database: str, where: str) -> None:
    if found != database:
        raise WrongTransaction(
            f"this {name} is connected to {found}, and the jobs of this app are in {where}: enqueue without tx=, or"
            " keep the jobs in the database of your transaction"
        )


def _django(proxy: Driver) -> Django:
    """`django.db.connection` stands for the connection of the calling thread."""
    return Django(proxy.cursor.__self__)


def _session(session: Driver) -> Sqlalchemy:
    return Sqlalchemy(session.connection())


async def _asyncpg(connection: Driver) -> Asyncpg:
    return Asyncpg(connection)


async def _psycopg(connection: Driver) -> PsycopgAwaited:
    return PsycopgAwaited(connection)


async def _sqlalchemy(connection: Driver) -> SqlalchemyAwaited:
    return SqlalchemyAwaited(connection)


async def _async_session(session: Driver) -> SqlalchemyAwaited:
    return SqlalchemyAwaited(await session.connection())


_BLOCKING: Final[dict[str, Callable[[Driver], Blocking]]] = {
    "sqlite3.Connection": Sqlite3,
    "psycopg.Connection": Psycopg,
    "sqlalchemy.Connection": Sqlalchemy,
    "sqlalchemy.Session": _session,
    "sqlalchemy.scoped_session": _session,
    "django.ConnectionProxy": _django,
    "django.BaseDatabaseWrapper": Django,
}

_AWAITED: Final[dict[str, Callable[[Driver], Awaitable[Awaited]]]] = {
    "asyncpg.Connection": _asyncpg,
    "asyncpg.PoolConnectionProxy": _asyncpg,
    "psycopg.AsyncConnection": _psycopg,
    "sqlalchemy.AsyncConnection": _sqlalchemy,
    "sqlalchemy.AsyncSession": _async_session,
    "sqlalchemy.async_scoped_session": _async_session,
}

_BEGIN: Final = {
    "asyncpg.Connection": "`async with connection.transaction():`",
    "asyncpg.PoolConnectionProxy": "`async with connection.transaction():`",
    "psycopg.Connection": "`with connection.transaction():`",
    "psycopg.AsyncConnection": "`async with connection.transaction():`",
    "django.ConnectionProxy": "`with transaction.atomic():`",
    "django.BaseDatabaseWrapper": "`with transaction.atomic():`",
    "sqlite3.Connection": '`connection.execute("BEGIN IMMEDIATE")`',
}

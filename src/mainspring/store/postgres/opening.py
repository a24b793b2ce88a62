"""Bringing the schema up to date: one look when it is, one transaction under a lock when it is not."""

from __future__ import annotations

from typing import Final

import asyncpg

from mainspring.errors import StoreUnsuitable
from mainspring.store.postgres import faults
from mainspring.store.postgres.connect import connect
from mainspring.store.postgres.place import PACKAGE, Connection, Place
from mainspring.store.postgres.pool import Pool
from mainspring.store.sql import Migration, migrations

OLDEST: Final = 15
"""The oldest major version of PostgreSQL that has what the statements use."""

TURN_TIMEOUT: Final = 60.0
"""Seconds to wait for another process that is migrating."""

TABLE_TIMEOUT: Final = 5.0
"""Seconds for which a migration waits for a table in use: meanwhile everybody else waits behind it."""


async def open_schema(pool: Pool, place: Place, package: str = PACKAGE) -> list[str]:
    """Make or update the schema; returns the names of the migrations that ran. Any number of processes may do so at once.

    A schema that is up to date is only read, so that no right to create anything is needed. Raises StoreUnsuitable,
    with nothing changed, for a schema of a newer Mainspring or of another program, and for an old server.
    """
    async with pool.use() as connection:
        if not await missing(connection, place, package):
            return []
    async with pool.transaction(TURN_TIMEOUT, timed=False) as connection:
        await connection.execute(place.sql("opening")["turn"], f"mainspring {place.schema}")
        names = await missing(connection, place, package)
        if names:
            await connection.execute(f"SET LOCAL lock_timeout = {round(TABLE_TIMEOUT * 1000)}")
            await _migrate(connection, place, [each for each in migrations(package) if each.name in names])
    return names


async def pending(place: Place, package: str = PACKAGE) -> list[str]:
    """The names of the migrations that opening this place would run; changes nothing, on a connection of its own."""
    connection = await connect(place)
    try:
        return await missing(connection, place, package)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise faults.translated(error, place) from error
    finally:
        connection.terminate()


async def missing(connection: Connection, place: Place, package: str = PACKAGE) -> list[str]:
    """The names of the migrations that have not run in this schema.

    Raises StoreUnsuitable for a schema that is not ours or is newer, and for a server that is too old.
    """
    check_server(connection, place)
    known, sql = migrations(package), place.sql("opening")
    ours, anything = (await connection.fetch(sql["look"], f"{place.quoted}.migrations", place.schema))[0]
    if not ours:
        if anything:
            raise _not_ours(place)
        return [each.name for each in known]
    try:
        rows = await connection.fetch(sql["done"])
    except (asyncpg.UndefinedColumnError, asyncpg.WrongObjectTypeError) as error:
        raise _not_ours(place) from error
    return _compared(dict(map(tuple, rows)), known, place)


def check_server(connection: Connection, place: Place) -> None:
    """Raises StoreUnsuitable for a server that is too old, or a database that cannot hold every text."""
    version = connection.get_server_version()
    if version.major < OLDEST:
        raise StoreUnsuitable(
            f"{place.shown} is PostgreSQL {version.major}.{version.minor}; Mainspring needs {OLDEST} or newer"
        )
    encoding = getattr(connection.get_settings(), "server_encoding", "UTF8")
    if encoding != "UTF8":
        raise StoreUnsuitable(
            f"the database of {place.shown} has the encoding {encoding}; create one with ENCODING 'UTF8'"
        )


def _compared(done: dict[int, str], known: tuple[Migration, ...], place: Place) -> list[str]:
    newest = max(done, default=0)
    if newest > known[-1].number:
        raise StoreUnsuitable(
            f"schema {place.quoted} of {place.shown} has number {newest}, this Mainspring knows {known[-1].number};"
            " upgrade Mainspring, or name another schema"
        )
    if any(done.get(each.number, each.name) != each.name for each in known):
        raise _not_ours(place)
    return [each.name for each in known if each.number not in done]


def _not_ours(place: Place) -> StoreUnsuitable:
    return StoreUnsuitable(
        f"schema {place.quoted} of {place.shown} holds tables of another program; name another one: ?schema=mainspring"
    )


async def _migrate(connection: Connection, place: Place, steps: list[Migration]) -> None:
    sql = place.sql("opening")
    if not await connection.fetchval(sql["schema_exists"], place.quoted):
        await connection.execute(sql["create_schema"])
        await connection.execute(sql["describe_schema"])
    await connection.execute(sql["create_migrations"])
    for step in steps:
        await connection.execute(step.script.replace("{schema}", place.quoted))
        await connection.execute(sql["note"], step.number, step.name)

"""Connections that block, each as the little that adding jobs needs of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from mainspring.store.borrowed.statements import Row, Statement, in_order, named

# The drivers may not be installed, and have no common types: what is asked of their objects is checked by tests only.
Driver = Any


class Blocking(Protocol):
    """A caller's connection that blocks. `database`: postgresql, sqlite, or what its package calls another one."""

    @property
    def database(self) -> str:
        """What it is connected to."""
        ...

    @property
    def begun(self) -> bool:
        """Whether what is done now becomes part of a transaction."""
        ...

    @property
    def origin(self) -> object:
        """What stands for the database that it is connected to: the same object, the same database."""
        ...

    def fetch(self, statement: Statement) -> list[Row]:
        """All rows of a statement; none of one that gives no rows."""
        ...

    def sqlite(self) -> PlainSqlite:
        """It, as a connection to SQLite: only asked when that is the `database`."""
        ...


class PlainSqlite(Protocol):
    """What of `sqlite3.Connection` is used: `?` for values, plain rows."""

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> Driver:
        """A cursor."""
        ...

    def executemany(self, sql: str, rows: Iterable[Sequence[object]]) -> Driver:
        """A cursor."""
        ...

    @property
    def in_transaction(self) -> bool:
        """Whether one is open."""
        ...


class Sqlite3:
    """`sqlite3.Connection`. What the caller has set about rows and texts is not for our statements."""

    database: Final = "sqlite"
    begun: Final = True  # the first statement that writes begins one, or `in_transaction` says that it did not

    def __init__(self, connection: Driver) -> None:
        self._connection = self.origin = connection

    def fetch(self, statement: Statement) -> list[Row]:
        sql, values = in_order(statement, "?")
        return list(self.execute(sql, values).fetchall())

    def sqlite(self) -> PlainSqlite:
        return self

    @property
    def in_transaction(self) -> bool:
        return bool(self._connection.in_transaction)

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> Driver:
        return self._cursor().execute(sql, parameters)

    def executemany(self, sql: str, rows: Iterable[Sequence[object]]) -> Driver:
        return self._cursor().executemany(sql, rows)

    def _cursor(self) -> Driver:
        cursor = self._connection.cursor()
        cursor.row_factory = None
        return cursor


class Psycopg:
    """`psycopg.Connection`."""

    database: Final = "postgresql"

    def __init__(self, connection: Driver) -> None:
        self._connection = self.origin = connection

    @property
    def begun(self) -> bool:
        return psycopg_begun(self._connection)

    def fetch(self, statement: Statement) -> list[Row]:
        with self._connection.cursor(row_factory=psycopg_rows()) as cursor:
            cursor.execute(*named(statement))
            return [] if cursor.description is None else list(cursor.fetchall())

    def sqlite(self) -> PlainSqlite:
        raise AssertionError("psycopg speaks to PostgreSQL only")


class Django:
    """`django.db.connection`, or one of `django.db.connections`."""

    def __init__(self, connection: Driver) -> None:
        self._connection = self.origin = connection

    @property
    def database(self) -> str:
        return str(self._connection.vendor)

    @property
    def begun(self) -> bool:
        return bool(self._connection.in_atomic_block or not self._connection.get_autocommit())

    def fetch(self, statement: Statement) -> list[Row]:
        with self._connection.cursor() as cursor:
            cursor.execute(*named(statement))
            return [] if cursor.description is None else list(cursor.fetchall())

    def sqlite(self) -> PlainSqlite:
        self._connection.ensure_connection()
        return Sqlite3(self._connection.connection)


class Sqlalchemy:
    """SQLAlchemy's `Connection`. Its own methods are used, so that it knows that it is part of a transaction."""

    def __init__(self, connection: Driver) -> None:
        self._connection = connection
        self.origin = connection.engine

    @property
    def database(self) -> str:
        return str(self._connection.dialect.name)

    @property
    def begun(self) -> bool:
        raw = self._connection.connection.dbapi_connection
        return getattr(raw, "autocommit", False) is not True and getattr(raw, "isolation_level", "") != "autocommit"

    def fetch(self, statement: Statement) -> list[Row]:
        style = self._connection.dialect.paramstyle
        sql: str
        values: object
        if style == "pyformat":
            sql, values = named(statement)
        elif style.startswith("numeric"):
            sql, values = statement
        else:
            sql, values = in_order(statement, "?" if style == "qmark" else "%s")
        result = self._connection.exec_driver_sql(sql, values)
        return list(result.fetchall()) if result.returns_rows else []

    def sqlite(self) -> PlainSqlite:
        return self

    @property
    def in_transaction(self) -> bool:
        raw = self._connection.connection.dbapi_connection
        found = getattr(raw, "in_transaction", None)
        return bool(self._connection.connection.driver_connection.in_transaction if found is None else found)

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> Driver:
        return self._connection.exec_driver_sql(sql, tuple(parameters))

    def executemany(self, sql: str, rows: Iterable[Sequence[object]]) -> Driver:
        return self._connection.exec_driver_sql(sql, [tuple(row) for row in rows])


def psycopg_begun(connection: Driver) -> bool:
    """Whether a connection of psycopg is in a transaction, or begins one with its next statement."""
    return not connection.autocommit or connection.info.transaction_status.name != "IDLE"


def psycopg_rows() -> Driver:
    """Plain rows, whatever the caller's connection makes of them; the module is there, since the connection is."""
    return sys.modules["psycopg.rows"].tuple_row

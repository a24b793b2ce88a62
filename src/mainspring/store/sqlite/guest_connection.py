"""The connection that a task works with inside its transaction: what asyncpg's has, as far as it makes sense here."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol, TypeVar

from mainspring.errors import AppError

T = TypeVar("T")

_QUOTED: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_NUMBERED: Final = re.compile(r"\$\d")
_ENDS: Final = re.compile(r"\s*(?:(BEGIN|COMMIT|END)\b|ROLLBACK\b(?!\s+(?:TRANSACTION\s+)?TO\b))", re.IGNORECASE)


class Statements(Protocol):
    """Runs a function over the open connection, in the thread that it belongs to."""

    def __call__(self, work: Callable[[sqlite3.Connection], T], /) -> Awaitable[T]: ...


class GuestConnection:
    """The open transaction of one attempt, with the verbs of asyncpg's connection; all are awaited.

    Values stand for `$1`, `$2`, … or for `?`. Rows can be asked by place and by name (`sqlite3.Row`). Errors are those
    of `sqlite3`. SAVEPOINT is yours; BEGIN, COMMIT and ROLLBACK are the worker's, and raise AppError.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def execute(self, sql: str, *values: object) -> str:
        """Run one statement; returns what it did, as `UPDATE 3` or `INSERT 0 1`."""
        return await self._statements(lambda db: _status(sql, _execute(db, sql, values)))

    async def executemany(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run one statement for each row of values."""
        given = [_values(sql, row) for row in rows]
        _check(sql)
        await self._statements(lambda db: db.executemany(sql, given).close())

    async def fetch(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """All rows."""
        return await self._statements(lambda db: _execute(db, sql, values).fetchall())

    async def fetchrow(self, sql: str, *values: object) -> sqlite3.Row | None:
        """The first row, or None."""
        rows = await self.fetch(sql, *values)
        return rows[0] if rows else None

    async def fetchval(self, sql: str, *values: object, column: int = 0) -> object:
        """One value of the first row, or None."""
        row = await self.fetchrow(sql, *values)
        found: object = None if row is None else row[column]
        return found


def _execute(db: sqlite3.Connection, sql: str, values: Sequence[object]) -> sqlite3.Cursor:
    _check(sql)
    cursor = db.cursor()
    cursor.row_factory = sqlite3.Row
    return cursor.execute(sql, _values(sql, values))


def _values(sql: str, values: Sequence[object]) -> Sequence[object] | dict[str, object]:
    """SQLite takes `$1` for a name, and wants a dict then."""
    if _NUMBERED.search(_QUOTED.sub("", sql)):
        return {str(place): value for place, value in enumerate(values, 1)}
    return tuple(values)


def _check(sql: str) -> None:
    if _ENDS.match(_QUOTED.sub("", sql)):
        raise AppError(
            "the worker begins and ends the transaction of a task; to roll back raise an error, to undo a part use"
            " SAVEPOINT and ROLLBACK TO"
        )


def _status(sql: str, cursor: sqlite3.Cursor) -> str:
    """As PostgreSQL says it."""
    word = _QUOTED.sub("", sql).split(None, 1)[0].upper()
    number = len(cursor.fetchall()) if cursor.description else cursor.rowcount
    cursor.close()
    if number < 0:
        return word
    return f"INSERT 0 {number}" if word == "INSERT" else f"{word} {number}"

"""The rows of the store in SQLite."""

from __future__ import annotations

import sqlite3

from mainspring.store.sqlite.belongings import SqliteBelongings
from mainspring.store.sqlite.jobs import SqliteJobs
from mainspring.store.sqlite.reads import SqliteReads
from mainspring.store.sqlite.workers import SqliteWorkers


class SqliteRows(SqliteJobs, SqliteBelongings, SqliteWorkers, SqliteReads):
    """`Rows` over one connection, for one thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)

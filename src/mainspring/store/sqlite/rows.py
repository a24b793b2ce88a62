"""The rows of the store in SQLite."""

from __future__ import annotations

import sqlite3

from mainspring.store.sqlite.belongings import SqliteBelongings
from mainspring.store.sqlite.jobs import SqliteJobs
from mainspring.store.sqlite.reads import SqliteReads
from mainspring.store.sqlite.schedules import SqliteSchedules
from mainspring.store.sqlite.workers import SqliteWorkers


class SqliteRows(SqliteJobs, SqliteBelongings, SqliteWorkers, SqliteReads, SqliteSchedules):
    """`Rows` over one connection, for one thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        SqliteSchedules.__init__(self, connection)
        super().__init__(connection)

    def begin(self) -> None:
        """Forget what an earlier batch left."""
        super().begin()
        self.forget()

"""Adding jobs through a connection of the caller's own to the same file: what it commits, we find.

It takes no turns (RULES C9, H3): when another process writes, "database is locked" is the caller's to handle, as with
every other statement of that transaction.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from mainspring.errors import WrongTransaction
from mainspring.ids import IdSource
from mainspring.model.record import NewGroup, NewJob
from mainspring.store.base import Added
from mainspring.store.borrowed import PlainSqlite
from mainspring.store.serial.add import add
from mainspring.store.sqlite.rows import SqliteRows

LOCK = "DELETE FROM paused_queues WHERE 0"
"""Changes nothing, and takes the write lock: what is read after it nobody else can change before the commit."""


def add_through(
    connection: PlainSqlite,
    path: str,
    now: float,
    ids: IdSource,
    jobs: Sequence[NewJob],
    groups: Sequence[NewGroup],
) -> list[Added]:
    """Add jobs in the open transaction of this connection, or in the one that its first write begins."""
    check_file(connection, path)
    connection.execute(LOCK)
    if not connection.in_transaction:
        raise WrongTransaction(
            "this connection to SQLite commits every statement by itself, so there is no transaction that the job could"
            ' be part of: begin one, with execute("BEGIN IMMEDIATE")'
        )
    rows = SqliteRows(cast("sqlite3.Connection", connection))  # of which it needs these methods only
    rows.begin()
    answers = add(rows, now, ids, jobs, groups)
    rows.flush()
    return answers


def check_file(connection: PlainSqlite, path: str) -> None:
    """Raise WrongTransaction for a connection to another file."""
    listed = connection.execute("PRAGMA database_list").fetchall()
    files = [str(file) for _, name, file in listed if name == "main"]
    file = files[0] if files else ""
    try:
        same = bool(file) and os.path.samestat(Path(file).stat(), Path(path).stat())
    except FileNotFoundError:
        same = False
    if not same:
        raise WrongTransaction(
            f"this connection is to {file or 'a database in memory'}, and the jobs of this app are in {path}: SQLite"
            " commits one file at a time, so keep your tables in the app's file, or enqueue without tx="
        )

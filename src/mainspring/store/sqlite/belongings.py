"""What belongs to jobs in SQLite: history, groups, unique keys, progress."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from mainspring.model.record import AttemptRecord, Group
from mainspring.store.serial.rows import KeyHolder
from mainspring.store.sql import statements
from mainspring.store.sqlite.connect import PACKAGE
from mainspring.store.sqlite.jobs import as_json
from mainspring.store.sqlite.records import attempt_row, failure_of

SQL: Final = statements(PACKAGE, "belongings")
HISTORY_LIMIT: Final = 100


class SqliteBelongings:
    """`BelongingRows` in SQLite."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def append_attempts(self, attempts: Sequence[AttemptRecord]) -> None:
        self._db.executemany(SQL["append_attempt"], [attempt_row(attempt) for attempt in attempts])
        long = {(each.job, each.job, HISTORY_LIMIT) for each in attempts if each.lease > HISTORY_LIMIT}
        if long:  # a lease counts each attempt, so a shorter history needs no look
            self._db.executemany(SQL["trim_attempts"], sorted(long))

    def attempts(self, job: str) -> list[AttemptRecord]:
        return [
            AttemptRecord(
                job=job,
                lease=lease,
                attempt=attempt,
                ending=ending,
                worker=worker,
                claimed=claimed,
                started=started,
                ended=ended,
                error=failure_of(error),
            )
            for job, lease, attempt, ending, worker, claimed, started, ended, error in self._db.execute(
                SQL["attempts"], (job,)
            ).fetchall()
        ]

    def groups(self, ids: Sequence[str]) -> list[Group | None]:
        if not ids:
            return []
        rows = self._db.execute(SQL["groups"], (as_json(ids),)).fetchall()
        found = {
            id_: Group(id=id_, size=size, remaining=remaining, failed=failed, on_failure=on_failure)
            for id_, size, remaining, failed, on_failure in rows
        }
        return [found.get(each) for each in ids]

    def put_group(self, group: Group) -> None:
        row = (group.id, group.size, group.remaining, group.failed, group.on_failure)
        self._db.execute(SQL["put_group"], row)

    def key(self, key: str) -> KeyHolder | None:
        row = self._db.execute(SQL["key"], (key,)).fetchone()
        return None if row is None else KeyHolder(*row)

    def take_key(self, key: str, holder: KeyHolder) -> None:
        self._db.execute(SQL["take_key"], (key, holder.job, holder.until))

    def free_keys(self, keys: Sequence[tuple[str, str]]) -> None:
        self._db.executemany(SQL["free_key"], keys)

    def set_progress(self, progress: Sequence[tuple[str, bytes]]) -> None:
        if progress:
            self._db.executemany(SQL["set_progress"], [(value, job) for job, value in progress])

    def progress(self, job: str) -> bytes | None:
        row = self._db.execute(SQL["progress"], (job,)).fetchone()
        return None if row is None else row[0]

"""Workers and paused queues in SQLite."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from mainspring.store.base import Worker
from mainspring.store.serial.rows import WorkerRow
from mainspring.store.sql import statements
from mainspring.store.sqlite.connect import PACKAGE
from mainspring.store.sqlite.jobs import as_json

SQL: Final = statements(PACKAGE, "workers")
_queues = msgspec.json.Decoder(tuple[str, ...]).decode


class SqliteWorkers:
    """`WorkerRows` in SQLite."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def worker(self, id: str) -> WorkerRow | None:  # noqa: A002
        row = self._db.execute(SQL["worker"], (id,)).fetchone()
        return None if row is None else _worker_of(row)

    def put_worker(self, row: WorkerRow) -> None:
        each = row.worker
        self._db.execute(
            SQL["put_worker"],
            (
                each.id,
                each.name,
                each.host,
                each.pid,
                as_json(each.queues),
                each.lease_time,
                row.joined,
                row.beat,
                row.steady_since,
                row.stalled,
            ),
        )

    def drop_worker(self, id: str) -> None:  # noqa: A002
        self._db.execute(SQL["drop_worker"], (id,))

    def workers(self) -> list[tuple[WorkerRow, int]]:
        rows = self._db.execute(SQL["workers"]).fetchall()
        return [(_worker_of(row[:-1]), row[-1]) for row in rows]

    def cancel_requests(self, worker: str) -> list[str]:
        return [row[0] for row in self._db.execute(SQL["cancel_requests"], (worker,)).fetchall()]

    def paused(self) -> frozenset[str]:
        return frozenset(row[0] for row in self._db.execute(SQL["paused"]).fetchall())

    def set_paused(self, queue: str, paused: bool) -> None:
        self._db.execute(SQL["pause" if paused else "resume"], (queue,))


def _worker_of(row: tuple[str, str, str, int, str, float, float, float, float, int]) -> WorkerRow:
    id_, name, host, pid, queues, lease_time, joined, beat, steady_since, stalled = row
    worker = Worker(id_, name, host, pid, _queues(queues), lease_time)
    return WorkerRow(worker, joined, beat, steady_since, stalled == 1)

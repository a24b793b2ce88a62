"""The store in SQLite, put together."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from mainspring.clock import Clock
from mainspring.errors import AppError, MainspringError, StoreUnavailable
from mainspring.ids import IdSource, new_id
from mainspring.model.record import Answer, NewGroup, NewJob, Settlement
from mainspring.store.base import (
    Added,
    Beat,
    BeatReply,
    Features,
    Finding,
    Swept,
    Transaction,
    Worker,
    inside_of,
)
from mainspring.store.borrowed import borrow, borrow_awaited
from mainspring.store.serial import settle as verbs
from mainspring.store.serial import upkeep
from mainspring.store.serial.rows import Rows, WorkerRow
from mainspring.store.serial.store import SerialStore
from mainspring.store.sqlite import faults
from mainspring.store.sqlite.checks import findings
from mainspring.store.sqlite.connect import MEMORY, Place, Synchronous, pending
from mainspring.store.sqlite.guest import Guest
from mainspring.store.sqlite.liveness import Liveness
from mainspring.store.sqlite.opening import Opened, open_place
from mainspring.store.sqlite.rows import SqliteRows
from mainspring.store.sqlite.watch import POLL
from mainspring.store.sqlite.within import add_through
from mainspring.store.sqlite.writer import BUSY_LIMIT

T = TypeVar("T")


class SqliteStore(SerialStore):
    """Jobs in one file, for any number of processes on one machine.

    Every verb returns when its batch is committed. With `synchronous="FULL"` that survives a power cut; with
    "NORMAL" a crash of the process, but the last commits may be lost in a power cut. A worker that dies is seen at
    once, by a lock that the system frees (RULES C9). Beside the file lie `-wal` and `-shm`, which are SQLite's,
    `-turn` and the folder `-workers`, which are ours; copy or move them together, with all processes stopped.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "FULL",
        clock: Clock | None = None,
        ids: IdSource = new_id,
        liveness: Liveness | None = None,
        poll: float | None = POLL,
        busy_limit: float = BUSY_LIMIT,
    ) -> None:
        """An empty path, or ":memory:", is a private database in memory (STO-016).

        `liveness` says how workers know of each other's death: by locked files, unless a test wants otherwise.
        `poll` is how often, in seconds, a waiting process looks for what others have added; None: never.
        `busy_limit` is how long, in seconds, a call waits while another program holds the file's write lock.
        """
        super().__init__(clock=clock, ids=ids)
        self._place: Final = Place(os.fspath(path) or MEMORY, synchronous)
        self._liveness = liveness
        self._poll = poll
        self._busy_limit = busy_limit
        self._opened: Opened | None = None
        self._closing: Opened | None = None

    @property
    def features(self) -> Features:
        private = self._place.private
        survives: Final = "nothing" if private else "power" if self._place.synchronous == "FULL" else "process"
        return Features(
            name="sqlite",
            wake="direct" if private else "poll",
            survives=survives,
            shared=not private,
            transaction=not private,
            schedules=True,
        )

    async def open(self) -> None:
        await self._migrated()

    async def migrate(self) -> list[str]:
        """See `Life.migrate`. Opening does it, so on an open store there is nothing left to run."""
        return await self._migrated()

    async def pending(self) -> list[str]:
        """See `Life.pending`. A database in memory has nothing before it is opened, and nothing to bring up to date."""
        if self._opened is not None or self._place.private:
            return []
        try:
            return await asyncio.to_thread(pending, self._place.real().path)
        except sqlite3.Error as error:
            raise self._translated(error) from error

    async def close(self) -> None:
        if self._opened is not None:
            self._closing, self._opened = self._opened, None
        closing = self._closing
        if closing is not None and closing.pid == os.getpid():
            await closing.close()
            if self._closing is closing:
                self._closing = None

    async def check(self) -> list[Finding]:
        opened = self._open()
        return await opened.reader.call(lambda rows: findings(opened.reader.connection, rows, opened.place))

    async def wait(self, queues: Sequence[str], timeout: float) -> bool:
        return await self._open().watch.wait(queues, timeout)

    async def wait_schedules(self, timeout: float) -> bool:
        """See `Schedules.wait_schedules`. Fires, and what else workers commit, wake nobody."""
        return await self._open().watch.wait_schedules(timeout)

    async def settle(self, settlements: Sequence[Settlement]) -> list[Answer]:
        """See `Jobs.settle`. Plain completions, which are most, are one statement."""
        plain = [each for each in settlements if _is_plain(each)]
        rest = [each for each in settlements if not _is_plain(each)] if len(plain) < len(settlements) else []
        if not plain or (rest and not {each.job for each in plain}.isdisjoint(each.job for each in rest)):
            return await super().settle(settlements)

        def verb(rows: SqliteRows) -> list[Answer]:
            now = self._clock.now()
            if not rows.complete(plain, now):
                return verbs.settle(rows, now, self._ids, settlements)
            if not rest:
                return ["accepted"] * len(settlements)
            answers = iter(verbs.settle(rows, now, self._ids, rest))
            return ["accepted" if _is_plain(each) else next(answers) for each in settlements]

        return await self._open().writer.call(verb)

    async def join(self, worker: Worker) -> float:
        """See `Upkeep.join`. The worker's lock is there before its row, so that nobody takes it for dead."""
        try:
            self._open().liveness.hold(worker.id)
        except OSError as error:
            raise StoreUnavailable(f"no lock file for worker {worker.id} can be made now: {error}") from error
        return await super().join(worker)

    async def beat(self, beat: Beat) -> BeatReply:
        self._open().liveness.keep()
        return await super().beat(beat)

    async def leave(self, worker: str, *, died: bool = False, started: Sequence[str] | None = None) -> None:
        liveness = self._open().liveness
        try:
            await super().leave(worker, died=died, started=started)
        finally:
            liveness.free(worker)  # if it could not be written: others see the free lock, and take its jobs
        liveness.forget(worker)

    async def sweep(self, worker: str, limit: int = 1000) -> Swept:
        """See `Upkeep.sweep`. Only reads when there is nothing to do, which is nearly always."""
        opened = self._open()
        opened.liveness.keep()
        known = opened.last_sweep.answer(worker, self._clock.now())
        if known is not None:
            return known
        gone: list[str] = []

        def look(rows: Rows) -> Swept | None:
            now = self._clock.now()
            gone[:] = upkeep.lapsed_workers(rows, worker, self._lapsed(rows, worker, now))
            nothing = None if gone else upkeep.nothing_to_sweep(rows, now, worker)
            opened.last_sweep.keep(nothing, [row.worker.id for row, _ in rows.workers()])
            return nothing

        nothing = await self._read(look)
        if nothing is not None:
            return nothing
        swept = await super().sweep(worker, limit)
        for each in gone:
            opened.liveness.forget(each)
        return swept

    async def transaction(self, worker: str, job: str) -> Transaction:
        """See `Transactions.transaction`. It holds the write lock, so one at a time; the others wait."""
        opened = self._open()
        if self._place.private:
            raise self._no_transactions()
        guest = Guest(opened, worker, job, clock=self._clock, ids=self._ids, busy_limit=self._busy_limit)
        await guest.begin()
        return guest

    async def add_within(self, tx: object, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
        """See `Transactions.add_within`. Blocks as that connection does, for there is no other way to it."""
        path = self._path_for_others()
        borrowed = await borrow_awaited(tx, "sqlite", path)
        now = self._clock.now()
        return await borrowed.blocking(
            lambda connection: add_through(connection.sqlite(), path, now, self._ids, jobs, groups)
        )

    def add_within_sync(self, tx: object, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
        """See `Transactions.add_within_sync`."""
        path = self._path_for_others()
        connection = borrow(tx, "sqlite", path).sqlite()
        return add_through(connection, path, self._clock.now(), self._ids, jobs, groups)

    def _path_for_others(self) -> str:
        if self._place.private:
            raise self._no_transactions()
        return self._open().place.path

    async def _migrated(self) -> list[str]:
        if self._opened is not None:
            self._open()
            return []
        try:
            self._opened = await open_place(
                self._place, liveness=self._liveness, poll=self._poll, busy_limit=self._busy_limit
            )
        except sqlite3.Error as error:
            raise self._translated(error) from error
        return self._opened.migrated

    async def _write(self, verb: Callable[[Rows], T]) -> T:
        if inside_of(self) is not None:
            raise AppError(
                "inside a task with transaction=True nothing but its ctx.connection and enqueue can write to SQLite: its "
                "transaction holds the one write lock; do this in a job that it enqueues"
            )
        return await self._open().writer.call(verb)

    async def _read(self, verb: Callable[[Rows], T]) -> T:
        return await self._open().reader.call(verb)

    def _lapsed(self, rows: Rows, worker: str, now: float) -> upkeep.Lapsed | None:
        """By locks, whatever the clock says; by beats where somebody has removed the lock's file."""
        liveness = self._open().liveness
        by_beats = super()._lapsed(rows, worker, now)

        def lapsed(row: WorkerRow) -> bool:
            sign = liveness.look(row.worker.id)
            return sign == "died" or (sign == "unknown" and by_beats is not None and by_beats(row))

        return lapsed

    def _open(self) -> Opened:
        if self._opened is None:
            raise faults.closed(self._place.path)
        if self._opened.pid != os.getpid():
            raise faults.forked(self._place.path)
        return self._opened

    def _translated(self, error: sqlite3.Error) -> MainspringError:
        return faults.translated(error, self._place.path)


def _is_plain(settlement: Settlement) -> bool:
    """Whether this says no more than: the job is completed."""
    return (
        settlement.kind == "complete"
        and not settlement.follow_ups
        and not settlement.groups
        and settlement.error is None
        and settlement.counters is None
    )

"""A transaction of the store's own, in which one attempt runs (RULES H2, H3).

There is one write lock, and one thread in each process that takes it. So the writer's thread lends itself: it opens a
connection for the guest, begins, and then does what the attempt asks for, step by step, until the end. Nobody of this
process writes meanwhile, nor waits in the kernel's queue; the verbs of others wait in the writer's.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from mainspring.clock import Clock, enter_outside, leave_outside, outside_loop
from mainspring.errors import AppError
from mainspring.ids import IdSource
from mainspring.model.record import Answer, NewGroup, NewJob, Settlement
from mainspring.store.base import Added
from mainspring.store.serial.add import add
from mainspring.store.serial.settle import settle
from mainspring.store.sqlite import faults
from mainspring.store.sqlite.connect import connect
from mainspring.store.sqlite.guest_connection import GuestConnection
from mainspring.store.sqlite.opening import Opened
from mainspring.store.sqlite.patience import Patience
from mainspring.store.sqlite.rows import SqliteRows

T = TypeVar("T")
log = logging.getLogger("mainspring.store.sqlite")

STILL_THERE: Final = 1.0
"""Seconds between two looks of the thread at whether the loop that it works for still lives."""

WARN_SHARE: Final = 1 / 3
"""The part of the worker's lease time after which an open transaction is warned about."""


class Step(Generic[T]):
    """Something to be done in the thread, and who waits for it."""

    __slots__ = ("future", "loop", "work")

    def __init__(self, work: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[T] = loop.create_future()

    def run(self) -> None:
        """In the thread."""
        try:
            answer = self.work()
        except BaseException as error:  # noqa: BLE001  # it belongs to whoever waits
            self._tell(partial(self.future.set_exception, error))
        else:
            self._tell(lambda: self.future.set_result(answer))

    def refuse(self, error: Exception) -> None:
        """It came after the end."""
        self._tell(lambda: self.future.set_exception(error))

    def _tell(self, tell: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(lambda: None if self.future.done() else tell())
        leave_outside(self.loop)


class Guest:
    """`Transaction` in SQLite. Made by `begun`."""

    def __init__(
        self, opened: Opened, worker: str, job: str, *, clock: Clock, ids: IdSource, busy_limit: float
    ) -> None:
        self.connection: Final = GuestConnection(self.statement)
        self.over = False
        self._opened = opened
        self._worker = worker
        self._job = job
        self._clock = clock
        self._ids = ids
        self._busy_limit = busy_limit
        self._loop = asyncio.get_running_loop()
        self._begun: asyncio.Future[None] = self._loop.create_future()
        self._hosted: asyncio.Future[None] | None = None
        self._steps: SimpleQueue[Step[Any] | None] = SimpleQueue()
        self._ended = False
        self._db: sqlite3.Connection
        self._rows: SqliteRows

    async def begin(self) -> None:
        """Wait for the write lock, and begin. Raises StoreUnavailable when others hold it too long."""
        self._hosted = self._opened.writer.lend(self._host)
        self._hosted.add_done_callback(self._has_left)
        self._opened.guests.add(self)
        try:
            with outside_loop(self._loop):
                await self._begun
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Roll back as soon as the thread gets to it; whoever still asks for something is refused."""
        self.over = self._ended = True
        self._steps.put(None)

    async def add(self, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
        return await self._asked(lambda: self._add(jobs, groups)).future

    async def settle(self, settlement: Settlement) -> Answer:
        step = self._asked(lambda: self._settle(settlement))
        self.over = True
        return await step.future

    async def rollback(self) -> None:
        self.abandon()
        if self._hosted is not None:
            with outside_loop(self._loop):
                await asyncio.wait([self._hosted])

    async def statement(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a statement of the attempt's; one that is cancelled is interrupted."""
        try:
            return await self._asked(lambda: self._work(work)).future
        except asyncio.CancelledError:
            with suppress(sqlite3.ProgrammingError):  # closed by now
                self._db.interrupt()
            raise

    def _asked(self, work: Callable[[], T]) -> Step[T]:
        if self.over:
            raise over()
        step = Step(work, self._loop)
        enter_outside(self._loop)
        self._steps.put(step)
        return step

    def _has_begun(self) -> None:
        if not self._begun.done():
            self._begun.set_result(None)

    def _has_left(self, hosted: asyncio.Future[None]) -> None:
        self._opened.guests.discard(self)
        error = hosted.exception()
        if not self._begun.done():
            self._begun.set_exception(error or over())

    # --- in the writer's thread

    def _host(self, _: SqliteRows) -> None:
        """From the beginning of the transaction to its end; the turn is taken."""
        if self._ended:
            return  # nobody wants it any more
        place = self._opened.place
        self._db = connect(place)
        try:
            self._db.execute(f"PRAGMA synchronous = {place.synchronous}")
            self._patiently_begin()
            self._rows = SqliteRows(self._db)
            self._rows.begin()
            with suppress(RuntimeError):  # the loop is closed: `_serve` notices
                self._loop.call_soon_threadsafe(self._has_begun)
            self._serve()
        finally:
            self._ended = True
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._db.close()
            with suppress(Empty):
                while True:
                    step = self._steps.get_nowait()
                    if step is not None:
                        step.refuse(over())

    def _patiently_begin(self) -> None:
        patience = Patience(self._opened.place.path, self._busy_limit)
        while True:
            try:
                self._db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not faults.is_busy(error):
                    raise
                patience.wait(error)
            else:
                return

    def _serve(self) -> None:
        began = monotonic()
        row = self._rows.worker(self._worker)
        warn_at: float | None = began + (30.0 if row is None else row.worker.lease_time) * WARN_SHARE
        while not self._ended:
            pause = STILL_THERE if warn_at is None else min(STILL_THERE, max(warn_at - monotonic(), 0.0))
            try:
                step = self._steps.get(timeout=pause)
            except Empty:
                if self._loop.is_closed():
                    return
            else:
                if step is None:
                    return
                step.run()
            if warn_at is not None and monotonic() >= warn_at:
                warn_at = None
                log.warning(
                    "job %s has had its transaction open for %.3g s: nobody else can write to %s meanwhile; keep what "
                    "takes long out of it, or use PostgreSQL",
                    self._job, monotonic() - began, self._opened.place.path,
                )  # fmt: skip

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._check_open()
        answer = work(self._db)
        self._check_open()
        return answer

    def _add(self, jobs: Sequence[NewJob], groups: Sequence[NewGroup]) -> list[Added]:
        """What it wrote is taken back when it fails, and only that."""
        self._check_open()
        self._db.execute("SAVEPOINT added")
        woke = set(self._rows.woke)
        try:
            answers = add(self._rows, self._clock.now(), self._ids, jobs, groups)
            self._rows.flush()
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK TO added")
                self._db.execute("RELEASE added")
            self._rows.begin()
            self._rows.woke |= woke
            raise
        self._db.execute("RELEASE added")
        return answers

    def _settle(self, settlement: Settlement) -> Answer:
        """The end, whatever comes of it."""
        self._ended = True
        self._check_open()
        try:
            answer = settle(self._rows, self._clock.now(), self._ids, [settlement])[0]
            if answer != "accepted":
                return answer
            self._rows.flush()
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if faults.is_for_data(error):
                raise  # a constraint of the task's own tables, which is checked now
            raise faults.translated(error, self._opened.place.path) from error
        self._opened.tell(self._rows)
        return answer

    def _check_open(self) -> None:
        if not self._db.in_transaction:
            self._ended = True
            raise AppError(
                f"the transaction of job {self._job} was ended by a statement of its task; leave that to the worker, and"
                " raise an error to roll back"
            )


def over() -> AppError:
    """Something is asked of a transaction that has ended."""
    return AppError("this transaction is over; ctx.connection can be used until its function returns")

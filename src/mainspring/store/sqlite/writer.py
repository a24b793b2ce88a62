"""The one thread that writes, with natural group commit: what waits while one commit is under way is the next batch.

A batch is one transaction. A call that fails must not spoil the others (RULES C10): then the batch runs again with a
savepoint around each call, and at last, when even the commit fails, each call in a transaction of its own. That costs
nothing as long as nothing fails. Between processes the batches take turns by a file lock, taken before the database's
own, whose waiting is not fair (RULES C9).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from queue import Empty, SimpleQueue
from typing import Final, Generic, TypeVar, cast

from mainspring.clock import enter_outside, leave_outside
from mainspring.errors import MainspringError, StoreUnavailable
from mainspring.store.sqlite import faults
from mainspring.store.sqlite.patience import Patience
from mainspring.store.sqlite.rows import SqliteRows
from mainspring.store.sqlite.turn import Turn

T = TypeVar("T")
log = logging.getLogger("mainspring.store.sqlite")

BATCH_LIMIT: Final = 1000
"""Calls in one transaction."""

BUSY_LIMIT: Final = 30.0
"""Seconds that a call waits for the lock of a connection which is not ours, before StoreUnavailable."""


class Call(Generic[T]):
    """A function over rows that somebody waits for."""

    __slots__ = ("answer", "error", "future", "loop", "verb")

    def __init__(self, verb: Callable[[SqliteRows], T], loop: asyncio.AbstractEventLoop) -> None:
        self.verb = verb
        self.loop = loop
        self.future: asyncio.Future[T] = loop.create_future()
        self.answer: T | None = None
        self.error: BaseException | None = None

    def resolve(self) -> None:
        """In the loop: hand the answer over, unless the caller has gone."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(cast("T", self.answer))


class Lent(Call[None]):
    """A function that has the thread and the turn for itself, and no transaction: it makes its own."""

    __slots__ = ()


AnyCall = Call[object]


class Writer:
    """Runs calls over one connection in a thread of its own, many in one commit. Acknowledged is committed.

    `turn` is the lock between processes; None for a database that only this thread sees. `committed` is called in
    the thread after each commit, before the answers go out. With `reads`, calls are only given a snapshot.
    `still_there` raises when the file that is open is not that of its path any more: asked before each batch, and
    after it, so that nothing is acknowledged that nobody will find again.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: str,
        *,
        turn: Turn | None = None,
        reads: bool = False,
        busy_limit: float = BUSY_LIMIT,
        committed: Callable[[SqliteRows], None] | None = None,
        still_there: Callable[[], None] | None = None,
    ) -> None:
        self.connection = connection
        self._db = connection
        self._path = path
        self._turn = turn
        self._begin = "BEGIN" if reads else "BEGIN IMMEDIATE"
        self._busy_limit = busy_limit
        self._committed = committed
        self._still_there = still_there
        self._rows = SqliteRows(connection)
        self._queue: SimpleQueue[AnyCall | None] = SimpleQueue()
        self._closing = False
        self._lends = False
        self._thread = threading.Thread(target=self._run, name=f"mainspring-{path}", daemon=True)
        self._thread.start()

    async def call(self, verb: Callable[[SqliteRows], T]) -> T:
        """Run the function over the rows, in a transaction shared with others; return when that is committed.

        Cancelled before it started: it is not run. Cancelled later: it is run, and nobody learns the answer.
        Raises what the function raises, StoreFull, StoreUnavailable, StoreUnsuitable, StoreClosed.
        """
        if self._closing:
            raise faults.closed(self._path)
        loop = asyncio.get_running_loop()
        call = Call(verb, loop)
        enter_outside(loop)
        self._queue.put(cast("AnyCall", call))
        return await call.future

    def lend(self, work: Callable[[SqliteRows], None]) -> asyncio.Future[None]:
        """Run a function that has the thread and the turn for itself, however long it takes; the others wait.

        The future ends with it. Raises StoreClosed; the future raises what the function does, and StoreUnavailable.
        """
        if self._closing:
            raise faults.closed(self._path)
        lent = Lent(work, asyncio.get_running_loop())
        self._lends = True
        self._queue.put(cast("AnyCall", lent))
        return lent.future

    def close(self) -> None:
        """Run what was asked for, end the thread, close the connection. It waits: not for the loop's thread."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        open_ = True
        while open_:
            batch, open_ = self._gather()
            lent = [call for call in batch if isinstance(call, Lent)] if self._lends else ()
            if lent:
                batch = [call for call in batch if not isinstance(call, Lent)]
            calls = [call for call in batch if not call.future.cancelled()]
            try:
                if calls:
                    self._serve(calls)
            except BaseException as error:  # noqa: BLE001  # whatever it is, those who wait must learn of it
                for call in calls:
                    call.error = self._translated(error)
            finally:
                deliver(batch)
            for each in lent:
                self._lend(each)
        self._db.close()

    def _lend(self, lent: Lent) -> None:
        try:
            if self._still_there is not None:
                self._still_there()
            with self._turn or nullcontext():
                lent.verb(self._rows)
        except BaseException as error:  # noqa: BLE001  # it belongs to whoever waits
            lent.error = self._translated(error)
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            lent.loop.call_soon_threadsafe(lent.resolve)

    def _gather(self) -> tuple[list[AnyCall], bool]:
        """Wait for a call, and take all that wait with it. False when this was the last batch."""
        first = self._queue.get()
        if first is None:
            return [], False
        batch = [first]
        with suppress(Empty):
            while len(batch) < BATCH_LIMIT:
                call = self._queue.get_nowait()
                if call is None:
                    return batch, False
                batch.append(call)
        return batch, True

    def _serve(self, calls: Sequence[AnyCall]) -> None:
        if self._still_there is not None:
            self._still_there()
        if self._turn is None:
            self._attempt(calls)
        else:
            with self._turn:
                self._attempt(calls)
        if self._still_there is not None:
            self._still_there()

    def _attempt(self, calls: Sequence[AnyCall]) -> None:
        """Together if that works; else each call guarded by a savepoint; else each on its own."""
        if self._together(calls, guarded=False):
            return
        if len(calls) > 1 and self._together(calls, guarded=True):
            return
        for call in calls:
            self._together([call], guarded=True)

    def _together(self, calls: Sequence[AnyCall], *, guarded: bool) -> bool:
        """One transaction. True: it is committed, and every call has its answer or error. False: nothing is written."""
        patience = Patience(self._path, self._busy_limit)
        while True:
            try:
                self._transaction(calls, guarded=guarded)
            except Exception as error:  # noqa: BLE001  # it goes to the caller, when the call is alone
                self._roll_back()
                if faults.is_busy(error):
                    try:
                        patience.wait(error)
                    except StoreUnavailable as over:
                        for call in calls:
                            call.error = over
                        return True
                    continue
                if len(calls) == 1:
                    calls[0].error = self._translated(error)
                return False
            if self._committed is not None:
                self._committed(self._rows)
            return True

    def _transaction(self, calls: Sequence[AnyCall], *, guarded: bool) -> None:
        self._db.execute(self._begin)
        self._rows.begin()
        for call in calls:
            call.answer = call.error = None
            if guarded:
                self._guarded(call)
            else:
                call.answer = call.verb(self._rows)
        self._rows.flush()
        self._db.execute("COMMIT")

    def _guarded(self, call: AnyCall) -> None:
        """One call of several: what it wrote is taken back when it fails, and only that."""
        self._db.execute("SAVEPOINT call")
        woke, changes = set(self._rows.woke), self._rows.changes
        try:
            call.answer = call.verb(self._rows)
            self._rows.flush()
        except Exception as error:
            if not self._db.in_transaction or faults.is_busy(error):
                raise  # a full disk ends the whole transaction, and a lock is waited for without it
            self._db.execute("ROLLBACK TO call")
            self._rows.begin()
            self._rows.woke, self._rows.changes = woke, changes
            call.error = self._translated(error)
        self._db.execute("RELEASE call")

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._rows.begin()

    def _translated(self, error: BaseException) -> BaseException:
        if isinstance(error, sqlite3.Error):
            ours = faults.translated(error, self._path)
            ours.__cause__ = error
            return ours
        if isinstance(error, OSError) and not isinstance(error, MainspringError):
            return StoreUnavailable(f"the locks of {self._path} cannot be used now: {error}")
        return error


def deliver(calls: Sequence[AnyCall]) -> None:
    """Hand out the answers with one wake-up of each loop, and say that the work outside it has ended."""
    loops = {id(call.loop): call.loop for call in calls}
    for loop in loops.values():
        mine = [call for call in calls if call.loop is loop]
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(resolve_all, mine)
        for _ in mine:
            leave_outside(loop)


def resolve_all(calls: Sequence[AnyCall]) -> None:
    """In the loop: hand the answers over."""
    for call in calls:
        call.resolve()

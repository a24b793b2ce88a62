"""A few connections, used again and again: last in, first out, with a time limit on each use and no reset between.

One timer looks after all of them: a timer for each use would cost as much as the rest of this file.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import asyncpg

from mainspring.errors import MainspringError
from mainspring.store.postgres import faults
from mainspring.store.postgres.connect import connect
from mainspring.store.postgres.place import Connection, Place

Before: TypeAlias = Callable[[Connection], Awaitable[None]]
"""Run on a connection each time it is taken."""

LOCK_TIMEOUT: Final = 2.0
"""Seconds that a statement of a transaction waits for a row that somebody else holds."""

IDLE_KEPT: Final = 2
"""Connections that stay open however long they are not used."""

IDLE_LIMIT: Final = 60.0
"""Seconds after which the others are closed."""

FAREWELL: Final = 2.0
"""Seconds for telling the server that a statement, or a connection, is not wanted any more."""

_LOOKS: Final = 8
"""How often within a time limit the timer looks; a use may last longer by that fraction."""


class Slot:
    """A connection, and who uses it until when (loop time)."""

    __slots__ = ("cancelling", "connection", "expired", "generation", "idle_since", "task", "until")

    def __init__(self, connection: Connection, generation: int) -> None:
        self.connection = connection
        self.generation = generation
        self.task: asyncio.Task[object] | None = None
        self.until = 0.0
        self.idle_since = 0.0
        self.expired = False
        self.cancelling = 0


class Pool:
    """At most `place.pool` connections to a place, opened when they are needed.

    `before` is run on a connection each time it is taken, for tests. All verbs raise StoreUnavailable when the server
    cannot be reached, is silent for `place.timeout` seconds, or lost the connection: whether it did what it was asked
    is then not known. Belongs to one event loop and one process.
    """

    def __init__(self, place: Place, *, before: Before | None = None, plain: bool = False) -> None:
        """`plain`: connections as the driver makes them, without our codecs."""
        self._place = place
        self._before = before
        self._plain = plain
        self._limit = place.timeout
        self._idle: list[Slot] = []
        self._busy: set[Slot] = set()
        self._waiting: deque[asyncio.Future[Slot | None]] = deque()
        self._opening = 0
        self._generation = 0
        self._timer: asyncio.TimerHandle | None = None
        self._farewells: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._pid = 0
        self.times_opened = 0

    @property
    def is_open(self) -> bool:
        """Whether it was opened, in this process, and not closed since."""
        return self._loop is not None and self._pid == os.getpid()

    async def open(self) -> None:
        """Connect once, to know that it works. Raises StoreUnavailable, StoreUnsuitable, StoreUrlError."""
        if self._loop is not None:
            self.check()
            return
        slot = Slot(await connect(self._place, plain=self._plain), self._generation)
        self._loop, self._pid = asyncio.get_running_loop(), os.getpid()
        self.times_opened += 1
        self._give_back(slot)

    async def close(self) -> None:
        """Let go of all connections; uses that are under way have their time limit to end."""
        if not self.is_open:
            return  # of an inherited pool nothing may be touched: its sockets are the parent's
        loop, self._loop = self._loop, None
        assert loop is not None
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(faults.closed(self._place))
        self._drop_idle()
        if self._busy or self._opening:
            self._emptied = loop.create_future()
            await asyncio.wait([self._emptied], timeout=self._limit)
        for slot in self._busy:
            slot.connection.terminate()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._farewells:
            await asyncio.wait(self._farewells)

    def owns(self, pid: int) -> bool:
        """Whether the server's process of this number works for one of the connections."""
        return any(
            not slot.connection.is_closed() and slot.connection.get_server_pid() == pid
            for slots in (self._idle, self._busy)
            for slot in slots
        )

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """The rows of one statement, which commits by itself."""
        slot = self._taken() or await self._take(timed=True)
        try:
            rows = await slot.connection.fetch(sql, *args)
        except BaseException as error:
            ours = self._ended_by(error, slot)
            if ours is None:
                raise
            raise ours from error
        self._give_back(slot)
        return rows

    @asynccontextmanager
    async def use(self, *, timed: bool = True) -> AsyncIterator[Connection]:
        """A connection without a transaction. `timed=False`: for as long as the block likes."""
        slot = (self._taken() if timed else None) or await self._take(timed=timed)
        connection = slot.connection
        try:
            yield connection
        except BaseException as error:
            ours = self._ended_by(error, slot)
            if ours is None:
                raise
            raise ours from error
        if connection.is_closed() or connection.is_in_transaction():
            self._discard(slot)
        else:
            self._give_back(slot)

    @asynccontextmanager
    async def transaction(self, lock_timeout: float = LOCK_TIMEOUT, *, timed: bool = True) -> AsyncIterator[Connection]:
        """A connection in a transaction: committed at the end of the block, rolled back by an error.

        Locked rows are waited for `lock_timeout` seconds, 0 for ever; then StoreUnavailable.
        """
        async with self.use(timed=timed) as connection:
            await connection.execute(
                "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL jit = off;"
                f" SET LOCAL lock_timeout = {round(lock_timeout * 1000)}"
            )
            try:
                yield connection
            except Exception as error:
                if not (faults.spoils(error) or connection.is_closed()):
                    await connection.execute("ROLLBACK")
                raise
            if await connection.execute("COMMIT") != "COMMIT":
                raise faults.rolled_back(self._place)

    # --- taking and giving back -----------------------------------------------------------------

    def _taken(self) -> Slot | None:
        """The connection that was used last, if one is free; one that has died meanwhile is forgotten."""
        loop = self._loop
        if loop is None or self._pid != os.getpid():
            self.check()
        idle = self._idle
        while idle and self._before is None:
            slot = idle.pop()
            if not slot.connection.is_closed():
                self._begin(slot, timed=True)
                return slot
        return None

    async def _take(self, *, timed: bool) -> Slot:
        self.check()
        slot: Slot | None = None
        while self._idle and slot is None:
            slot = self._idle.pop()
            if slot.connection.is_closed():
                slot = None
        if slot is None and len(self._busy) + self._opening >= self._place.pool:
            slot = await self._wait()  # None: its place is ours, and counted as opening
        elif slot is None:
            self._opening += 1
        if slot is None:
            slot = await self._open_one()
        self._begin(slot, timed=timed)
        if self._before is not None:
            try:
                await self._before(slot.connection)
            except BaseException as error:
                ours = self._ended_by(error, slot)
                if ours is None:
                    raise
                raise ours from error
        return slot

    async def _open_one(self) -> Slot:
        """A new connection in a place that was counted already."""
        generation = self._generation
        try:
            connection = await connect(self._place, plain=self._plain)
        except BaseException:
            self._opening -= 1
            self._pass_on()
            raise
        slot = Slot(connection, generation)
        self._busy.add(slot)
        self._opening -= 1
        return slot

    async def _wait(self) -> Slot | None:
        """Until a connection comes back, or a place for a new one; first come, first served."""
        waiter: asyncio.Future[Slot | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self._limit):
                slot = await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._hand_back(waiter.result())
            if isinstance(error, TimeoutError):
                raise faults.crowded(self._place) from error
            raise
        if slot is not None and slot.connection.is_closed():
            self._busy.discard(slot)
            self._opening += 1
            return None
        return slot

    def _hand_back(self, slot: Slot | None) -> None:
        """What was given to somebody who did not wait any more."""
        if slot is None:
            self._opening -= 1
            self._pass_on()
        else:
            self._give_back(slot)

    def _begin(self, slot: Slot, *, timed: bool) -> None:
        loop = self._loop
        if loop is None:  # closed while this connection was waited for
            self._discard(slot)
            raise faults.closed(self._place)
        self._busy.add(slot)
        if timed:
            slot.until = loop.time() + self._limit
            slot.task = asyncio.current_task(loop)
        if self._timer is None:
            self._timer = loop.call_later(self._limit / _LOOKS, self._look_after)

    def _give_back(self, slot: Slot) -> None:
        slot.task = None
        if slot.expired or slot.generation != self._generation or self._loop is None:
            self._discard(slot)
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._busy.add(slot)  # stays counted, until who was woken goes on
                waiter.set_result(slot)
                return
        self._busy.discard(slot)
        slot.idle_since = self._loop.time()
        self._idle.append(slot)

    def _discard(self, slot: Slot) -> None:
        """Close a connection; a statement that it still runs is cancelled, as far as the server can be told."""
        slot.task = None
        self._busy.discard(slot)
        self._part_from(slot)
        self._pass_on()

    def _pass_on(self) -> None:
        """A place has become free: the first who waits may open a connection."""
        while self._waiting and len(self._busy) + self._opening < self._place.pool:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._opening += 1
                waiter.set_result(None)
        if self._emptied is not None and not (self._busy or self._opening or self._emptied.done()):
            self._emptied.set_result(None)

    # --- the end of a use -----------------------------------------------------------------------

    def _ended_by(self, error: BaseException, slot: Slot) -> MainspringError | None:
        """What to raise instead, if anything. Decides whether the connection can be used again."""
        task, expired = slot.task, slot.expired
        lost = slot.connection.is_closed()
        if faults.sqlstate_of(error) == faults.READ_ONLY:
            self._generation += 1  # a primary that was demoted: none of its connections is of use
            self._drop_idle()
        if lost or faults.spoils(error) or slot.connection.is_in_transaction():
            self._discard(slot)
            if lost and faults.is_from_driver(error):
                self._drop_idle()  # after a restart of the server each of them would fail once
        else:
            self._give_back(slot)
        if expired and isinstance(error, asyncio.CancelledError):
            self._generation += 1
            self._drop_idle()  # they lead to the same silence
            if task is None or task.uncancel() <= slot.cancelling:
                return faults.silent(self._place)
            return None
        if faults.is_from_driver(error) or (lost and isinstance(error, OSError)):
            return faults.translated(error, self._place)
        return None

    def _look_after(self) -> None:
        """End the uses that last too long, and the connections that nobody needs."""
        loop = self._loop
        self._timer = None
        if loop is None:
            return
        now = loop.time()
        for slot in self._busy:
            if slot.task is not None and not slot.expired and now >= slot.until:
                slot.expired = True
                slot.cancelling = slot.task.cancelling()
                slot.task.cancel()
        while len(self._idle) > IDLE_KEPT and now - self._idle[0].idle_since >= IDLE_LIMIT:
            self._part_from(self._idle.pop(0))
        if self._busy or len(self._idle) > IDLE_KEPT:
            self._timer = loop.call_later(self._limit / _LOOKS, self._look_after)

    def _drop_idle(self) -> None:
        while self._idle:
            self._part_from(self._idle.pop())

    def _part_from(self, slot: Slot) -> None:
        if slot.connection.is_closed():
            return
        farewell = asyncio.get_running_loop().create_task(_say_farewell(slot.connection))
        self._farewells.add(farewell)
        farewell.add_done_callback(self._farewells.discard)

    def check(self) -> None:
        """Raise StoreClosed when it is not open, AppError in a process that was forked."""
        if self._loop is None:
            raise faults.closed(self._place)
        if self._pid != os.getpid():
            raise faults.forked(self._place)


async def _say_farewell(connection: Connection) -> None:
    """Cancel what runs, and close. Never raises."""
    try:
        await connection.close(timeout=FAREWELL)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        connection.terminate()  # it does not answer: nobody is left to be told

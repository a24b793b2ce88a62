"""The store in memory: for tests, for trying out, and the model that every other store is compared with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from mainspring.clock import Clock
from mainspring.errors import StoreClosed
from mainspring.ids import IdSource, new_id
from mainspring.store.base import Due, Features, Finding
from mainspring.store.memory.rows import MemoryRows
from mainspring.store.serial.rows import Rows
from mainspring.store.serial.store import SerialStore

T = TypeVar("T")

FEATURES = Features(name="memory", wake="direct", survives="nothing", shared=False, schedules=True)


class MemoryStore(SerialStore):
    """Everything in this process. Closing it forgets everything (STO-009).

    >>> import asyncio
    >>> async def main() -> int:
    ...     store = MemoryStore()
    ...     await store.open()
    ...     return len(await store.counts())
    >>> asyncio.run(main())
    0
    """

    def __init__(self, *, clock: Clock | None = None, ids: IdSource = new_id) -> None:
        super().__init__(clock=clock, ids=ids)
        self._rows: MemoryRows | None = None
        self._waiting: set[asyncio.Future[bool]] = set()
        self._schedulers: set[asyncio.Future[bool]] = set()
        self._unseen = False

    @property
    def features(self) -> Features:
        return FEATURES

    async def open(self) -> None:
        if self._rows is None:
            self._rows = MemoryRows()

    async def close(self) -> None:
        self._rows = None
        self._hint()
        self._hint_schedules()

    async def check(self) -> list[Finding]:
        return [Finding("warning", "durability", "everything is lost when the process ends; use it for tests")]

    async def wait(self, queues: Sequence[str], timeout: float) -> bool:  # any news wakes
        return await self._news(self._waiting, timeout)

    async def due_schedules(self, limit: int = 1000, *, without: Collection[str] = ()) -> Due:
        self._unseen = False
        return await super().due_schedules(limit, without=without)

    async def wait_schedules(self, timeout: float) -> bool:  # also for what came after the last look
        if self._unseen:
            self._open_rows()
            self._unseen = False
            return True
        return await self._news(self._schedulers, timeout)

    async def _write(self, verb: Callable[[Rows], T]) -> T:
        rows = self._open_rows()
        answer = verb(rows)
        if rows.woke:
            rows.woke = False
            self._hint()
        return answer

    async def _read(self, verb: Callable[[Rows], T]) -> T:
        return verb(self._open_rows())

    def _hint(self) -> None:
        for waiting in self._waiting:
            _answer(waiting, True)

    def _hint_schedules(self) -> None:
        self._unseen = not self._schedulers
        for waiting in self._schedulers:
            _answer(waiting, True)

    async def _news(self, waiters: set[asyncio.Future[bool]], timeout: float) -> bool:
        """Wait among these until somebody answers, or until the time is over."""
        self._open_rows()
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[bool] = loop.create_future()
        # A timer of our own: asyncio.timeout costs more than all the rest of a hint.
        timer = loop.call_later(timeout, _answer, waiting, False)
        waiters.add(waiting)
        try:
            return await waiting
        finally:
            waiters.discard(waiting)
            timer.cancel()

    def _open_rows(self) -> MemoryRows:
        if self._rows is None:
            raise StoreClosed("the memory store is not open; use `async with app:` or await store.open()")
        return self._rows


def _answer(waiting: asyncio.Future[bool], news: bool) -> None:
    if not waiting.done():
        waiting.set_result(news)

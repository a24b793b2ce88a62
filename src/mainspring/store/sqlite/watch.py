"""News of work that may be claimed: told within this process, looked for in what other processes commit."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Collection, Sequence
from typing import Final

from mainspring.store.sqlite import faults
from mainspring.store.sqlite.reads import SqliteReads

POLL: Final = 0.01
"""Seconds between two looks at what other processes have committed."""

Waiter = asyncio.Future[None]


class Watch:
    """Wakes those who wait when something became ready in one of their queues.

    `news` may be called from any thread, the rest belongs to the loop. The connection is asked in the loop itself:
    `data_version` compares a counter in shared memory, and never waits.
    """

    def __init__(self, connection: sqlite3.Connection | None, poll: float | None = POLL) -> None:
        """Without a connection, or with `poll=None`, only this process is listened to."""
        self._db = connection
        self._poll = None if connection is None else poll
        self._lock = threading.Lock()
        self._waiting: dict[Waiter, frozenset[str]] = {}
        self._version = self._data_version()

    async def wait(self, queues: Sequence[str], timeout: float) -> bool:
        """Until there is news for one of the queues (True), or `timeout` seconds have passed. No queues: for any."""
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        with self._lock:
            self._waiting[waiter] = frozenset(queues)
        self._tick(waiter, loop)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        finally:
            waiter.cancel()
            with self._lock:
                self._waiting.pop(waiter, None)
        return True

    def news(self, queues: Collection[str]) -> None:
        """Something became ready in these queues. From any thread."""
        with self._lock:
            woken = [each for each, wanted in self._waiting.items() if not wanted or not wanted.isdisjoint(queues)]
        for waiter in woken:
            try:
                waiter.get_loop().call_soon_threadsafe(wake, waiter)
            except RuntimeError:
                pass  # its loop is closed: nobody waits any more

    def close(self) -> None:
        """Wake everybody, and let go of the connection."""
        self._poll = None
        for waiter in list(self._waiting):
            wake(waiter)
        if self._db is not None:
            self._db.close()
            self._db = None

    def _tick(self, waiter: Waiter, loop: asyncio.AbstractEventLoop) -> None:
        """Look at the others, and again a little later. Where time is virtual there are no other processes."""
        if self._poll is None or waiter.done() or hasattr(loop, "enter_outside"):
            return
        self._look()
        loop.call_later(self._poll, self._tick, waiter, loop)

    def _look(self) -> None:
        """Has another process committed anything, and is there something ready now for those who wait?"""
        try:
            version = self._data_version()
            if version == self._version:
                return
            self._version = version
            for waiter, wanted in list(self._waiting.items()):
                if not wanted or self._anything_ready(wanted):
                    wake(waiter)
        except sqlite3.OperationalError as error:
            if not faults.is_busy(error):
                raise
            self._version = -1  # not to be told now: look again at the next tick

    def _data_version(self) -> int:
        if self._db is None:
            return 0
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return version

    def _anything_ready(self, queues: frozenset[str]) -> bool:
        return self._db is not None and SqliteReads(self._db).anything_ready(queues)


def wake(waiter: Waiter) -> None:
    """Let the waiter go on, unless it has gone."""
    if not waiter.done():
        waiter.set_result(None)

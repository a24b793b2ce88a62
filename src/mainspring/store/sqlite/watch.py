"""News of work that may be claimed, and of changed schedules: told within this process, looked for in what others commit."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Final

from mainspring.retries.backoff import exponential, jittered
from mainspring.retries.failures import Failures, Terms
from mainspring.retries.hooks import Hooks, RetryDetails
from mainspring.retries.policy import Retry
from mainspring.store.sqlite import faults
from mainspring.store.sqlite.quiet import LogFile
from mainspring.store.sqlite.reads import SqliteReads
from mainspring.store.sqlite.schedules import SqliteSchedules

log = logging.getLogger("mainspring.store.sqlite")

POLL: Final = 0.01
"""Seconds between two looks at what other processes have committed."""

LOOK_AGAIN: Final = Retry(on=Exception, attempts=None, backoff=jittered(exponential(1, cap=30), "proportional"))
"""How the next look comes after one that failed."""

Waiter = asyncio.Future[None]


class Watch:
    """Wakes those who wait when something became ready in one of their queues, or a schedule was changed.

    `news` and `schedules_changed` may be called from any thread, the rest belongs to the loop. What others commit is looked for in a thread of
    its own, which sleeps while nobody waits: a turn of the loop for each look would cost three times as much.
    """

    def __init__(self, connection: sqlite3.Connection | None, poll: float | None = POLL, log: str = "") -> None:
        """Without a connection, or with `poll=None`, only this process is listened to. `log`: the write-ahead log."""
        self._db = connection
        self._log = LogFile(log)
        self._poll = None if connection is None else poll
        self._lock = threading.Lock()
        self._waiting: dict[Waiter, frozenset[str]] = {}
        self._schedulers: set[Waiter] = set()
        self._untold = False  # a change of a schedule in this process, of which nobody waited to hear
        self._asked = False  # a scheduler waits that may have missed a change of another process
        self._changes = self._first_changes()
        self._version = self._data_version()
        self._looking = threading.Event()
        self._closing = False
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    async def wait(self, queues: Sequence[str], timeout: float) -> bool:
        """Until there is news for one of the queues (True), or `timeout` seconds have passed. No queues: for any."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting[waiter] = frozenset(queues)
        return await self._woken(waiter, timeout)

    async def wait_schedules(self, timeout: float) -> bool:
        """Until a schedule is changed (True), or `timeout` seconds have passed. At once, if that was since the last wait."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._untold:
                self._untold = False
                return True
            self._schedulers.add(waiter)
            self._asked = True
        return await self._woken(waiter, timeout)

    def news(self, queues: Collection[str]) -> None:
        """Something became ready in these queues. From any thread."""
        with self._lock:
            woken = [each for each, wanted in self._waiting.items() if not wanted or not wanted.isdisjoint(queues)]
        for waiter in woken:
            wake_soon(waiter)

    def schedules_changed(self, changes: int) -> None:
        """This process has changed a schedule; so often that has been done in this file. From any thread."""
        with self._lock:
            self._changes = max(self._changes, changes)
            self._untold = not self._schedulers
            woken = list(self._schedulers)
        for waiter in woken:
            wake_soon(waiter)

    def stop(self) -> None:
        """Wake everybody, and look no more."""
        with self._lock:
            self._closing = True
            self._closed.set()
            self._looking.set()
            waiting = [*self._waiting, *self._schedulers]
        for waiter in waiting:
            wake_soon(waiter)

    def close(self) -> None:
        """Let go of the connection when the thread has ended, which takes a look at most."""
        if self._thread is not None:
            self._thread.join()
        if self._db is not None:
            self._db.close()
            self._db = None

    async def _woken(self, waiter: Waiter, timeout: float) -> bool:
        self._look_for(waiter.get_loop())
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        finally:
            waiter.cancel()
            with self._lock:
                self._waiting.pop(waiter, None)
                self._schedulers.discard(waiter)
                if not self._waiting and not self._schedulers and not self._closing:
                    self._looking.clear()
        return True

    def _look_for(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look for what others commit. Where time is virtual there are no other processes."""
        if self._poll is None or self._closing or hasattr(loop, "enter_outside"):
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(self._poll,), name="mainspring-watch", daemon=True)
            self._thread.start()
        self._looking.set()

    def _run(self, poll: float) -> None:
        failures = Failures(_LOOKING)
        while True:
            self._looking.wait()
            if self._closing:
                return
            try:
                self._look()
            except Exception as error:  # noqa: BLE001  # whatever it was: without news, work is found by the workers' polls
                wait = failures.add(error, time.monotonic())
                assert wait is not None  # that policy never gives up
                self._closed.wait(wait)
                continue
            if failures.number:
                failures.succeeded(time.monotonic)
                failures = Failures(_LOOKING)
            time.sleep(poll)

    def _look(self) -> None:
        """Has another process committed anything, and is it something for those who wait?"""
        with self._lock:
            asked, self._asked = self._asked, False
        if not asked and not self._log.may_have_grown():
            return
        try:
            version = self._data_version()
            committed = version != self._version
            if committed:
                self._version = version
                self._log.seen()
                self._tell_workers()
            if committed or asked:
                self._tell_schedulers()
        except sqlite3.OperationalError as error:
            self._version = -1  # not to be told now: look again at the next tick
            self._log.doubt()
            if not faults.is_busy(error):
                raise

    def _tell_workers(self) -> None:
        with self._lock:
            waiting = list(self._waiting.items())
        for waiter, wanted in waiting:
            if not wanted or self._anything_ready(wanted):
                wake_soon(waiter)

    def _tell_schedulers(self) -> None:
        """A scheduler that waits hears of changes, not of every commit."""
        if not self._schedulers:
            return
        changes = self._schedule_changes()
        with self._lock:
            if changes <= self._changes:
                return
            self._changes = changes
            woken = list(self._schedulers)
        for waiter in woken:
            wake_soon(waiter)

    def _data_version(self) -> int:
        if self._db is None:
            return 0
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return version

    def _schedule_changes(self) -> int:
        return 0 if self._db is None else SqliteSchedules(self._db).schedule_changes()

    def _first_changes(self) -> int:
        try:
            return self._schedule_changes()
        except sqlite3.OperationalError as error:
            if not faults.is_busy(error):
                raise
            return 0  # then the first scheduler that waits is woken once for nothing

    def _anything_ready(self, queues: frozenset[str]) -> bool:
        return self._db is not None and SqliteReads(self._db).anything_ready(queues)


def wake_soon(waiter: Waiter) -> None:
    """From any thread: let the waiter go on."""
    with suppress(RuntimeError):  # its loop is closed: nobody waits any more
        waiter.get_loop().call_soon_threadsafe(wake, waiter)


def wake(waiter: Waiter) -> None:
    """Let the waiter go on, unless it has gone."""
    if not waiter.done():
        waiter.set_result(None)


def _tell_trouble(details: RetryDetails) -> None:
    if details.attempt == 1:
        log.error(
            "the look at what other processes have committed failed; it is repeated: %r",
            details.error,
            exc_info=details.error,
        )


def _tell_end(_: RetryDetails) -> None:
    log.info("what other processes commit is seen again")


_LOOKING: Final = Terms(LOOK_AGAIN, "look", hooks=Hooks(_tell_trouble, _tell_end), inner=True)

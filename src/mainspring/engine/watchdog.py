"""A thread that watches whether the loop still turns, and says where it stands when it does not (RULES C7)."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final

from mainspring.engine.running import Register
from mainspring.engine.stand_in import StandIn

log = logging.getLogger("mainspring.engine")

EXIT_CODE: Final = 70
"""How a process ends whose loop has stood still for too long."""


class Watchdog:
    """Watches the running loop from a thread; `start` in the loop's own thread.

    No turn for `warn` seconds: the loop's stack is logged, `on_stall(seconds)` called, and `stalled` is True until it
    turns again. None for `limit()` seconds (None: never): the process ends with code 70, and its jobs come back as
    suspects. Code that holds the GIL stops this thread, too. `beside` is looked after by the same thread.
    """

    def __init__(
        self,
        warn: float,
        limit: Callable[[], float | None],
        *,
        on_stall: Callable[[float], None],
        doing: Callable[[], str],
        end: Callable[[int], object] = os._exit,
        beside: StandIn | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._warn = warn
        self._limit = limit
        self._on_stall = on_stall
        self._doing = doing
        self._end = end
        self._beside = beside
        self._period = min(warn / 4, 0.5, 0.5 if beside is None else beside.look_every)
        self._turned = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._stop = threading.Event()
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="mainspring-watchdog", daemon=True)
        self.stalled = False
        """Whether the loop stands still."""

    def start(self) -> None:
        """Begin to watch."""
        self._turn()
        self._thread.start()

    def stop(self) -> None:
        """Watch no more; returns when the thread has ended."""
        self._stop.set()
        if self._timer is not None:
            self._timer.cancel()
        self._thread.join()
        if self._beside is not None:
            self._beside.stop()

    def _turn(self) -> None:
        self._turned = time.monotonic()
        self.stalled = False
        self._timer = self._loop.call_later(self._period, self._turn)

    def _watch(self) -> None:
        last_seen = self._turned
        while not self._stop.wait(self._period) and not self._loop.is_closed():
            turned = self._turned
            if self._beside is not None:
                self._beside.look()
            # Seen twice: after the whole process stood still, the loop has not had its turn either.
            if turned != last_seen:
                last_seen = turned
                continue
            still = time.monotonic() - turned
            if still >= self._warn and not self.stalled:
                self.stalled = True
                self._tell(still)
            limit = self._limit()
            if limit is not None and still >= limit:
                log.critical("the loop has stood still for %.1f s, more than stall_limit: the process ends", still)
                self._end(EXIT_CODE)
                return

    def _tell(self, still: float) -> None:
        frame = sys._current_frames().get(self._watched)  # noqa: SLF001  # the only way to see another thread's stack
        stack = "".join(traceback.format_stack(frame)) if frame is not None else "(not to be seen)"
        log.error("the loop has stood still for %.1f s, in %s; it stands here:\n%s", still, self._doing(), stack)
        self._on_stall(still)


class Overdue:
    """Ends the process when the timeout of a job passed longer than `limit()` ago without effect (RULES C7)."""

    def __init__(
        self,
        limit: float | None,
        register: Register,
        *,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._limit = limit
        self._register = register
        self._end = end
        self._told: set[str] = set()

    async def look(self) -> None:
        """Look once; a job that is overdue is logged once."""
        late, running = self._register.overdue()
        if running is None:
            self._told.clear()
            return
        job = running.context.job
        if job.id not in self._told and late >= 1.0:
            self._told.add(job.id)
            log.warning(
                "job %s of %s is overdue: its timeout passed %.1f s ago, and it goes on", job.id, job.task, late
            )
        if self._limit is not None and late >= self._limit:
            log.critical("job %s of %s is overdue by more than stall_limit: the process ends", job.id, job.task)
            self._end(EXIT_CODE)

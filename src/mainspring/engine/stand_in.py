"""Beats from a thread, while the loop does not get round to its own (RULES C8).

The thread has a loop and a connection of its own, and there is neither before there is need: a worker whose loop turns
costs nothing more. Need is seen early, at the first stall that is worth a line in the log or after five quarters of the
time between two beats: then at least half of the lease time is left for a slow server to take a connection and a beat.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from mainspring.engine.liveness import Liveness
from mainspring.engine.patient import patiently
from mainspring.retries.backoff import exponential, jittered
from mainspring.retries.policy import Retry
from mainspring.store.base import Beat, Lifeline

log = logging.getLogger("mainspring.engine")

EVERY: Final = 1 / 3
"""The part of the lease time between two beats."""

LATE: Final = 5 / 12
"""The part of the lease time after which the loop's next beat is late: well before the half that RULES C1 asks for."""

LOOKS: Final = 1 / 24
"""The part of the lease time between two looks."""

PATIENCE: Final = 1 / 2
"""The part of the lease time after which a beat that was not answered is sent anew."""

LEAVING: Final = 2.0
"""Seconds for which the end of a worker waits for the thread; a server that does not answer may keep it longer."""


class StandIn:
    """Beats for one worker when its loop does not. To be made in that loop, looked after by another thread.

    `lifeline` makes the connection, or says None where none is needed: then this does nothing. `stalled` says whether
    the loop stands still, which is told at once. What a beat brings back is left to the loop's own next one.
    """

    def __init__(
        self,
        lifeline: Callable[[], Lifeline | None],
        worker: str,
        *,
        lease_time: float,
        liveness: Liveness,
        stalled: Callable[[], bool],
    ) -> None:
        self._worked_for = asyncio.get_running_loop()
        self._lifeline = lifeline
        self._needless = lifeline() is None
        self._worker = worker
        self._lease_time = lease_time
        self._liveness = liveness
        self._stalled = stalled
        waits = jittered(exponential(lease_time / 48, cap=lease_time / 12))
        self._again = Retry(on=Exception, attempts=None, backoff=waits)
        self._last = liveness.acknowledged
        self._told = False
        self._forgotten: float | None = None
        self._thread: threading.Thread | None = None
        self._beating: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self._stopped = False
        self.look_every: Final = lease_time * LOOKS
        """How often to look, in seconds."""

    def look(self) -> None:
        """Stand in if need be. To be called often, by one thread only; does not wait, and raises nothing."""
        if self._needless or (self._thread is not None and self._thread.is_alive()):
            return
        self._last = self._liveness.acknowledged
        if not self._due(LATE):
            return
        # A daemon: at the end of the interpreter nothing may wait for a loop that stands still.
        self._thread = threading.Thread(target=self._run, name="mainspring-beat", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no room for a thread, or the interpreter ends
            self._thread = None
            log.warning("no thread can be started that beats for worker %s: %s", self._worker, error)

    def stop(self) -> None:
        """Beat no more, when `look` is not called any more. The thread ends before this returns, but see `LEAVING`."""
        self._stopped = True
        standing = self._beating  # once: the other thread may end meanwhile
        if standing is not None:
            loop, beating = standing
            with suppress(RuntimeError):  # it has just ended by itself
                loop.call_soon_threadsafe(beating.cancel)
        if self._thread is not None:
            self._thread.join(LEAVING)

    def _run(self) -> None:
        """The thread."""
        try:
            asyncio.run(self._stand_in())
        except Exception:
            log.exception("beating for worker %s failed", self._worker)

    async def _stand_in(self) -> None:
        lifeline = self._lifeline()
        if lifeline is None:
            return
        beating = asyncio.create_task(self._beat_on(lifeline))
        self._beating = (asyncio.get_running_loop(), beating)
        if self._stopped:
            beating.cancel()
        try:
            await asyncio.wait({beating})
        finally:
            self._beating = None
            self._told = False  # the loop has beaten since, and said that it turns
            await lifeline.close()
        if not beating.cancelled():
            beating.result()

    async def _beat_on(self, lifeline: Lifeline) -> None:
        """Beat until the loop does so again, or is gone."""
        while not self._over():
            if self._due(EVERY):
                await patiently(partial(self._beat, lifeline), "a beat from beside the loop", self._again)
            await asyncio.sleep(self.look_every)

    async def _beat(self, lifeline: Lifeline) -> None:
        if self._over():
            return
        async with asyncio.timeout(self._lease_time * PATIENCE):
            await lifeline.open()
            stalled, sent = self._stalled(), self._liveness.now()
            reply = await lifeline.beat(Beat(self._worker, stalled=stalled))
        self._told = stalled
        if reply.known:
            self._last = sent
            self._liveness.answered(sent)
            log.debug("worker %s: a beat from beside the loop was answered", self._worker)
        else:
            self._forgotten = self._liveness.acknowledged
            log.warning("worker %s was taken for dead while its loop did not beat", self._worker)

    def _due(self, after: float) -> bool:
        """Whether there is something to tell: life after such a part of the lease time, or that the loop stands."""
        acknowledged = self._liveness.acknowledged
        if acknowledged == self._forgotten:
            return False  # the leases have gone, and only the loop can join again
        return self._liveness.now() - acknowledged >= self._lease_time * after or (self._stalled() and not self._told)

    def _over(self) -> bool:
        acknowledged = self._liveness.acknowledged
        if acknowledged == self._forgotten or self._worked_for.is_closed():
            return True
        return acknowledged != self._last and not self._stalled()

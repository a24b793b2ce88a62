"""The parent's own connection to the store: it reports the dead, and beats for those whose loop is busy (RULES C8).

Nothing here makes the parent wait for a store that is away: it has to go on listening to its workers meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Iterable
from typing import Final, TypeVar

from mainspring.cli.words import Ready, tick_every
from mainspring.cli.workers import End, WorkerProcess
from mainspring.engine.patient import WAITS, patiently
from mainspring.errors import MainspringError, StoreFull, StoreUnavailable
from mainspring.retries.policy import Retry
from mainspring.store.base import Beat, Store
from mainspring.store.open import open_store

T = TypeVar("T")
log = logging.getLogger("mainspring.run")

STORE_LIMIT: Final = 30.0
"""Seconds that a verb may take before it is asked again."""

REPORT_FIRST: Final = 2.0
"""Seconds for which a replacement waits until the store knows of the death; later it knows by the silence anyway."""

CLOSE_LIMIT: Final = 5.0
"""Seconds that this process has, at its own end, for reports that the store has not taken yet."""

STALLED_AFTER: Final = 5.0
"""Seconds of silence after which a worker is shown as stalled; its own watchdog says the same after as many."""

_AGAIN: Final = Retry(on=(StoreUnavailable, StoreFull, TimeoutError), attempts=None, backoff=WAITS)


class Witness:
    """Tells the stores what only a parent can see. What cannot be told is logged: the workers' sweeps do it later."""

    def __init__(self, lease_time: float) -> None:
        """`lease_time`: that of the workers, in seconds. They are beaten for after three ticks that did not come."""
        self._every = lease_time / 3
        self._busy_after = 3 * tick_every(lease_time)
        self._stores: dict[str, asyncio.Task[Store | None]] = {}
        self._homes: dict[str, str] = {}
        self._last: dict[str, float] = {}
        self._beats: dict[str, asyncio.Task[None]] = {}
        self._failing: set[str] = set()
        self._reports: set[asyncio.Task[None]] = set()

    def know(self, ready: Ready) -> None:
        """A worker has joined its store, which is opened here, too, if it can be."""
        if ready.url is None or not ready.shared:
            return
        self._homes[ready.worker] = ready.url
        if ready.url not in self._stores:
            self._stores[ready.url] = asyncio.create_task(_opened(ready.url))

    def beat(self, workers: Iterable[WorkerProcess]) -> None:
        """Beat for workers that live and have been silent: their loop is busy, or their code holds the GIL."""
        now = asyncio.get_running_loop().time()
        for worker in workers:
            name = None if worker.ready is None else worker.ready.worker
            if name is None or name not in self._homes or worker.silent or worker.silence < self._busy_after:
                continue
            if name not in self._beats and now - self._last.get(name, -math.inf) >= self._every:
                self._last[name] = now
                stalled = worker.silence >= STALLED_AFTER
                self._beats[name] = asyncio.create_task(self._beat(name, self._homes[name], stalled=stalled))

    async def ended(self, end: End) -> None:
        """A worker process has ended: what it held goes to others now. Waits for the store, but not for long.

        Of one that died, only the jobs that it had started can be to blame (RULES C6); so can the functions that one
        left behind. What the others hold still, because the store was away when they left, is released.
        """
        home = None if end.worker is None else self._homes.pop(end.worker, None)
        if end.worker is None or home is None:
            return
        self._last.pop(end.worker, None)
        self._failing.discard(end.worker)
        if (beating := self._beats.pop(end.worker, None)) is not None:
            beating.cancel()
        report = asyncio.create_task(self._report(end.worker, home, end))
        self._reports.add(report)
        report.add_done_callback(self._reports.discard)
        await asyncio.wait({report}, timeout=REPORT_FIRST)

    async def close(self) -> None:
        """Let go of the stores. Reports that they have not taken yet have a few seconds left."""
        if self._reports:
            await asyncio.wait(self._reports, timeout=CLOSE_LIMIT)
        for task in (*self._reports, *self._beats.values(), *self._stores.values()):
            task.cancel()  # changes nothing in those that are done
        await asyncio.gather(*self._reports, *self._beats.values(), return_exceptions=True)
        for opening in self._stores.values():
            await asyncio.wait({opening})
            store = None if opening.cancelled() else opening.result()
            if store is not None:
                await store.close()

    async def _report(self, worker: str, home: str, end: End) -> None:
        died = end.left is None or end.left.left_behind > 0
        try:
            store = await asyncio.shield(self._stores[home])
            if store is not None:
                started = end.started if died else None
                await patiently(
                    lambda: _limited(store.leave(worker, died=died, started=started)),
                    f"the end of worker {worker}",
                    _AGAIN,
                )
        except asyncio.CancelledError:
            log.warning("the end of worker %s could not be reported, others will see it", worker)
            raise
        except Exception:
            log.exception("the end of worker %s could not be reported, others will see it", worker)

    async def _beat(self, worker: str, home: str, *, stalled: bool) -> None:
        try:
            async with asyncio.timeout(self._every):
                store = await asyncio.shield(self._stores[home])
                if store is not None:
                    await store.beat(Beat(worker, stalled=stalled))
        except Exception as error:  # noqa: BLE001  # whatever it is, the parent goes on
            self._last.pop(worker, None)  # again at the next look
            if worker not in self._failing:
                log.warning("no beat for the busy worker %s, tried again: %r", worker, error)
            self._failing.add(worker)
        else:
            self._failing.discard(worker)
        finally:
            if self._beats.get(worker) is asyncio.current_task():
                del self._beats[worker]


async def _opened(url: str) -> Store | None:
    """The store, as soon as it can be opened; None when it never will be."""
    try:
        store = open_store(url)
        await patiently(lambda: _limited(store.open()), "this parent", _AGAIN)
    except MainspringError as error:
        log.warning("this parent cannot open the store, so that the death of a worker is seen later: %s", error)
        return None
    except Exception:
        log.exception("this parent cannot open the store, so that the death of a worker is seen later")
        return None
    return store


async def _limited(asked: Awaitable[T]) -> T:
    async with asyncio.timeout(STORE_LIMIT):
        return await asked

"""The bounded work that every worker does for all: sweeping when something falls due, pruning now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol

from mainspring.engine.patient import patiently
from mainspring.store.base import Features, Schedules, Upkeep

log = logging.getLogger("mainspring.engine")

JITTER: Final = 0.005
"""Seconds by which sweeps of several workers are spread."""

LEAST: Final = 0.0001
"""Seconds that are added to every sleep: a timer may ring a little before its time, and nothing would be due yet."""

LOCKS_WATCHED: Final = 0.1
"""Seconds between looks at workers that hold jobs, where the store knows at once that one has died (RULES C9)."""

LOCKS_GLANCED: Final = 0.2
"""The same while no other worker held a job at the last look."""

PRUNE_LIMIT: Final = 1000


class Sweeps:
    """Sweeps, and sleeps until the store's next due time; `due_in` wakes it for something earlier (RULES M2).

    `on_ready` is called when a sweep made jobs ready. `poll` bounds the sleep: others may add what is due earlier.
    """

    def __init__(
        self,
        store: Upkeep,
        worker: str,
        *,
        features: Features,
        poll: float,
        random: Callable[[], float],
        on_ready: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._worker = worker
        self._poll = poll
        self._locks = features.wake == "poll"
        self._random = random
        self._on_ready = on_ready
        self._wake = asyncio.Event()
        self._next = float("inf")

    def due_in(self, seconds: float) -> None:
        """Something of this process falls due so many seconds from now."""
        at = self._loop.time() + seconds
        if at < self._next:
            self._next = at
            self._wake.set()

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            self._next = float("inf")
            swept = await patiently(partial(self._store.sweep, self._worker), "sweep")
            if swept.promoted or swept.woken or swept.rescued:
                self._on_ready()
            if swept.rescued:
                log.warning("rescued %d jobs of workers that died", swept.rescued)
            if swept.more:
                await asyncio.sleep(0)
                continue
            now = self._loop.time()
            if swept.next_due is not None:
                due_in = max(swept.next_due - swept.now, 0.0) + LEAST + self._random() * JITTER
                self._next = min(self._next, now + due_in)
            await self._sleep(now + self._longest(watch=swept.watch))

    def _longest(self, *, watch: bool) -> float:
        if not self._locks:
            return self._poll
        return min(self._poll, LOCKS_WATCHED if watch else LOCKS_GLANCED)

    async def _sleep(self, longest: float) -> None:
        """Until `_next`, which may come nearer meanwhile, or the longest time that is allowed."""
        while True:
            self._wake.clear()
            try:
                async with asyncio.timeout_at(min(self._next, longest)):
                    await self._wake.wait()
            except TimeoutError:
                return


class PrunedStore(Upkeep, Schedules, Protocol):
    """What of a store pruning needs."""

    @property
    def features(self) -> Features:
        """What this store can do."""
        ...


class Pruning:
    """Removes ended jobs whose retention is over, and the run records of schedules that are not to be kept."""

    def __init__(self, store: PrunedStore, retention: Mapping[str, float]) -> None:
        self._store = store
        self._retention = dict(retention)

    async def run(self) -> None:
        """Remove what there is to remove now, a bounded batch at a time."""
        if self._store.features.schedules:
            # First: how a run ended is read from its job. What ends meanwhile is written down by `prune` itself.
            while await self._store.prune_runs(PRUNE_LIMIT) >= PRUNE_LIMIT:  # noqa: ASYNC110  # nothing is waited for
                await asyncio.sleep(0)
        while await self._store.prune(self._retention, PRUNE_LIMIT) >= PRUNE_LIMIT:  # noqa: ASYNC110  # nothing is waited for
            await asyncio.sleep(0)

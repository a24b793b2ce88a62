"""The parent's own connection to the store: it reports the dead, and beats for those whose loop is busy (RULES C8)."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable
from typing import Final

from mainspring.cli.words import Ready
from mainspring.cli.workers import End, WorkerProcess
from mainspring.errors import MainspringError
from mainspring.store.base import Beat, Store
from mainspring.store.open import open_store

log = logging.getLogger("mainspring.run")

STORE_LIMIT: Final = 30.0
"""Seconds that a verb may take; what it would have told, the other workers find out by themselves."""


class Witness:
    """Tells the store what only a parent can see. Whatever fails here is logged: the workers' sweeps do it later."""

    def __init__(self) -> None:
        self._store: Store | None = None
        self._beats: dict[str, float] = {}

    async def know(self, ready: Ready) -> None:
        """A worker has joined its store, which is opened here, too, if it can be."""
        if self._store is not None or ready.url is None or not ready.shared:
            return
        store = open_store(ready.url)
        try:
            async with asyncio.timeout(STORE_LIMIT):
                await store.open()
        except (MainspringError, TimeoutError) as error:
            log.warning("this parent cannot open the store, so that the death of a worker is seen later: %s", error)
        else:
            self._store = store

    async def died(self, end: End) -> None:
        """A worker is dead: rescue its jobs now; only those that it had started can be to blame."""
        if self._store is None or end.worker is None:
            return
        self._beats.pop(end.worker, None)
        try:
            async with asyncio.timeout(STORE_LIMIT):
                await self._store.leave(end.worker, died=True, started=end.started)
        except (MainspringError, TimeoutError) as error:
            log.warning("the death of worker %s could not be reported, others will see it: %s", end.worker, error)

    async def beat(self, workers: Iterable[WorkerProcess], lease_time: float) -> None:
        """Beat for workers that live and have been silent for a third of their lease time: their loop is busy."""
        now = asyncio.get_running_loop().time()
        for worker in workers:
            name = None if worker.ready is None else worker.ready.worker
            if self._store is None or name is None or worker.silence < lease_time / 3:
                continue
            if now - self._beats.get(name, -math.inf) >= lease_time / 3:
                self._beats[name] = now
                try:
                    async with asyncio.timeout(lease_time / 3):
                        await self._store.beat(Beat(name, stalled=True))
                except (MainspringError, TimeoutError) as error:
                    log.warning("no beat for the busy worker %s: %s", name, error)

    async def close(self) -> None:
        """Let go of the store."""
        if self._store is not None:
            await self._store.close()

"""The worker's sign of life: carries progress and what has started, brings cancel requests and pauses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from mainspring.engine.context import Surroundings
from mainspring.engine.liveness import Liveness
from mainspring.engine.running import Register
from mainspring.store.base import Beat, Upkeep, Worker

log = logging.getLogger("mainspring.engine")


class Beats:
    """Beats through the store. `stalled` is asked each time; `told` gets cancel requests and paused queues."""

    def __init__(
        self,
        store: Upkeep,
        worker: Worker,
        *,
        register: Register,
        liveness: Liveness,
        around: Surroundings,
        now: Callable[[], float],
        stalled: Callable[[], bool],
        told: Callable[[Sequence[str], Sequence[str]], None],
        forgotten: Callable[[], None],
    ) -> None:
        self._store = store
        self._worker = worker
        self._register = register
        self._liveness = liveness
        self._around = around
        self._now = now
        self._stalled = stalled
        self._told = told
        self._forgotten = forgotten

    async def send(self) -> None:
        """Beat once. A worker that the store does not know any more joins again; its leases are compared then."""
        progress = self._register.progress()
        sent = self._liveness.now()
        try:
            reply = await self._store.beat(Beat(self._worker.id, progress, self._stalled(), self._register.started()))
        except BaseException:
            self._register.report_again(progress)
            raise
        if not reply.known:
            log.error("worker %s was taken for dead, its leases have gone; it joins again", self._worker.id)
            sent = self._liveness.now()
            await self._store.join(self._worker)
            self._forgotten()
        self._liveness.answered(sent)
        self._around.offset = reply.now - self._now()
        self._told(reply.cancel, reply.paused)

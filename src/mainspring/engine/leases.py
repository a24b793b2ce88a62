"""Comparing the leases that a worker believes to have with those that the store holds for it (RULES C2)."""

from __future__ import annotations

import logging
from functools import partial

from mainspring.engine.buffer import Buffer, Entry
from mainspring.engine.events import LeaseLost
from mainspring.engine.gate import Gate
from mainspring.engine.patient import patiently
from mainspring.engine.running import Register
from mainspring.engine.settler import Settler
from mainspring.events import Hub
from mainspring.model.record import Settlement
from mainspring.store.base import Store

log = logging.getLogger("mainspring.engine")


class Leases:
    """The leases of one worker, by job id: from the claim that brought them until their settlement is answered."""

    def __init__(
        self,
        store: Store,
        worker: str,
        *,
        mine: dict[str, int],
        buffer: Buffer,
        register: Register,
        gate: Gate,
        settler: Settler,
        hub: Hub,
    ) -> None:
        self._store = store
        self._worker = worker
        self._mine = mine
        self._buffer = buffer
        self._register = register
        self._gate = gate
        self._settler = settler
        self._hub = hub

    async def compare(self) -> None:
        """Release what this worker never got, and end what it has lost. Not to be called while a claim is in flight.

        What was ours when the store was asked is no stranger, though its settlement may have been answered meanwhile.
        """
        before = dict(self._mine)
        held = await patiently(partial(self._store.held, self._worker), "held")
        theirs = {each.job: each.lease for each in held}
        for job, lease in theirs.items():
            if self._mine.get(job, before.get(job)) != lease:
                log.warning("job %s: this worker has no use for lease %d, and hands it back", job, lease)
                self._settler.put(Settlement(job=job, lease=lease, kind="release"))
        lost = {job: lease for job, lease in self._mine.items() if theirs.get(job) != lease and not self._commits(job)}
        if lost:
            self._lose(lost)

    def _commits(self, job: str) -> bool:
        running = self._register.get(job)
        return running is not None and running.commits

    def _lose(self, lost: dict[str, int]) -> None:
        def is_lost(entry: Entry) -> bool:
            return entry.job.id in lost

        gone = [entry.job.id for entry in (*self._buffer.take(is_lost), *self._gate.take_back(is_lost))]
        started = [job for job in lost if job in self._register]
        self._register.end(started, "lost")
        # What is in neither has ended, and its settlement is under way: the store will answer that it is stale.
        for job in (*gone, *started):
            lease = self._mine.pop(job)
            log.warning("job %s: lease %d was lost to somebody else", job, lease)
            if self._hub.wanted(LeaseLost):
                self._hub.emit(LeaseLost(job, lease))

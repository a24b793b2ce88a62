"""Waiting for jobs to end: all awaited ids go into one read, at a pace that falls from 5 ms to 1 s (RULES M6)."""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass, field
from typing import Final

from mainspring.app.job import not_found
from mainspring.engine.events import JobEnded
from mainspring.errors import StoreClosed, StoreUnavailable
from mainspring.events import Hub
from mainspring.model.record import JobRecord
from mainspring.store.base import Store

FIRST_WAIT: Final = 0.005
LONGEST_WAIT: Final = 1.0
READ_LIMIT: Final = 1000


@dataclass(slots=True)
class Watch:
    """One awaited job: who waits for it, when it is looked at next, and how long after that."""

    due: float
    wait: float = FIRST_WAIT / 2
    waiters: list[asyncio.Future[JobRecord]] = field(default_factory=list)


class Results:
    """The jobs that this process waits for. Belongs to one loop.

    Ends of jobs in this process are heard of through the hub and looked at without delay; others are found by
    reading. A store that cannot be reached for a while is asked again; other errors reach the waiters.
    """

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub
        self._watches: dict[str, Watch] = {}
        self._heap: list[tuple[float, str]] = []
        self._sooner = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def ended(self, job_id: str, timeout: float | None = None) -> JobRecord:
        """The job as it ended. Raises JobNotFound, and TimeoutError after `timeout` seconds; 0 looks once."""
        if timeout == 0:
            return await self._ended_already(job_id)
        loop = asyncio.get_running_loop()
        watch = self._watches.get(job_id)
        if watch is None:
            watch = self._watches[job_id] = Watch(loop.time())
            self._look_at(job_id, watch)
        waiter: asyncio.Future[JobRecord] = loop.create_future()
        watch.waiters.append(waiter)
        if self._reader is None:
            self._reader = loop.create_task(self._read_on(), name="mainspring:results")
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except TimeoutError:
            raise TimeoutError(f"job {job_id} has not ended within {timeout} s; it goes on") from None
        finally:
            self._forget(job_id, waiter)

    def close(self) -> None:
        """Stop reading; whoever still waits gets StoreClosed."""
        if self._reader is not None:
            self._reader.cancel()
        self._fail(StoreClosed("the app was closed while somebody waited for a result"))

    async def _ended_already(self, job_id: str) -> JobRecord:
        (record,) = await self._store.get([job_id])
        if record is None:
            raise not_found(job_id)
        if not record.terminal:
            raise TimeoutError(f"job {job_id} has not ended yet")
        return record

    async def _read_on(self) -> None:
        """Read what is due, until nobody waits any more."""
        loop = asyncio.get_running_loop()
        stop_listening = self._hub.subscribe(JobEnded, self._heard)
        try:
            while self._watches:
                due = self._take_due(loop.time())
                if due:
                    await self._read(due, loop)
                    continue
                self._sooner.clear()
                await self._pause(loop)
        except Exception as error:  # noqa: BLE001  # it reaches everybody who waits
            self._fail(error)
        finally:
            stop_listening()
            self._reader = None

    async def _pause(self, loop: asyncio.AbstractEventLoop) -> None:
        until = self._heap[0][0] if self._heap else None
        try:
            async with asyncio.timeout_at(until if until is None else max(until, loop.time())):
                await self._sooner.wait()
        except TimeoutError:
            pass  # the time of the next look has come

    async def _read(self, ids: list[str], loop: asyncio.AbstractEventLoop) -> None:
        try:
            records = await self._store.get(ids)
        except StoreUnavailable:
            records = None
        for place, job_id in enumerate(ids):
            watch = self._watches.get(job_id)
            if watch is None:
                continue
            record = None if records is None else records[place]
            if records is not None and record is None:
                self._tell(job_id, not_found(job_id))
            elif record is not None and record.terminal:
                self._tell(job_id, record)
            else:
                watch.wait = min(watch.wait * 2, LONGEST_WAIT)
                watch.due = loop.time() + watch.wait
                self._look_at(job_id, watch)

    def _take_due(self, now: float) -> list[str]:
        """The ids to look at now, and those so near that they can come along."""
        ids: list[str] = []
        while self._heap and self._heap[0][0] <= now + (FIRST_WAIT if ids else 0) and len(ids) < READ_LIMIT:
            due, job_id = heapq.heappop(self._heap)
            watch = self._watches.get(job_id)
            if watch is not None and watch.due == due:
                watch.due = -1.0  # taken: the other entries of this job in the heap mean nothing any more
                ids.append(job_id)
        return ids

    def _look_at(self, job_id: str, watch: Watch) -> None:
        heapq.heappush(self._heap, (watch.due, job_id))
        self._sooner.set()

    def _heard(self, event: JobEnded) -> None:
        watch = self._watches.get(event.job)
        if watch is not None:
            watch.due = 0.0
            watch.wait = FIRST_WAIT / 2
            self._look_at(event.job, watch)

    def _tell(self, job_id: str, said: JobRecord | Exception) -> None:
        # Whoever asks from now on gets a watch of his own: this one is not looked at any more.
        for waiter in self._watches.pop(job_id).waiters:
            if not waiter.done():
                if isinstance(said, JobRecord):
                    waiter.set_result(said)
                else:
                    waiter.set_exception(said)

    def _fail(self, error: Exception) -> None:
        for job_id in list(self._watches):
            self._tell(job_id, error)
        self._heap.clear()

    def _forget(self, job_id: str, waiter: asyncio.Future[JobRecord]) -> None:
        watch = self._watches.get(job_id)
        if watch is not None and waiter in watch.waiters:
            watch.waiters.remove(waiter)
            if not watch.waiters:
                del self._watches[job_id]
                self._sooner.set()

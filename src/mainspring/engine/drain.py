"""Coming to an end: the ladder that a worker goes down when it stops, and waiting until all work is done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from typing import Final

from mainspring.engine.context import Surroundings
from mainspring.engine.drained import Stopped
from mainspring.engine.fetch import Fetch
from mainspring.engine.gate import Gate
from mainspring.engine.running import Register
from mainspring.engine.settler import Settler
from mainspring.model.schedule import ScheduleRecord
from mainspring.store.base import Filter, Store

log = logging.getLogger("mainspring.engine")

UNWIND: Final = 5.0
"""Seconds that interrupted functions have at least to clean up, and settlements to be written."""

FIRING: Final = ("schedules", "schedule hints")
"""The loops that end first: they add jobs."""

WORKING: Final = ("fetch", "hints", "compare", "sweep", "prune")
"""The loops that end when the last job has."""

ALIVE: Final = ("overdue", "beat")
"""The loops that go on while anything is to be written, and beside functions that are left behind."""

RETRIED: Final = frozenset({"retry", "rescue", "release", "snooze"})
"""Why a job can be scheduled that is work under way; a delay, a sleep or another round is not."""

_PAGE: Final = 1000
_PAUSES: Final = (0.005, 0.01, 0.02, 0.05, 0.1)


Known = Callable[[str, str, str], bool]
"""Says of a queue, a task and a version whether its jobs count."""


def anything(_queue: str, _task: str, _version: str) -> bool:
    """Every job counts."""
    return True


Fires = Callable[[ScheduleRecord], bool]
"""Says of a schedule that is due whether somebody will fire it."""


def any_schedule(_schedule: ScheduleRecord) -> bool:
    """Every schedule is fired."""
    return True


class Ladder:
    """Stop claiming and firing; hand the buffer back; let running jobs end; interrupt the rest; write; leave (DESIGN.md §6)."""

    def __init__(
        self,
        store: Store,
        worker: str,
        *,
        grace: float,
        around: Surroundings,
        gate: Gate,
        register: Register,
        fetch: Fetch,
        settler: Settler,
        end_loops: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        self._store = store
        self._worker = worker
        self._grace = grace
        self._around = around
        self._gate = gate
        self._register = register
        self._fetch = fetch
        self._settler = settler
        self._end_loops = end_loops
        self._hurry = asyncio.Event()

    def hurry(self) -> None:
        """The grace is over: hand back now."""
        self._hurry.set()

    async def descend(self) -> Stopped:
        """Go down. Returns what was left behind; never raises for a store that is down."""
        self._around.stopping = True
        self._gate.close()
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._grace
        handed_back = self._settler.handed_back
        await self._until(self._end(FIRING))
        self._fetch.hand_back_all()
        await self._until(self._register.wait_until_empty(self._grace))
        interrupted = self._register.ids
        self._register.end(interrupted, "shutdown")
        if interrupted:
            log.warning("stopping: %d jobs have not ended in time, and are interrupted", len(interrupted))
            await self._register.wait_until_empty(UNWIND)
        behind = len(self._register)
        if behind:
            log.error("stopping: %d functions have not returned, and are left behind", behind)
        await self._end(WORKING)
        lost = await self._write(max(ends - loop.time(), UNWIND))
        if not behind:
            await self._end(ALIVE)  # else a beat would find the worker gone, and join again
            await self.leave()
        # Otherwise it beats until its block is left, and its lease lasts until the process ends, or the lease time:
        # nobody should run the job beside it.
        report = Stopped(
            finished=self._settler.ended,
            handed_back=self._settler.handed_back - handed_back,
            lost=lost + self._settler.lost,
            left_behind=behind,
        )
        log.info("worker %s %s", self._worker, report)
        return report

    async def _until(self, waiting: Coroutine[object, object, object]) -> None:
        """Until it is done, or somebody is in a hurry."""
        wait = asyncio.create_task(waiting)
        hurry = asyncio.create_task(self._hurry.wait())
        try:
            await asyncio.wait({wait, hurry}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wait.cancel()
            hurry.cancel()

    async def _write(self, limit: float) -> int:
        """Write what waits to be written; how many settlements could not be (RULES M13)."""
        if not self._hurry.is_set():
            await self._until(self._flush(limit))
        if self._hurry.is_set():
            await self._flush(UNWIND)
        lost = await self._settler.abandon()
        if lost:
            log.error("stopping: the store does not answer, %d settlements are lost; these jobs run again", lost)
        return lost

    async def _flush(self, limit: float) -> None:
        with suppress(TimeoutError):  # what is left then is counted as lost
            async with asyncio.timeout(limit):
                await self._settler.flush()

    async def _end(self, loops: Sequence[str]) -> None:
        with suppress(TimeoutError):  # one that cannot be ended is ended with the block, as far as that goes
            async with asyncio.timeout(UNWIND):
                await self._end_loops(loops)

    async def leave(self) -> None:
        """Say that the worker ends; what it still has is released. Never raises for a store that is down."""
        try:
            async with asyncio.timeout(UNWIND):
                await self._store.leave(self._worker)
        except Exception as error:  # noqa: BLE001  # the lease time ends it instead
            log.warning("worker %s could not say that it leaves: %r", self._worker, error)


async def idle(
    store: Store,
    *,
    known: Known = anything,
    paused: Callable[[], Collection[str]] = tuple,
    fires: Fires = any_schedule,
    poll: float = 1.0,
) -> None:
    """Return when no work is left: nothing ready, nothing running, nothing to come back after a failure.

    Jobs that were added for later do not count, nor do those that sleep or repeat. `known(queue, task, version)` says
    whose jobs count; others would wait for a worker that runs them. What is ready in a queue that is `paused()` does
    not count either.

    Of schedules those count that are due when this is called, and that `fires(schedule)` does not rule out; also those
    that are put or changed meanwhile to be due at once. Slots to come do not, or it would never end.
    """
    pause = 0
    slots = Slots(store, known, paused, fires)
    # A slot becomes a job in one commit, and a job may put a schedule: so slots are looked at before and after jobs.
    while await slots.left() or await busy(store, known, paused) or await slots.left():
        # A hint may be for anything and come often, so the reads keep a growing distance.
        await asyncio.sleep(_PAUSES[pause])
        await store.wait((), min(poll, 10 * _PAUSES[pause]))
        pause = min(pause + 1, len(_PAUSES) - 1)


class Slots:
    """The slots that were due when they were first asked for, and those that a change has made due at once since."""

    def __init__(self, store: Store, known: Known, paused: Callable[[], Collection[str]], fires: Fires) -> None:
        self._store = store
        self._known = known
        self._paused = paused
        self._fires = fires
        self._asked: float | None = None

    async def left(self) -> bool:
        """Whether one of them has not been fired yet."""
        if not self._store.features.schedules:
            return False
        without: set[str] = set()
        while True:
            due = await self._store.due_schedules(_PAGE, without=without)
            self._asked = due.now if self._asked is None else self._asked
            if any(self._counts(each.schedule, self._asked) for each in due.schedules):
                return True
            if len(due.schedules) < _PAGE:
                return False
            without.update(each.schedule.id for each in due.schedules)

    def _counts(self, schedule: ScheduleRecord, asked: float) -> bool:
        job = schedule.definition.template
        return (
            schedule.due is not None
            and schedule.due <= max(asked, schedule.changed)
            and job.queue not in self._paused()
            and self._known(job.queue, job.task, job.version)
            and self._fires(schedule)
        )


async def busy(store: Store, known: Known = anything, paused: Callable[[], Collection[str]] = tuple) -> bool:
    """Whether there is work that `idle` would wait for."""
    scheduled = False
    held = paused()
    for count in await store.counts():
        if not count.number or not known(count.queue, count.task, count.version):
            continue
        if count.state == "running" or (count.state == "ready" and count.queue not in held):
            return True
        scheduled = scheduled or (count.state == "scheduled" and count.queue not in held)
    return scheduled and await _comes_back(store, known, held)


async def _comes_back(store: Store, known: Known, paused: Collection[str]) -> bool:
    cursor: str | None = None
    while True:
        page = await store.find(Filter(states=("scheduled",)), cursor=cursor, limit=_PAGE)
        for job in page.jobs:
            if job.reason in RETRIED and job.queue not in paused and known(job.queue, job.task, job.version):
                return True
        cursor = page.cursor
        if cursor is None:
            return False

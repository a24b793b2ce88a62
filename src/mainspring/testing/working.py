"""A worker for the length of a test's wish: until nothing is due, or for so long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from mainspring.clock import Clock
from mainspring.engine.events import JobEnded
from mainspring.engine.registry import Registry
from mainspring.engine.settings import WorkerSettings
from mainspring.engine.worker import Worker
from mainspring.events import Hub
from mainspring.ids import IdSource
from mainspring.model.record import JobRecord
from mainspring.model.trigger_kinds import TriggerKinds
from mainspring.store.base import Beat, Filter, Store

PAGE = 1000


@dataclass(frozen=True, slots=True)
class Workplace:
    """All that a worker needs. Its `poll` is also how often it is asked what is left, where no end of a job tells."""

    store: Store
    registry: Registry
    hub: Hub
    clock: Clock | None
    ids: IdSource
    settings: WorkerSettings
    triggers: TriggerKinds | None = None


class Ended:
    """Counts the attempts that end, and wakes who waits for the next one."""

    def __init__(self) -> None:
        self.number = 0
        self._news = asyncio.Event()

    def note(self, _event: JobEnded) -> None:
        """One more."""
        self.number += 1
        self._news.set()

    async def next(self, timeout: float) -> None:
        """Until one more has ended since the last call, or `timeout` seconds have passed."""
        try:
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            pass  # nothing was heard; the caller looks for itself
        self._news.clear()


@asynccontextmanager
async def working(place: Workplace, state: object) -> AsyncGenerator[tuple[Worker, Ended]]:
    """A worker while the block lasts, and what it ends; `state` becomes `ctx.state`.

    Waits of retries are the longest that their jitter allows: tests leave nothing to chance.
    """
    ended = Ended()
    stop_listening = place.hub.subscribe(JobEnded, ended.note)
    try:
        async with Worker(
            place.store,
            without_processes(place.registry),
            place.settings,
            state=state,
            hub=place.hub,
            clock=place.clock,
            ids=place.ids,
            triggers=place.triggers,
            random=lambda: 1.0,
        ) as worker:
            yield worker, ended
    finally:
        stop_listening()


async def work_off(place: Workplace, state: object, limit: float) -> int:
    """Run what is due until nothing is; returns how many attempts ended. Slots that come due meanwhile are left alone.

    Raises TimeoutError when something is still due after `limit` seconds of the loop's time.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + limit
    async with working(place, state) as (worker, ended):
        await worker.hold_schedules()
        while names := await left(place, worker):
            if loop.time() >= until:
                raise TimeoutError(f"still not done after {limit:g} s: {', '.join(names[:10])}")
            await ended.next(min(place.settings.poll, until - loop.time()))
        return ended.number


async def left(place: Workplace, worker: Worker) -> list[str]:
    """Some of what this worker runs, or can run now, in words: jobs, once schedules that are due have added theirs."""
    stuck = await worker.fire_due()
    jobs = [named(job) for job in await jobs_left(place, worker)]
    if jobs or not place.store.features.schedules:
        return jobs
    due = await place.store.due_schedules(without=stuck)  # one that came due since, or waits for the end of a run
    return [f"schedule {each.schedule.id!r}" for each in due.schedules if worker.fires(each.schedule)]


async def jobs_left(place: Workplace, worker: Worker) -> list[JobRecord]:
    """Some of the jobs that this worker runs, or can run now; empty when there are none."""
    store = place.store
    swept = await store.sweep(worker.id)
    while swept.promoted or swept.woken or swept.expired or swept.rescued:
        swept = await store.sweep(worker.id)  # what was promoted may have expired
    tasks = {(task.name, task.version) for task in place.registry}
    paused = (await store.beat(Beat(worker.id))).paused
    cursor: str | None = None
    while True:
        page = await store.find(Filter(states=("ready", "running", "scheduled")), cursor=cursor, limit=PAGE)
        found = [job for job in page.jobs if (job.task, job.version) in tasks and is_left(job, swept.now, paused)]
        cursor = page.cursor
        if found or cursor is None:
            return found


def is_left(job: JobRecord, now: float, paused: Collection[str]) -> bool:
    """Whether the job runs, or could."""
    return job.state == "running" or (job.due <= now and job.queue not in paused)


def without_processes(registry: Registry) -> Registry:
    """The same tasks, those for child processes in threads: a child knows no virtual time, and takes long to start."""
    copy = Registry()
    for task in registry:
        copy.add(replace(task, mode="sync") if task.mode == "process" else task)
    return copy


def named(job: JobRecord) -> str:
    """A job in a few words."""
    return f"{job.task} ({job.state}, attempt {job.attempt}, id {job.id})"

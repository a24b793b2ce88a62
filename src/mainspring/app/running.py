"""Working jobs in this process: the app's lifespan, a worker, and the app's services, up while a block lasts."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from mainspring.app.connection import Connection
from mainspring.clock import Clock, SystemClock
from mainspring.engine.processes import ProcessPool
from mainspring.engine.processes.importable import importable_path
from mainspring.engine.registry import Registry
from mainspring.engine.settings import WorkerSettings
from mainspring.engine.worker import Worker
from mainspring.model.record import NewJob
from mainspring.model.schedule import ScheduleRecord
from mainspring.model.trigger_kinds import TriggerKinds
from mainspring.service import Health, Service, Supervisor

Lifespan = Callable[[], AbstractAsyncContextManager[object]]
"""Makes what a worker process shares among its jobs."""


@asynccontextmanager
async def working(
    connection: Connection,
    registry: Registry,
    settings: WorkerSettings,
    *,
    lifespan: Lifespan | None,
    services: Sequence[Service],
    triggers: TriggerKinds,
    prepare: Callable[[], Awaitable[None]],
    alone: bool,
) -> AsyncGenerator[Worker]:
    """Open the store, enter the lifespan, start the worker, then the services; all ends in the reverse order.

    `prepare` is done when the store is open and before anything works: the schedules that code declares are written.
    Raises AppError when it is to be `alone`, and this process works jobs of the app already.
    """
    in_processes = [task for task in registry if task.mode == "process"]
    for task in in_processes:
        importable_path(task.fn)  # found here rather than by its first job
    async with AsyncExitStack() as stack:
        stack.enter_context(connection.at_work(alone=alone))
        opened = await connection.enter()
        stack.push_async_callback(connection.leave)
        await prepare()
        state = None if lifespan is None else await stack.enter_async_context(lifespan())
        processes: ProcessPool | None = None
        if in_processes:
            processes = ProcessPool(min(settings.concurrency, os.cpu_count() or 1))
            stack.push_async_callback(processes.aclose)
        worker = Worker(
            opened.store,
            registry,
            settings,
            state=state,
            hub=connection.hub,
            clock=connection.clock,
            ids=connection.ids,
            processes=processes,
            triggers=triggers,
        )
        async with worker:
            clock = connection.clock or SystemClock()
            supervisor = Supervisor(grace=settings.grace, clock=clock)
            for service in services:
                supervisor.add(service)
            local = Local(worker, clock, supervisor)
            opened.workers.append(local)
            try:
                async with supervisor:
                    yield worker
            finally:
                opened.workers.remove(local)


class Local:
    """The worker of this process, told at once of what this process does."""

    def __init__(self, worker: Worker, clock: Clock, services: Supervisor) -> None:
        self._worker = worker
        self._clock = clock
        self._services = services

    def added(self, new: NewJob) -> None:
        """A job was added: it need not be looked for."""
        if new.waits_on is None:
            due = self._clock.now() + new.delay if new.delay > 0 else new.run_at
            self._worker.notice(new.queue, new.task, new.version, due)

    def serves(self, queue: str, task: str, version: str) -> bool:
        """Whether it runs such jobs."""
        return self._worker.serves(queue, task, version)

    def fires(self, schedule: ScheduleRecord) -> bool:
        """Whether this schedule, which is due, will be fired."""
        return self._worker.fires(schedule)

    @property
    def paused(self) -> frozenset[str]:
        """The queues of which it has heard that they are paused."""
        return self._worker.paused

    def health(self) -> tuple[Health, ...]:
        """How the app's services in this process are doing."""
        return self._services.health()

    def cancel(self, job_ids: Sequence[str]) -> None:
        """The end of these jobs was asked for: it need not wait for a beat."""
        self._worker.cancel(job_ids)

    def schedules_changed(self) -> None:
        """Schedules were put or changed: they are looked at now."""
        self._worker.schedules_changed()

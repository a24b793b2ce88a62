"""Working jobs in this process: the app's lifespan, a worker, and the app's services, up while a block lasts."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from mainspring.app.connection import Connection, Notice
from mainspring.clock import SystemClock
from mainspring.engine.importable import importable_path
from mainspring.engine.processes import ProcessPool
from mainspring.engine.registry import Registry
from mainspring.engine.settings import WorkerSettings
from mainspring.engine.worker import Worker
from mainspring.model.record import NewJob
from mainspring.service import Service, Supervisor

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
) -> AsyncGenerator[Worker]:
    """Open the store, enter the lifespan, start the worker, then the services; all ends in the reverse order."""
    in_processes = [task for task in registry if task.mode == "process"]
    for task in in_processes:
        importable_path(task.fn)  # found here rather than by its first job
    async with AsyncExitStack() as stack:
        opened = await connection.enter()
        stack.push_async_callback(connection.leave)
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
        )
        async with worker:
            notice = notice_of(worker, connection)
            opened.notices.append(notice)
            try:
                async with AsyncExitStack() as up:
                    if services:
                        supervisor = await up.enter_async_context(Supervisor())
                        for service in services:
                            supervisor.add(service)
                    yield worker
            finally:
                opened.notices.remove(notice)


def notice_of(worker: Worker, connection: Connection) -> Notice:
    """Tells the worker of jobs that this process adds, so that it need not look."""
    clock = connection.clock or SystemClock()

    def notice(new: NewJob) -> None:
        if new.waits_on is None:
            due = clock.now() + new.delay if new.delay > 0 else new.run_at
            worker.notice(new.queue, new.task, new.version, due)

    return notice

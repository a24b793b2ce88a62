"""The worker: the loops that run jobs, put together, each a service under the worker's own supervisor."""

from __future__ import annotations

import asyncio
import random as chance
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Self

from mainspring.clock import Clock, SystemClock
from mainspring.engine.attempt import Processes
from mainspring.engine.context import Surroundings
from mainspring.engine.drained import Stopped
from mainspring.engine.events import WorkerStarted, WorkerStopped
from mainspring.engine.parts import Parts
from mainspring.engine.registry import Registry
from mainspring.engine.settings import WorkerSettings
from mainspring.errors import AppError
from mainspring.events import Hub
from mainspring.ids import IdSource, new_id
from mainspring.model.schedule import ScheduleRecord
from mainspring.model.trigger_kinds import TriggerKinds
from mainspring.service import Supervisor
from mainspring.store.base import Store


class Worker:
    """Runs the jobs of one store in this process, from entering the block until it is left.

    The store is open already and is closed after the block; the registry is complete. `state` is what tasks get as
    `ctx.state`. `processes` runs tasks with `process=True`; it belongs to the caller. `triggers` are the kinds of
    triggers that its schedules may have, ours unless told otherwise. A worker is used once. When one of its loops fails for good, the block is interrupted and left with that error.

    Raises TaskDefinitionError on entering when the annotations of a task cannot be resolved.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        settings: WorkerSettings | None = None,
        *,
        state: object = None,
        hub: Hub | None = None,
        clock: Clock | None = None,
        ids: IdSource = new_id,
        processes: Processes | None = None,
        triggers: TriggerKinds | None = None,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self._store = store
        self._registry = registry
        self._settings = settings or WorkerSettings()
        self._hub = hub or Hub()
        self._clock = clock or SystemClock()
        self._processes = processes
        self._triggers = triggers or TriggerKinds()
        self._random = random
        self._ids = ids
        self._around = Surroundings(state)
        self._supervisor = Supervisor(grace=self._settings.grace)
        self._parts: Parts | None = None
        self._ending: asyncio.Task[Stopped] | None = None
        self.id = ids()
        """Unique for each start: a restarted process is another worker."""
        self.stopped: Stopped | None = None
        """What was left behind; None while it works."""

    @property
    def running(self) -> tuple[str, ...]:
        """The jobs that have been started and have not ended, by id."""
        return () if self._parts is None else self._parts.register.ids

    @property
    def stopping(self) -> bool:
        """Whether it has begun to stop."""
        return self._around.stopping

    @property
    def stalled(self) -> bool:
        """Whether the loop stands still now; to be asked from another thread."""
        return self._parts is not None and self._parts.stalled

    @property
    def longest_timeout(self) -> float:
        """The longest timeout among the jobs that are under way, in seconds; 0 when none has one."""
        return 0.0 if self._parts is None else self._parts.register.longest_timeout()

    def notice(self, queue: str, task: str, version: str = "", due: float | None = None) -> None:
        """This process has added a job: it is ready, or `due` at that time (seconds since 1970)."""
        if self._parts is not None:
            self._parts.notice(queue, task, version, due)

    def cancel(self, job_ids: Sequence[str]) -> None:
        """This process has asked for the end of these jobs; those that are here learn of it now, not by a beat."""
        if self._parts is not None:
            self._parts.cancel(job_ids)

    def schedules_changed(self) -> None:
        """This process has put or changed a schedule: it is looked at now, and not by a hint of the store."""
        if self._parts is not None and self._parts.scheduler is not None:
            self._parts.scheduler.wake()

    async def fire_due(self) -> frozenset[str]:
        """Fire every schedule that is due now; for tests, where time stands still.

        Returns those that stay due, since their trigger cannot be read or fails; nothing happens where the worker does
        not fire schedules.
        """
        if self._parts is None or self._parts.scheduler is None:
            return frozenset()
        await self._parts.scheduler.fire_due()
        return self._parts.scheduler.aside

    async def hold_schedules(self) -> None:
        """From now on fire what is due already, and what is put or changed to be due at once, and no later slots.

        For whoever works off what there is, and comes to an end.
        """
        if self._parts is not None and self._parts.scheduler is not None:
            await self._parts.scheduler.hold()

    def fires(self, schedule: ScheduleRecord) -> bool:
        """Whether this schedule, which is due, will be fired: here, or elsewhere when this worker fires none."""
        scheduler = None if self._parts is None else self._parts.scheduler
        return scheduler is None or scheduler.fires(schedule)

    def serves(self, queue: str, task: str, version: str = "") -> bool:
        """Whether it runs such jobs, while their queue is not paused."""
        return self._parts is not None and self._parts.limits.serves(queue, task, version)

    @property
    def paused(self) -> frozenset[str]:
        """The queues that are paused; it hears of that with its beats."""
        return frozenset() if self._parts is None else self._parts.paused()

    async def stop(self, *, now: bool = False) -> Stopped:
        """Go down the stop ladder; `now` ends the grace at once, also when the stop has begun already.

        Cancelling the caller does not cancel the stop.
        """
        if self._parts is None:
            return Stopped()
        # The end of the loop (asyncio.run) cancels every task, the stop as well: then it begins anew.
        if self._ending is None or self._ending.cancelled():
            self._ending = asyncio.create_task(self._end(self._parts), name="worker:stop")
        if now:
            self._parts.ladder.hurry()
        return await asyncio.shield(self._ending)

    async def __aenter__(self) -> Self:
        if self._parts is not None:
            raise AppError("a worker is used once; make another one")
        for task in self._registry:
            task.parameters.resolve()
        self._parts = parts = Parts(
            self._store,
            self._registry,
            self._settings,
            worker=self.id,
            around=self._around,
            hub=self._hub,
            clock=self._clock,
            processes=self._processes,
            random=self._random,
            ids=self._ids,
            triggers=self._triggers,
        )
        await self._supervisor.__aenter__()
        try:
            await parts.join()
            parts.start(self._supervisor)
        except BaseException as error:
            parts.close()
            try:
                await self._supervisor.__aexit__(type(error), error, error.__traceback__)
            finally:
                await surely(parts.ladder.leave())  # the store may know it already
            raise
        if self._hub.wanted(WorkerStarted):
            self._hub.emit(WorkerStarted(self.id))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cancelled = await self._stop_surely()
        await self._supervisor.__aexit__(kind, error, trace)
        if cancelled is not None and cancelled is not error:
            raise cancelled

    async def _stop_surely(self) -> asyncio.CancelledError | None:
        """Stop, whatever cancels the caller; that ends the grace, and is raised when all is done."""
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                await self.stop(now=cancelled is not None)
            except asyncio.CancelledError as again:
                cancelled = cancelled or again
            else:
                return cancelled

    async def _end(self, parts: Parts) -> Stopped:
        report = await parts.ladder.descend()
        parts.close()
        self.stopped = report
        if self._hub.wanted(WorkerStopped):
            self._hub.emit(WorkerStopped(self.id, report))
        return report


async def surely(work: Coroutine[object, object, None]) -> None:
    """Do this to its end, whatever cancels the caller meanwhile; that is raised when all is done."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as again:
            cancelled = cancelled or again
    if cancelled is not None:
        raise cancelled

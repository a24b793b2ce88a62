"""`App`: tasks, a store, and the ways to enqueue, run and look at jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, overload

from msgspec.structs import replace as replace_struct

from mainspring.app.bound import BoundTask
from mainspring.app.chunks import chunks
from mainspring.app.connection import Connection, Opened
from mainspring.app.definitions import Definitions, Tasks, task_name
from mainspring.app.job import Job, enqueued
from mainspring.app.jobs import JobsFace
from mainspring.app.options import Settings, checked_retry, duration, positive
from mainspring.app.plan import Declarations, Declared, OnRestart, Plan, Vanished
from mainspring.app.queues import QueuesFace
from mainspring.app.sync import AppSync
from mainspring.app.tasks import Home, Task, anything, inherited
from mainspring.clock import Clock, Duration
from mainspring.engine.arguments import Parameters
from mainspring.engine.registry import Registered, Registry
from mainspring.errors import (
    EncodingError,
    InvalidOption,
    InvalidTrigger,
    ScheduleUnreadable,
    TaskDefinitionError,
    TaskNotFound,
)
from mainspring.events import Hub
from mainspring.ids import IdSource, new_id
from mainspring.model.flow import Flow
from mainspring.model.schedule import ScheduleRecord, readable
from mainspring.retries.attempt_store import AttemptStore
from mainspring.retries.policy import Retry
from mainspring.service import Service
from mainspring.service.service import Hook, Logger, Work
from mainspring.store.base import Finding, Store

if TYPE_CHECKING:
    from mainspring.app.schedules import SchedulesFace
    from mainspring.engine.settings import WorkerSettings
    from mainspring.engine.worker import Worker
    from mainspring.model.trigger_kinds import TriggerKinds
    from mainspring.model.triggers import Trigger

R = TypeVar("R")

ServiceFunction = TypeVar("ServiceFunction", bound=Work)


class App(Definitions):
    """Tasks and a store: what a program enqueues with, and what a worker runs.

    `url`: where the jobs are kept (`sqlite:///work.db`, `memory://`); default: the environment's MAINSPRING_URL.
    `retry`: the policy of tasks that have none; without it their errors are not retried. `lifespan`: an async context
    manager function that gets the app; what it yields is `ctx.state`, once for each worker process.

    For schedules: `triggers`: classes of triggers of your own, which stores then can keep. `vanished`: what becomes of
    a schedule that code of the same package as this app's tasks has declared and declares no more, when a worker
    starts: "pause" it (and warn; declared again it goes on), "remove" it, or "keep" it, which is for several apps of
    one package on one store, none of which declares all. `on_restart`: when a worker starts and no other lives, the
    jobs that schedules have added earlier are run ("resume"), or cancelled ("cancel"). `store`, `clock`, `ids`: given
    by tests.

    An app belongs to the event loop that opened it: by its first use, by `async with app:` (enqueues only) or by
    `async with app.running():` (works jobs as well). From other loops and threads it is reached by `.sync`. It may be
    opened again after it was closed, by `async with`.

    >>> import asyncio
    >>> app = App("memory://")
    >>> @app.task(name="square")
    ... async def square(n: int) -> int:
    ...     return n * n
    >>> async def main() -> int:
    ...     async with app.running():
    ...         job = await square.enqueue(4)
    ...         return await job.result(timeout=10)
    >>> asyncio.run(main())
    16
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        retry: Retry | None = None,
        lifespan: Callable[[App], AbstractAsyncContextManager[object]] | None = None,
        triggers: Sequence[type[Trigger]] = (),
        vanished: Vanished = "pause",
        on_restart: OnRestart = "resume",
        store: Store | None = None,
        clock: Clock | None = None,
        ids: IdSource = new_id,
    ) -> None:
        self._connection = Connection(url, store=store, clock=clock, ids=ids)
        super().__init__(Home(self._connection))
        self._retry = None if retry is None else checked_retry(retry)
        self._lifespan = lifespan
        self._services: list[Service] = []
        self._registry = Registry()
        self._known: dict[str, Task[..., object]] = {}
        self._plan = Plan(triggers, vanished, on_restart)

    # --- what it knows

    def include(self, tasks: Tasks, /) -> None:
        """Take the tasks and schedules of a `Tasks`, those that come later, too.

        Raises TaskDefinitionError for a name that is taken, and InvalidTrigger for a trigger of an unknown kind.
        """
        tasks.included(self._connection, self._defined, self._declares)

    def remote(self, name: str) -> Task[..., object]:
        """A task whose code is elsewhere, by its name; its arguments are given by keyword, and checked there.

        Raises InvalidOption for a name that no task can have.

        await app.remote("billing.invoice").options(queue="billing").enqueue(order_id=7)
        """
        return Task(task_name(name), Parameters(anything, task=name), self._home, Settings())

    @overload
    def service(self, fn: ServiceFunction, /) -> ServiceFunction: ...
    @overload
    def service(
        self,
        *,
        name: str | None = None,
        every: Duration | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        delay: Duration = 0.0,
        stop: Hook | None = None,
        on_shutdown: Hook | None = None,
        logger: Logger | None = None,
        attempt_store: AttemptStore | None = None,
    ) -> Callable[[ServiceFunction], ServiceFunction]: ...
    def service(
        self,
        *functions: ServiceFunction,
        name: str | None = None,
        every: Duration | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        delay: Duration = 0.0,
        stop: Hook | None = None,
        on_shutdown: Hook | None = None,
        logger: Logger | None = None,
        attempt_store: AttemptStore | None = None,
    ) -> ServiceFunction | Callable[[ServiceFunction], ServiceFunction]:
        """Run a function beside every worker of this app, one per process: `@app.service`, or `@app.service(every=…)`.

        See `Service` for the options.

        It starts after the worker and ends before it. `name`: default the module and name of the function. A sync
        function runs in a thread of its own, and may take the event that asks it to return. A service that fails for
        good stops the worker, which hands its jobs back, and its error comes out of `app.running`. What must run once
        in the whole fleet, however many workers there are, is no service but a job. Raises InvalidOption as `Service`
        does, and for a name that is taken.

        @app.service(every=30)
        async def refresh_rates() -> None: ...
        """

        def decorate(fn: ServiceFunction) -> ServiceFunction:
            called = name or default_name(fn)
            if any(each.name == called for each in self._services):
                raise InvalidOption(f"there is a service {called!r} already; give one of them another name=")
            service = Service(
                called,
                fn,
                every=every,
                retry=retry,
                timeout=timeout,
                delay=delay,
                stop=stop,
                on_shutdown=on_shutdown,
                logger=logger,
                attempt_store=attempt_store,
            )
            self._services.append(service)
            return fn

        return decorate(*functions) if functions else decorate

    # --- jobs

    async def enqueue(self, work: BoundTask[R], /, *, tx: object = None) -> Job[R]:
        """Store the job of a bound task, or all jobs of a chain as one step; returns the (last) job's handle.

        `tx`: store it in this transaction of yours, as `task.options(tx=…)` does. Raises as `Task.enqueue`, and
        InvalidOption for a group without a job that takes its results.
        """
        flow = self.compiled(work)
        opened = await self._connection.opened()
        if flow.groups or len(flow.jobs) > 1:
            added = (await opened.enqueue_flows([flow], tx))[0]
        else:
            added = await opened.enqueue(flow.last, tx)
        return enqueued(self._connection, flow.last, added, work.returns)

    async def enqueue_many(self, work: Iterable[BoundTask[R]], /, *, tx: object = None) -> list[Job[R]]:
        """Store many, and return their handles in order. Takes a generator, of which at most 1,000 jobs are held.

        Each batch of up to 1,000 jobs or 1 MiB of arguments is stored whole or not at all; when one is refused, those
        before it are stored and the others are not. A flow is never divided. With `tx` all of them are part of that
        transaction.

            await app.enqueue_many(send_email.bind(address) for address in addresses)
        """
        opened = await self._connection.opened()
        handles: list[Job[R]] = []
        for chunk in chunks((each, self.compiled(each)) for each in work):
            answers = await opened.enqueue_flows([flow for _, flow in chunk], tx)
            for (each, flow), added in zip(chunk, answers, strict=True):
                handles.append(enqueued(self._connection, flow.last, added, each.returns))
        return handles

    async def idle(self) -> None:
        """Wait until nothing is due: no job of this app's tasks is ready or running, or will be without a new cause.

        A slot of a schedule that is due when this is called is waited for, and so is one of a schedule that is put
        meanwhile, to fire at once; later slots are not, but their jobs are when they are ready.

        Jobs that are scheduled for later by a delay do not count; those that wait for a retry do. Somebody must work:
        `app.running()` here, or workers elsewhere. Where a worker runs here, only the jobs of its queues count, and none
        that are held back by a pause.
        """
        from mainspring.engine.drain import idle  # noqa: PLC0415  # a producer needs no engine

        opened = await self._connection.opened()
        await idle(
            opened.store,
            known=partial(self._works, opened),
            paused=opened.paused,
            fires=partial(self._fires, opened),
        )

    @property
    def jobs(self) -> JobsFace:
        """Looking at jobs; cancel, replay, reschedule, delete."""
        return JobsFace(self._connection, self._returns)

    @property
    def schedules(self) -> SchedulesFace:
        """Putting, changing and looking at schedules."""
        from mainspring.app.schedules import SchedulesFace  # noqa: PLC0415  # only who has schedules needs triggers

        return SchedulesFace(self._connection, self.triggers, self.jobs, self._declarations)

    @property
    def queues(self) -> QueuesFace:
        """Pausing and counting queues."""
        return QueuesFace(self._connection)

    @property
    def sync(self) -> AppSync:
        """The same verbs for blocking code, in any thread."""
        return AppSync(self, self._connection)

    # --- opening and working

    def running(
        self,
        *,
        concurrency: int = 10,
        queues: Sequence[str] | None = None,
        grace: Duration = 30.0,
        lease_time: Duration = 30.0,
        poll: Duration = 1.0,
        retention: Mapping[str, float] | None = None,
        name: str = "",
    ) -> AbstractAsyncContextManager[Worker]:
        """Work jobs while the block lasts: `async with app.running(concurrency=50, queues=["mail"]): …`.

        Opens the app, enters its lifespan, starts a worker and the app's services. At the end running jobs have
        `grace` seconds to end; then they are cancelled and handed back without losing an attempt.

        `concurrency`: jobs at once. `queues`: default all. `lease_time`: how long this process may be silent before
        others take over its jobs. `poll`: how long new work of other processes may lie unseen. `retention`: seconds
        for which ended jobs are kept, by state. Raises InvalidOption, TaskDefinitionError for a task whose annotations
        cannot be resolved, AppError where this process works jobs of the app already, and as `async with app:` does.
        """
        if isinstance(queues, str):
            raise InvalidOption(f'queues is a list, as in queues=["{queues}"]')
        from mainspring.engine.settings import DEFAULT_RETENTION, WorkerSettings  # noqa: PLC0415  # as above

        return self._works_with(
            WorkerSettings(
                concurrency=positive("concurrency", concurrency) or 1,
                queues=None if queues is None else tuple(queues),
                grace=duration("grace", grace),
                lease_time=duration("lease_time", lease_time, above_zero=True),
                poll=duration("poll", poll, above_zero=True),
                name=name,
                retention=DEFAULT_RETENTION if retention is None else retention,
            ),
            alone=True,
        )

    def working(self, settings: WorkerSettings) -> AbstractAsyncContextManager[Worker]:
        """`running`, with every setting of a worker. Several at once compete, as those of several processes do."""
        return self._works_with(settings, alone=False)

    def _works_with(self, settings: WorkerSettings, *, alone: bool) -> AbstractAsyncContextManager[Worker]:
        from mainspring.app.running import working  # noqa: PLC0415  # a producer needs no engine

        lifespan = self._lifespan
        return working(
            self._connection,
            self._registry,
            settings,
            lifespan=None if lifespan is None else lambda: lifespan(self),
            services=tuple(self._services),
            triggers=self.triggers,
            prepare=self._prepare,
            alone=alone,
        )

    async def __aenter__(self) -> Self:
        """Open the app: its store is reached, and brought up to date. Raises StoreUrlError, StoreError, WrongLoop."""
        await self._connection.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.leave()

    async def close(self) -> None:
        """Close the app: what was enqueued is written. Closing twice is fine."""
        await self._connection.close()

    async def check(self) -> list[Finding]:
        """Whether the store keeps what it promises, as `mainspring check` asks; opens it at the first use.

        Each finding has a `level` ("ok", "warning", "error"), a `subject` and a `message`. A store that cannot be
        reached raises StoreUnavailable, one that refuses its place StoreUnsuitable.
        """
        return await (await self._connection.opened()).store.check()

    async def store(self) -> Store:
        """The open store, for tools; opens it at the first use."""
        return (await self._connection.opened()).store

    # --- what tools read

    @property
    def url(self) -> str | None:
        """The URL of the store: as given, else from the environment."""
        return self._connection.url

    @property
    def connection(self) -> Connection:
        """The way to the store."""
        return self._connection

    @property
    def registry(self) -> Registry:
        """The tasks that a worker of this app knows."""
        return self._registry

    @property
    def triggers(self) -> TriggerKinds:
        """The kinds of triggers that its schedules may have."""
        return self._plan.kinds

    @property
    def events(self) -> Hub:
        """The hub that tells what happens in this process."""
        return self._connection.hub

    @property
    def lifespan(self) -> Callable[[App], AbstractAsyncContextManager[object]] | None:
        """The context manager function that was given, if one was."""
        return self._lifespan

    def _defined(self, task: Task[..., object]) -> None:
        if task.name in self._known:
            raise TaskDefinitionError(f"there is a task {task.name!r} in this app already; give one another name=")
        if self._connection.working:
            raise TaskDefinitionError(
                f"task {task.name!r} comes too late: this app works jobs already, and its worker would never run it; "
                "define tasks before app.running()"
            )
        self._registry.add(self._with_default(task.registered))
        self._known[task.name] = task

    def _declares(self, declared: Declared) -> None:
        if self._connection.working:
            raise TaskDefinitionError(
                f"schedule {declared.spec.id!r} comes too late: this app works jobs already; declare schedules before "
                "app.running(), or put them with app.schedules.put(…)"
            )
        self._plan.add(declared)

    def _declarations(self) -> Declarations:
        return self._plan.declarations(task.registered.fn for task in self._known.values())

    async def _prepare(self) -> None:
        """Before a worker starts: what earlier ones have left, and what is declared."""
        opened = await self._connection.opened()
        if self._plan.on_restart == "cancel":
            from mainspring.app.restart import cancel_left  # noqa: PLC0415  # as above

            await cancel_left(opened.store)
        await self.schedules.synchronise()

    def _with_default(self, registered: Registered) -> Registered:
        return registered if registered.retry is not None else replace(registered, retry=self._retry)

    def _returns(self, task: str) -> Parameters | None:
        known = self._known.get(task)
        return None if known is None else known.returns

    def _knows(self, task: str, version: str) -> bool:
        try:
            self._registry.get(task, version)
        except TaskNotFound:
            return False
        return True

    def _works(self, opened: Opened, queue: str, task: str, version: str) -> bool:
        """Whether the workers of this process run such jobs; without one, whether any worker of this app could."""
        if opened.workers:
            return any(worker.serves(queue, task, version) for worker in opened.workers)
        return self._knows(task, version)

    def _fires(self, opened: Opened, schedule: ScheduleRecord) -> bool:
        """Whether a schedule that is due will be fired by the workers of this process; without one, by any."""
        if opened.workers:
            return any(worker.fires(schedule) for worker in opened.workers)
        from mainspring.engine.triggers import trigger_of  # noqa: PLC0415  # a producer needs no triggers

        try:
            trigger_of(readable(schedule).definition, self.triggers)
        except (InvalidTrigger, EncodingError, ScheduleUnreadable):
            return False  # one that every worker leaves alone
        return True

    def compiled(self, work: BoundTask[R]) -> Flow:
        """The jobs to store, with what they have of the job that enqueues them."""
        if not isinstance(work, BoundTask):
            raise InvalidOption(f"{work!r} is no bound task; give it its arguments: task.bind(…)")
        flow = work.compile(self._connection.ids)
        more = inherited()
        if not more:
            return flow
        jobs = (
            replace_struct(job, **{**more, "correlation": job.correlation or more["correlation"]}) for job in flow.jobs
        )
        return Flow(tuple(jobs), flow.groups)


def default_name(fn: object) -> str:
    """The name of a service that was given none. Raises InvalidOption for what has no name of its own."""
    if isinstance(fn, str):
        raise InvalidOption(f"@app.service takes its options by keyword, as in @app.service(name={fn!r})")
    name = getattr(fn, "__qualname__", None)
    if name is None:
        raise InvalidOption(f"{fn!r} has no name for a service; give it one: app.service(name=…)")
    return f"{getattr(fn, '__module__', '')}.{name}"

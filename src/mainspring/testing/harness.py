"""`Harness`: an app with a memory store in virtual time, and questions about what it enqueued."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any, Final, ParamSpec, Self, TypeVar, cast, overload

from mainspring.app.app import App
from mainspring.app.job import Job
from mainspring.app.options import Settings
from mainspring.app.tasks import Task
from mainspring.clock import Duration, FakeClock, moment, seconds
from mainspring.engine.settings import WorkerSettings
from mainspring.errors import AppError
from mainspring.ids import UuidSource, new_id
from mainspring.model.record import JobRecord
from mainspring.model.states import State
from mainspring.store.base import Filter, Store
from mainspring.store.memory import MemoryStore
from mainspring.testing.enqueued import Wanted, listing, wanted
from mainspring.testing.virtual import VirtualLoop
from mainspring.testing.working import Workplace, work_off, working

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

PAGE: Final = 1000
FROM_LIFESPAN: Final = object()
WITHOUT_APP: Final = "call it with your app first: `async with mainspring(app) as h:`"
RARELY: Final = 60.0
"""Seconds between polls of a store that tells its news by itself: hours of virtual time have few of them."""

LIMIT: Final = 86_400.0
"""Seconds of virtual time after which `drain` says that something does not end."""


class Harness:
    """An app under test: its store is in memory, its time is virtual, and it works only when you say so.

    The fixture `mainspring` is one without an app; calling it with yours gives the one to enter. While the block
    lasts, everything that uses the app uses a fresh memory store. Needs a `VirtualLoop`: tests with the fixture have
    one, other code gets one from `run_virtual`. `concurrency` is how many jobs run at once. `state` is given to tasks
    as `ctx.state` in place of what the app's lifespan would make; without it the lifespan is entered by the first
    worker, and left at the end of the block. The schedules that the app declares are put, unless `schedules` is False.
    Virtual time starts at 2026-01-01 00:00 UTC. Tasks with `process=True` run in threads.

    >>> from mainspring import App
    >>> from mainspring.testing import hours, run_virtual
    >>> app = App()
    >>> @app.task(name="greet")
    ... async def greet(name: str) -> str:
    ...     return f"Hello {name}"
    >>> async def test() -> str:
    ...     async with Harness(app) as h:
    ...         await greet.options(delay=3600).enqueue("Ada")
    ...         h.assert_enqueued(greet, name="Ada")
    ...         await h.advance(hours(1))
    ...         await h.drain()
    ...         return await h.jobs(greet)[0].result()
    >>> run_virtual(test())
    'Hello Ada'
    """

    def __init__(
        self, app: App | None = None, *, state: object = FROM_LIFESPAN, concurrency: int = 10, schedules: bool = True
    ) -> None:
        self._app = app
        self._state = state
        self._concurrency = concurrency
        self._schedules = schedules
        self._stack = AsyncExitStack()
        self._place: Workplace | None = None

    def __call__(
        self, app: App, *, state: object = FROM_LIFESPAN, concurrency: int = 10, schedules: bool = True
    ) -> Harness:
        """The harness of this app, to be entered with `async with`."""
        return Harness(app, state=state, concurrency=concurrency, schedules=schedules)

    async def __aenter__(self) -> Self:
        """Raises AppError when the app is open already, or when this loop's time is real."""
        app = self._of_app()
        loop = loop_in_virtual_time()
        ids = UuidSource(lambda: int(loop.clock.now() * 1e9))
        store = MemoryStore(clock=loop.clock, ids=ids)
        async with AsyncExitStack() as stack:
            await store.open()
            stack.push_async_callback(store.close)
            stack.enter_context(app.connection.lent(store, clock=loop.clock, ids=ids))
            await stack.enter_async_context(app)
            if self._schedules:
                await app.schedules.synchronise()
            self._place = Workplace(
                store, app.registry, app.events, loop.clock, ids, settings(self._concurrency, RARELY), app.triggers
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Leaves the lifespan, if it was entered, and gives the app its own store back."""
        self._place = None
        await self._stack.aclose()

    @property
    def app(self) -> App:
        """The app under test."""
        return self._of_app()

    @property
    def clock(self) -> FakeClock:
        """The clock of the store and of the loop. `clock.step(…)` moves the wall clock alone, as NTP does."""
        return loop_in_virtual_time().clock

    @property
    def now(self) -> datetime:
        """The virtual now, in UTC."""
        return moment(self.clock.now())

    @property
    def store(self) -> Store:
        """The memory store, for what the harness has no verb for. Raises AppError outside the block."""
        return self._entered().store

    # --- time and work

    async def advance(self, duration: Duration) -> None:
        """Let time pass. No job runs and no schedule fires meanwhile: what became due is left to the next `drain`.

        Timers of your own code fire, each at its own time. Raises ValueError for a negative duration.
        """
        self._entered()
        await loop_in_virtual_time().advance(duration)

    async def drain(self, *, limit: Duration = LIMIT) -> int:
        """Run every job that is due, and those that these add, until none is; returns how many attempts ended.

        Schedules that are due fire first: of the slots that have passed, those that their misfire rule lets run. Slots
        that come while tasks sleep are left to the next `drain`, or to `run`.

        Time stands still, but for what tasks sleep. A retry, a delay or a snooze is due later, so it takes an
        `advance` and one more `drain`. Jobs whose task the app does not know, and those in a paused queue, stay where
        they are. Raises TimeoutError when jobs are still due after `limit` seconds of virtual time.
        """
        return await work_off(self._entered(), await self._state_of_tasks(), seconds(limit, "limit"))

    async def run(self, duration: Duration) -> int:
        """Let time pass with a worker at work: every job, retries too, runs and every schedule fires at its own time.

        Both ends count: a slot that is due now fires, and so does one at the end. Returns how many attempts ended.
        """
        async with working(self._entered(), await self._state_of_tasks()) as (_, ended):
            await loop_in_virtual_time().advance(duration)
            return ended.number

    # --- questions

    @overload
    def jobs(self, task: Task[P, R], /, *, state: State | None = None) -> list[Job[R]]: ...
    @overload
    def jobs(self, task: str | None = None, /, *, state: State | None = None) -> list[Job[object]]: ...
    def jobs(
        self, task: Task[P, R] | str | None = None, /, *, state: State | None = None
    ) -> list[Job[R]] | list[Job[object]]:
        """All jobs of a task (or its name), in a state, oldest first, as they are now; without either all there are.

        >>> from mainspring import App
        >>> from mainspring.testing import run_virtual
        >>> async def test() -> int:
        ...     async with Harness(App()) as h:
        ...         return len(h.jobs(state="dead"))
        >>> run_virtual(test())
        0
        """
        name = task.name if isinstance(task, Task) else task
        return cast("list[Job[R]]", self._handles(self._records(name, state)))

    def assert_enqueued(self, task: Task[..., R], /, *args: object, **kwargs: object) -> list[Job[R]]:
        """Fail unless a job of this task was enqueued with these arguments; returns all such jobs, oldest first.

        Arguments that are not named may be anything. Options are given as always: `task.options(queue="mail")` asks
        for a job in that queue; `delay` compares the first due time. Jobs count in any state, also after they ran.

        Raises AssertionError that lists what was enqueued instead, and TypeError for arguments the task has not.
        """
        looked_for = sought(task, args, kwargs)
        found = [job for job in self._records() if not looked_for.differences(job)]
        if not found:
            raise AssertionError(self._failure(f"no job {looked_for} was enqueued", looked_for))
        return cast("list[Job[R]]", self._handles(found))

    def assert_not_enqueued(self, task: Task[..., object], /, *args: object, **kwargs: object) -> None:
        """Fail if a job of this task was enqueued with these arguments and options; see `assert_enqueued`."""
        looked_for = sought(task, args, kwargs)
        found = [job for job in self._records() if not looked_for.differences(job)]
        if found:
            text = listing(found, looked_for, self.clock.now())
            raise AssertionError(f"{len(found)} job(s) {looked_for} were enqueued:\n{text}")

    def _records(self, task: str | None = None, state: State | None = None) -> list[JobRecord]:
        store = self._entered().store
        wished = Filter(states=() if state is None else (state,), task=task)
        found: list[JobRecord] = []
        cursor: str | None = None
        while True:
            page = at_once(store.find(wished, cursor=cursor, limit=PAGE))
            found += page.jobs
            cursor = page.cursor
            if cursor is None:
                return found

    def _handles(self, records: list[JobRecord]) -> list[Job[object]]:
        app = self._of_app()
        return [app.jobs.of(record) for record in records]

    def _failure(self, what: str, looked_for: Wanted) -> str:
        records = self._records()
        if not records:
            return f"{what}; nothing was"
        return f"{what}; these were:\n{listing(records, looked_for, self.clock.now())}"

    def _of_app(self) -> App:
        if self._app is None:
            raise AppError(WITHOUT_APP)
        return self._app

    def _entered(self) -> Workplace:
        self._of_app()
        if self._place is None:
            raise AppError("the harness is not open: use `async with mainspring(app) as h:`")
        return self._place

    async def _state_of_tasks(self) -> object:
        """What tasks get as `ctx.state`; made once, by the first worker."""
        if self._state is FROM_LIFESPAN:
            self._state = await self._stack.enter_async_context(lifespan_of(self._of_app()))
        return self._state


async def drain(app: App, *, concurrency: int = 10, limit: Duration = 60) -> int:
    """Run every job of the app that is due, until none is; returns how many attempts ended.

    For tests without the fixture: the app keeps its own store and its own time. The app's lifespan is entered for
    the length of the call. Retries and delays are due later, and are not waited for. Jobs that the app does not know
    stay where they are. Raises TimeoutError when jobs are still due after `limit` seconds.

    >>> from mainspring import App
    >>> app = App("memory://")
    >>> @app.task(name="add")
    ... async def add(a: int, b: int) -> int:
    ...     return a + b
    >>> async def test() -> int:
    ...     job = await add.enqueue(1, 2)
    ...     await drain(app)
    ...     return await job.result()
    >>> asyncio.run(test())
    3
    """
    async with lifespan_of(app) as state:
        store = await app.store()
        await app.schedules.synchronise()
        place = Workplace(store, app.registry, app.events, None, new_id, settings(concurrency), app.triggers)
        return await work_off(place, state, seconds(limit, "limit"))


def settings(concurrency: int, poll: float = 1.0) -> WorkerSettings:
    """For a worker in a test: nothing is pruned, and long leases save beats."""
    return WorkerSettings(
        concurrency=concurrency, lease_time=3600.0, poll=poll, retention={}, prune_every=3600.0, name="test"
    )


@asynccontextmanager
async def lifespan_of(app: App) -> AsyncGenerator[object]:
    """What tasks of this app get as `ctx.state`, while the block lasts."""
    if app.lifespan is None:
        yield None
        return
    async with app.lifespan(app) as state:
        yield state


def sought(task: Task[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> Wanted:
    """What an assertion looks for."""
    try:
        registered = task.registered
    except AppError:
        registered = None  # a remote task
    return wanted(task.name, args, kwargs, Settings().changed(cast("dict[str, object]", task.given)).job, registered)


def loop_in_virtual_time() -> VirtualLoop:
    """The running loop. Raises AppError when its time is real."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise AppError(
            "the harness needs a loop with virtual time: take the fixture `mainspring` in an async test, "
            "or run the test by mainspring.testing.run_virtual(…)"
        )
    return loop


def at_once(answer: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits, as the verbs of a memory store are."""
    try:
        answer.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    answer.close()
    raise AssertionError("the memory store waited for something")

"""Tasks: named functions that jobs run. Still functions when called; `enqueue` stores a job instead."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, Self, TypeVar, Unpack, cast

from mainspring.app.bound import BoundTask
from mainspring.app.connection import Connection
from mainspring.app.job import Job, enqueued
from mainspring.app.options import Settings, TaskOptions
from mainspring.engine.arguments import Parameters
from mainspring.engine.blocking import running_loop
from mainspring.engine.context import CURRENT, Context, entered
from mainspring.engine.registry import Registered
from mainspring.errors import AppError, InvalidOption
from mainspring.model.flow import One
from mainspring.model.record import NewJob

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class Home:
    """Where tasks are enqueued: the app that they were defined on, or those that they were included in."""

    def __init__(self, own: Connection | None = None) -> None:
        self._own = own
        self._included: list[weakref.ref[Connection]] = []

    def include(self, connection: Connection) -> None:
        """One more app that has these tasks."""
        self._included = [each for each in self._included if each() is not None]
        if all(each() is not connection for each in self._included):
            self._included.append(weakref.ref(connection))

    def connection(self) -> Connection:
        """The app to enqueue in. Raises AppError when there is none, or when it is not clear which."""
        return self._own if self._own is not None else self._of_included()

    def _of_included(self) -> Connection:
        known = [each for ref in self._included if (each := ref()) is not None]
        if len(known) == 1:
            return known[0]
        if not known:
            raise AppError("these tasks belong to no app yet; say app.include(tasks), and keep the app")
        open_ones = [each for each in known if each.loop is not None]
        here = [each for each in open_ones if each.loop is running_loop()]
        if len(here or open_ones) == 1:
            return (here or open_ones)[0]
        raise AppError(f"these tasks are included in {len(known)} apps; say which one: app.enqueue(task.bind(…))")


class Task(Generic[P, R_co]):
    """A named function that jobs run; made by `@app.task`.

    `name`: what is stored with its jobs. `fn`: the plain function.
    """

    def __init__(
        self, name: str, parameters: Parameters, home: Home, settings: Settings, registered: Registered | None = None
    ) -> None:
        self.name = name
        self._parameters = parameters
        self._home = home
        self._settings = settings
        self._registered = registered

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R_co]:
        """Store a job that runs the task with these arguments; returns when it is committed.

        Many at the same time go as one batch. When the key of `options(unique=…)` is taken, the job that holds it is
        returned, with `created` False. A worker that knows the task runs it, here or elsewhere.

        Raises ArgumentsInvalid when the call does not fit, EncodingError for what is no JSON, PayloadTooLarge above
        512 KiB, StoreUnavailable when the store cannot be reached for 10 s, and as `async with app:` does.

            job = await send_email.enqueue("a@example.com", subject="Welcome")
        """
        connection = self._home.connection()
        payload = self._parameters.encode(args, kwargs)
        new = NewJob(id=connection.ids(), task=self.name, payload=payload, **(inherited() | self._settings.job))
        opened = await connection.opened()
        return enqueued(connection, new, await opened.enqueue(new, self._settings.tx), self._parameters)

    def enqueue_within(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Job[R_co]:
        """`enqueue` in the transaction of a connection that blocks: what `.sync.enqueue` does when one was given."""
        connection = self._home.connection()
        payload = self._parameters.encode(args, kwargs)
        new = NewJob(id=connection.ids(), task=self.name, payload=payload, **(inherited() | self._settings.job))
        added = connection.add_within(self._settings.tx, (new,))[0]
        return enqueued(connection, new, added, self._parameters)

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> BoundTask[R_co]:
        """The task with its options and these arguments, not yet stored. Raises as `enqueue` for the arguments."""
        payload = self._parameters.encode(args, kwargs)
        return BoundTask(
            One(NewJob(id="", task=self.name, payload=payload, **self._settings.without_tx(self.name))),
            self._parameters,
            self.name,
        )

    def options(self, **options: Unpack[TaskOptions]) -> Self:
        """A copy of the task with these options; see `TaskOptions`. Raises InvalidOption that names the option.

        await send_email.options(delay=60, unique="welcome:42").enqueue("a@example.com")
        """
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy._settings = self._settings.changed(cast("dict[str, object]", options))
        return copy

    @property
    def within(self) -> bool:
        """Whether its jobs are stored in a transaction of the caller's."""
        return self._settings.tx is not None

    @property
    def given(self) -> TaskOptions:
        """What `options(…)` was told, merged."""
        return cast("TaskOptions", self._settings.given)

    @property
    def sync(self) -> TaskSync[P, R_co]:
        """The same verbs for blocking code, in any thread."""
        return TaskSync(self, self._home)

    @property
    def fn(self) -> Callable[..., object]:
        """The plain function. Raises AppError for a remote task: its code is elsewhere."""
        return self.registered.fn

    @property
    def registered(self) -> Registered:
        """The task as the engine sees it. Raises AppError for a remote task: its code is elsewhere."""
        if self._registered is None:
            raise AppError(f"{self.name!r} is a remote task: its code is not in this app")
        return self._registered

    @property
    def node(self) -> One:
        """The task as a step of a chain, to be given what the step before returned."""
        if self._registered is not None and not self._parameters.takes_one:
            raise InvalidOption(
                f"{self!r} cannot take the result of the step before as its only argument: it takes "
                f"({', '.join(self._parameters.names)}); give it its arguments with bind(…)"
            )
        job = NewJob(id="", task=self.name, **self._settings.without_tx(self.name))
        return One(job, self._settings.taking("value"), self._settings.taking("list"))

    @property
    def template(self) -> NewJob:
        """The job of a call without arguments. Raises InvalidOption when a transaction was given."""
        return NewJob(id="", task=self.name, **self._settings.without_tx(self.name))

    @property
    def returns(self) -> Parameters:
        """What decodes the results of its jobs."""
        return self._parameters

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class AsyncTask(Task[P, R_co]):
    """A task of an async function: calling it returns a coroutine, as the function does."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Run the function here and now: no store, no retries, a detached Context."""
        return self._run(args, kwargs)

    async def _run(self, args: tuple[object, ...], kwargs: dict[str, object]) -> R_co:
        registered = self.registered
        context = Context.detached(self.name)
        given = (context, *args) if registered.takes_context else args
        with entered(context):
            return await cast("Coroutine[Any, Any, R_co]", registered.fn(*given, **kwargs))


class SyncTask(Task[P, R_co]):
    """A task of a plain function: jobs run it in a thread, or in a process with `process=True`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the function here and now: no store, no retries, a detached Context."""
        registered = self.registered
        context = Context.detached(self.name)
        given = (context, *args) if registered.takes_context else args
        with entered(context):
            return cast("R_co", registered.fn(*given, **kwargs))


class TaskSync(Generic[P, R_co]):
    """A task's verbs for blocking code."""

    __slots__ = ("_home", "_task")

    def __init__(self, task: Task[P, R_co], home: Home) -> None:
        self._task = task
        self._home = home

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R_co]:
        """See `Task.enqueue`. Raises AppError inside the app's own event loop, unless `tx` was given."""
        if self._task.within:
            return self._task.enqueue_within(args, kwargs)
        return self._home.connection().call(lambda: self._task.enqueue(*args, **kwargs))


def inherited() -> dict[str, Any]:
    """What a job gets of the job that enqueues it, if one does: its id as parent, its correlation and trace."""
    context = CURRENT.get(None)
    if context is None or not context.job.lease:
        return {}
    job = context.job
    return {"parent": job.id, "correlation": job.correlation, "trace": job.trace}


def anything(**arguments: object) -> object:
    """The signature of a task whose code is elsewhere: any keywords, and any JSON as its result."""
    return arguments

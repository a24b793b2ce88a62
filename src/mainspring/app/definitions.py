"""Defining tasks: the decorator, task objects, and `Tasks`, which are defined apart from the app."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import datetime, time
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    Protocol,
    TypeGuard,
    TypeVar,
    Unpack,
    cast,
    get_args,
    overload,
)

from mainspring.app.bound import BoundTask
from mainspring.app.connection import Connection
from mainspring.app.options import (
    Settings,
    TaskDefaults,
    checked_retry,
    key,
    optional_duration,
    positive,
)
from mainspring.app.tasks import AsyncTask, Home, SyncTask, Task
from mainspring.clock import Duration
from mainspring.engine.annotations import annotation_of, signature_of
from mainspring.engine.arguments import Parameters
from mainspring.engine.context import Context
from mainspring.engine.registry import Registered
from mainspring.errors import InvalidOption, TaskDefinitionError
from mainspring.model.cron_fields import BY_NAME
from mainspring.model.spelling import EXPRESSIONS, INTERVALS, TIMES, spelt

if TYPE_CHECKING:
    from mainspring.app.plan import Declared
    from mainspring.app.schedule_options import ScheduleOptions
    from mainspring.app.scheduling import ScheduleDecorator
    from mainspring.model.triggers import Trigger
    from mainspring.model.zones import TimeZone

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


Register = Callable[[Task[..., object]], None]
"""Makes a task known to an app."""

Declare = Callable[["Declared"], None]
"""Makes a declared schedule known to an app."""


class TaskDecorator(Protocol):
    """What `@app.task(…)` with options returns: takes a function, gives back a task with the same parameters."""

    @overload
    def __call__(self, fn: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]  # a function that takes ctx fits the next one, too: first match wins
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]  # an async function is a function that returns a coroutine, too
    @overload
    def __call__(self, fn: Callable[Concatenate[Context, P], R], /) -> SyncTask[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...


class TaskObject(Protocol[P, R_co]):
    """An object that can be a task: it has `run(ctx, …)`, and may have `options`, a dict as `@app.task(…)` takes."""

    async def run(self, ctx: Context, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """One attempt."""
        ...


class Definitions:
    """Tasks by name, and the ways to define one: what `App` and `Tasks` have in common."""

    def __init__(self, home: Home, prefix: str = "") -> None:
        self._home = home
        self._prefix = prefix
        self._tasks: dict[str, Task[..., object]] = {}
        self._schedules: dict[str, Declared] = {}

    @overload
    def task(self, fn: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]  # as above
    @overload
    def task(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]  # as above
    @overload
    def task(self, fn: Callable[Concatenate[Context, P], R], /) -> SyncTask[P, R]: ...
    @overload
    def task(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...
    @overload
    def task(self, *, name: str | None = None, **defaults: Unpack[TaskDefaults]) -> TaskDecorator: ...
    def task(self, *functions: Callable[..., object], name: str | None = None, **defaults: Any) -> Any:
        """Make a function a task, which stays a function: `@app.task`, or `@app.task(name=…, …)`.

        An async function runs on the loop, any other in a thread, or in a child process with `process=True`. A first
        parameter annotated `Context` is given by the worker; the others are the arguments of its jobs. The name is
        stored with every job, so renaming a task leaves its jobs behind; default: module and qualified name.
        Without `retry=` an error ends the job `dead`, where it can be replayed. See `TaskDefaults` for the rest.

        Raises TaskDefinitionError for what cannot be a task, with what to change; InvalidOption.

            @app.task(retry=Retry(on=OSError, attempts=5), timeout=30)
            async def send_email(ctx: Context, to: str, subject: str = "Hi") -> int: ...
        """
        if functions:
            return self._define(functions[0], name, defaults)

        def decorate(fn: Callable[..., object], /) -> Task[..., object]:
            return self._define(fn, name, defaults)

        return decorate

    def add_task(
        self, obj: TaskObject[P, R], /, *, name: str | None = None, **defaults: Unpack[TaskDefaults]
    ) -> AsyncTask[P, R]:
        """Make an object with `run(ctx, …)` a task; its name is that of its class. Raises as `task`.

        mail = app.add_task(Mailer(smtp))      # class Mailer: async def run(self, ctx: Context, to: str) -> bytes
        """
        run: object = getattr(obj, "run", None)
        if not callable(run):
            raise TaskDefinitionError(f"{obj!r} cannot be a task: it has no run(ctx, …)")
        own: object = getattr(obj, "options", {})
        if not isinstance(own, Mapping):
            raise InvalidOption(f"options of {type(obj).__qualname__} is a dict as @app.task(…) takes, not {own!r}")
        kind = type(obj)
        merged: dict[str, object] = {**cast("Mapping[str, object]", own), **defaults}
        if name is None:
            name = self._default_name(kind.__module__, kind.__qualname__).removeprefix(self._prefix)
        task = self._define(run, name, merged)
        return cast("AsyncTask[P, R]", task)

    @spelt("@app.every", INTERVALS)
    def every(
        self,
        interval: Duration,
        *,
        anchor: Literal["grid", "end"] = "grid",
        first: Literal["now", "after"] = "now",
        start: datetime | None = None,
        name: str | None = None,
        id: str | None = None,  # noqa: A002  # the word of the face
        **options: Unpack[ScheduleOptions],
    ) -> ScheduleDecorator:
        """Run a task, or a function that becomes one, each `interval` seconds (or a timedelta): `@app.every(60)`.

        See `Every` for `anchor`, `first` and `start`, and `scheduled` for the rest.

            @app.every(60, overlap="skip")
            async def poll() -> None: ...
        """
        from mainspring.model.every import Every  # noqa: PLC0415  # only who declares schedules needs triggers

        return self.scheduled(Every(interval, anchor, first, start), name=name, id=id, **options)

    @spelt("@app.cron", EXPRESSIONS)
    def cron(
        self,
        expression: str = BY_NAME,
        tz: TimeZone = "UTC",
        *,
        second: int | str | None = None,
        minute: int | str | None = None,
        hour: int | str | None = None,
        day: int | str | None = None,
        month: int | str | None = None,
        weekday: int | str | None = None,
        name: str | None = None,
        id: str | None = None,  # noqa: A002  # as above
        **options: Unpack[ScheduleOptions],
    ) -> ScheduleDecorator:
        """Run a task, or a function that becomes one, at the times of a cron expression, or of named fields.

        See `Cron` for the fields, time zones and daylight saving time, and `scheduled` for the rest.

            @app.cron("0 9 * * 1-5", tz="Europe/Berlin")
            async def report() -> None: ...

            @app.cron(minute=30, hour="9-17")
            async def count() -> None: ...
        """
        from mainspring.model.cron import Cron  # noqa: PLC0415  # as above

        trigger = Cron(expression, tz, second=second, minute=minute, hour=hour, day=day, month=month, weekday=weekday)
        return self.scheduled(trigger, name=name, id=id, **options)

    @spelt("@app.daily", TIMES)
    def daily(
        self,
        at: time,
        tz: TimeZone = "UTC",
        *,
        name: str | None = None,
        id: str | None = None,  # noqa: A002  # as above
        **options: Unpack[ScheduleOptions],
    ) -> ScheduleDecorator:
        """Run a task, or a function that becomes one, once each day: `@app.daily(time(3), tz="Europe/Berlin")`.

        See `Daily` for daylight saving time, and `scheduled` for the rest.
        """
        from mainspring.model.cron import Daily  # noqa: PLC0415  # as above

        return self.scheduled(Daily(at, tz), name=name, id=id, **options)

    def scheduled(
        self,
        trigger: Trigger,
        *,
        name: str | None = None,
        id: str | None = None,  # noqa: A002  # as above
        **options: Unpack[ScheduleOptions],
    ) -> ScheduleDecorator:
        """Run a task, or a function that becomes one by `task`, whenever `trigger` fires; for unions and own triggers.

        The schedule is written when a worker of the app starts, and changed when the code has changed; once the code
        declares it no more, it is paused (see `App`). `name`: that of the task which the function becomes, as in
        `task`. Its `id` is the name of the task unless told otherwise; a task may have several. `options`: see
        `ScheduleOptions`. What the task needs otherwise (`retry`, `timeout`) it gets by stacking this over
        `@app.task(…)`, which gives the same task back.

        Raises InvalidTrigger, InvalidOption, and TaskDefinitionError for a task that cannot run without arguments, for
        an id that is taken, for the name of a task that has one, and as `task` does.

            @app.scheduled(Daily(time(9)) | Cron("0 12 * * 6"), id="reminders")
            @app.task(retry=Retry(on=OSError, attempts=5))
            async def remind(ctx: Context, limit: int = 100) -> None: ...
        """
        from mainspring.app.declared import declaration  # noqa: PLC0415  # as above
        from mainspring.app.schedule_options import checked  # noqa: PLC0415  # as above

        checked(options)  # here, so that the traceback shows the line that says them

        def decorate(work: Callable[..., object] | Task[..., object], /) -> Task[..., object]:
            if is_task(work):
                check_unnamed(work, name)
                task = work
            else:
                task = self._define(cast("Callable[..., object]", work), name, {})
            declared = declaration(task, trigger, id, options)
            if declared.spec.id in self._schedules:
                raise TaskDefinitionError(
                    f"there is a schedule {declared.spec.id!r} already; give one of them another id="
                )
            self._declares(declared)
            self._schedules[declared.spec.id] = declared
            return task

        return cast("ScheduleDecorator", decorate)

    def _define(self, fn: Callable[..., object], name: str | None, defaults: Mapping[str, Any]) -> Task[..., object]:
        check_function(fn)
        full = self._default_name(fn.__module__, _qualname(fn)) if name is None else self._prefix + task_name(name)
        task_name(full)
        if full in self._tasks:
            raise TaskDefinitionError(f"there is a task {full!r} already; give one of them another name=")
        registered = make_registered(fn, full, defaults)
        settings = default_settings(registered, defaults)
        task: Task[..., object]
        if registered.mode == "async":
            task = AsyncTask(full, registered.parameters, self._home, settings, registered)
        else:
            task = SyncTask(full, registered.parameters, self._home, settings, registered)
        self._defined(task)
        self._tasks[full] = task
        return task

    def _default_name(self, module: str, qualname: str) -> str:
        if self._prefix:
            return self._prefix + qualname
        if module == "__main__":
            raise TaskDefinitionError(
                f"{qualname} is defined in the script itself, whose name differs between the script and a worker that "
                f'imports it; give it a name: name="{qualname}" in its decorator, such as @app.task(name="{qualname}") or '
                f'@app.every(…, name="{qualname}")'
            )
        return f"{module}.{qualname}"

    def _defined(self, task: Task[..., object]) -> None:
        """A task was added."""

    def _declares(self, declared: Declared) -> None:
        """A schedule was declared."""


class Tasks(Definitions):
    """Tasks that are defined apart from an app, which includes them: `app.include(tasks)`.

    So a module of tasks need not import the app, and an app factory can make many apps. Names are `prefix` + the
    function's name, or + `name=`; without a prefix as in `App.task`.

        tasks = Tasks(prefix="mail.")

        @tasks.task
        async def send(to: str) -> None: ...          # the task "mail.send"
    """

    def __init__(self, prefix: str = "") -> None:
        super().__init__(Home(), prefix)
        self._registers: list[weakref.WeakMethod[Register]] = []
        self._declares_to: list[weakref.WeakMethod[Declare]] = []

    def included(self, connection: Connection, register: Register, declare: Declare) -> None:
        """An app takes these tasks and schedules, and those that come later; told by `app.include`."""
        for task in self:
            register(task)
        for declared in self._schedules.values():
            declare(declared)
        self._home.include(connection)
        self._registers.append(weakref.WeakMethod(register))
        self._declares_to.append(weakref.WeakMethod(declare))

    def _defined(self, task: Task[..., object]) -> None:
        for each in self._registers:
            register = each()
            if register is not None:
                register(task)

    def _declares(self, declared: Declared) -> None:
        for each in self._declares_to:
            declare = each()
            if declare is not None:
                declare(declared)

    def __iter__(self) -> Iterator[Task[..., object]]:
        """The tasks, in the order of their definition."""
        return iter(self._tasks.values())


def task_name(given: str) -> str:
    """The same. Raises InvalidOption for an empty one, and one above 255 bytes."""
    return key("the name of a task", given)


def is_task(work: object) -> TypeGuard[Task[..., object]]:
    """Whether it is a task already."""
    return isinstance(work, Task)


def check_unnamed(task: Task[..., object], name: str | None) -> None:
    """Raise TaskDefinitionError for a name that a task is given by its schedule: it has one."""
    if name is not None:
        raise TaskDefinitionError(
            f"task {task.name!r} has its name already: leave out name={name!r} here, or say it where the task is made; "
            "another name for the schedule is its id="
        )


def check_function(fn: object) -> None:
    """Raise TaskDefinitionError for what cannot be a task, with what to change."""
    if isinstance(fn, Task):
        raise TaskDefinitionError(
            f"{fn!r} is a task already: put @app.every and its like above @app.task, not below; to have a task in another "
            "app, use Tasks and app.include(tasks)"
        )
    if isinstance(fn, BoundTask):
        raise TaskDefinitionError(f"{fn!r} has arguments already: give it to app.schedules.put(id, trigger, …)")
    if inspect.isclass(fn):
        raise TaskDefinitionError(
            f"the class {fn.__qualname__} cannot be a task; give app.add_task({fn.__name__}(…)) an object of it"
        )
    if isinstance(fn, staticmethod | classmethod):
        raise TaskDefinitionError("@app.task goes under @staticmethod and @classmethod, directly on the function")
    if not callable(fn):
        raise TaskDefinitionError(f"{fn!r} cannot be a task: it is not callable")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TaskDefinitionError(f"{_qualname(fn)} is a generator, whose values nobody would take; return a list")


def make_registered(fn: Callable[..., object], name: str, defaults: Mapping[str, Any]) -> Registered:
    """The task as the engine sees it. Raises TaskDefinitionError and InvalidOption."""
    unknown = defaults.keys() - TaskDefaults.__annotations__.keys()
    if unknown:
        known = ", ".join(["name", *TaskDefaults.__annotations__])
        raise InvalidOption(f"a task has no option {min(unknown)!r}; there are: {known}")
    is_async = is_async_function(fn)
    process = bool(defaults.get("process", False))
    transaction = bool(defaults.get("transaction", False))
    if process and is_async:
        raise TaskDefinitionError(f"task {name!r}: process=True is for plain functions; an async one runs on the loop")
    if transaction and not is_async:
        raise TaskDefinitionError(
            f"task {name!r}: transaction=True is for async functions, whose ctx.connection is awaited; write `async def`"
        )
    context = takes_context(fn, name)
    retry = defaults.get("retry")
    return Registered(
        name=name,
        fn=fn,
        mode="process" if process else "async" if is_async else "sync",
        parameters=Parameters(fn, task=name, takes_context=context),
        takes_context=context,
        queue=key("queue", defaults.get("queue", "default")),
        priority=Settings().changed({"priority": defaults.get("priority", 0)}).job["priority"],
        retry=None if retry is None else checked_retry(retry),
        timeout=optional_duration("timeout", defaults.get("timeout")),
        concurrency=positive("concurrency", defaults.get("concurrency")),
        store_result=bool(defaults.get("store_result", True)),
        transaction=transaction,
    )


def default_settings(registered: Registered, defaults: Mapping[str, Any]) -> Settings:
    """What every job of the task gets, unless its options say otherwise."""
    job: dict[str, object] = {}
    if registered.queue != "default":
        job["queue"] = registered.queue
    if registered.priority:
        job["priority"] = registered.priority
    said = {name: defaults[name] for name in ("expires", "tags") if defaults.get(name) is not None}
    return Settings(job={**job, **Settings().changed(said).job})


def is_async_function(fn: Callable[..., object]) -> bool:
    """Whether calling it makes a coroutine."""
    while isinstance(fn, functools.partial):
        fn = cast("Callable[..., object]", fn.func)
    called = getattr(type(fn), "__call__", None)  # noqa: B004  # not whether, but what
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(called)


def takes_context(fn: Callable[..., object], task: str) -> bool:
    """Whether the first parameter is the Context. Raises TaskDefinitionError for one anywhere else (API.md D3)."""
    first = True
    found = False
    for each in signature_of(fn).parameters.values():
        if is_context(fn, each.name, each.annotation, task):
            if not first or each.kind not in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}:
                raise TaskDefinitionError(
                    f"task {task!r}: parameter {each.name!r} is annotated Context, but only the first parameter can be "
                    "the Context: move ctx first, or ask Context.current()"
                )
            found = True
        first = False
    return found


def is_context(fn: Callable[..., object], name: str, annotation: object, task: str) -> bool:
    """Whether an annotation means our Context; by its text, where it cannot be resolved yet (TYPE_CHECKING)."""
    if annotation is inspect.Parameter.empty:
        return False
    text: object = getattr(annotation, "__forward_arg__", annotation)
    if isinstance(text, str) and "Context" not in text:
        return False
    try:
        kind: Any = annotation_of(fn, name, annotation, task)
    except TaskDefinitionError:
        return isinstance(text, str) and text.strip().rpartition(".")[2] == "Context"
    return kind is Context or Context in get_args(kind)


def _qualname(fn: object) -> str:
    while isinstance(fn, functools.partial):
        fn = cast("object", fn.func)
    name: str = getattr(fn, "__qualname__", "") or type(fn).__qualname__
    return name

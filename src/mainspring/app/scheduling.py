"""What `@app.every(…)`, `@app.cron(…)` and `@app.daily(…)` return, for type checkers."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from mainspring.app.bound import BoundTask
from mainspring.app.tasks import AsyncTask, SyncTask
from mainspring.engine.context import Context

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class NeedsNothing(Protocol):
    """A task that can be bound without arguments."""

    def bind(self) -> BoundTask[object]:
        """See `Task.bind`."""
        ...


AnyTask = TypeVar("AnyTask", bound=NeedsNothing)


class AsyncWithContext(Protocol[P, R_co]):
    """An async function that takes the Context and requires nothing else.

    Here and below: the first signature asks that it can be called so, the second knows all its parameters.
    """

    @overload
    def __call__(self, ctx: Context, /) -> Coroutine[Any, Any, R_co]: ...
    @overload
    def __call__(self, ctx: Context, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...


class AsyncAlone(Protocol[P, R_co]):
    """An async function that requires nothing."""

    @overload
    def __call__(self) -> Coroutine[Any, Any, R_co]: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...


class SyncWithContext(Protocol[P, R_co]):
    """A plain function that takes the Context and requires nothing else."""

    @overload
    def __call__(self, ctx: Context, /) -> R_co: ...
    @overload
    def __call__(self, ctx: Context, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class SyncAlone(Protocol[P, R_co]):
    """A plain function that requires nothing."""

    @overload
    def __call__(self) -> R_co: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class ScheduleDecorator(Protocol):
    """Takes a task, and gives it back; or a function, of which it makes a task as `@app.task` does."""

    @overload
    def __call__(self, task: AnyTask, /) -> AnyTask: ...
    @overload
    def __call__(self, fn: AsyncWithContext[P, R], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]  # an async function is a function that returns a coroutine, too: first match wins
    @overload
    def __call__(self, fn: AsyncAlone[P, R], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]  # as above
    @overload
    def __call__(self, fn: SyncWithContext[P, R], /) -> SyncTask[P, R]: ...
    @overload
    def __call__(self, fn: SyncAlone[P, R], /) -> SyncTask[P, R]: ...

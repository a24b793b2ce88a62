"""Background calls of async functions: a task for each, on the loop that is running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar, cast

from mainspring.clock import Duration, seconds
from mainspring.errors import RetryDefinitionError, WrongLoop
from mainspring.retries.awaiting import call_async
from mainspring.retries.background_calls import Call, Handle, Work, calls
from mainspring.retries.failures import Terms

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class BackgroundTask(Handle, Generic[R_co]):
    """An async function that runs as a task of its own; made by `background`.

    It runs whether or not somebody has this handle. Several tasks may wait for it; one of them that is cancelled
    does not cancel it. `name`, `attempts`, `done` and `cancel` may be used from any thread, the rest on its loop.
    """

    __slots__ = ("_call",)

    def __init__(self, call: TaskCall) -> None:
        self._call = call

    @property
    def _work(self) -> Work:
        return self._call.work

    @property
    def done(self) -> bool:
        """Whether it has ended: with a value, with an error, or cancelled."""
        return self._call.task.done()

    async def result(self, timeout: Duration | None = None) -> R_co:
        """The value of the function, once it has ended; its error is raised.

        Raises TimeoutError when it has not ended within `timeout` seconds (None: wait without limit),
        `asyncio.CancelledError` when it was cancelled, and WrongLoop on another loop than its own.
        """
        call = self._call
        await call.wait(timeout)
        try:
            return cast("R_co", call.task.result())
        finally:
            del self, call  # the error refers to this frame

    async def exception(self, timeout: Duration | None = None) -> BaseException | None:
        """The error that it ended with, None when there is none. Waits and raises as `result` does."""
        await self._call.wait(timeout)
        return self._call.task.exception()

    def cancel(self) -> bool:
        """Cancel it, in an attempt as well as in a wait; False when it has ended already."""
        return self._call.cancel()


async def background_done(timeout: Duration | None = None) -> tuple[BackgroundTask[object], ...]:
    """Wait until no background task of this loop is pending: the last line of an async program.

    `asyncio.run` cancels what is still running when `main` returns. Tasks that begin meanwhile are waited for, too;
    the task that calls is not, when it is one itself. Returns the handles of those that are still pending after
    `timeout` seconds; without one nothing is left. Errors stay with their handles. Threads are not waited for.

    >>> from mainspring.retries import background
    >>> async def save() -> None:
    ...     await asyncio.sleep(0.001)
    ...     print("saved")
    >>> async def main() -> None:
    ...     background(save)
    ...     await background_done(timeout=10)
    >>> asyncio.run(main())
    saved
    """
    loop = asyncio.get_running_loop()
    me = asyncio.current_task()
    ends = None if timeout is None else loop.time() + seconds(timeout, "timeout")
    while tasks := [call.task for call in _pending(loop) if call.task is not me]:
        left = None if ends is None else max(ends - loop.time(), 0.0)
        ended, _ = await asyncio.wait(tasks, timeout=left)
        if not ended:
            break
    return tuple(BackgroundTask[object](call) for call in _pending(loop) if call.task is not me)


class TaskCall(Call):
    """A task and its loop."""

    __slots__ = ("_loop", "task")

    def __init__(self, work: Work, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(work, hint="; await background_done() before its loop ends")
        self._loop = loop
        self.task: asyncio.Task[object]

    def start(self, fn: Callable[[], Coroutine[Any, Any, object]], terms: Terms) -> None:
        """Begin, and be held until the end."""
        self.task = self._loop.create_task(_attempts(fn, self.work, terms), name=self.work.name)
        calls.add(self, self._loop)
        self.task.add_done_callback(self._end)

    async def wait(self, timeout: Duration | None) -> None:
        """Until the task is done. Raises TimeoutError or WrongLoop. Cancelling this does not cancel the task."""
        if not self.task.done():
            if not _is_running(self._loop):
                raise WrongLoop(f"background call {self.work.name} belongs to another event loop; wait for it there")
            limit = None if timeout is None else seconds(timeout, "timeout")
            await asyncio.wait([self.task], timeout=limit)
            if not self.task.done():
                raise TimeoutError(f"background call {self.work.name} has not ended within {limit} s")
        self.known = True

    def cancel(self) -> bool:
        """False when it is too late."""
        if self.task.done():
            return False
        self.cancelled = True
        if _is_running(self._loop):
            self.task.cancel()
            return True
        try:
            self._loop.call_soon_threadsafe(self.task.cancel)
        except RuntimeError:  # the loop was closed under the task
            return False
        return True

    def _end(self, task: asyncio.Task[object]) -> None:
        if task.cancelled():
            self.cut = not self.cancelled
        else:
            self.failure = task.exception()
            if isinstance(self.failure, SystemExit | KeyboardInterrupt):
                self.known = True  # asyncio lets these out of the loop
        self.ended.set()
        calls.remove(self, self._loop)


def start_task(fn: Callable[[], Coroutine[Any, Any, R]], work: Work, terms: Terms) -> BackgroundTask[R]:
    """`fn` and its retries as a task of the running loop, which has the context variables of the caller."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise RetryDefinitionError(
            f"{work.name} is async, and no event loop runs here: call background in async code, or run it in a "
            "thread with a loop of its own by background(functools.partial(asyncio.run, …))"
        ) from None
    call = TaskCall(work, loop)
    call.start(fn, terms)
    return BackgroundTask(call)


async def _attempts(fn: Callable[[], Coroutine[Any, Any, object]], work: Work, terms: Terms) -> object:
    async def attempt() -> object:
        work.attempts += 1
        return await fn()

    return await call_async(attempt, terms)


def _pending(loop: asyncio.AbstractEventLoop) -> list[TaskCall]:
    return [call for call in calls.pending(loop) if isinstance(call, TaskCall) and not call.task.done()]


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it is the loop of this thread."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False

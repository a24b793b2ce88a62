"""The driver for async functions, and what the async block needs of the event loop. Loaded with asyncio only."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from mainspring.retries.attempts import Failures
from mainspring.retries.block import Attempt
from mainspring.retries.policy import Retry

P = ParamSpec("P")
R = TypeVar("R")


def retry_async(fn: Callable[P, Coroutine[Any, Any, R]], policy: Retry) -> Callable[P, Coroutine[Any, Any, R]]:
    """`fn` with attempts. The plain case reads no clock and makes nothing until something fails."""
    if policy.give_up_after is not None:
        return _retry_limited(fn, policy, policy.give_up_after)

    @functools.wraps(fn)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await fn(*args, **kwargs)
        except Exception as error:
            failures = Failures(policy)
            wait = failures.add(error, loop_time())
            if wait is None:
                raise
            cancellation = cancellation_behind(error)
        if cancellation is not None:
            pass_on(cancellation)
        return await _more_attempts(fn, failures, wait, None, *args, **kwargs)

    return call


def _retry_limited(
    fn: Callable[P, Coroutine[Any, Any, R]], policy: Retry, give_up_after: float
) -> Callable[P, Coroutine[Any, Any, R]]:
    @functools.wraps(fn)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        started = loop_time()
        return await _more_attempts(fn, Failures(policy, started), 0.0, started + give_up_after, *args, **kwargs)

    return call


async def _more_attempts(
    fn: Callable[P, Coroutine[Any, Any, R]],
    failures: Failures,
    wait: float,
    ends: float | None,
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    now = asyncio.get_running_loop().time
    while True:
        if wait > 0:
            await asyncio.sleep(wait)
        limit = None if ends is None else TimeLimit(ends)
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            if limit is not None and limit.close(error):
                timeout = failures.timed_out(now())
                raise timeout from timeout.__cause__ or error
            if not isinstance(error, Exception):
                raise
            again = failures.add(error, now())
            if again is None:
                raise
            wait = again
            cancellation = cancellation_behind(error)
        else:
            if limit is not None:
                limit.close(None)
            failures.forget()
            return result
        if cancellation is not None:
            pass_on(cancellation)


class AsyncAttempts:
    """The attempts of one `async for`. No generator: one that is left early would be closed at some later time."""

    def __init__(self, policy: Retry) -> None:
        started = None if policy.give_up_after is None else loop_time()
        self._ends = None if started is None or policy.give_up_after is None else started + policy.give_up_after
        self._failures = Failures(policy, started)
        self._attempt: AsyncAttempt | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AsyncAttempt:
        number = 1
        if self._attempt is not None:
            wait = self._attempt.wait_after()
            if wait is None:
                raise StopAsyncIteration
            if self._attempt.cancellation is not None:
                pass_on(self._attempt.cancellation)
            if wait > 0:
                await asyncio.sleep(wait)
            number = self._attempt.number + 1
        self._attempt = AsyncAttempt(self._failures, number, self._ends)
        return self._attempt


class AsyncAttempt(Attempt):
    """One attempt of an `async for`: on the loop's clock, and cut short by `give_up_after`."""

    __slots__ = ("_ends", "_limit", "cancellation")

    def __init__(self, failures: Failures, number: int, ends: float | None) -> None:
        super().__init__(failures, number)
        self._ends = ends
        self._limit: TimeLimit | None = None
        self.cancellation: asyncio.CancelledError | None = None

    def __enter__(self) -> None:
        super().__enter__()
        self._limit = None if self._ends is None else TimeLimit(self._ends)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self._limit is not None and self._limit.close(error):
            timeout = self._failures.timed_out(self._now())
            raise timeout from timeout.__cause__ or error
        self.cancellation = cancellation_behind(error)
        return super().__exit__(kind, error, traceback)

    def _now(self) -> float:
        return loop_time()


class TimeLimit:
    """Cancels the current task at `ends` (time of the loop), like `asyncio.timeout_at`.

    Entered and left without an await, because the `with` of a block is not async.
    """

    __slots__ = ("_cancellations", "_fired", "_task", "_timer")

    def __init__(self, ends: float) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("give_up_after needs a task: await the call from a coroutine that asyncio runs")
        self._task = task
        self._cancellations = task.cancelling()
        self._fired = False
        self._timer = asyncio.get_running_loop().call_at(ends, self._fire)

    def close(self, error: BaseException | None) -> bool:
        """End the watch; True when `error` is the cancellation made by this limit, and by nobody else."""
        self._timer.cancel()
        if not self._fired:
            return False
        alone = self._task.uncancel() <= self._cancellations
        return alone and isinstance(error, asyncio.CancelledError)

    def _fire(self) -> None:
        self._fired = True
        self._task.cancel()


def loop_time() -> float:
    """Seconds on the clock of the running loop."""
    return asyncio.get_running_loop().time()


def cancellation_behind(error: BaseException | None) -> asyncio.CancelledError | None:
    """The cancellation that this error took the place of, if it did."""
    if error is None or (error.__context__ is None and not isinstance(error, asyncio.CancelledError)):
        return None  # nearly always
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, asyncio.CancelledError):
            return error
        seen.add(id(error))
        error = error.__context__
    return None


def pass_on(cancellation: asyncio.CancelledError) -> None:
    """Raise it again when this task is to be cancelled and the attempt has made an ordinary error of it.

    Not when the whole call was made while that cancellation was being handled, in a `finally` for instance:
    cleaning up may be retried. Must be called outside of any `except` of the driver.
    """
    if cancellation is cancellation_behind(sys.exception()):
        return
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise cancellation

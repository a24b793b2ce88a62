"""The driver for async functions, and what the async block needs of the event loop. Loaded with asyncio only."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from mainspring.retries.block import Attempt
from mainspring.retries.failures import Failures, Terms

P = ParamSpec("P")
R = TypeVar("R")


def retry_async(fn: Callable[P, Awaitable[R]], terms: Terms) -> Callable[P, Coroutine[Any, Any, R]]:
    """`fn` with attempts. The plain case reads no clock and makes nothing until something fails."""
    if not terms.watched:
        return _retry_plain(fn, terms)

    @functools.wraps(fn)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        clock = asyncio.get_running_loop().time
        return await attempts_async(fn, Failures(terms, clock()), clock, 0.0, None, *args, **kwargs)

    return call


def _retry_plain(fn: Callable[P, Awaitable[R]], terms: Terms) -> Callable[P, Coroutine[Any, Any, R]]:
    # `attempts_async` without what this case does not need, and without a second coroutine when something fails.
    @functools.wraps(fn)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        failures, clock = None, loop_time
        try:
            while True:
                try:
                    result = await fn(*args, **kwargs)
                except Exception as error:
                    if failures is None:
                        failures, clock = Failures(terms), asyncio.get_running_loop().time
                    wait = failures.add(error, clock())
                    if wait is None:
                        raise
                    cancellation = None if error.__context__ is None else cancellation_behind(error)
                else:
                    if failures is not None and failures.heard:
                        failures.succeeded(clock)
                    return result
                if wait > 0 or cancellation is not None:
                    await _pause(wait, cancellation)
        finally:
            if failures is not None:
                failures.close(clock)

    return call


async def call_async(fn: Callable[P, Awaitable[R]], terms: Terms, /, *args: P.args, **kwargs: P.kwargs) -> R:
    """The result of `fn` with attempts, from the first one on."""
    clock = asyncio.get_running_loop().time
    failures = Failures(terms, clock() if terms.watched else None)
    return await attempts_async(fn, failures, clock, 0.0, None, *args, **kwargs)


async def attempts_async(
    fn: Callable[P, Awaitable[R]],
    failures: Failures,
    clock: Callable[[], float],
    wait: float,
    cancellation: asyncio.CancelledError | None,
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    """The loop of every async retry: wait, attempt, and again until it succeeds or `failures` says no more.

    `wait` and `cancellation` are those of a failure before the loop: 0 and None for a call that begins.
    """
    guarded = failures.terms.guarded
    ends = failures.ends
    try:
        while True:
            if wait > 0 or cancellation is not None:
                await _pause(wait, cancellation)
            if guarded:
                failures.admit(clock())
            limit = None if ends is None else TimeLimit(ends)
            try:
                result = await fn(*args, **kwargs)
            except BaseException as error:
                again = _wait_after(error, failures, clock, limit)
                if again is None:
                    raise
                wait = again
                cancellation = None if error.__context__ is None else cancellation_behind(error)
            else:
                if limit is not None:
                    limit.close(None)
                if guarded or failures.heard:
                    failures.succeeded(clock)
                return result
    finally:
        failures.close(clock)


async def _pause(wait: float, cancellation: asyncio.CancelledError | None) -> None:
    """The time between two attempts, outside of any `except`: later errors are not "during handling of" the first.

    `cancellation` is the one that the error may have taken the place of.
    """
    if cancellation is not None:
        pass_on(cancellation)
    if wait > 0:
        await asyncio.sleep(wait)


def _wait_after(
    error: BaseException, failures: Failures, clock: Callable[[], float], limit: TimeLimit | None
) -> float | None:
    """Seconds before the next attempt; None to let the error out. Raises RetryTimeout for an attempt cut short."""
    if limit is not None and limit.close(error):
        raise failures.timed_out(clock(), error)
    return failures.add(error, clock()) if isinstance(error, Exception) else None


class AsyncAttempts:
    """The attempts of one `async for`. No generator: one that is left early would be closed at some later time."""

    def __init__(self, terms: Terms) -> None:
        self._failures = Failures(terms, loop_time() if terms.watched else None)
        self._attempt: AsyncAttempt | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AsyncAttempt:
        number = 1
        if self._attempt is not None:
            wait = self._attempt.wait_after()
            if wait is None:
                raise StopAsyncIteration
            try:
                await _pause(wait, self._attempt.cancellation)
            except BaseException:
                self._failures.close(loop_time)
                raise
            number = self._attempt.number + 1
        self._attempt = AsyncAttempt(self._failures, number)
        return self._attempt


class AsyncAttempt(Attempt):
    """One attempt of an `async for`: on the loop's clock, and cut short by `give_up_after`."""

    __slots__ = ("_limit", "cancellation")

    def __init__(self, failures: Failures, number: int) -> None:
        super().__init__(failures, number)
        self._limit: TimeLimit | None = None
        self.cancellation: asyncio.CancelledError | None = None

    def __enter__(self) -> None:
        super().__enter__()
        ends = self._failures.ends
        self._limit = None if ends is None else TimeLimit(ends)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self._limit is not None and self._limit.close(error):
            try:
                raise self._failures.timed_out(self._now(), error)
            finally:
                self._failures.close(loop_time)
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

"""Background calls of plain functions: a thread for each."""

from __future__ import annotations

import contextvars
import inspect
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar, cast

from mainspring.clock import Duration, seconds
from mainspring.errors import RetryDefinitionError
from mainspring.retries import pace
from mainspring.retries.background_calls import Call, Handle, Work, calls
from mainspring.retries.decorate import attempts_sync
from mainspring.retries.failures import Failures, Terms

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class BackgroundThread(Handle, Generic[R_co]):
    """A function that runs in a thread of its own; made by `background`.

    Any number of threads may use the handle. `result` and `exception` block the thread that calls them: in async
    code write `await asyncio.to_thread(handle.result)`.
    """

    __slots__ = ("_call",)

    def __init__(self, call: ThreadCall) -> None:
        self._call = call

    @property
    def _work(self) -> Work:
        return self._call.work

    @property
    def done(self) -> bool:
        """Whether it has ended: with a value, with an error, or cancelled. A thread that still runs has not."""
        return self._call.ended.is_set()

    def result(self, timeout: Duration | None = None) -> R_co:
        """The value of the function, once it has ended; its error is raised.

        Raises TimeoutError when it has not ended within `timeout` seconds (None: wait without limit), and
        `concurrent.futures.CancelledError` when it was cancelled.
        """
        call = self._call
        call.wait(timeout)
        try:
            if call.failure is not None:
                # As it came from the thread: else each reading would make its traceback longer.
                raise call.failure.with_traceback(call.traceback)
            return cast("R_co", call.value)
        finally:
            del self, call  # the error refers to this frame

    def exception(self, timeout: Duration | None = None) -> BaseException | None:
        """The error that it ended with, None when there is none. Waits and raises as `result` does."""
        self._call.wait(timeout)
        return self._call.failure

    def cancel(self) -> bool:
        """Make no more attempts; False when it has ended already.

        A wait between two attempts ends at once. An attempt under way cannot be interrupted: it runs to its end,
        its value is dropped, and only then the handle is `done`.
        """
        return self._call.cancel()


class ThreadCall(Call):
    """What a thread leaves for the readers of its handle."""

    __slots__ = ("_ending", "traceback", "value")

    def __init__(self, work: Work, wait_at_exit: float | None) -> None:
        hint = "" if wait_at_exit else "; give it wait_at_exit=… seconds, or wait for its result"
        super().__init__(work, wait_at_exit=wait_at_exit, hint=hint)
        self._ending = threading.Lock()
        self.traceback: TracebackType | None = None
        self.value: object = None

    def cancel(self) -> bool:
        """False when it is too late."""
        with self._ending:
            if self.ended.is_set():
                return False
            self.cancelled = True
            self.work.stopping.set()
            return True

    def end(self, value: object, failure: BaseException | None) -> None:
        """What came out, unless it was cancelled before."""
        with self._ending:
            if not self.cancelled:
                self.value = value
                self.failure = failure
                self.traceback = None if failure is None else failure.__traceback__
            self.ended.set()

    def wait(self, timeout: Duration | None) -> None:
        """Block until it has ended. Raises TimeoutError, or CancelledError."""
        limit = None if timeout is None else seconds(timeout, "timeout")
        if not self.ended.wait(limit):
            raise TimeoutError(f"background call {self.work.name} has not ended within {limit:g} s")
        self.known = True
        if self.cancelled:
            from concurrent.futures import CancelledError  # noqa: PLC0415  # seldom needed

            raise CancelledError(f"background call {self.work.name} was cancelled")

    def lose(self) -> None:
        """In a forked process."""
        self._ending = threading.Lock()
        super().lose()


def start_thread(fn: Callable[[], R], work: Work, terms: Terms, wait_at_exit: float | None) -> BackgroundThread[R]:
    """`fn` and its retries in a daemon thread, with the context variables of the caller."""
    call = ThreadCall(work, wait_at_exit)
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(_live, call, fn, terms), name=work.name, daemon=True)
    calls.add(call, None)
    try:
        thread.start()
    except Exception:  # not Ctrl-C, which may come when the thread has begun
        calls.remove(call, None)
        raise
    return BackgroundThread(call)


def _live(call: ThreadCall, fn: Callable[[], object], terms: Terms) -> None:
    value, failure = _outcome(fn, call.work, terms)
    call.end(value, failure)
    calls.remove(call, None)
    del call, failure  # the frames above those that an error refers to stay alive, too


def _outcome(fn: Callable[[], object], work: Work, terms: Terms) -> tuple[object, BaseException | None]:
    """What the function returned, or how it failed: everything that it may raise, `SystemExit` too."""

    def attempt() -> object:
        work.attempts += 1
        return fn()

    try:
        failures = Failures(terms, pace.monotonic() if terms.watched else None)
        value = attempts_sync(attempt, failures, 0.0, work.pause)
    except BaseException as error:  # noqa: BLE001  # it is the reader's; the thread ends in any case
        return None, error
    if not inspect.iscoroutine(value):
        return value, None
    value.close()
    return None, RetryDefinitionError(
        f"{work.name} returned a coroutine, which no thread runs: give background the async function itself, "
        "with its arguments by functools.partial, not by a lambda"
    )

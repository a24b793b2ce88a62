"""Sync services: each run in a thread of its own, never two of them beside each other.

A thread cannot be stopped from outside. So when a run is late or is to end, its stop event is set, and the run is over
when the thread has returned: another run never starts beside it (API.md D25).
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context

from mainspring.clock import enter_outside, leave_outside

Returned = tuple[object, BaseException | None]


class InThread:
    """Runs of one sync function, one after the other."""

    def __init__(self, name: str, fn: Callable[..., object], *, takes_stop: bool) -> None:
        self._name = name
        self._fn = fn
        self._takes_stop = takes_stop
        self._stop = threading.Event()
        self._returned: Future[Returned] | None = None
        self._left: asyncio.Future[None] | None = None

    @property
    def goes_on(self) -> bool:
        """Whether a thread has begun and has not returned; from any thread."""
        return self._returned is not None and not self._returned.done()

    async def run(self) -> object:
        """One run: its value, or its error raised. CancelledError when it was cancelled, once the thread has returned.

        The first cancellation sets the stop event, and none ends the wait for the thread; `leave_behind` does.
        """
        self._stop = threading.Event()
        loop = asyncio.get_running_loop()
        returned = self._returned = self._started(loop)
        ended = ended_here(returned)
        left = self._left = loop.create_future()
        cancelled: asyncio.CancelledError | None = None
        try:
            while not ended.done() and not left.done():
                try:
                    await asyncio.wait({ended, left}, return_when=asyncio.FIRST_COMPLETED)
                except asyncio.CancelledError as again:
                    cancelled = cancelled or again
                    self._stop.set()
            if not ended.done():
                raise cancelled or asyncio.CancelledError(f"the thread of service {self._name!r} is left behind")
            return await self._result(returned, cancelled)
        finally:
            del cancelled  # its traceback holds this frame

    def ask(self) -> None:
        """Set the stop event of the run that is under way."""
        self._stop.set()

    def leave_behind(self) -> None:
        """End the wait for a thread that does not return. It is a daemon, so that the interpreter can end."""
        if self._left is not None and not self._left.done():
            self._left.set_result(None)

    def when_over(self, tell: Callable[[], None]) -> None:
        """Call `tell` when no thread is left: now, or from the thread as it ends."""
        if self._returned is None:
            tell()
        else:
            self._returned.add_done_callback(lambda _: tell())

    async def over(self) -> None:
        """Return when no thread is left; also for one that was left behind, and in another loop."""
        if self._returned is not None:
            await ended_here(self._returned)

    def _started(self, loop: asyncio.AbstractEventLoop) -> Future[Returned]:
        returned: Future[Returned] = Future()
        arguments = (self._stop,) if self._takes_stop else ()
        context = copy_context()

        def work() -> None:
            try:
                returned.set_result(context.run(called, self._fn, arguments))
            finally:
                leave_outside(loop)

        enter_outside(loop)
        try:
            threading.Thread(target=work, name=f"service:{self._name}", daemon=True).start()
        except BaseException:  # no more threads
            leave_outside(loop)
            returned.cancel()
            raise
        return returned

    async def _result(self, returned: Future[Returned], cancelled: asyncio.CancelledError | None) -> object:
        value, error = returned.result()
        try:
            if type(error) is KeyboardInterrupt:  # a real one never comes in a thread, and it would end the program
                raise RuntimeError(f"service {self._name!r} raised KeyboardInterrupt") from error
            if error is not None:
                raise error
            if cancelled is not None:
                if inspect.iscoroutine(value):
                    value.close()
                raise cancelled
            return await value if inspect.isawaitable(value) else value
        finally:
            del error, cancelled  # their tracebacks hold this frame


def called(fn: Callable[..., object], arguments: tuple[object, ...]) -> Returned:
    """The value or the error as values: a future takes no StopIteration, and a thread loses what is raised in it."""
    try:
        return fn(*arguments), None
    except BaseException as error:  # noqa: BLE001  # raised again where the run is awaited
        return None, error


def ended_here(returned: Future[Returned]) -> asyncio.Future[None]:
    """A future of the running loop that is done when the thread has returned, whichever loop had begun it."""
    loop = asyncio.get_running_loop()
    here: asyncio.Future[None] = loop.create_future()

    def done() -> None:
        if not here.done():
            here.set_result(None)

    def tell(_: Future[Returned]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(done)

    returned.add_done_callback(tell)
    return here

"""The life of one service: delay, runs, ticks, backoff; told of by its health."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from typing import Final

from mainspring.clock import Clock, seconds
from mainspring.errors import AttemptTimeout, InvalidOption
from mainspring.retries.policy import Fallback
from mainspring.service.counts import Counts
from mainspring.service.health import Health, State
from mainspring.service.restarts import Restarts
from mainspring.service.service import Logger, Service

log = logging.getLogger("mainspring.service")

OVERDUE_AFTER: Final = 1.0
"""Seconds after its timeout at which a thread that goes on is logged."""


class Life:
    """One service on its way from its first run to its end.

    `before` is an earlier life of the same service whose thread may still be left: it is waited for.
    """

    def __init__(
        self,
        service: Service,
        clock: Clock,
        restarts: Restarts,
        baseline: Fallback | None = None,
        before: Life | None = None,
    ) -> None:
        self.service = service
        self.health = Health(service.name, since=clock.now())
        self.log: Logger = service.logger or log
        self.nested = service.nested
        self._clock = clock
        self._counts = Counts(service, baseline, restarts)
        self._thread = service.thread()
        self._before = before
        self._limit: asyncio.Timeout | None = None
        self._told_to_stop = asyncio.Event()

    @property
    def goes_on(self) -> bool:
        """Whether a thread, its own or an earlier one, has not returned, which may outlast the life."""
        return self._in_thread or (self._before is not None and self._before.goes_on)

    @property
    def overdue(self) -> bool:
        """Whether a run goes on in its thread after its timeout."""
        return self._in_thread and self._limit is not None and self._limit.expired()

    async def run(self) -> None:
        """Run until the service has ended. Raises its permanent error, or CancelledError when it was cancelled."""
        try:
            await self._keep_up()
        except asyncio.CancelledError:
            if self._thread is not None:
                self._thread.when_over(lambda: self._enter("cancelled"))  # now, unless it was left behind
            else:
                self._enter("cancelled")
            raise
        except BaseException as error:  # SystemExit too: the health says what happened, then it goes on
            self.health = self.health.erred(error)
            self._enter("failed")
            raise
        self._enter("ended")

    def finish_soon(self) -> None:
        """Begin no further run; a wait (delay, tick, backoff) ends at once, a thread is asked to return."""
        self._told_to_stop.set()
        if self._thread is not None:
            self._thread.ask()

    def leave_behind(self) -> bool:
        """It is overdue; wait no longer for the thread, if it is one. Whether the life ends by that."""
        self._enter("overdue")
        if self._thread is None:
            return False
        self._thread.leave_behind()
        return True

    async def over(self) -> None:
        """Return when no thread of it is left."""
        if self._before is not None:
            await self._before.over()
        if self._thread is not None:
            await self._thread.over()

    async def _keep_up(self) -> None:
        loop = asyncio.get_running_loop()
        every = None if self.service.every is None else seconds(self.service.every)
        if not await self._may_begin():
            return
        origin, ticks = loop.time(), 0
        while True:
            self._enter("up")
            self._counts.run_begins(loop.time())
            try:
                nothing_run = is_generator(await self._run_once())
            except Exception as error:
                self.health = self.health.erred(error)
                wait = await self._counts.failed(error, loop.time())
                if wait is None:
                    raise
                if await self._back_off(error, wait):
                    return
                origin, ticks = loop.time(), 0
                continue
            if nothing_run:  # and no policy can help
                raise InvalidOption(
                    f"service {self.service.name!r} returned a generator, of which nothing has run; give a function"
                    " that does the work and returns"
                )
            await self._counts.succeeded()
            if every is None:
                return
            ticks = next_tick(ticks, loop.time() - origin, every)
            if await self._pause(origin + ticks * every - loop.time()):
                return

    async def _may_begin(self) -> bool:
        """Wait until the first run may begin; False when the service was told to stop meanwhile."""
        if self._before is not None:
            await self._before.over()
            self._before = None
        delay = seconds(self.service.delay)
        if delay and await self._pause(delay):
            return False
        await self._counts.load()
        return not self._told_to_stop.is_set()

    async def _run_once(self) -> object:
        limit = self._limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return await self._work()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise RuntimeError(
                f"service {self.service.name!r} raised CancelledError, but nobody had cancelled it"
            ) from error
        except Exception as error:
            # What a thread raises after its time is over says how it ended, not why.
            if limit.expired() and (self._thread is not None or isinstance(error, TimeoutError)):
                raise self._too_long() from error
            raise

    async def _work(self) -> object:
        if self._thread is None:
            return await self.service.run()
        late: list[asyncio.TimerHandle] = []
        if self._timeout is not None:
            loop = asyncio.get_running_loop()
            late.append(loop.call_later(self._timeout, self._enter_overdue))
            late.append(loop.call_later(self._timeout + OVERDUE_AFTER, self._tell_overdue))
        try:
            return await self._thread.run()
        finally:
            for timer in late:
                timer.cancel()

    def _enter_overdue(self) -> None:
        if self._in_thread:
            self._enter("overdue")

    def _tell_overdue(self) -> None:
        if not self._in_thread:
            return  # what it returned is awaited still
        self.health = self.health.erred(self._too_long())
        self.log.warning(
            "service %r is overdue: its timeout has passed, and its thread goes on; it runs again when that has returned",
            self.service.name,
        )

    def _too_long(self) -> AttemptTimeout:
        return AttemptTimeout(f"service {self.service.name!r} ran longer than its timeout of {self._timeout:g} s")

    @property
    def _in_thread(self) -> bool:
        return self._thread is not None and self._thread.goes_on

    @property
    def _timeout(self) -> float | None:
        return None if self.service.timeout is None else seconds(self.service.timeout)

    async def _back_off(self, error: Exception, wait: float) -> bool:
        if self._told_to_stop.is_set():
            return True
        level = logging.ERROR if self._counts.degraded else logging.WARNING
        self.log.log(level, "service %r failed and runs again in %.3g s: %r", self.service.name, wait, error)
        self._enter("waiting")
        stopping = await self._pause(wait)
        if not stopping:
            self.health = self.health.restarted()
        return stopping

    async def _pause(self, wait: float) -> bool:
        """Wait; True when the service was told to stop. Yields to others even when there is nothing to wait for."""
        try:
            async with asyncio.timeout(max(0.0, wait)):
                await self._told_to_stop.wait()
        except TimeoutError:
            pass  # the usual end of a wait
        return self._told_to_stop.is_set()

    def _enter(self, state: State) -> None:
        self.health = self.health.entered(state, self._clock.now())


def is_generator(value: object) -> bool:
    """Whether a run has returned a generator, async or not, in place of doing its work."""
    return inspect.isgenerator(value) or inspect.isasyncgen(value)


def next_tick(last: int, passed: float, every: float) -> int:
    """The number of the next tick of a grid: after the last one, and not yet over; what was missed is left out.

    >>> next_tick(0, 0.0, 10), next_tick(0, 25.0, 10), next_tick(2, 30.0, 10)
    (1, 3, 3)
    """
    # The billionth forgives what floats lose: a run that ends exactly at a tick must not miss it.
    return max(last + 1, math.ceil(passed / every - 1e-9))

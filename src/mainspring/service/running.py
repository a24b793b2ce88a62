"""The life of one service: delay, runs, ticks, backoff; told of by its health."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable, Mapping
from typing import Final

from mainspring.clock import Clock, seconds
from mainspring.errors import AttemptTimeout
from mainspring.retries.policy import Fallback, Retry, Stop
from mainspring.service.health import Health, State
from mainspring.service.restarts import FailureRate, Restarts
from mainspring.service.service import Service

log = logging.getLogger("mainspring.service")


def no_error(_error: BaseException) -> bool:
    """The predicate of the policy that retries nothing."""
    return False


NO_RETRY: Final = Retry(on=no_error)


class Budget:
    """What a service has used up of its policy. Counts last until the next `succeeded`."""

    def __init__(self, policy: Retry | None, baseline: Fallback | None, restarts: Restarts) -> None:
        self._policy = policy or NO_RETRY
        self._baseline = baseline
        self._restarts = restarts
        self._counters: Mapping[str, int] = {}
        self._began: float | None = None
        self._rate = FailureRate()
        self.degraded = False

    @property
    def counters(self) -> Mapping[str, int]:
        """Failures per rule key since the last success."""
        return self._counters

    def run_begins(self, at: float) -> None:
        """A run begins, at a monotonic time; the first one since the counts began starts `give_up_after`."""
        if self._began is None:
            self._began = at

    def failed(self, error: Exception, at: float, *, draw: Callable[[], float] = random.random) -> float | None:
        """How long to wait before the next run, in seconds; None when the error is permanent."""
        elapsed = 0.0 if self._began is None else at - self._began
        decision = self._policy.decide(error, self._counters, elapsed, random=draw, baseline=self._baseline)
        self._counters = decision.counters
        if isinstance(decision, Stop):
            if decision.gave_up:
                runs = sum(decision.counters.values())
                error.add_note(f"the service gave up after {runs} failed run(s) in {elapsed:.3g} s: {decision.reason}")
            return None
        self._rate = self._rate.failed(at, self._restarts)
        self.degraded = decision.degraded
        return max(decision.seconds, self._restarts.least_wait(self._rate))

    def succeeded(self) -> None:
        """Begin the counts anew. The failure rate goes on: it decays by itself."""
        self._counters = {}
        self._began = None


class Life:
    """One service on its way from its first run to its end."""

    def __init__(self, service: Service, clock: Clock, restarts: Restarts, baseline: Fallback | None = None) -> None:
        self.service = service
        self.health = Health(service.name, since=clock.now())
        self._clock = clock
        self._budget = Budget(service.retry, baseline, restarts)
        self._told_to_stop = asyncio.Event()

    async def run(self) -> None:
        """Run until the service has ended. Raises its permanent error, or CancelledError when it was cancelled."""
        try:
            await self._keep_up()
        except asyncio.CancelledError:
            self._enter("cancelled")
            raise
        except BaseException as error:  # SystemExit too: the health says what happened, then it goes on
            self.health = self.health.erred(error)
            self._enter("failed")
            raise
        self._enter("ended")

    def finish_soon(self) -> None:
        """Begin no further run; a wait (delay, tick, backoff) ends at once."""
        self._told_to_stop.set()

    async def _keep_up(self) -> None:
        loop = asyncio.get_running_loop()
        every = None if self.service.every is None else seconds(self.service.every)
        delay = seconds(self.service.delay)
        if delay and await self._pause(delay):
            return
        origin, ticks = loop.time(), 0
        while True:
            self._enter("up")
            self._budget.run_begins(loop.time())
            try:
                await self._run_once()
            except Exception as error:
                self.health = self.health.erred(error)
                wait = self._budget.failed(error, loop.time())
                if wait is None:
                    raise
                if await self._back_off(error, wait):
                    return
                origin, ticks = loop.time(), 0
                continue
            if every is None:
                return
            self._budget.succeeded()
            ticks = next_tick(ticks, loop.time() - origin, every)
            if await self._pause(origin + ticks * every - loop.time()):
                return

    async def _run_once(self) -> None:
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                await self.service.run()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise AttemptTimeout(
                f"service {self.service.name!r} ran longer than its timeout of {self._timeout:g} s"
            ) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise RuntimeError(
                f"service {self.service.name!r} raised CancelledError, but nobody had cancelled it"
            ) from error

    @property
    def _timeout(self) -> float | None:
        return None if self.service.timeout is None else seconds(self.service.timeout)

    async def _back_off(self, error: Exception, wait: float) -> bool:
        if self._told_to_stop.is_set():
            return True
        level = logging.ERROR if self._budget.degraded else logging.WARNING
        log.log(level, "service %r failed and runs again in %.3g s: %r", self.service.name, wait, error)
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


def next_tick(last: int, passed: float, every: float) -> int:
    """The number of the next tick of a grid: after the last one, and not yet over; what was missed is left out.

    >>> next_tick(0, 0.0, 10), next_tick(0, 25.0, 10), next_tick(2, 30.0, 10)
    (1, 3, 3)
    """
    # The billionth forgives what floats lose: a run that ends exactly at a tick must not miss it.
    return max(last + 1, math.ceil(passed / every - 1e-9))

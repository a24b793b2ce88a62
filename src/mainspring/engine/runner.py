"""Starting jobs: a chain of runners, one at a time, each used until a job of its own waits for something.

A runner is an asyncio task that calls one function after the other. A function that ends without ever waiting costs
no task of its own; the first that waits keeps its runner for itself until it ends, and another runner goes on with
the buffer. So a waiting job always has a task to itself, and each job its own variables (RULES H16), for the price
of a call where nothing waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import copy_context
from typing import Final, Protocol

from mainspring.engine.attempt import CANCELLED, Attempts, Body, ended, rest_of, timed_out
from mainspring.engine.buffer import Buffer, Entry
from mainspring.engine.context import CURRENT, Context, Surroundings
from mainspring.engine.events import JobStarted
from mainspring.engine.gate import Gate
from mainspring.engine.running import Register, Running
from mainspring.events import Hub
from mainspring.model.conclude import Lapsed, Outcome, Stopped

log = logging.getLogger("mainspring.engine")

SLICE: Final = 0.001
"""Seconds after which a runner lets others have the loop, even when no job has waited."""

WIDEST: Final = 64
"""Runners that may begin at once."""


class Settles(Protocol):
    """Takes what attempts say."""

    def settle(self, context: Context, entry: Entry, outcome: Outcome, ran: float | None) -> None:
        """This attempt has ended so; nobody waits for the settlement to be written."""
        ...


class Runners:
    """Starts what is in the buffer while there is room and the gate is open.

    `on_room` is called when a runner has nothing more to start, and when a job that had waited has ended. `ends` says
    whether the worker or the loop is coming to its end, and may have cancelled a job.
    """

    def __init__(
        self,
        *,
        buffer: Buffer,
        register: Register,
        gate: Gate,
        attempts: Attempts,
        settler: Settles,
        around: Surroundings,
        hub: Hub,
        concurrency: int,
        on_room: Callable[[], None],
        ends: Callable[[], bool],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._buffer = buffer
        self._register = register
        self._gate = gate
        self._attempts = attempts
        self._settler = settler
        self._around = around
        self._hub = hub
        self._concurrency = concurrency
        self._on_room = on_room
        self._ends = ends
        self._variables = copy_context()
        self._starting: set[asyncio.Task[None]] = set()
        self._width = 1
        self._tasks: set[asyncio.Task[None]] = set()
        self.current: Context | None = None
        """The attempt that holds the loop now, or held it last."""

    def go(self) -> None:
        """Start what can be started, as soon as the loop has a turn for it."""
        active = len(self._starting)
        if active >= self._width or not self._gate.open_for(self._buffer):
            return
        free = self._concurrency - len(self._register)
        for _ in range(min(self._width, free, len(self._buffer) + 1) - active):
            # Not by the loop's task factory: an eager one would start runners inside of runners.
            runner = asyncio.Task(self._run(), loop=self._loop, context=self._variables.copy())
            self._tasks.add(runner)
            self._starting.add(runner)
            runner.add_done_callback(self._gone)

    async def _run(self) -> None:
        me = asyncio.current_task(self._loop)
        assert me is not None
        tell = self._hub.wanted(JobStarted)
        begin, completed, settle = self._attempts.begin, self._attempts.completed, self._settler.settle
        began = self._now()
        slice_ends = began + SLICE
        started, more = 0, False
        # No other job begins to wait while this one is at it, so it is enough to look once.
        full = len(self._register) >= self._concurrency
        while not full and (entry := self._next(began)) is not None:
            started += 1
            job, lane, _ = entry
            context = Context(job, self._around, began)
            self.current = context
            if tell:
                self._hub.emit(JobStarted(job.id, job.task, job.queue, job.attempt))
            CURRENT.set(context)
            variables = copy_context()
            try:
                body, waits_for = variables.run(begin, lane.plan, context)
            except StopIteration as stop:
                now = self._now()
                lane.ran(now - began)
                settle(context, entry, completed(lane.plan, job, stop.value), now - began)
            except BaseException as error:  # noqa: BLE001  # whatever a task raises is its outcome
                now = self._now()
                self._failed_at_once(me, context, entry, error, now - began)
            else:
                if started == 1:  # these jobs wait: begin more of them in each turn of the loop
                    self._width = min(self._width * 2, WIDEST)
                await self._see_through(me, context, entry, rest_of(body, waits_for, variables), began)
                return
            began = now
            if now > slice_ends or me.cancelling():
                more = True
                break
        self._starting.discard(me)
        if started > 1:
            self._width = 1
        if more:
            self._loop.call_soon(self.go)
        self._on_room()

    def _next(self, now: float) -> Entry | None:
        """The next job that may start now. One that may not start any more is settled instead."""
        gate = self._gate
        while (entry := gate.next(self._buffer, now)) is not None:
            job = entry.job
            if gate.cancelled and job.id in gate.cancelled:
                self._refuse(entry, Stopped(CANCELLED))
            elif job.expires is not None and job.expires <= now + self._around.offset:
                self._refuse(entry, Lapsed())
            else:
                return entry
        return None

    def _refuse(self, entry: Entry, outcome: Outcome) -> None:
        self._gate.cancelled.discard(entry.job.id)
        self._settler.settle(Context(entry.job, self._around), entry, outcome, None)

    def _failed_at_once(
        self, me: asyncio.Task[object], context: Context, entry: Entry, error: BaseException, ran: float
    ) -> None:
        entry.lane.ran(ran)
        outcome = ended(error, None, cancelled=me.cancelling() > 0, stopping=self._ends(), timeout=None)
        self._settler.settle(context, entry, outcome, ran)
        if isinstance(error, KeyboardInterrupt):
            raise error

    async def _see_through(
        self, me: asyncio.Task[None], context: Context, entry: Entry, rest: Body, began: float
    ) -> None:
        """The job waits: this runner is its own from now on, and another one goes on with the buffer."""
        running = Running(context, entry.lane, me, began)
        self._register.add(running)
        self._gate.started(entry, running)
        self._starting.discard(me)
        self.go()
        try:
            outcome = await self._outcome(running, entry, rest)
        finally:
            self._register.remove(running)
            self._gate.ended(running)
        ran = self._now() - began
        entry.lane.ran(ran)
        if running.ending != "lost":
            self._settler.settle(context, entry, outcome, ran)
        self._go_on()
        self._on_room()

    async def _outcome(self, running: Running, entry: Entry, rest: Body) -> Outcome:
        try:
            value = await rest
        except GeneratorExit:
            raise
        except BaseException as error:  # whatever a task raises is its outcome
            if isinstance(error, KeyboardInterrupt):
                raise
            return ended(
                error,
                running.ending,
                cancelled=running.task.cancelling() > 0,
                stopping=self._ends(),
                timeout=running.timeout,
            )
        if running.ending == "timeout":
            return timed_out(running.timeout)
        return self._attempts.completed(entry.lane.plan, entry.job, value)

    def _go_on(self) -> None:
        """Start more, unless this job ended with everything else."""
        if not self._ends():
            self.go()

    def _gone(self, runner: asyncio.Task[None]) -> None:
        self._tasks.discard(runner)
        self._starting.discard(runner)
        if runner.cancelled():
            self._go_on()  # before it had begun: somebody cancels tasks that are not his
        elif (error := runner.exception()) is not None:
            log.critical("a runner failed; others go on", exc_info=error)

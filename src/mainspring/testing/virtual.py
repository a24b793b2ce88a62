"""Virtual time: an event loop whose clock jumps to the next timer instead of waiting for it.

A loop that jumps whenever it is idle would also jump while a thread works for it, and every timeout in sight
would fire. So this one counts the work under way outside (`enter_outside`, `leave_outside`; `run_in_executor`
and `asyncio.to_thread` count by themselves) and lets time stand still until it has ended.

Sockets and pipes do not hold time by themselves: an idle connection would stop it for ever. What is readable
is always read before time moves, which is enough for both ends of a connection in one process. Work that waits
for another process (a database server, a child process) says so with `mainspring.clock.outside_loop`.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from bisect import insort
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple, Unpack

from mainspring.clock import Duration, FakeClock, seconds
from mainspring.errors import MainspringError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Ready = list[tuple[selectors.SelectorKey, int]]

RESOLUTION = 1e-6  # seconds; timers nearer to each other than this fire together
NAMED_IN_DEADLOCK = 10


class VirtualDeadlock(MainspringError, RuntimeError):
    """Nothing can happen any more: nothing is ready, time cannot move, and nobody outside is at work.

    The message says why, and where each waiting task stands.
    """


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time.

    With `autojump` (the default) an idle loop jumps to its next timer, so hours pass in milliseconds. Without
    it time moves only by `await loop.advance(seconds)`. `outside_limit` is how many *real* seconds the loop
    waits for work outside before it raises `VirtualDeadlock` rather than hang.

    >>> loop = VirtualLoop(FakeClock(1000.0))
    >>> loop.run_until_complete(asyncio.sleep(3600, "an hour later"))
    'an hour later'
    >>> loop.clock.now()
    4600.0
    >>> loop.close()
    """

    def __init__(
        self, clock: FakeClock | None = None, *, autojump: bool = True, outside_limit: Duration = 30.0
    ) -> None:
        self.clock = FakeClock() if clock is None else clock
        self.autojump = autojump
        self._outside_limit = seconds(outside_limit, "outside_limit")
        self._outside = 0
        self._outside_lock = threading.Lock()
        self._advances: list[Advance] = []
        self._pool: Executor | None = None
        self._idle_selector = IdleSelector(self._when_idle)
        super().__init__(self._idle_selector)
        # asyncio fires a timer when `due < now + resolution`. Its own 1 ns vanishes in a float of some years of
        # seconds, and a timer due exactly now would never fire.
        self._clock_resolution = RESOLUTION

    def time(self) -> float:
        """The clock's monotonic time, in seconds."""
        return self.clock.monotonic()

    @property
    def outside(self) -> int:
        """How many pieces of work are under way outside the loop. Time stands still until it is 0."""
        return self._outside

    def enter_outside(self) -> None:
        """Count one more piece of work outside the loop. Safe from any thread; one `leave_outside` must follow."""
        with self._outside_lock:
            self._outside += 1

    def leave_outside(self) -> None:
        """Count one piece less. Safe from any thread.

        Call it only after the answer was handed to the loop (`call_soon_threadsafe`); before that, time could
        move between the two. Raises RuntimeError when nothing was entered.
        """
        with self._outside_lock:
            if self._outside == 0:
                raise RuntimeError("leave_outside without enter_outside")
            self._outside -= 1
        with suppress(RuntimeError):  # closed meanwhile: there is nobody left to wake
            self.call_soon_threadsafe(nothing)

    async def advance(self, duration: Duration, *, wait_outside: bool = True) -> None:
        """Let time pass, stopping at every timer on the way, and return when all is quiet at the target.

        Each timer fires at its own time and what it starts is run before time moves on. Work outside the loop
        is waited for before each move; with `wait_outside=False` time passes over it (to test how a thread
        overruns its timeout). Raises ValueError for a negative duration.
        """
        moved = seconds(duration)
        if moved < 0:
            raise ValueError("time does not run backwards")
        advance = Advance(self.time() + moved, wait_outside, self.create_future())
        insort(self._advances, advance)
        try:
            await advance.reached
        finally:
            self._advances = [other for other in self._advances if other is not advance]

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """As in asyncio; time stands still until the function has returned, even when nobody waits for it."""
        self.enter_outside()
        try:
            work = (executor or self._default_pool()).submit(func, *args)
        except BaseException:  # a pool that is shut down takes nothing
            self.leave_outside()
            raise
        future = asyncio.wrap_future(work, loop=self)
        # After wrap_future: callbacks run in this order, so the answer reaches the loop before the count drops.
        work.add_done_callback(lambda _: self.leave_outside())
        return future

    def set_default_executor(self, executor: ThreadPoolExecutor) -> None:  # type: ignore[override]  # as asyncio does
        """As in asyncio."""
        super().set_default_executor(executor)
        self._pool = executor

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """As in asyncio, without its time limit: in virtual time it would pass at once."""
        self.enter_outside()
        try:
            await super().shutdown_default_executor()
        finally:
            self.leave_outside()

    def _default_pool(self) -> Executor:
        if self._pool is None:
            self.set_default_executor(ThreadPoolExecutor(thread_name_prefix="virtual-loop"))
            assert self._pool is not None
        return self._pool

    def _when_idle(self, poll: Callable[[float], Ready], until_timer: float | None) -> Ready:
        """Called in place of the wait for I/O when no callback is ready; returns what has become readable."""
        # The count is read before the poll: whoever left before that has woken us, and the poll sees it.
        held = self._outside > 0
        ready = poll(0)
        if ready or self._move(until_timer, held):
            return ready
        if held or len(self._idle_selector.get_map()) > 1:  # 1: the loop's own wake-up pipe
            ready = poll(self._outside_limit)
            if ready:
                return ready
        raise VirtualDeadlock(self._explain(held, until_timer))

    def _move(self, until_timer: float | None, held: bool) -> bool:
        """Move time to the next timer or end of an `advance`; False when it may not move."""
        if self._advances:
            first = self._advances[0]
            if held and first.wait_outside:
                return False
            left = first.target - self.time()
            if left > 0:
                self.clock.advance(left if until_timer is None else min(left, until_timer))
            elif not first.reached.done():
                first.reached.set_result(None)
            return True
        if until_timer is None or held or not self.autojump:
            return False
        self.clock.advance(until_timer)
        return True

    def _explain(self, held: bool, until_timer: float | None) -> str:
        if held:
            limit = f"{self._outside_limit:g} real seconds"
            why = f"{self._outside} piece(s) of work outside the loop did not end in {limit}"
        elif until_timer is not None:
            why = f"the next timer is {until_timer:g} s away and time moves only by advance()"
        else:
            why = "nothing is ready, no timer is set and no work is under way outside the loop"
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: task.get_name())
        lines = [f"  {place(task)}" for task in tasks[:NAMED_IN_DEADLOCK]]
        if len(tasks) > NAMED_IN_DEADLOCK:
            lines.append(f"  and {len(tasks) - NAMED_IN_DEADLOCK} more")
        return "\n".join([f"{why}; {len(tasks)} task(s) wait for ever:", *lines])


def run_virtual(
    main: Coroutine[Any, Any, T],
    clock: FakeClock | None = None,
    *,
    autojump: bool = True,
    outside_limit: Duration = 30.0,
) -> T:
    """Run a coroutine in a new `VirtualLoop`, clean up as `asyncio.run` does, and return its result.

    >>> async def nap() -> str:
    ...     await asyncio.sleep(86_400)
    ...     return "rested"
    >>> run_virtual(nap())
    'rested'
    """
    loop = VirtualLoop(clock, autojump=autojump, outside_limit=outside_limit)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            return runner.run(main)
        finally:
            loop.autojump = True  # the clean-up may sleep, and nobody is left to advance


class IdleSelector(selectors.DefaultSelector):
    """Asks `when_idle` what to do instead of waiting."""

    def __init__(self, when_idle: Callable[[Callable[[float], Ready], float | None], Ready]) -> None:
        super().__init__()
        self._when_idle = when_idle

    def select(self, timeout: float | None = None) -> Ready:
        """What is readable or writable now; the waiting itself is left to `when_idle`."""
        if timeout is not None and timeout <= 0:
            return super().select(0)
        return self._when_idle(super().select, timeout)


@dataclass(order=True, slots=True)
class Advance:
    """One `advance` under way: where to, and whom to tell."""

    target: float
    wait_outside: bool = field(compare=False)
    reached: asyncio.Future[None] = field(compare=False)


def place(task: asyncio.Task[Any]) -> str:
    """Name of a task and the line it waits at."""
    frames = task.get_stack(limit=1)
    if not frames:
        return f"{task.get_name()} (not started)"
    code = frames[0].f_code
    return f"{task.get_name()} in {code.co_qualname} at {Path(code.co_filename).name}:{frames[0].f_lineno}"


def nothing() -> None:
    """A callback that only wakes the loop."""

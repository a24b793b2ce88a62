"""The attempts under way: what can be told to them, and what is known of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from mainspring.engine.attempt import Ending, options_of, timeout_of
from mainspring.engine.context import Context
from mainspring.engine.limits import Lane
from mainspring.engine.timers import Timers
from mainspring.store.base import Inside, Started


class Running:
    """One attempt that has begun and waits for something."""

    __slots__ = ("context", "ending", "lane", "overdue_at", "since", "task", "timeout", "timer")

    def __init__(self, context: Context, lane: Lane, task: asyncio.Task[None], since: float) -> None:
        self.context = context
        self.lane = lane
        self.task = task
        self.since = since
        self.ending: Ending | None = None
        self.timeout: float | None = None
        self.timer: int | None = None
        self.overdue_at: float | None = None

    @property
    def commits(self) -> bool:
        """Whether its own transaction is being committed: the store has said, or will say, how it ended."""
        inside: Inside | None = getattr(self.context, "inside", None)
        return inside is not None and inside.committing

    def end(self, ending: Ending) -> None:
        """Tell the attempt to end, once: a second cancellation would break into its cleaning up."""
        if self.commits:
            return  # the function has returned, and there is nothing to end any more
        if self.ending is not None:
            if ending == "lost":
                self.ending = ending  # it ends already; what it says then is nobody's business any more
            return
        self.ending = ending
        self.context.cancelled = True
        # A thread cannot be cancelled: its slot and lease stay held until it returns (API.md D25).
        if self.lane.plan.known.mode != "sync":
            self.task.cancel()


class Register:
    """All attempts under way in this process, by job id."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timers = Timers(loop)
        self._running: dict[str, Running] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[Running]:
        return iter(list(self._running.values()))

    def __contains__(self, job: str) -> bool:
        return job in self._running

    def get(self, job: str) -> Running | None:
        """The attempt of this job, if it is under way."""
        return self._running.get(job)

    @property
    def ids(self) -> tuple[str, ...]:
        """The jobs that are under way."""
        return tuple(self._running)

    def add(self, running: Running) -> None:
        """An attempt waits for something from now on; its timeout counts from when it began."""
        context, plan = running.context, running.lane.plan
        self._running[context.job.id] = running
        self._empty.clear()
        running.lane.began()
        if plan.known.mode == "process":
            return  # the pool counts from when the child begins
        timeout = timeout_of(plan, options_of(context.job)) if context.job.options else plan.timeout
        if timeout is not None:
            running.timeout = timeout
            left = running.since + timeout - self._loop.time()
            running.timer = self._timers.add(max(left, 0.0), lambda: self._late(running))

    def remove(self, running: Running) -> None:
        """It has ended."""
        if self._running.get(running.context.job.id) is running:
            del self._running[running.context.job.id]
        running.lane.ended()
        if running.timer is not None:
            self._timers.cancel(running.timer)
        if not self._running:
            self._empty.set()

    def end(self, jobs: Iterable[str], ending: Ending) -> None:
        """Tell these attempts to end, as far as they are here."""
        for job in jobs:
            running = self._running.get(job)
            if running is not None:
                running.end(ending)

    def youngest(self) -> float | None:
        """When the one that began last among these began."""
        return max((running.since for running in self._running.values()), default=None)

    def started(self) -> list[Started]:
        """What is under way, and since when."""
        now = self._loop.time()
        return [Started(job, each.context.job.lease, now - each.since) for job, each in self._running.items()]

    def progress(self) -> list[tuple[str, bytes]]:
        """What attempts have reported since this was asked last."""
        told: list[tuple[str, bytes]] = []
        for job, running in self._running.items():
            if running.context.reported is not None:
                told.append((job, running.context.reported))
                running.context.reported = None
        return told

    def report_again(self, progress: Iterable[tuple[str, bytes]]) -> None:
        """These reports did not arrive; they go again unless there are newer ones."""
        for job, data in progress:
            running = self._running.get(job)
            if running is not None and running.context.reported is None:
                running.context.reported = data

    def longest_timeout(self) -> float:
        """The longest timeout among them, 0 without one. Safe from another thread."""
        return max((running.timeout or 0.0 for running in list(self._running.values())), default=0.0)

    def overdue(self) -> tuple[float, Running | None]:
        """The attempt whose timeout passed longest ago without effect, and how many seconds ago that was."""
        late = [running for running in self._running.values() if running.overdue_at is not None]
        worst = min(late, key=lambda running: running.overdue_at or 0.0, default=None)
        return (0.0, None) if worst is None else (self._loop.time() - (worst.overdue_at or 0.0), worst)

    async def wait_until_empty(self, timeout: float) -> bool:
        """Whether all have ended within so many seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._empty.wait()
        except TimeoutError:
            pass  # the answer says so
        return not self._running

    def close(self) -> None:
        """No timeout rings any more."""
        self._timers.close()

    def _late(self, running: Running) -> None:
        running.timer = None
        running.overdue_at = self._loop.time()
        running.end("timeout")

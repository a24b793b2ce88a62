"""Stopping services: first asked, then cancelled, last added first; then their shutdown hooks."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from mainspring.service.running import Life
from mainspring.service.service import Hook

UNWIND: Final = 5.0
"""Seconds that a cancelled service has at least to clean up, even when `grace` is over."""


@dataclass(slots=True, eq=False)
class Entry:
    """A service under a supervisor, and how far its stop has come."""

    life: Life
    task: asyncio.Task[None]
    asked: bool = False
    cancelled: bool = False
    shut_down: bool = False
    released: bool = False

    @property
    def name(self) -> str:
        """The service's name."""
        return self.life.service.name

    @property
    def over(self) -> bool:
        """Whether it has ended, and has left no thread behind."""
        return self.task.done() and not self.life.goes_on

    @property
    def unwinding(self) -> float:
        """Seconds that it has to clean up when its grace is over."""
        return UNWIND + (0.0 if self.life.nested is None else self.life.nested.unwinding)


class Grace:
    """The time that services have to end by themselves: over after so many seconds, or when somebody is in a hurry."""

    def __init__(self, limit: float, hurry: asyncio.Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + limit
        self._hurry = hurry

    @property
    def left(self) -> float:
        """Seconds left; 0 when it is over."""
        return 0.0 if self._hurry.done() else max(0.0, self._end - self._loop.time())

    async def wait(self, task: asyncio.Task[None]) -> bool:
        """Wait for a task while it lasts; whether the task has ended."""
        if not task.done() and self.left:
            await asyncio.wait({task, self._hurry}, timeout=self.left, return_when=asyncio.FIRST_COMPLETED)
        return task.done()


async def stop_services(entries: Iterable[Entry], grace: Grace) -> list[str]:
    """Stop them one after the other in this order; when the grace is over, all that are left at once.

    Returns the names of those that still run. Threads among them are left behind.
    """
    order = list(entries)
    for entry in order:
        if not grace.left:
            break
        await _ask(entry, grace)
        if grace.left:
            _cancel(entry)
            await grace.wait(entry.task)
    late = [entry for entry in order if not entry.task.done()]
    for entry in late:
        _cancel(entry)
        if entry.life.nested is not None:
            entry.life.nested.hurry()
    if late:
        await asyncio.wait([entry.task for entry in late], timeout=max(entry.unwinding for entry in late))
    overdue = [entry for entry in late if not entry.task.done()]
    for entry in overdue:
        entry.life.log.error("service %r was cancelled and has not stopped in time; it is left behind", entry.name)
    if ending := [entry.task for entry in overdue if entry.life.leave_behind()]:
        await asyncio.wait(ending)
    return [entry.name for entry in overdue]


async def shut_down(entries: Sequence[Entry], grace: float) -> None:
    """Call the shutdown hooks in this order, all within one `grace`; an error is logged and the next one runs."""
    end = asyncio.get_running_loop().time() + grace
    for entry in entries:
        hook = entry.life.service.on_shutdown
        if hook is not None and not entry.shut_down:
            entry.shut_down = True
            try:
                # Also when the time is over: a hook then gets as far as it can without waiting.
                async with asyncio.timeout_at(end):
                    await _finished(hook)
            except Exception:
                entry.life.log.exception("the shutdown hook of service %r failed; the next one runs", entry.name)
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise
                entry.life.log.exception("the shutdown hook of service %r was cancelled; the next one runs", entry.name)


async def _ask(entry: Entry, grace: Grace) -> None:
    stop = entry.life.service.stop
    if stop is None or entry.task.done():
        return
    if entry.asked:  # by somebody else, who is still waiting for it
        await grace.wait(entry.task)
        return
    entry.asked = True
    entry.life.finish_soon()
    asking = asyncio.create_task(_call(stop, entry), name=f"stop:{entry.name}")
    try:
        await grace.wait(entry.task)
    finally:
        asking.cancel()


async def _call(stop: Hook, entry: Entry) -> None:
    try:
        await _finished(stop)
    except Exception:
        entry.life.log.exception(
            "the stop hook of service %r failed; the service is cancelled when its grace is over", entry.name
        )


async def _finished(hook: Hook) -> None:
    """One that is not async has done its work when it returns."""
    said: object = hook()
    if inspect.isawaitable(said):
        await said


def _cancel(entry: Entry) -> None:
    """Once only: a second cancellation would break into the cleaning up."""
    entry.life.finish_soon()
    # Not `task.cancelling()`: that counts the service's own time limits as well, and one that fires just now would
    # be taken for our cancellation, and swallowed as a TimeoutError.
    if not entry.task.done() and not entry.cancelled:
        entry.cancelled = True
        entry.task.cancel("stopped by its supervisor")

"""A service: a long-running coroutine, or one that runs at an interval, and what to do when it fails."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from typing import Protocol

from mainspring.clock import Duration, seconds
from mainspring.errors import InvalidOption
from mainspring.retries.policy import Retry

Hook = Callable[[], Awaitable[object]]
"""An async function without arguments."""


class Runnable(Protocol):
    """An object that can be a service."""

    def run(self) -> Awaitable[object]:
        """One run: until it returns (one-shot) or one tick (interval)."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """What must stay up, as a value; a `Supervisor` runs it.

    `fn` is an async function without arguments, or an object with an async `run()`. Without `every` it is a
    one-shot: it runs once, and when it returns the service has ended. With `every` (seconds or timedelta) it runs
    at once and then at each tick, never beside itself; ticks missed while it ran are not made up.

    `retry` says which errors are worth another run; without it every error is permanent. Counts begin anew after
    each successful tick of an interval service, never for a one-shot. `give_up_after` is looked at when a run
    fails; it counts from the beginning of the first run since the counts began, so it suits intervals rather than
    one-shots that stay up for days. `raise_group` has no meaning here. After a wait the service runs at once and its ticks start from there.

    `timeout` is for each run. `delay` is waited for once, before the first run only. `stop` is called first when
    the supervisor stops the service, so that it can end by itself within `grace`; without it, and after `grace`,
    the service is cancelled. `on_shutdown` is called when all services of the supervisor have ended.

    Raises InvalidOption for a missing name or function and for times out of range.

    >>> async def poll() -> None: ...
    >>> Service("poll", poll, every=30).every
    30.0
    """

    name: str
    fn: Hook | Runnable
    _: KW_ONLY
    every: Duration | None = None
    retry: Retry | None = None
    timeout: Duration | None = None
    delay: Duration = 0.0
    stop: Hook | None = None
    on_shutdown: Hook | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidOption("a service needs a name")
        if not callable(self.fn) and not callable(getattr(self.fn, "run", None)):
            raise InvalidOption(f"service {self.name!r} needs an async function or an object with run()")
        if inspect.isgeneratorfunction(self.fn) or inspect.isasyncgenfunction(self.fn):
            raise InvalidOption(f"service {self.name!r} is a generator; give an async function that returns")
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise InvalidOption(f"retry of service {self.name!r} must be a Retry, not {self.retry!r}")
        for field in ("every", "timeout"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, self._in_seconds(field, above_zero=True))
        object.__setattr__(self, "delay", self._in_seconds("delay", above_zero=False))

    def run(self) -> Awaitable[object]:
        """Begin one run, without timeout or retry. Raises TypeError for a function that is not async."""
        running = self.fn() if callable(self.fn) else self.fn.run()
        if not inspect.isawaitable(running):
            raise TypeError(f"service {self.name!r} returned {running!r} and is not async; make it `async def`")
        return running

    def _in_seconds(self, field: str, *, above_zero: bool) -> float:
        value = seconds(getattr(self, field))
        if not math.isfinite(value) or value < 0 or (above_zero and value == 0):
            least = "above 0" if above_zero else "0 or more"
            raise InvalidOption(f"{field} of service {self.name!r} must be {least}, not {value!r}")
        return value

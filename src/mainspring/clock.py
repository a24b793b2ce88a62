"""Time: where "now" comes from. Everything that needs it is given a `Clock`; nothing else reads one."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from mainspring.errors import InvalidOption

if TYPE_CHECKING:
    import asyncio  # slow to load, and named in annotations only

Duration = float | timedelta
"""Seconds, or a `timedelta`."""


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> float:
        """Seconds since 1970 in UTC. May step: never subtract two of these to measure a wait."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary point; never goes back."""
        ...


class SystemClock:
    """The machine's clock, rounded to microseconds so that every store keeps the same value."""

    def now(self) -> float:
        # As near to the decimal as round(…, 6), which goes through its text: 17 µs in a process that was idle.
        return time.time_ns() // 1000 / 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class FakeClock:
    """A clock that stands still until it is told to move.

    >>> clock = FakeClock(1000.0)
    >>> clock.advance(5)
    >>> clock.now()
    1005.0
    """

    def __init__(self, start: float = 1_767_225_600.0) -> None:  # 2026-01-01T00:00:00Z
        self._start = start
        self._passed = 0.0
        self._stepped = 0.0

    def now(self) -> float:
        return round(self._start + self._passed + self._stepped, 6)

    def monotonic(self) -> float:
        return self._passed

    def advance(self, duration: Duration) -> None:
        """Let time pass. Raises ValueError for a negative duration: time does not run backwards."""
        moved = seconds(duration)
        if moved < 0:
            raise ValueError("a clock cannot advance by a negative time; step(…) moves the wall clock alone")
        self._passed += moved

    def step(self, duration: Duration) -> None:
        """Step the wall clock, forwards or back, as NTP does. `monotonic` does not see it."""
        self._stepped += seconds(duration)


def seconds(duration: Duration, name: str = "a duration") -> float:
    """A duration as seconds, whatever its size. Raises InvalidOption, which says `name`, for text and anything else.

    >>> seconds(timedelta(minutes=2))
    120.0
    """
    given: object = duration
    if isinstance(given, timedelta):
        return given.total_seconds()
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise InvalidOption(f"{name} must be seconds or a timedelta, not {given!r}")
    return float(given)


def timestamp(moment: datetime) -> float:
    """An aware datetime as seconds since 1970. A naive one is refused with ValueError."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone; use datetime.now(UTC) or attach a zoneinfo.ZoneInfo")
    return round(moment.timestamp(), 6)


def moment(at: float) -> datetime:
    """Seconds since 1970 as an aware datetime in UTC."""
    return datetime.fromtimestamp(at, UTC)


@contextmanager
def outside_loop(loop: asyncio.AbstractEventLoop) -> Generator[None]:
    """Marks work that goes on outside the loop (a thread, a pool, a socket) while the block lasts.

    A loop with virtual time does not jump while such work is under way; others ignore it.
    """
    enter_outside(loop)
    try:
        yield
    finally:
        leave_outside(loop)


def enter_outside(loop: asyncio.AbstractEventLoop) -> None:
    """Count one more piece of work outside the loop; see `outside_loop`."""
    begin = getattr(loop, "enter_outside", None)
    if begin is not None:
        begin()


def leave_outside(loop: asyncio.AbstractEventLoop) -> None:
    """Count one piece less; see `outside_loop`. Safe to call from any thread."""
    end = getattr(loop, "leave_outside", None)
    if end is not None:
        end()

"""Whether this worker may still believe in its leases: only while its own beats have been answered lately."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from mainspring.clock import Clock, SystemClock

SAFE_SHARE: Final = 5 / 6
"""The part of the lease time after the last answered beat in which jobs may be started."""


class Liveness:
    """Counts from when the last answered beat was *sent*, on a clock that goes on while the machine is suspended."""

    def __init__(self, lease_time: float, clock: Clock) -> None:
        self._sure_for = lease_time * SAFE_SHARE
        self.now: Final = awake_clock(clock)
        self._acknowledged = self.now()

    def answered(self, sent: float) -> None:
        """A beat that was sent at this time (of `now`) has been answered."""
        self._acknowledged = max(self._acknowledged, sent)

    @property
    def acknowledged(self) -> float:
        """When the last answered beat was sent (of `now`). Safe from another thread, as is `answered`."""
        return self._acknowledged

    @property
    def sure(self) -> bool:
        """Whether nobody can have rescued our jobs yet (RULES H8)."""
        return self.now() - self._acknowledged < self._sure_for


def awake_clock(clock: Clock) -> Callable[[], float]:
    """A monotonic clock that counts suspended time, where the system has one; the given one in tests."""
    boot_time: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    if isinstance(clock, SystemClock) and boot_time is not None:
        return lambda: time.clock_gettime(boot_time)
    return clock.monotonic


def in_virtual_time(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop's time jumps, so that a thread with a real clock must not watch it (RULES H10)."""
    return hasattr(loop, "enter_outside")

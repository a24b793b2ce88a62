"""Schedules whose row somebody holds locked: left alone for a moment, so that they hold up no others."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

from mainspring.model.schedule import Fire

FIRST_REST: Final = 0.05
LONGEST_REST: Final = 1.0
"""Seconds for which a schedule is left alone: at first, doubled each time, and at most."""

FORGOTTEN: Final = 1000
"""Schedules that are remembered before those that rest no more are forgotten."""


class _Seen(NamedTuple):
    """As what it was asked for in vain, for how long it rests the next time, and until when it rests now."""

    revision: int
    expected: float
    rest: float
    until: float


class Stuck:
    """Whose fires are answered `stale` although nobody moves them: the same row, seen twice.

    `now` is the time of the loop. A schedule that another scheduler has fired looks different the next time.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._seen: dict[str, _Seen] = {}

    def stale(self, fire: Fire) -> None:
        """This fire came to nothing."""
        now = self._now()
        seen = self._seen.get(fire.schedule)
        if seen is None or (seen.revision, seen.expected) != (fire.revision, fire.expected):
            self._forget(now)
            self._seen[fire.schedule] = _Seen(fire.revision, fire.expected, FIRST_REST, now)
            return
        rest = min(2 * seen.rest, LONGEST_REST)
        self._seen[fire.schedule] = seen._replace(rest=rest, until=now + seen.rest)

    def went_on(self, schedule: str) -> None:
        """It has been fired."""
        if self._seen:
            self._seen.pop(schedule, None)

    def resting(self) -> frozenset[str]:
        """The schedules to leave alone now."""
        if not self._seen:
            return frozenset()
        now = self._now()
        return frozenset(each for each, seen in self._seen.items() if seen.until > now)

    @property
    def next(self) -> float:
        """When the first of them has rested, by the loop's time."""
        now = self._now()
        return min((seen.until for seen in self._seen.values() if seen.until > now), default=math.inf)

    def _forget(self, now: float) -> None:
        if len(self._seen) >= FORGOTTEN:
            self._seen = {each: seen for each, seen in self._seen.items() if seen.until + LONGEST_REST > now}

"""Where a claim starts to look: a bound for each lane and priority that moves with what was claimed (RULES H4).

Rows that were claimed stay in the index until nobody can see them any more, and somebody's long transaction keeps them
all. A claim that began at the bottom would walk over them, ever more of them. So it begins where the last one ended.
What appears below, since it was committed late, is found when a claim looks from the bottom: at least once a second,
and whenever one got less than it asked for; but never for more than a small share of the time (`Ration`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from mainspring.model.record import JobRecord
from mainspring.store.base import Lane

FROM_BOTTOM: Final = 1.0
"""Seconds between two claims that look from the bottom."""

SHARE: Final = 0.05
"""The share of the time that may go into looking from the bottom."""

LONGEST: Final = 5.0
"""Seconds without a look at most: what took long may have waited for something else, and is tried again."""

CHEAP: Final = 0.003
"""Seconds: what a look may cost without being counted."""

LOWEST: Final = -(2**31)
HIGHEST: Final = 2**31 - 1
PRIORITIES: Final = 16
"""So many bounds of one lane are kept. With more, each of which a claim has to look at, it begins anew."""

AT_ONCE: Final = 16
"""How many jobs of each lane a claim over many lanes looks at, at least."""


class Ration:
    """Allows an action as long as it is cheap, else for a share of the time, but at least every `LONGEST` seconds."""

    def __init__(self, share: float = SHARE) -> None:
        self._share = share
        self._cost = 0.0
        self._at = -math.inf

    def allows(self, now: float) -> bool:
        """Whether to do it now."""
        return self._cost <= CHEAP or now - self._at >= min(self._cost / self._share, LONGEST)

    def took(self, cost: float, now: float) -> None:
        """It was done, and took so long (seconds)."""
        self._cost, self._at = cost, now


class Stretch(NamedTuple):
    """A part of a lane, in the order of the statement's parameters."""

    queue: str
    task: str
    version: str
    rank: int
    due: float
    below: int
    lane: int
    cap: int


class Bounds:
    """What one worker knows of its lanes' lower ends."""

    def __init__(self) -> None:
        self._ends: dict[tuple[str, str, str], dict[int, float]] = {}
        self._bottom = Ration()
        self._looked = -math.inf
        self._short = True

    def from_bottom(self, now: float) -> bool:
        """Whether this claim looks from the bottom."""
        return (self._short or now - self._looked >= FROM_BOTTOM) and self._bottom.allows(now)

    def stretches(self, lanes: Sequence[Lane], *, bottom: bool) -> list[Stretch]:
        """What to look at, for lanes that may give something."""
        found: list[Stretch] = []
        for number, (queue, task, version, cap) in enumerate(lanes):
            if cap <= 0:
                continue
            ends = {} if bottom else self._ends.get((queue, task, version), {})
            rank, due = LOWEST, -math.inf
            for next_rank in sorted(ends):
                found.append(Stretch(queue, task, version, rank, due, next_rank, number, cap))
                rank, due = next_rank, ends[next_rank]
            found.append(Stretch(queue, task, version, rank, due, HIGHEST, number, cap))
        return found

    def claimed(self, jobs: Sequence[JobRecord], *, bottom: bool, short: bool, cost: float, now: float) -> None:
        """What a claim gave, in claim order; `short`: less than was asked for."""
        if bottom:
            self._looked = now
            self._bottom.took(cost, now)
        self._short = short
        for job in jobs:
            ends = self._ends.setdefault((job.queue, job.task, job.version), {})
            ends[-job.priority] = job.due
            if len(ends) > PRIORITIES:
                ends.clear()


def depth(limit: int, lanes: int) -> int:
    """How far to look into each of many lanes: what is looked at is locked, so not everything in each."""
    return limit if lanes <= 1 else min(limit, max(AT_ONCE, 4 * limit // lanes))

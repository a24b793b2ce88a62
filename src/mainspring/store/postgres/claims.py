"""Where a claim starts to look: a bound for each lane and priority that moves with what was claimed (RULES H4).

Rows that were claimed stay in the index until nobody can see them any more, and somebody's long transaction keeps them
all. A claim that began at the bottom would walk over them, ever more of them. So it begins where the last one ended.
What appears below, since it was committed late, is found when a claim looks from the bottom: at least once a second,
and whenever one got less than it asked for; but never for more than a small share of the time (`Ration`). The same
share is for priorities of which this worker has never got a job: others may have left any number of dead entries there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

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

PER_JOB: Final = 30e-6
"""Seconds that a claim may take for each job it gives: what it takes beyond that, it has walked."""

LATE: Final = 1.0
"""Seconds within which what was added is committed, as a rule. What comes later is found from the bottom."""

LOWEST: Final = -(2**31)
HIGHEST: Final = 2**31 - 1
PRIORITIES: Final = 16
"""So many bounds of one lane are kept. With more, each of which a claim has to look at, it begins anew."""

AT_ONCE: Final = 8
"""How many jobs of each lane a claim over many lanes looks at, at least."""


Key = tuple[str, str, str]
"""Queue, task and version."""


class Ration:
    """Allows an action as long as it is cheap, else for a share of the time, but at least every `longest` seconds."""

    def __init__(self, share: float = SHARE, longest: float = LONGEST, cheap: float = CHEAP) -> None:
        """`cheap`: what it may cost, in seconds, without being counted."""
        self._share = share
        self._cheap = cheap
        self._longest = longest
        self._cost = 0.0
        self._at = -math.inf

    def allows(self, now: float) -> bool:
        """Whether to do it now."""
        return self.cheap or now - self._at >= min(self._cost / self._share, self._longest)

    def took(self, cost: float, now: float) -> None:
        """It was done, and took so long (seconds)."""
        self._cost, self._at = cost, now

    @property
    def cheap(self) -> bool:
        """Whether it cost next to nothing the last time."""
        return self._cost <= self._cheap


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


Reach = Literal["bottom", "open", "known"]
"""Where a claim looks: at everything; not below the bounds; only above the bounds of priorities that are known."""


class Bounds:
    """What one worker knows of its lanes' lower ends. `now`: the store's, when the worker joined."""

    def __init__(self, now: float = math.inf) -> None:
        self._ends: dict[Key, dict[int, float]] = {}
        self._floor = now - LATE if now < math.inf else -math.inf
        self._bottom = Ration()
        self._open = Ration()
        self._looked = -math.inf
        self._short = True
        self._now = -math.inf
        self.stepped = False
        """Whether the last claim found that the store's clock had stepped back: the bounds were void, and are gone."""

    def reach(self, now: float) -> Reach:
        """Where the next claim looks."""
        if (self._short or now - self._looked >= FROM_BOTTOM) and self._bottom.allows(now):
            return "bottom"
        return "open" if self._open.allows(now) else "known"

    def stretches(self, lanes: Sequence[Lane], reach: Reach) -> list[Stretch]:
        """What to look at, for lanes that may give something."""
        found: list[Stretch] = []
        for number, (queue, task, version, cap) in enumerate(lanes):
            if cap <= 0:
                continue
            ends = {} if reach == "bottom" else self._ends.get((queue, task, version), {})
            if reach == "known":
                ends = ends or {0: self._floor}
                found += [
                    Stretch(queue, task, version, rank, ends[rank], rank + 1, number, cap) for rank in sorted(ends)
                ]
                continue
            rank, due = LOWEST, -math.inf
            for next_rank in sorted(ends):
                found.append(Stretch(queue, task, version, rank, due, next_rank, number, cap))
                rank, due = next_rank, ends[next_rank]
            found.append(Stretch(queue, task, version, rank, due, HIGHEST, number, cap))
        return found

    def took(self, reach: Reach, cost: float, jobs: int, now: float) -> None:
        """A claim took so long (seconds), also one that failed, and gave so many jobs."""
        walked = cost - jobs * PER_JOB
        if reach == "bottom":
            self._looked = now
            self._bottom.took(walked, now)
        elif reach == "open":
            self._open.took(walked, now)

    def claimed(
        self,
        lanes: Sequence[Lane],
        limit: int,
        jobs: Sequence[JobRecord],
        reach: Reach,
        now: float,
        *,
        late: bool = False,
    ) -> None:
        """What a claim for these lanes gave, in claim order. `now` is the store's.

        `late`: it met jobs that had expired, which took the place of others; nothing follows from what it did not give.
        """
        self._short = len(jobs) < limit
        self.stepped = now < self._now - LATE
        self._now = now
        if self.stepped:
            self._ends.clear()
            self._floor, self._bottom, self._short = -math.inf, Ration(), True
            return
        given = given_of(lanes, jobs)
        deep = depth(limit, len(lanes))
        for job in jobs:
            if not job.suspect:  # it has an index of its own
                key = (job.queue, job.task, job.version)
                ends = self._ends.setdefault(key, {})
                dry = self._short and not late and given[key] < deep
                ends[-job.priority] = max(job.due, ends.get(-job.priority, -math.inf)) if dry else job.due
                if len(ends) > PRIORITIES:
                    ends.clear()
        if self._short and reach == "bottom" and not late:
            self._floor = now - LATE
            if not self._bottom.cheap:
                self._leave_dry(lanes, given, deep)

    def _leave_dry(self, lanes: Sequence[Lane], given: Mapping[Key, int], deep: int) -> None:
        """Of lanes that had less than could be given all has been seen: what is below the floor is dead."""
        for lane in lanes:
            if given[lane[:3]] < min(lane.cap, deep):
                ends = self._ends.setdefault(lane[:3], {0: self._floor})
                for rank, due in ends.items():
                    ends[rank] = max(due, self._floor)


def depth(limit: int, lanes: int) -> int:
    """How far to look into each of many lanes: what is looked at is locked, so not everything in each."""
    return limit if lanes <= 1 else min(limit, max(AT_ONCE, 4 * limit // lanes))


def unfinished(lanes: Sequence[Lane], jobs: Sequence[JobRecord], deep: int) -> list[Lane]:
    """The lanes that may have more than these jobs, since only so many were looked at in each; caps are what is left."""
    given = given_of(lanes, jobs)
    return [Lane(*lane[:3], lane.cap - given[lane[:3]]) for lane in lanes if deep <= given[lane[:3]] < lane.cap]


def given_of(lanes: Sequence[Lane], jobs: Sequence[JobRecord]) -> Mapping[Key, int]:
    """How many jobs there are of each lane."""
    if len(lanes) == 1:
        return {lanes[0][:3]: len(jobs)}
    return Counter((job.queue, job.task, job.version) for job in jobs)

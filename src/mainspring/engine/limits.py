"""How much of what a worker may claim: room, caps for each lane, and what is worth fetching ahead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from mainspring.engine.attempt import Plan
from mainspring.engine.registry import Registry
from mainspring.engine.settings import WorkerSettings
from mainspring.model.record import JobRecord
from mainspring.store.base import Lane as LaneCap

SLOW: Final = 0.05
"""Seconds of mean run time above which nothing is fetched ahead (RULES H8)."""

_WEIGHT: Final = 0.1
_CLAIM_WEIGHT: Final = 0.3


class Lane:
    """One version of a task in one queue: what of it is here, and how fast it goes."""

    __slots__ = ("mean", "plan", "queue", "running")

    def __init__(self, queue: str, plan: Plan) -> None:
        self.queue = queue
        self.plan = plan
        self.running = 0
        self.mean: float | None = None

    def began(self) -> None:
        """A job of this lane has been started, and waits for something now."""
        self.running += 1
        self.plan.running += 1

    def ended(self) -> None:
        """A job that had begun has ended."""
        self.running -= 1
        self.plan.running -= 1

    def ran(self, seconds: float) -> None:
        """Measure: a job of this lane ran so long."""
        self.mean = seconds if self.mean is None else self.mean + (seconds - self.mean) * _WEIGHT

    def ahead(self, claim_time: float, most: int) -> int:
        """How many jobs to hold beyond those that can start now: what runs during two claims at the measured rate.

        The rate is that of the jobs which run side by side; so a job waits here for two claims at most (RULES H8).
        """
        plan = self.plan
        if self.mean is None or self.mean > SLOW or plan.held_to is not None or plan.known.mode == "process":
            return 0
        if self.mean * most <= 2 * claim_time:
            return most
        return min(int(2 * claim_time / self.mean * max(self.running, 1)), most)


_NONE_HELD: Final[Mapping[Lane, int]] = Counter()


class Wish(NamedTuple):
    """What to ask a store for. `limited`: a lane was left out or cut short, so an end may open it."""

    lanes: list[LaneCap]
    limit: int
    limited: bool

    def may_leave(self, jobs: Sequence[JobRecord]) -> bool:
        """Whether a store that gave these jobs may have more of what was asked for: a limit was reached."""
        if len(jobs) >= self.limit:
            return True
        for job in jobs:
            if job.suspect:
                return True
        # Asked before what was claimed starts, and almost always answered here.
        small = [lane for lane in self.lanes if lane.cap <= len(jobs)]
        if not small:
            return False
        given = Counter((job.queue, job.task, job.version) for job in jobs)
        return any(given[lane[:3]] >= lane.cap for lane in small)


class Limits:
    """The lanes that a worker knows, and how much room it has."""

    def __init__(self, registry: Registry, settings: WorkerSettings) -> None:
        self._concurrency = settings.concurrency
        self._prefetch = settings.prefetch
        self._queues = None if settings.queues is None else frozenset(settings.queues)
        self._plans = {(task.name, task.version): Plan(task) for task in registry}
        self._lanes: dict[tuple[str, str, str], Lane] = {}
        self._served: tuple[str, ...] = ()
        self._held_to = any(plan.held_to is not None for plan in self._plans.values())
        self._turn = 0
        self._asked: tuple[int, list[int]] | None = None
        self._wish: Wish | None = None
        self.claim_time = 0.0
        for task in registry:
            self.learn(task.queue, task.name, task.version)

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues of the lanes that are served."""
        return self._served

    def learn(self, queue: str, task: str, version: str = "") -> bool:
        """Serve a lane from now on; False when it is served already, or not to be: its task is not known here."""
        plan = self._plans.get((task, version))
        known = (queue, task, version) in self._lanes
        if plan is None or known or (self._queues is not None and queue not in self._queues):
            return False
        self._lanes[queue, task, version] = Lane(queue, plan)
        self._served = tuple(sorted({queue for queue, _, _ in self._lanes}))
        return True

    def learn_all(self, found: Iterable[LaneCap]) -> bool:
        """The same for lanes that a store has named; whether any was new."""
        new = [lane for lane in found if self.learn(lane.queue, lane.task, lane.version)]
        return bool(new)

    def serves(self, queue: str, task: str, version: str = "") -> bool:
        """Whether jobs of this lane would be run here."""
        return (task, version) in self._plans and (self._queues is None or queue in self._queues)

    def lane(self, queue: str, task: str, version: str) -> Lane:
        """A lane that is served."""
        return self._lanes[queue, task, version]

    def claimed(self, took: float) -> None:
        """Measure: a claim took so long."""
        self.claim_time += (took - self.claim_time) * _CLAIM_WEIGHT if self.claim_time else took

    def wish(self, busy: int, waiting: Collection[Lane], *, still: float = 0.0) -> Wish | None:
        """What to claim while `busy` jobs run and jobs of these lanes wait; None when it is too early to ask.

        `still`: seconds for which nothing could start. Behind slow jobs nothing is fetched ahead, however fast.
        """
        buffered = len(waiting)
        free = self._concurrency - busy
        most = 0 if free <= 0 and still > SLOW else self._prefetch
        ahead = [lane.ahead(self.claim_time, most) for lane in self._lanes.values()]
        window = free + max(ahead) if ahead else free
        room = window - buffered
        # A small claim costs as much as a large one; while there is enough to do, it waits until it is worth it.
        if room <= 0 or (buffered > 0 and room * 2 < window):
            return None
        # A worker with nothing to do asks for the same again and again.
        plain = not buffered and not self._held_to
        if plain and self._asked == (free, ahead):
            return self._wish
        caps: list[LaneCap] = []
        limited = False
        held: Mapping[Lane, int] = Counter(waiting) if buffered else _NONE_HELD
        shares = self._shares(held) if self._held_to else {}
        for (key, lane), more in zip(self._lanes.items(), ahead, strict=True):
            cap = free + more
            if buffered:
                cap -= held[lane]
            if shares:
                cap = min(cap, shares.get(key, room))
            if cap >= room:
                cap = room
            else:
                limited = True
            if cap > 0:
                caps.append(LaneCap(*key, cap))
        wish = Wish(caps, room, limited) if caps else None
        if plain:
            self._asked, self._wish = (free, ahead), wish
        return wish

    def _shares(self, held: Mapping[Lane, int]) -> dict[tuple[str, str, str], int]:
        """What the lanes of tasks with a limit of their own may take; lanes of one task share it, in turns."""
        by_task: dict[Plan, list[tuple[str, str, str]]] = {}
        for key, lane in self._lanes.items():
            if lane.plan.held_to is not None:
                by_task.setdefault(lane.plan, []).append(key)
        self._turn += 1
        shares: dict[tuple[str, str, str], int] = {}
        for plan, keys in by_task.items():
            here = plan.running + sum(held[self._lanes[key]] for key in keys)
            left = max((plan.held_to or 0) - here, 0)
            each, rest = divmod(left, len(keys))
            for index, key in enumerate(keys):
                shares[key] = each + ((index + self._turn) % len(keys) < rest)
        return shares

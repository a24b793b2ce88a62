"""Jobs in dictionaries, with a heap for each lane and for each kind of time."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from msgspec.structs import replace

from mainspring.model.record import JobRecord
from mainspring.model.states import LIVE, TERMINAL
from mainspring.store.base import Lane
from mainspring.store.memory.belongings import MemoryBelongings

LaneKey = tuple[str, str, str, bool]
Timed = list[tuple[float, str]]


class MemoryJobs(MemoryBelongings):
    """`JobRows` in memory. Heaps keep entries that are no longer true; they are dropped when they come to the top."""

    def __init__(self) -> None:
        super().__init__()
        self._ready: defaultdict[LaneKey, list[tuple[int, float, str]]] = defaultdict(list)
        self._lent: dict[LaneKey, list[tuple[int, float, str]]] = {}
        self._due: Timed = []
        self._expiring: Timed = []
        self._waiting: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._ended: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._counts: Counter[tuple[str, str, str, str]] = Counter()

    def jobs(self, ids: Sequence[str]) -> list[JobRecord | None]:
        return [self._jobs.get(each) for each in ids]

    def insert(self, jobs: Sequence[JobRecord]) -> None:
        for job in jobs:
            self._jobs[job.id] = job
            if job.waits_on is not None:
                self._waiting[job.waits_on][job.id] = None
            if job.expires is not None:
                heapq.heappush(self._expiring, (job.expires, job.id))
            self._enter(job)

    def write(self, changes: Sequence[tuple[JobRecord, JobRecord]]) -> None:
        for before, after in changes:
            self._jobs[after.id] = after
            if before.state == after.state == "running":
                continue
            self._counts[before.queue, before.task, before.version, before.state] -= 1
            if before.state == "running" and before.worker is not None:
                self._running[before.worker].pop(before.id, None)
            elif before.terminal:
                self._ended[before.state].pop(before.id, None)
            self._enter(after)

    def link(self, ids: Iterable[str]) -> None:
        for each in ids:
            job = self._jobs.get(each)
            if job is not None and not job.linked:
                self._jobs[each] = replace(job, linked=True)

    def remove(self, ids: Sequence[str]) -> None:
        for each in ids:
            job = self._jobs.pop(each, None)
            if job is None:
                continue
            self._counts[job.queue, job.task, job.version, job.state] -= 1
            self._ended[job.state].pop(each, None)
            self._attempts.pop(each, None)
            self._progress.pop(each, None)
            self._waiting.pop(each, None)
            if job.waits_on is not None:
                self._forget_waiting(job.waits_on, each)

    def heads(self, lane: Lane, suspect: bool, limit: int) -> list[JobRecord]:
        key = (lane.queue, lane.task, lane.version, suspect)
        heap = self._ready.get(key)
        if heap is None:
            return []
        for entry in self._lent.pop(key, ()):
            if self._is_head(entry, suspect):
                heapq.heappush(heap, entry)
        found: dict[str, tuple[int, float, str]] = {}
        while heap and len(found) < limit:
            entry = heapq.heappop(heap)
            if self._is_head(entry, suspect):
                found[entry[2]] = entry
        # They are claimed now, most likely; those that are not come back at the next look.
        self._lent[key] = list(found.values())
        return [self._jobs[each] for each in found]

    def lanes(self) -> list[Lane]:
        return [
            Lane(*key[:3], 1)
            for key in sorted({each[:3]: each for each, heap in self._ready.items() if self._has_head(each, heap)})
        ]

    def claimed_as(self, worker: str, number: int) -> list[JobRecord]:
        return [job for job in self.running(worker, len(self._jobs)) if job.claim == number]

    def due(self, now: float, limit: int) -> list[JobRecord]:
        return self._timed(self._due, lambda job, at: job.state == "scheduled" and job.due == at, now, limit)

    def late(self, now: float, limit: int) -> list[JobRecord]:
        return self._timed(self._expiring, self._may_expire, now, limit)

    def next_due(self) -> float | None:
        due = self._first(self._due, lambda job, at: job.state == "scheduled" and job.due == at)
        late = self._first(self._expiring, self._may_expire)
        return min((at for at in (due, late) if at is not None), default=None)

    def dependants(self, ids: Sequence[str], state: str) -> list[JobRecord]:
        found = (self._jobs[each] for parent in ids for each in self._waiting.get(parent, ()))
        return [job for job in found if job.state == state]

    def prunable(self, state: str, before: float, limit: int) -> list[JobRecord]:
        found: list[JobRecord] = []
        for each in self._ended.get(state, ()):
            job = self._jobs[each]
            if job.finished is None or job.finished >= before or len(found) >= limit:
                break
            root = self._jobs.get(job.root) if job.root is not None else None
            if root is None or root.terminal:
                found.append(job)
        return found

    def _enter(self, job: JobRecord) -> None:
        """Put the job where its state is looked up."""
        self._counts[job.queue, job.task, job.version, job.state] += 1
        match job.state:
            case "ready":
                lane = (job.queue, job.task, job.version, job.suspect)
                heapq.heappush(self._ready[lane], (-job.priority, job.due, job.id))
            case "scheduled":
                heapq.heappush(self._due, (job.due, job.id))
            case "running":
                assert job.worker is not None
                self._running[job.worker][job.id] = None
            case state if state in TERMINAL:
                self._ended[state][job.id] = None

    def _has_head(self, key: LaneKey, heap: list[tuple[int, float, str]]) -> bool:
        return any(self._is_head(entry, key[3]) for entry in chain(self._lent.get(key, ()), heap))

    def _is_head(self, entry: tuple[int, float, str], suspect: bool) -> bool:
        job = self._jobs.get(entry[2])
        return job is not None and job.state == "ready" and job.due == entry[1] and job.suspect == suspect

    def _forget_waiting(self, parent: str, job: str) -> None:
        self._waiting[parent].pop(job, None)
        if not self._waiting[parent]:
            del self._waiting[parent]
            self._groups.pop(parent, None)

    @staticmethod
    def _may_expire(job: JobRecord, at: float) -> bool:
        return job.state in LIVE and job.state != "running" and job.expires == at

    def _timed(self, heap: Timed, true: Callable[[JobRecord, float], bool], now: float, limit: int) -> list[JobRecord]:
        """The first entries of a heap of times up to now that are still true; they stay in the heap."""
        found: list[tuple[float, str]] = []
        while heap and heap[0][0] <= now and len(found) < limit:
            at, each = heapq.heappop(heap)
            job = self._jobs.get(each)
            if job is not None and true(job, at) and (not found or found[-1] != (at, each)):
                found.append((at, each))
        for entry in found:
            heapq.heappush(heap, entry)
        return [self._jobs[each] for _, each in found]

    def _first(self, heap: Timed, true: Callable[[JobRecord, float], bool]) -> float | None:
        while heap:
            at, each = heap[0]
            job = self._jobs.get(each)
            if job is not None and true(job, at):
                return at
            heapq.heappop(heap)
        return None

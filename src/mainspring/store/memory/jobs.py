"""Jobs in dictionaries, with a heap for each lane and for each kind of time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from mainspring.model.record import JobRecord
from mainspring.model.states import LIVE, TERMINAL
from mainspring.store.base import Lane
from mainspring.store.memory.belongings import MemoryBelongings
from mainspring.store.memory.heaps import Heap
from mainspring.store.serial.rows import PARENT_FAILED

EMPTY_LIMIT: Final = 100
"""Lanes with nothing ready in them that are kept for their next job."""

LaneKey = tuple[str, str, str, bool]
Ready = tuple[int, float, str]
Timed = tuple[float, str]


class MemoryJobs(MemoryBelongings):
    """`JobRows` in memory."""

    def __init__(self) -> None:
        super().__init__()
        self._ready: dict[LaneKey, Heap[Ready]] = {}
        self._due: Heap[Timed] = Heap(self._is_scheduled)
        self._expiring: Heap[Timed] = Heap(self._may_expire)
        self._waiting: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._members: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._ended: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._counts: defaultdict[tuple[str, str, str, str], int] = defaultdict(int)

    def jobs(self, ids: Sequence[str]) -> list[JobRecord | None]:
        return [self._jobs.get(each) for each in ids]

    def insert(self, jobs: Sequence[JobRecord]) -> None:
        for job in jobs:
            self._jobs[job.id] = job
            if job.waits_on is not None:
                self._waiting[job.waits_on][job.id] = None
            if job.group is not None:
                self._members[job.group][job.id] = None
            self._enter(job)

    def write(self, changes: Sequence[tuple[JobRecord, JobRecord]]) -> None:
        for before, after in changes:
            self._jobs[after.id] = after
            if before.state == after.state == "running":
                continue
            self._count_off(before)
            if before.state == "running" and before.worker is not None:
                self._running[before.worker].pop(before.id, None)
            elif before.state in TERMINAL:
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
            self._count_off(job)
            self._ended[job.state].pop(each, None)
            self._attempts.pop(each, None)
            self._progress.pop(each, None)
            self._waiting.pop(each, None)
            if job.waits_on is not None:
                self._forget_waiting(job.waits_on, each)
            if job.group is not None:
                self._forget_member(job.group, each)

    def heads(self, lane: Lane, suspect: bool, limit: int) -> list[JobRecord]:
        heap = self._ready.get((lane.queue, lane.task, lane.version, suspect))
        return [] if heap is None else [self._jobs[entry[2]] for entry in heap.take(limit)]

    def lanes(self) -> list[Lane]:
        empty = {key for key, heap in self._ready.items() if heap.first() is None}
        found = [Lane(*key, 1) for key in sorted({key[:3] for key in self._ready.keys() - empty})]
        if len(empty) > EMPTY_LIMIT:
            for key in empty:
                del self._ready[key]
        return found

    def claimed_as(self, worker: str, number: int) -> list[JobRecord]:
        return [job for job in self.running(worker, len(self._jobs)) if job.claim == number]

    def due(self, now: float, limit: int) -> list[JobRecord]:
        return [self._jobs[each] for _, each in self._due.take(limit, now)]

    def late(self, now: float, limit: int) -> list[JobRecord]:
        return [self._jobs[each] for _, each in self._expiring.take(limit, now)]

    def next_due(self) -> float | None:
        firsts = (self._due.first(), self._expiring.first())
        return min((first[0] for first in firsts if first is not None), default=None)

    def dependants(self, ids: Sequence[str], state: str) -> list[JobRecord]:
        found = (self._jobs[each] for parent in ids for each in self._waiting.get(parent, ()))
        return [job for job in found if job.state == state]

    def prunable(self, state: str, before: float, limit: int) -> list[JobRecord]:
        found: list[JobRecord] = []
        young = 0
        for each in self._ended.get(state, ()):
            job = self._jobs[each]
            if job.finished is None or job.finished >= before:
                young += 1  # in the order of their ends, but for clocks that stepped
            elif not self._is_needed(job):
                found.append(job)
            if len(found) >= limit or young > limit:
                break
        return found

    def _is_needed(self, job: JobRecord) -> bool:
        """Whether the job's flow has not ended, or can be brought back by replaying what failed in it."""
        root = None if job.root is None else self._jobs.get(job.root)
        if root is not None and (not root.terminal or (job.state == "completed" and _was_cut_off(root))):
            return True
        if not _was_cut_off(job) or job.waits_on is None:
            return False
        parents = (self._jobs.get(each) for each in (job.waits_on, *self._members.get(job.waits_on, ())))
        return any(parent is not None and parent.state != "completed" for parent in parents)

    def _enter(self, job: JobRecord) -> None:
        """Put the job where its state is looked up."""
        self._counts[job.queue, job.task, job.version, job.state] += 1
        state = job.state
        if state == "running":
            assert job.worker is not None
            self._running[job.worker][job.id] = None
            return
        if state in TERMINAL:
            self._ended[state][job.id] = None
            return
        if state == "ready":
            self._lane(job).push((-job.priority, job.due, job.id))
            self.woke = True
        elif state == "scheduled":
            self._due.push((job.due, job.id))
        if job.expires is not None:
            self._expiring.push((job.expires, job.id))

    def _lane(self, job: JobRecord) -> Heap[Ready]:
        key = (job.queue, job.task, job.version, job.suspect)
        heap = self._ready.get(key)
        if heap is None:
            heap = self._ready[key] = Heap(self._is_suspect_head if job.suspect else self._is_head)
        return heap

    def _count_off(self, job: JobRecord) -> None:
        key = (job.queue, job.task, job.version, job.state)
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key]

    def _forget_waiting(self, parent: str, job: str) -> None:
        self._waiting[parent].pop(job, None)
        if not self._waiting[parent]:
            del self._waiting[parent]
            self._groups.pop(parent, None)

    def _forget_member(self, group: str, job: str) -> None:
        """With its last member goes a group on which nobody waits."""
        self._members[group].pop(job, None)
        if not self._members[group]:
            del self._members[group]
            if group not in self._waiting:
                self._groups.pop(group, None)

    # --- whether entries of heaps are still true

    def _is_head(self, entry: Ready) -> bool:
        job = self._jobs.get(entry[2])
        return job is not None and job.state == "ready" and job.due == entry[1] and not job.suspect

    def _is_suspect_head(self, entry: Ready) -> bool:
        job = self._jobs.get(entry[2])
        return job is not None and job.state == "ready" and job.due == entry[1] and job.suspect

    def _is_scheduled(self, entry: Timed) -> bool:
        job = self._jobs.get(entry[1])
        return job is not None and job.state == "scheduled" and job.due == entry[0]

    def _may_expire(self, entry: Timed) -> bool:
        job = self._jobs.get(entry[1])
        return job is not None and job.state in LIVE and job.state != "running" and job.expires == entry[0]


def _was_cut_off(job: JobRecord) -> bool:
    """Whether it was cancelled because what it waited on did not complete."""
    return job.state == "cancelled" and job.reason == PARENT_FAILED

"""What belongs to jobs, workers and queues, in dictionaries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from typing import Final

from mainspring.model.record import AttemptRecord, Group, JobRecord
from mainspring.store.serial.rows import KeyHolder, WorkerRow

HISTORY_LIMIT: Final = 100


class MemoryBelongings:
    """`BelongingRows` and `WorkerRows` in memory."""

    def __init__(self) -> None:
        self._jobs: dict[str, JobRecord] = {}
        self._running: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._attempts: defaultdict[str, dict[int, AttemptRecord]] = defaultdict(dict)
        self._groups: dict[str, Group] = {}
        self._keys: dict[str, KeyHolder] = {}
        self._progress: dict[str, bytes] = {}
        self._workers: dict[str, WorkerRow] = {}
        self._paused: frozenset[str] = frozenset()
        self.woke = False
        """Whether something has become ready, or may be claimed again, since somebody last looked here."""

    def append_attempts(self, attempts: Sequence[AttemptRecord]) -> None:
        for attempt in attempts:
            history = self._attempts[attempt.job]
            history.setdefault(attempt.lease, attempt)
            if len(history) > HISTORY_LIMIT:
                del history[min(history)]

    def attempts(self, job: str) -> list[AttemptRecord]:
        return [attempt for _, attempt in sorted(self._attempts.get(job, {}).items())]

    def groups(self, ids: Sequence[str]) -> list[Group | None]:
        return [self._groups.get(each) for each in ids]

    def put_group(self, group: Group) -> None:
        self._groups[group.id] = group

    def key(self, key: str) -> KeyHolder | None:
        return self._keys.get(key)

    def take_key(self, key: str, holder: KeyHolder) -> None:
        self._keys[key] = holder

    def free_keys(self, keys: Sequence[tuple[str, str]]) -> None:
        for key, job in keys:
            holder = self._keys.get(key)
            if holder is not None and holder.job == job:
                del self._keys[key]

    def set_progress(self, progress: Sequence[tuple[str, bytes]]) -> None:
        self._progress.update((job, data) for job, data in progress if job in self._jobs)

    def progress(self, job: str) -> bytes | None:
        return self._progress.get(job)

    def running(self, worker: str | None, limit: int) -> list[JobRecord]:
        if worker is not None:
            return [self._jobs[each] for each in islice(self._running.get(worker, ()), limit)]
        strays = (each for owner, jobs in self._running.items() if owner not in self._workers for each in jobs)
        return [self._jobs[each] for each in islice(strays, limit)]

    def worker(self, id: str) -> WorkerRow | None:  # noqa: A002
        return self._workers.get(id)

    def put_worker(self, row: WorkerRow) -> None:
        self._workers[row.worker.id] = row

    def drop_worker(self, id: str) -> None:  # noqa: A002
        self._workers.pop(id, None)
        if not self._running.get(id):
            self._running.pop(id, None)

    def workers(self) -> list[tuple[WorkerRow, int]]:
        return [(row, len(self._running.get(each, ()))) for each, row in sorted(self._workers.items())]

    def cancel_requests(self, worker: str) -> list[str]:
        return [job.id for job in self.running(worker, len(self._jobs)) if job.cancel_requested]

    def paused(self) -> frozenset[str]:
        return self._paused

    def set_paused(self, queue: str, paused: bool) -> None:
        self._paused = self._paused | {queue} if paused else self._paused - {queue}
        self.woke = self.woke or not paused

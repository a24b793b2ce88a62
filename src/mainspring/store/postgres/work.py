"""The rows of one transaction, as a verb sees them: what was locked and loaded, with the verb's own writes on top.

The verbs of `store.serial` are plain functions, and know nothing of a server. They run over a `Work`; when one asks for
what has not been loaded, `NotLoaded` says what, the transaction loads it, and the verb runs again from the start on a
fresh `Work` over all that is loaded by then. What the last run wrote is flushed as a few batches (decision 0007).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from mainspring.model.record import AttemptRecord, Group, JobRecord
from mainspring.model.states import TERMINAL
from mainspring.store.postgres.loaded import Loaded, NotLoaded, Question
from mainspring.store.postgres.schedule_work import ScheduleWork
from mainspring.store.serial.rows import KeyHolder, WorkerRow


class Taken(NamedTuple):
    """A key that was taken, for the flush."""

    key: str
    holder: KeyHolder


class Work(ScheduleWork):
    """See `store.serial.rows.FiringUnit`. One run of one verb."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__(loaded.schedules)
        self._loaded = loaded
        self.added: dict[str, JobRecord] = {}
        self.changed: dict[str, JobRecord] = {}
        self.removed: set[str] = set()
        self.groups_put: dict[str, Group] = {}
        self.keys_taken: dict[str, KeyHolder] = {}
        self.keys_freed: set[tuple[str, str]] = set()
        self.history: list[AttemptRecord] = []
        self.workers_dropped: list[str] = []

    def live_of(self, ids: Iterable[str]) -> list[str]:
        """Those of these that this run has added, but for those that ended at once."""
        return [each for each in ids if each in self.added and not self.added[each].terminal]

    def before(self, id: str) -> JobRecord | None:  # noqa: A002  # the field's name
        """A changed job as it was loaded."""
        return self._loaded.jobs[id]

    def queues_with_work(self) -> set[str]:
        """The queues of the jobs that this has made ready."""
        return {job.queue for jobs in (self.added, self.changed) for job in jobs.values() if job.state == "ready"}

    # --- jobs

    def jobs(self, ids: Sequence[str]) -> list[JobRecord | None]:
        added, jobs, seen = self.added, self._loaded.jobs, self._loaded.seen
        missing = [each for each in ids if each not in added and each not in jobs and each not in seen]
        if missing:
            raise NotLoaded("jobs", missing)
        return [self._job(each) for each in ids]

    def insert(self, jobs: Sequence[JobRecord]) -> None:
        self.added.update((job.id, job) for job in jobs)

    def write(self, changes: Sequence[tuple[JobRecord, JobRecord]]) -> None:
        for _, after in changes:
            now = self._job(after.id)
            linked = after.linked or (now is not None and now.linked)  # only ever switched on
            self._put(after if after.linked == linked else replace(after, linked=linked))

    def link(self, ids: Iterable[str]) -> None:
        for job in self.jobs(sorted(ids)):
            if job is not None and not job.linked:
                self._put(replace(job, linked=True))

    def remove(self, ids: Sequence[str]) -> None:
        self.removed.update(ids)

    def running(self, worker: str | None, limit: int) -> list[JobRecord]:
        found = self._search("running", () if worker is None else (worker,))
        mine = [job for job in found if job.state == "running" and (worker is None or job.worker == worker)]
        return sorted(mine, key=lambda job: job.id)[:limit]

    def due(self, now: float, limit: int) -> list[JobRecord]:
        return [job for job in self._search("due", (str(limit),)) if job.state == "scheduled" and job.due <= now][
            :limit
        ]

    def late(self, now: float, limit: int) -> list[JobRecord]:
        return [
            job
            for job in self._search("late", (str(limit),))
            if not job.terminal and job.state != "running" and job.expires is not None and job.expires <= now
        ][:limit]

    def dependants(self, ids: Sequence[str], state: str) -> list[JobRecord]:
        if not ids:
            return []
        waited_for = sorted(set(ids))
        found = self._loaded.ended_dependants if state in TERMINAL else self._loaded.dependants
        missing = [each for each in waited_for if each not in found]
        if missing:
            raise NotLoaded("ended dependants" if state in TERMINAL else "dependants", missing)
        stored = [self._job(job) for each in waited_for for job in found[each]]
        new = [job for job in self.added.values() if job.waits_on in waited_for]
        return [job for job in (*stored, *new) if job is not None and job.state == state]

    # --- what belongs to jobs

    def append_attempts(self, attempts: Sequence[AttemptRecord]) -> None:
        self.history += attempts

    def groups(self, ids: Sequence[str]) -> list[Group | None]:
        missing = [each for each in ids if each not in self.groups_put and each not in self._loaded.groups]
        if missing:
            raise NotLoaded("groups", missing)
        return [self.groups_put.get(each) or self._loaded.groups.get(each) for each in ids]

    def put_group(self, group: Group) -> None:
        self.groups_put[group.id] = group

    def key(self, key: str) -> KeyHolder | None:
        if key in self.keys_taken:
            return self.keys_taken[key]
        if key not in self._loaded.keys:
            raise NotLoaded("keys", [key])
        holder = self._loaded.keys[key]
        return None if holder is None or (key, holder.job) in self.keys_freed else holder

    def take_key(self, key: str, holder: KeyHolder) -> None:
        self.keys_taken[key] = holder

    def free_keys(self, keys: Sequence[tuple[str, str]]) -> None:
        for key, job in keys:
            self.keys_freed.add((key, job))
            taken = self.keys_taken.get(key)
            if taken is not None and taken.job == job:
                del self.keys_taken[key]

    # --- workers

    def worker(self, id: str) -> WorkerRow | None:  # noqa: A002
        return next((row for row, _ in self.workers() if row.worker.id == id), None)

    def workers(self) -> list[tuple[WorkerRow, int]]:
        if self._loaded.workers is None:
            raise NotLoaded("workers", ())
        return self._loaded.workers

    def drop_worker(self, id: str) -> None:  # noqa: A002
        self.workers_dropped.append(id)

    # --- what is where

    def _job(self, id: str) -> JobRecord | None:  # noqa: A002
        if id in self.removed:
            return None
        loaded = self._loaded
        return self.changed.get(id) or self.added.get(id) or loaded.jobs.get(id) or loaded.seen.get(id)

    def _put(self, job: JobRecord) -> None:
        (self.added if job.id in self.added else self.changed)[job.id] = job

    def _search(self, question: Question, values: tuple[str, ...]) -> list[JobRecord]:
        ids = self._loaded.found.get((question, values))
        if ids is None:
            raise NotLoaded(question, values)
        return [job for job in map(self._job, ids) if job is not None]

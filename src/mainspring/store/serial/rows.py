"""What the verbs of a store with one writer need from its storage: rows in, rows out, one caller at a time.

Memory and SQLite run each verb alone, so the verbs are written once, as plain functions over these rows (`add`,
`claim`, `settle`, …). Everything one call does through `Rows` is one atomic step: the backend commits it whole, or not
at all. Nothing here decides anything. A store that locks what a verb touches gives a `Unit` (decision 0007).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from mainspring.model.record import AttemptRecord, Group, JobRecord
from mainspring.store.base import Count, Filter, Lane, Page, Worker
from mainspring.store.serial.schedule_rows import ScheduleRows, SchedulesOverview

PARENT_FAILED: Final = "parent dead"
"""The reason of a job that was cancelled because what it waited on did not complete."""


class KeyHolder(NamedTuple):
    """Who holds a unique key, and until when: None = until its job ends, inf = until its job is pruned."""

    job: str
    until: float | None


class WorkerRow(NamedTuple):
    """A worker as stored. `steady_since`: since when its beats have come without a gap (RULES C1)."""

    worker: Worker
    joined: float
    beat: float
    steady_since: float
    stalled: bool = False


class JobRows(Protocol):
    """Jobs, and finding those that a verb is about."""

    def jobs(self, ids: Sequence[str]) -> list[JobRecord | None]:
        """The jobs, in the order of the ids."""
        ...

    def insert(self, jobs: Sequence[JobRecord]) -> None:
        """New jobs, of which none is there yet."""
        ...

    def write(self, changes: Sequence[tuple[JobRecord, JobRecord]]) -> None:
        """Jobs as they were and as they are now; what was added with the job never changes, but `linked` may."""
        ...

    def link(self, ids: Iterable[str]) -> None:
        """Set `linked` on those of these jobs that are there."""
        ...

    def remove(self, ids: Sequence[str]) -> None:
        """Delete jobs with their attempts, steps, signals and progress."""
        ...

    def running(self, worker: str | None, limit: int) -> list[JobRecord]:
        """The running jobs of a worker; with None, those whose worker has no row."""
        ...

    def due(self, now: float, limit: int) -> list[JobRecord]:
        """Scheduled jobs whose time has come, earliest first."""
        ...

    def late(self, now: float, limit: int) -> list[JobRecord]:
        """Ready, scheduled and waiting jobs whose `expires` has passed."""
        ...

    def dependants(self, ids: Sequence[str], state: str) -> list[JobRecord]:
        """Jobs in this state that wait on one of these jobs or groups."""
        ...


class BelongingRows(Protocol):
    """What belongs to jobs: history, groups, unique keys."""

    def append_attempts(self, attempts: Sequence[AttemptRecord]) -> None:
        """History, keyed (job, lease); the newest 100 of a job are kept. One that is there is not changed."""
        ...

    def groups(self, ids: Sequence[str]) -> list[Group | None]:
        """Fan-ins, in the order of the ids."""
        ...

    def put_group(self, group: Group) -> None:
        """Insert or replace a fan-in."""
        ...

    def key(self, key: str) -> KeyHolder | None:
        """Who holds a unique key."""
        ...

    def take_key(self, key: str, holder: KeyHolder) -> None:
        """Give a key to a job, whoever had it."""
        ...

    def free_keys(self, keys: Sequence[tuple[str, str]]) -> None:
        """Free (key, job) pairs, as far as that job holds the key."""
        ...


class WorkerRows(Protocol):
    """Workers, as far as their death concerns jobs."""

    def worker(self, id: str) -> WorkerRow | None:  # noqa: A002
        """A worker's row."""
        ...

    def drop_worker(self, id: str) -> None:  # noqa: A002
        """Remove a worker's row."""
        ...

    def workers(self) -> list[tuple[WorkerRow, int]]:
        """All workers, by id, with how many jobs each runs."""
        ...


class Unit(JobRows, BelongingRows, WorkerRows, Protocol):
    """What the verbs that change jobs need: one of them at a time, on rows that nobody else changes meanwhile."""


class FiringUnit(Unit, ScheduleRows, Protocol):
    """What the verbs need that fire schedules, or bring back the jobs of one."""


class LaneRows(Protocol):
    """Ready jobs by their lanes, and what is next."""

    def heads(self, lane: Lane, suspect: bool, limit: int) -> list[JobRecord]:
        """The first ready jobs of a lane by (priority descending, due, id); suspects only, or none."""
        ...

    def lanes(self) -> list[Lane]:
        """The lanes that have ready jobs, each with cap 1."""
        ...

    def claimed_as(self, worker: str, number: int) -> list[JobRecord]:
        """The running jobs that this claim of this worker was given."""
        ...

    def next_due(self) -> float | None:
        """The earliest of: the time of a scheduled job, the `expires` of a job that has not started."""
        ...

    def prunable(self, state: str, before: float, limit: int) -> list[JobRecord]:
        """Jobs that ended in this state before that time, oldest first, as far as their flow needs them no more.

        Kept are: those whose root has not ended; those that were cancelled because what they waited on failed
        (`PARENT_FAILED`), as long as that is there; and those that completed, whose root was cancelled so.
        """
        ...


class BeatRows(Protocol):
    """What beats carry, and paused queues."""

    def put_worker(self, row: WorkerRow) -> None:
        """Insert or replace a worker's row."""
        ...

    def cancel_requests(self, worker: str) -> list[str]:
        """The running jobs of a worker that somebody wants cancelled."""
        ...

    def set_progress(self, progress: Sequence[tuple[str, bytes]]) -> None:
        """The last progress of jobs."""
        ...

    def progress(self, job: str) -> bytes | None:
        """The last progress of a job."""
        ...

    def paused(self) -> frozenset[str]:
        """The paused queues."""
        ...

    def set_paused(self, queue: str, paused: bool) -> None:
        """Pause or resume a queue."""
        ...


class ReadRows(Protocol):
    """Reads for people."""

    def attempts(self, job: str) -> list[AttemptRecord]:
        """The history of a job, by lease."""
        ...

    def find(self, filter: Filter, cursor: str | None, limit: int, newest: bool) -> Page:  # noqa: A002
        """Jobs by filter, in the order of their ids."""
        ...

    def counts(self) -> list[Count]:
        """Jobs by queue, task, version and state."""
        ...


class Rows(FiringUnit, SchedulesOverview, LaneRows, BeatRows, ReadRows, Protocol):
    """The storage of a store with one writer."""

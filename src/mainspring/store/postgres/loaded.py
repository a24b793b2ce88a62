"""What a transaction has locked and read for a verb, and what the verb may ask for beyond it."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Literal

from mainspring.model.record import Group, JobRecord
from mainspring.model.schedule import Run, ScheduleRecord
from mainspring.store.serial.rows import KeyHolder, WorkerRow

Question = Literal[
    "jobs", "groups", "keys", "workers", "dependants", "ended dependants", "running", "due", "late",
    "schedules", "open runs", "newest runs", "runs of",
]  # fmt: skip


class NotLoaded(Exception):  # no error: a question to the transaction
    """The verb needs the answer to this question about these values."""

    def __init__(self, question: Question, values: Sequence[str]) -> None:
        super().__init__(question, values)
        self.question: Question = question
        self.values = values


class LoadedSchedules:
    """Schedules, and of some their runs: the open ones, or the newest; whatever was read of them is in `runs`.

    `held`: somebody else has these schedules in hand, or a key that their jobs want.
    """

    def __init__(self) -> None:
        self.schedules: dict[str, ScheduleRecord | None] = {}
        self.held: set[str] = set()
        self.runs: dict[str, dict[int, Run]] = {}
        self.open: set[str] = set()
        self.newest: dict[str, int] = {}
        self.of_jobs: dict[str, list[Run]] = {}

    def add(self, run: Run) -> None:
        """A run that was read. What was read under a lock stays as it is."""
        self.runs.setdefault(run.schedule, {}).setdefault(run.number, run)


class Loaded:
    """What one transaction has locked and read: by id, and the ids that a search has found.

    `seen` are jobs that were read without a lock, as far as a run of a schedule needs them; they are never written.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, JobRecord | None] = {}
        self.seen: dict[str, JobRecord | None] = {}
        self.groups: dict[str, Group | None] = {}
        self.keys: dict[str, KeyHolder | None] = {}
        self.workers: list[tuple[WorkerRow, int]] | None = None
        self.found: dict[tuple[Question, tuple[str, ...]], list[str]] = {}
        self.dependants: dict[str, list[str]] = {}
        self.ended_dependants: dict[str, list[str]] = {}
        self.schedules = LoadedSchedules()
        self._asked: set[Question] = set()

    def foreseen(self, question: Question, values: Sequence[str]) -> list[str]:
        """These values, and from the second time on all that the loaded jobs may make the verb ask for.

        A verb about many jobs comes to one after the other; it must not ask the server about each.
        """
        if question not in self._asked:
            self._asked.add(question)
            return sorted(set(values))
        jobs = [job for job in self.jobs.values() if job is not None]
        more: AbstractSet[str | None] = frozenset()
        match question:
            case "jobs":
                more = {job.waits_on for job in jobs} - self.jobs.keys()
            case "groups":
                more = {job.group for job in jobs} - self.groups.keys()
            case "keys":
                more = {job.unique for job in jobs if job.terminal} - self.keys.keys()
            case "dependants":
                more = {job.id for job in jobs if job.linked and not job.terminal} - self.dependants.keys()
            case "ended dependants":
                more = {job.id for job in jobs if job.linked and job.terminal} - self.ended_dependants.keys()
            case "runs of":
                more = {job.id for job in jobs if job.schedule is not None} - self.schedules.of_jobs.keys()
            case _:  # asked for all at once
                pass
        return sorted({each for each in more if each is not None}.union(values))

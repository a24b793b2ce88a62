"""What the verbs about schedules need from the storage, beside the rows of jobs: see `serial.rows`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from mainspring.model.schedule import Run, ScheduleRecord


class ScheduleRows(Protocol):
    """Schedules and their run records."""

    def schedules(self, ids: Sequence[str]) -> list[ScheduleRecord | None]:
        """In the order of the ids; also those that were dropped and are still kept."""
        ...

    def put_schedules(self, records: Sequence[ScheduleRecord]) -> None:
        """Insert or replace."""
        ...

    def open_runs(self, schedules: Sequence[str]) -> list[Run]:
        """The runs of these schedules whose job's end is not written down yet (`Run.open`), by (schedule, number)."""
        ...

    def newest_runs(self, wanted: Sequence[tuple[str, int]]) -> list[list[Run]]:
        """For each schedule its newest run records, at most so many, oldest first."""
        ...

    def put_runs(self, runs: Sequence[Run]) -> None:
        """Insert or replace, by (schedule, number)."""
        ...

    def trim_runs(self, below: Sequence[tuple[str, int]]) -> None:
        """For each schedule remove the run records below this number, but open ones."""
        ...

    def reopen_runs(self, jobs: Sequence[tuple[str, str]]) -> None:
        """The runs of these (schedule, job), as far as they are there, have no end any more: the jobs were replayed.

        Their `state`, `started` and `ended` are None again, `attempts` 0, `error` empty.
        """
        ...


class SchedulesOverview(Protocol):
    """What is next, and what is old: over all schedules."""

    def list_schedules(self, after: str, limit: int, declared_by: Sequence[str] | None) -> list[ScheduleRecord]:
        """Those that are not dropped, by id from behind `after`."""
        ...

    def due_schedules(self, now: float, limit: int, without: Collection[str]) -> list[ScheduleRecord]:
        """Neither paused nor dropped, `due` at or before now, the earliest first, then by id; not these ids."""
        ...

    def next_due_schedule(self, now: float, without: Collection[str]) -> float | None:
        """The earliest `due` after now, of those that are neither paused nor dropped; not of these ids."""
        ...

    def runs_from(self, schedule: str, from_number: int, limit: int) -> list[Run]:
        """The newest `limit` run records of a schedule from this number on, oldest first."""
        ...

    def all_open_runs(self, after: tuple[str, int], limit: int) -> list[Run]:
        """Open runs of all schedules by (schedule, number), from behind this one."""
        ...

    def prunable_runs(self, now: float, limit: int) -> list[tuple[str, int]]:
        """(schedule, number) of runs that are not open and not to be kept, at most `limit`.

        Those `fired` longer ago than the `keep_for` of their schedule, those beyond its `keep` newest (numbers up to
        `schedule.number - keep`), and all of schedules dropped 24 h (`KEPT_DROPPED`) ago.
        """
        ...

    def remove_runs(self, runs: Sequence[tuple[str, int]]) -> None:
        """Remove run records by (schedule, number)."""
        ...

    def remove_dropped(self, before: float, limit: int) -> int:
        """Remove the rows of schedules that were dropped before this time and have no runs left; how many."""
        ...

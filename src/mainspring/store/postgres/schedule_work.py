"""Schedules and their runs in one transaction, as a verb sees them: what was loaded, with its own writes on top."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from mainspring.model.ledger import reopened_run
from mainspring.model.schedule import Run, ScheduleRecord
from mainspring.store.postgres.loaded import LoadedSchedules, NotLoaded


class ScheduleWork:
    """See `store.serial.schedule_rows.ScheduleRows`."""

    def __init__(self, schedules: LoadedSchedules) -> None:
        self._about = schedules
        self.schedules_put: dict[str, ScheduleRecord] = {}
        self.runs_put: dict[str, dict[int, Run]] = {}
        self.runs_trimmed: dict[str, int] = {}

    @property
    def held_schedules(self) -> AbstractSet[str]:
        """Those that somebody else has in hand: nothing is known of them here."""
        return self._about.held

    def schedules(self, ids: Sequence[str]) -> list[ScheduleRecord | None]:
        loaded = self._about.schedules
        missing = [each for each in ids if each not in loaded]
        if missing:
            raise NotLoaded("schedules", missing)
        return [self.schedules_put.get(each) or loaded[each] for each in ids]

    def schedule_before(self, id: str) -> ScheduleRecord | None:  # noqa: A002  # the field's name
        """A schedule as it was loaded."""
        return self._about.schedules[id]

    def put_schedules(self, records: Sequence[ScheduleRecord]) -> None:
        self.schedules_put.update((record.id, record) for record in records)

    def open_runs(self, schedules: Sequence[str]) -> list[Run]:
        missing = [each for each in schedules if each not in self._about.open]
        if missing:
            raise NotLoaded("open runs", missing)
        return [run for each in sorted(set(schedules)) for run in self._runs(each) if run.open]

    def newest_runs(self, wanted: Sequence[tuple[str, int]]) -> list[list[Run]]:
        newest = self._about.newest
        missing = [f"{limit} {each}" for each, limit in wanted if newest.get(each, -1) < limit]
        if missing:
            raise NotLoaded("newest runs", missing)
        return [self._runs(each)[-limit:] if limit else [] for each, limit in wanted]

    def put_runs(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self.runs_put.setdefault(run.schedule, {})[run.number] = run

    def run_is_there(self, run: Run) -> bool:
        """Whether it was loaded, so that it is to be changed and not to be added."""
        return run.number in self._about.runs.get(run.schedule, ())

    def trim_runs(self, below: Sequence[tuple[str, int]]) -> None:
        self.runs_trimmed.update(below)

    def reopen_runs(self, jobs: Sequence[tuple[str, str]]) -> None:
        found = self._about.of_jobs
        missing = [job for _, job in jobs if job not in found]
        if missing:
            raise NotLoaded("runs of", missing)
        self.put_runs([reopened_run(run) for schedule, job in jobs for run in found[job] if run.schedule == schedule])

    def _runs(self, schedule: str) -> list[Run]:
        """Those that were loaded and put, by number."""
        runs = self._about.runs.get(schedule, {}) | self.runs_put.get(schedule, {})
        below = self.runs_trimmed.get(schedule, 0)
        return [runs[number] for number in sorted(runs) if number >= below or runs[number].open]

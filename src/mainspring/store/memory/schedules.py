"""Schedules and their run records in dictionaries, with a heap of what is due."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import islice

from mainspring.model.ledger import reopened_run
from mainspring.model.schedule import Run, ScheduleRecord
from mainspring.store.memory.heaps import Heap
from mainspring.store.memory.jobs import MemoryJobs
from mainspring.store.serial.schedules import FIRST, KEPT_DROPPED

Timed = tuple[float, str]
Number = tuple[str, int]


class MemorySchedules(MemoryJobs):
    """`ScheduleRows` and `SchedulesOverview` in memory."""

    def __init__(self) -> None:
        super().__init__()
        self._schedules: dict[str, ScheduleRecord] = {}
        self._names: list[str] = []
        self._names_sorted = True
        self._next: Heap[Timed] = Heap(self._is_due)
        self._runs: defaultdict[str, dict[int, Run]] = defaultdict(dict)
        self._open: defaultdict[str, dict[int, None]] = defaultdict(dict)
        self._dropped: dict[str, None] = {}
        self._walk: list[Number] = []

    # --- one by one

    def schedules(self, ids: Sequence[str]) -> list[ScheduleRecord | None]:
        return [self._schedules.get(each) for each in ids]

    def put_schedules(self, records: Sequence[ScheduleRecord]) -> None:
        for record in records:
            if record.id not in self._schedules:
                self._names.append(record.id)
                self._names_sorted = False
            self._schedules[record.id] = record
            if record.dropped is not None:
                self._dropped[record.id] = None
                continue
            if self._dropped:
                self._dropped.pop(record.id, None)
            if record.due is not None and not record.paused:
                self._next.push((record.due, record.id))

    def open_runs(self, schedules: Sequence[str]) -> list[Run]:
        return [
            self._runs[each][number]
            for each in sorted(each for each in set(schedules) if each in self._open)
            for number in sorted(self._open[each])
        ]

    def newest_runs(self, wanted: Sequence[tuple[str, int]]) -> list[list[Run]]:
        return [self.runs_from(schedule, 0, limit) for schedule, limit in wanted]

    def put_runs(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self._runs[run.schedule][run.number] = run
            if run.open:
                self._open[run.schedule][run.number] = None
            elif run.schedule in self._open:
                self._close(run.schedule, run.number)

    def trim_runs(self, below: Sequence[tuple[str, int]]) -> None:
        for schedule, number in below:
            old = [run for run in _until(self._runs.get(schedule, {}), number) if not run.open]
            self.remove_runs([(schedule, run.number) for run in old])

    def reopen_runs(self, jobs: Sequence[tuple[str, str]]) -> None:
        for schedule, job in jobs:
            again = [run for run in self._runs.get(schedule, {}).values() if run.job == job]
            self.put_runs([reopened_run(run) for run in again])

    # --- over all

    def list_schedules(self, after: str, limit: int, declared_by: Sequence[str] | None) -> list[ScheduleRecord]:
        if not self._names_sorted:
            self._names.sort()
            self._names_sorted = True
        rest = islice(self._names, bisect_right(self._names, after), None)
        found = (self._schedules[each] for each in rest)
        return list(islice((record for record in found if _is_listed(record, declared_by)), limit))

    def due_schedules(self, now: float, limit: int, without: Collection[str]) -> list[ScheduleRecord]:
        entries = self._next.take(limit + len(without), now)
        return [self._schedules[each] for _, each in entries if each not in without][:limit]

    def next_due_schedule(self, now: float, without: Collection[str]) -> float | None:
        entry = self._next.first_after(now)
        if entry is None or entry[1] not in without:
            return None if entry is None else entry[0]
        later = (each for each in self._next if each[0] > now and each[1] not in without and self._is_due(each))
        return min(later, default=(None, ""))[0]

    def runs_from(self, schedule: str, from_number: int, limit: int) -> list[Run]:
        newest: list[Run] = []
        for run in islice(reversed(self._runs.get(schedule, {}).values()), limit):
            if run.number < from_number:
                break
            newest.append(run)
        return newest[::-1]

    def all_open_runs(self, after: tuple[str, int], limit: int) -> list[Run]:
        if after == FIRST:
            self._walk = sorted((schedule, number) for schedule, numbers in self._open.items() for number in numbers)
        there = (self._runs.get(schedule, {}).get(number) for schedule, number in self._behind(after))
        return list(islice((run for run in there if run is not None and run.open), limit))

    def prunable_runs(self, now: float, limit: int) -> list[tuple[str, int]]:
        return list(islice(self._prunable(now), limit))

    def remove_runs(self, runs: Sequence[tuple[str, int]]) -> None:
        for schedule, number in runs:
            self._runs[schedule].pop(number, None)
            if schedule in self._open:
                self._close(schedule, number)
            if not self._runs[schedule]:
                del self._runs[schedule]

    def remove_dropped(self, before: float, limit: int) -> int:
        old = [each for each in self._dropped if self._dropped_at(each) < before and each not in self._runs][:limit]
        for each in old:
            del self._schedules[each], self._dropped[each]
        if old:
            gone = set(old)
            self._names = [each for each in self._names if each not in gone]
        return len(old)

    def _behind(self, after: tuple[str, int]) -> Iterable[Number]:
        return islice(self._walk, bisect_right(self._walk, after), None)

    def _prunable(self, now: float) -> Iterable[Number]:
        for schedule, runs in self._runs.items():
            record = self._schedules[schedule]
            definition = record.definition
            keep_for = definition.keep_for
            dropped = record.dropped is not None and record.dropped < now - KEPT_DROPPED
            for number, run in runs.items():
                old = keep_for is not None and run.fired < now - keep_for
                beyond = number <= record.number - definition.keep
                if not (dropped or beyond) and keep_for is None:
                    break  # as all that follow
                if (old or dropped or beyond) and not run.open:
                    yield schedule, number

    def _dropped_at(self, schedule: str) -> float:
        return self._schedules[schedule].dropped or 0.0

    def _close(self, schedule: str, number: int) -> None:
        self._open[schedule].pop(number, None)
        if not self._open[schedule]:
            del self._open[schedule]

    def _is_due(self, entry: Timed) -> bool:
        record = self._schedules.get(entry[1])
        return record is not None and record.due == entry[0] and not record.paused and record.dropped is None


def _until(runs: dict[int, Run], number: int) -> Iterable[Run]:
    for each, run in runs.items():
        if each >= number:
            return
        yield run


def _is_listed(record: ScheduleRecord, declared_by: Sequence[str] | None) -> bool:
    return record.dropped is None and (declared_by is None or record.declared_by in declared_by)

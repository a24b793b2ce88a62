"""Schedules and their runs in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Final

from mainspring.model.schedule import Run, ScheduleRecord
from mainspring.store.serial.schedules import KEPT_DROPPED
from mainspring.store.sql import statements
from mainspring.store.sqlite.connect import PACKAGE
from mainspring.store.sqlite.jobs import as_json
from mainspring.store.sqlite.records import Row
from mainspring.store.sqlite.schedule_records import (
    Keeping,
    keeping_of,
    moved_row,
    only_moved,
    put_row,
    run_of,
    run_row,
    schedule_of,
    touched_row,
)

SQL: Final = statements(PACKAGE, "schedules")


class SqliteSchedules:
    """`ScheduleRows` and `SchedulesOverview` in SQLite. `forget` comes before each batch of verbs."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._read: dict[str, tuple[int, ScheduleRecord]] = {}  # what this batch has read, and its places
        self.changes: int | None = None
        """When this batch has changed a schedule: how often that has been done in this file."""

    def forget(self) -> None:
        """Forget what an earlier batch has read and changed."""
        self._read.clear()
        self.changes = None

    def schedules(self, ids: Sequence[str]) -> list[ScheduleRecord | None]:
        if not ids:
            return []
        if len(ids) == 1:
            rows = self._db.execute(SQL["schedule"], (ids[0],)).fetchall()
        else:
            rows = self._db.execute(SQL["schedules"], (as_json(ids),)).fetchall()
        found: dict[str, ScheduleRecord] = {}
        for row in rows:
            record = found[row[1]] = schedule_of(row)
            self._read[record.id] = row[0], record
        return [found.get(each) for each in ids]

    def put_schedules(self, records: Sequence[ScheduleRecord]) -> None:
        """Those that are only moved on wake nobody: a fire makes nothing due earlier."""
        moved: list[Row] = []
        put: list[Row] = []
        kept: list[Row] = []
        touched: list[Row] = []
        for record in records:
            place, before = self._read.get(record.id, (0, None))
            if before is not None and only_moved(before, record):
                moved.append(moved_row(record, place))
                self._read[record.id] = place, record
                continue
            if record.unreadable:
                touched.append(touched_row(record, place))
                self._read[record.id] = place, record
                continue
            put.append(put_row(record))
            if record.number and (before is None or keeping_of(before) != keeping_of(record)):
                kept.append((*keeping_of(record), record.id))
            self._read.pop(record.id, None)
        if moved:
            self._db.executemany(SQL["move"], moved)
        if put:
            self._db.executemany(SQL["put"], put)
            self._db.executemany(SQL["keep"], kept)
        if touched:
            self._db.executemany(SQL["touch"], touched)
        if put or touched:
            self._db.execute(SQL["changed"])
            self.changes = self.schedule_changes()

    def open_runs(self, schedules: Sequence[str]) -> list[Run]:
        if len(schedules) == 1:
            return self._runs("open_run", schedules[0])
        found = self._runs("open_runs", as_json(sorted(set(schedules)))) if schedules else []
        return sorted(found, key=lambda run: (run.schedule, run.number))

    def newest_runs(self, wanted: Sequence[tuple[str, int]]) -> list[list[Run]]:
        return [self.runs_from(schedule, 0, limit) for schedule, limit in wanted]

    def put_runs(self, runs: Sequence[Run]) -> None:
        if runs:
            keeping = self._keeping({run.schedule for run in runs})
            self._db.executemany(SQL["put_run"], [run_row(run, keeping[run.schedule]) for run in runs])

    def trim_runs(self, below: Sequence[tuple[str, int]]) -> None:
        if below:
            self._db.executemany(SQL["trim"], below)

    def reopen_runs(self, jobs: Sequence[tuple[str, str]]) -> None:
        if jobs:
            self._db.executemany(SQL["reopen"], jobs)

    def list_schedules(self, after: str, limit: int, declared_by: Sequence[str] | None) -> list[ScheduleRecord]:
        if declared_by is None:
            return self._schedules("list", after, limit)
        name = "list_filtered" if "" in declared_by else "list_declared"
        return self._schedules(name, as_json(declared_by), after, limit)

    def due_schedules(self, now: float, limit: int, without: Collection[str]) -> list[ScheduleRecord]:
        return self._schedules("due", now, as_json(list(without)), limit)

    def next_due_schedule(self, now: float, without: Collection[str]) -> float | None:
        row = self._db.execute(SQL["next_due"], (now, as_json(list(without)))).fetchone()
        return None if row is None else row[0]

    def runs_from(self, schedule: str, from_number: int, limit: int) -> list[Run]:
        found = self._runs("newest_runs", schedule, from_number, limit)
        found.reverse()
        return found

    def all_open_runs(self, after: tuple[str, int], limit: int) -> list[Run]:
        return self._runs("all_open_runs", *after, limit)

    def prunable_runs(self, now: float, limit: int) -> list[tuple[str, int]]:
        found: dict[tuple[str, int], None] = {}
        for name, before in (("old_runs", now), ("orphaned_runs", now - KEPT_DROPPED)):
            if len(found) < limit:
                found |= dict.fromkeys(self._db.execute(SQL[name], (before, limit)).fetchall())
        return list(found)[:limit]

    def remove_runs(self, runs: Sequence[tuple[str, int]]) -> None:
        if runs:
            self._db.executemany(SQL["remove_run"], runs)

    def remove_dropped(self, before: float, limit: int) -> int:
        self._read.clear()
        return self._db.execute(SQL["remove_dropped"], (before, limit)).rowcount

    def schedule_changes(self) -> int:
        """How often people have changed a schedule of this file."""
        number: int = self._db.execute(SQL["changes"]).fetchone()[0]
        return number

    def _keeping(self, schedules: Collection[str]) -> dict[str, Keeping]:
        """What these schedules keep; mostly this batch has just read them."""
        found = {each: keeping_of(self._read[each][1]) for each in schedules if each in self._read}
        others = [each for each in schedules if each not in found]
        if others:
            found |= dict.fromkeys(others, Keeping(0, None))
            rows = self._db.execute(SQL["keeping"], (as_json(others),)).fetchall()
            found |= {id_: Keeping(number - keep, keep_for) for id_, number, keep, keep_for in rows}
        return found

    def _schedules(self, name: str, *parameters: str | float) -> list[ScheduleRecord]:
        return [schedule_of(row) for row in self._db.execute(SQL[name], parameters).fetchall()]

    def _runs(self, name: str, *parameters: str | float) -> list[Run]:
        return [run_of(row) for row in self._db.execute(SQL[name], parameters).fetchall()]

"""The usual fire in two round trips: a look without locks, and one statement that writes while nothing has changed.

What is decided on a look holds as long as the row of the schedule is as it was seen: whoever fires, triggers, puts,
pauses or drops it changes that row. So the statement moves each schedule by compare-and-set, and writes jobs and runs of
those alone that it moved. Ends of runs are written where nobody has written the run since: who replays a job does. All
that is not usual is left to `firing.FireBatch`, which holds locks: keys, large payloads, runs that wait for one that
goes on, and whatever was not as it was seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from mainspring.ids import IdSource
from mainspring.model.schedule import Fire, FireAnswer, Run
from mainspring.store.postgres.faults import LOCK_TIMEOUT
from mainspring.store.postgres.loaded import Loaded, NotLoaded
from mainspring.store.postgres.pool import Pool
from mainspring.store.postgres.records import LARGE, added_values, columns_of
from mainspring.store.postgres.schedule_flush import Ledger, together
from mainspring.store.postgres.schedule_loads import ScheduleLoads
from mainspring.store.postgres.schedule_records import (
    RunRow,
    added_run_values,
    changed_run_values,
    fired_values,
    run_of,
    schedule_of,
    standing_job,
)
from mainspring.store.postgres.transact import collided, sqlstate
from mainspring.store.postgres.work import Work
from mainspring.store.serial import fire as firing

SCHEDULE_WIDTH: Final = 16
"""Columns of a schedule."""

LOOKED_AT: Final = 2
"""Newest runs that the look brings along, where they may matter; where more are needed, they are asked for."""

_ANSWER: Final = """SELECT ARRAY(SELECT id FROM part0),
    (SELECT pg_notify($1, $2)::text WHERE $2 <> '' AND EXISTS (SELECT FROM part0))"""
_USUAL: Final = {"moved": 15, "insert": 26, "end_runs": 8, "add_runs": 14, "trim_runs": 2}
"""Parts of every such statement, so that mostly it is the same one, and how many parameters they have."""

_SELDOM: Final = ("add_groups", "grow_runs", "drop_runs")

Standing = tuple[str, str | None, float | None, float | None, int, str | None, float | None]
"""How a job stands, as in the statement `standing`."""

_open_runs = msgspec.json.Decoder(list[tuple[RunRow, int, Standing | None]]).decode
_newest_runs = msgspec.json.Decoder(list[RunRow]).decode


class Decided(NamedTuple):
    """What is to be written of a batch, the answers when it is, and of which schedules."""

    answers: dict[str, FireAnswer]
    work: Work


class Usual:
    """One batch of fires, of different schedules."""

    def __init__(self, pool: Pool, sql: Mapping[str, str], schedules: Mapping[str, str], fires: Sequence[Fire]) -> None:
        """`sql`: of `firing_sql`; `schedules`: of `schedule_sql`."""
        self._pool = pool
        self._sql = sql
        self._fires = fires
        self._loaded = Loaded()
        self._loads = ScheduleLoads(pool, schedules, self._loaded)
        self._versions: dict[tuple[str, int], int] = {}
        self._waiting: set[str] = set()
        self._now = 0.0

    async def decide(self, ids: IdSource) -> Decided:
        """Look, and decide. Fires that have no answer then are to be looked at closer."""
        missed = {each.schedule: each.missed > 0 for each in self._fires}
        rows = await self._pool.fetch(self._sql["look"], list(missed), list(missed.values()))
        self._now = rows[0][0]
        self._loaded.schedules.schedules.update(dict.fromkeys(missed))
        for row in map(tuple, rows):
            if row[1] is not None:
                self._add(row, missed=missed[row[1]])
        fires = [each for each in self._fires if self._is_usual(each)]
        while True:
            work = Work(self._loaded)
            try:
                answers = firing.fire(work, self._now, ids, fires)
            except NotLoaded as asked:
                match asked.question:
                    case "newest runs":
                        await self._loads.answer(asked)
                    case "jobs":  # of a fire that may be a repeat
                        await self._loads.look_at(asked.values)
                    case _:
                        return Decided({}, Work(self._loaded))
                continue
            if not _is_plain(work):
                return Decided({}, Work(self._loaded))
            return Decided({each.schedule: answer for each, answer in zip(fires, answers, strict=True)}, work)

    async def write(self, work: Work, channel: str, told: str) -> frozenset[str]:
        """Write what was decided; answers with the schedules of which it was written. `told`: what to notify of."""
        parts = self._parts(work)
        text = together(tuple(self._sql[name] for name in parts), _ANSWER)
        try:
            rows = await self._pool.fetch(text, *(value for part in parts.values() for value in part), channel, told)
        except Exception as error:
            if not collided(error) and sqlstate(error) != LOCK_TIMEOUT:
                raise
            return frozenset()  # somebody else adds the same: the closer look finds out
        return frozenset(rows[0][0])

    def _add(self, row: tuple[Any, ...], *, missed: bool) -> None:
        """A row of the look."""
        about, seen = self._loaded.schedules, self._loaded.seen
        record = schedule_of(row[1 : SCHEDULE_WIDTH + 1])
        open_runs, going, newest = row[SCHEDULE_WIDTH + 1 :]
        about.schedules[record.id] = record
        about.open.add(record.id)
        for values, version, standing in () if open_runs is None else _open_runs(open_runs):
            run = run_of(values)
            about.add(run)
            self._versions[run.schedule, run.number] = version
            if run.job is not None:
                seen[run.job] = None if standing is None else standing_job(run.job, standing)
        if missed or going:
            about.newest[record.id] = LOOKED_AT
            for values in () if newest is None else _newest_runs(newest):
                about.add(run_of(values))
        if going and record.definition.overlap == "queue":
            self._waiting.add(record.id)

    def _is_usual(self, fire: Fire) -> bool:
        record = self._loaded.schedules.schedules[fire.schedule]
        if record is None:
            return True
        template = record.definition.template
        if template.unique is not None or len(template.payload) > LARGE or fire.schedule in self._waiting:
            return False
        if record.revision == fire.revision and record.due == fire.expected:  # not a repeat: what it adds is new
            for slot in fire.slots:
                self._loaded.jobs[slot.job] = None
                self._loaded.groups[slot.group] = None
                self._loaded.seen[slot.group] = None
        return True

    def _parts(self, work: Work) -> dict[str, list[Any]]:
        """The parameters of each part of the statement."""
        ledger = Ledger.of(work)
        version = self._versions
        moved = sorted(work.schedules_put)
        groups = {job.group: job.schedule for job in work.added.values() if job.group is not None}
        rows: dict[str, Iterable[Sequence[Any]]] = {
            "moved": [fired_values(work.schedules_put[each], work.schedule_before(each)) for each in moved],
            "insert": map(added_values, work.added.values()),
            "end_runs": [(*changed_run_values(run), version[_key(run)]) for run in ledger.ended],
            "add_runs": map(added_run_values, ledger.added),
            "trim_runs": sorted(work.runs_trimmed.items()),
            "add_groups": [(each.id, each.size, each.on_failure, groups[each.id]) for each in work.groups_put.values()],
            "grow_runs": map(added_run_values, ledger.grown),
            "drop_runs": [(*key, version[key]) for key in ledger.dropped],
        }
        columns = {name: columns_of(each) for name, each in rows.items()}
        usual = {name: columns[name] or [None] * number for name, number in _USUAL.items()}
        return usual | {name: columns[name] for name in _SELDOM if columns[name]}


def _key(run: Run) -> tuple[str, int]:
    return run.schedule, run.number


def _is_plain(work: Work) -> bool:
    """Whether it did nothing but add jobs that go on, and what belongs to them."""
    others = (work.changed, work.removed, work.keys_taken, work.keys_freed, work.history, work.workers_dropped)
    return not any(others) and not any(job.terminal for job in work.added.values())

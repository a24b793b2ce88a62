"""Putting, dropping and reading schedules, and pruning their run records, as plain functions over rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from mainspring.model.ledger import ended_run, seen_run
from mainspring.model.record import JobRecord
from mainspring.model.schedule import Run, ScheduleRecord
from mainspring.store.base import Due, DueSchedule, PutAnswer, SchedulePut
from mainspring.store.serial.rows import Rows
from mainspring.store.serial.schedule_rows import ScheduleRows

KEPT_DROPPED: Final = 86_400.0
"""Seconds for which the row of a dropped schedule is kept, for its watermark (RULES H13)."""

LOOKED_BACK: Final = 10
"""Run records among which the end of the last run is looked for, where a trigger counts from it."""

FIRST: Final = ("", 0)
"""Before the first run record of all."""


class Noted(NamedTuple):
    """A page of open runs was looked at: how many have ended, and where to go on, None at the end."""

    ended: int
    after: tuple[str, int] | None


def put(rows: ScheduleRows, puts: Sequence[SchedulePut]) -> list[PutAnswer]:
    """See `Schedules.put_schedules`. Within the batch they count as put one by one, in order."""
    ids = list(dict.fromkeys(each.record.id for each in puts))
    current = dict(zip(ids, rows.schedules(ids), strict=True))
    changed: dict[str, ScheduleRecord] = {}
    answers: list[PutAnswer] = []
    for each in puts:
        record = each.record
        stored = current[record.id]
        if is_as_seen(stored, each.stored):
            current[record.id] = changed[record.id] = record
            answers.append("put")
        else:
            answers.append("put" if stored == record else "conflict")
    rows.put_schedules(list(changed.values()))
    return answers


def is_as_seen(stored: ScheduleRecord | None, seen: ScheduleRecord | None) -> bool:
    """Whether nobody has changed, fired, triggered or dropped it since it was seen so."""
    if stored is None or seen is None:
        return stored is seen
    return _version(stored) == _version(seen)


def drop(rows: ScheduleRows, now: float, ids: Sequence[str]) -> list[bool]:
    """See `Schedules.drop_schedules`."""
    unique = list(dict.fromkeys(ids))
    there = {
        each: record
        for each, record in zip(unique, rows.schedules(unique), strict=True)
        if record is not None and record.dropped is None
    }
    rows.put_schedules([replace(record, dropped=now, changed=now) for record in there.values()])
    return [there.pop(each, None) is not None for each in ids]


def due(rows: Rows, now: float, limit: int, without: Collection[str]) -> Due:
    """See `Schedules.due_schedules`."""
    found = rows.due_schedules(now, limit + 1, without)
    next_due = found[limit].due if len(found) > limit else rows.next_due_schedule(now, without)
    found = found[:limit]
    waiting = [record.id for record in found if record.next is None]
    ends = last_ends(rows, now, waiting) if waiting else {}
    return Due([DueSchedule(record, *ends.get(record.id, (False, None))) for record in found], now, next_due)


def last_ends(rows: Rows, now: float, schedules: Sequence[str]) -> dict[str, tuple[bool, float | None]]:
    """For each of these schedules: whether a run goes on, and when the run that ended last did so."""
    newest = rows.newest_runs([(each, LOOKED_BACK) for each in schedules])
    seen: dict[str, list[Run]] = {each: list(runs) for each, runs in zip(schedules, newest, strict=True)}
    for run in rows.open_runs(schedules):
        if run not in seen[run.schedule]:
            seen[run.schedule].append(run)
    ends: dict[str, tuple[bool, float | None]] = {}
    for each, runs in seen.items():
        shown = [run for run in as_seen(rows, now, runs) if run.job is not None]
        ends[each] = (any(run.open for run in shown), max((run.ended for run in shown if run.ended), default=None))
    return ends


def runs_of(rows: Rows, now: float, schedule: str, from_number: int, limit: int) -> list[Run]:
    """See `Schedules.runs`."""
    return as_seen(rows, now, rows.runs_from(schedule, from_number, limit))


def as_seen(rows: Rows, now: float, runs: Sequence[Run]) -> list[Run]:
    """The runs as people see them: open ones in the state of their job."""
    waited = [run.job for run in runs if run.open and run.job is not None]
    if not waited:
        return list(runs)
    jobs = dict(zip(waited, rows.jobs(waited), strict=True))
    return [seen_run(run, jobs.get(run.job or ""), now) for run in runs]


def note_ends(rows: Rows, now: float, after: tuple[str, int], limit: int) -> Noted:
    """Write down the ends of runs, of one page of the open ones: their jobs may be removed soon."""
    page = rows.all_open_runs(after, limit)
    jobs = rows.jobs([run.job for run in page if run.job is not None])
    ended = [after_end for run, job in zip(page, jobs, strict=True) if not (after_end := ended_run(run, job, now)).open]
    rows.put_runs(ended)
    last = page[-1] if len(page) == limit else None
    return Noted(len(ended), None if last is None else (last.schedule, last.number))


def note_ends_of(rows: ScheduleRows, now: float, jobs: Sequence[JobRecord]) -> None:
    """The same of the runs of these ended jobs, which are removed in this very step."""
    ended = {job.id: job for job in jobs if job.schedule is not None}
    if ended:
        found = rows.open_runs(sorted({job.schedule for job in ended.values() if job.schedule is not None}))
        rows.put_runs([ended_run(run, ended[run.job], now) for run in found if run.job in ended])


def prune(rows: Rows, now: float, limit: int) -> int:
    """Remove what is not to be kept, and return how many run records that were: see `Schedules.prune_runs`."""
    old = rows.prunable_runs(now, limit)
    rows.remove_runs(old)
    rows.remove_dropped(now - KEPT_DROPPED, limit)
    return len(old)


def _version(record: ScheduleRecord) -> tuple[int, float, int, bool]:
    return record.revision, record.fired_to, record.number, record.dropped is not None

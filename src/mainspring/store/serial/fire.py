"""Firing schedules: a batch decided by schedulers, or one by a person, as plain functions over rows.

What a fire does is decided by `mainspring.model.firing`, from rows that nobody else changes meanwhile; here they are
read, a batch at a time, and all that it says is written (RULES H13).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Final, NamedTuple

from msgspec.structs import replace

from mainspring.ids import IdSource
from mainspring.model.firing import Fired, fired, not_added, runs_needed, triggered
from mainspring.model.ledger import ended_run
from mainspring.model.record import NewJob
from mainspring.model.schedule import KEPT_RUNS, Fire, FireAnswer, Run, ScheduleRecord, SlotJob
from mainspring.store.base import RunNow
from mainspring.store.serial.add import add, holder
from mainspring.store.serial.rows import FiringUnit

REMEMBERED: Final = KEPT_RUNS
"""Newest run records of a schedule among which the job of a trigger is looked for, whose answer may have been lost."""


class Past(NamedTuple):
    """The runs of a schedule that a fire looks at: those that go on, those whose end was just seen, the newest."""

    open: list[Run]
    ended: list[Run]
    newest: list[Run]


def fire(rows: FiringUnit, now: float, ids: IdSource, fires: Sequence[Fire]) -> list[FireAnswer]:
    """See `Schedules.fire`. Of several fires of one schedule in a batch, the first counts; the others are `stale`."""
    records = _records(rows, dict.fromkeys(each.schedule for each in fires))
    missing = {each.schedule for each in fires if each.missed}
    pasts = _pasts(rows, now, [record for record in records.values() if record is not None], missing)
    effects: list[Fired | FireAnswer] = []
    looked_at: set[str] = set()
    for each in fires:
        past = pasts.get(each.schedule, _NO_PAST)
        again = each.schedule in looked_at
        looked_at.add(each.schedule)
        effects.append("stale" if again else fired(records[each.schedule], each, past.open, past.newest, now))
    answers = _carry_out(rows, now, ids, effects, pasts)
    return _with_repeats(rows, fires, answers)


def trigger(rows: FiringUnit, now: float, ids: IdSource, asked: Sequence[RunNow]) -> list[FireAnswer]:
    """See `Schedules.trigger`. One by one, in order; but all schedules are taken first, in the order of their ids."""
    there = [record.id for record in _records(rows, sorted({each.schedule for each in asked})).values() if record]
    added = _have_run(rows, there) | _are_there(rows, [(each.schedule, each.job) for each in asked])
    answers: list[FireAnswer] = []
    for each in asked:
        if each.job.job in added:
            answers.append("fired")
            continue
        record = _records(rows, [each.schedule])[each.schedule]
        pasts = _pasts(rows, now, [] if record is None else [record], ())
        past = pasts.get(each.schedule, _NO_PAST)
        effect = triggered(record, each.job, past.open, past.newest, now)
        [answer] = _carry_out(rows, now, ids, [effect], pasts)
        answers.append(answer)
        if answer == "fired":
            added.add(each.job.job)
    return answers


_NO_PAST = Past([], [], [])


def _records(rows: FiringUnit, schedules: Iterable[str]) -> dict[str, ScheduleRecord | None]:
    wanted = list(schedules)
    return dict(zip(wanted, rows.schedules(wanted), strict=True))


def _pasts(
    rows: FiringUnit, now: float, records: Sequence[ScheduleRecord], missing: Collection[str]
) -> dict[str, Past]:
    """What was before. The newest records are read only where they may matter: for failures, or to be merged with."""
    found = rows.open_runs([record.id for record in records])
    pasts = {record.id: Past([], [], []) for record in records}
    jobs = rows.jobs([run.job for run in found if run.job is not None])
    for run, job in zip(found, jobs, strict=True):
        seen = ended_run(run, job, now)
        past = pasts[run.schedule]
        (past.open if seen.open else past.ended).append(seen)
    _drop_lost_groups(rows, [pasts[record.id] for record in records if record.definition.overlap == "queue"])
    needed = [
        record
        for record in records
        if record.id in missing
        or record.definition.stop_after is not None
        or record.definition.template.unique is not None
        or (pasts[record.id].open and record.definition.overlap != "allow")
    ]
    newest = (
        rows.newest_runs([(record.id, runs_needed(record, len(pasts[record.id].open))) for record in needed])
        if needed
        else []
    )
    for record, runs in zip(needed, newest, strict=True):
        past = pasts[record.id]
        ended = {run.number: run for run in past.ended}
        past.newest.extend(ended.get(run.number, run) for run in runs)
    return pasts


def _drop_lost_groups(rows: FiringUnit, pasts: Sequence[Past]) -> None:
    """A replayed run may have outlived the group that another could wait on: then none can."""
    groups = [run.group for past in pasts for run in past.open if run.group is not None]
    if not groups:
        return
    there = {group.id for group in rows.groups(groups) if group is not None}
    for past in pasts:
        past.open[:] = [run if run.group in there else replace(run, group=None) for run in past.open]


def _carry_out(
    rows: FiringUnit,
    now: float,
    ids: IdSource,
    effects: Sequence[Fired | FireAnswer],
    pasts: dict[str, Past],
) -> list[FireAnswer]:
    """Write what these effects say, and answer for each."""
    real = [each for each in effects if isinstance(each, Fired)]
    settled = iter(_with_jobs(rows, now, ids, real))
    answers: list[FireAnswer] = []
    schedules: list[ScheduleRecord] = []
    runs: list[Run] = []
    below: list[tuple[str, int]] = []
    for each in effects:
        if not isinstance(each, Fired):
            answers.append(each)
            continue
        effect = next(settled)
        answers.append(effect.answer)
        schedule = effect.schedule
        schedules.append(schedule)
        runs += pasts[schedule.id].ended
        runs += effect.runs
        if effect.runs and schedule.number > schedule.definition.keep:
            below.append((schedule.id, schedule.number - schedule.definition.keep + 1))
    if schedules:
        rows.put_schedules(schedules)
    if runs:
        rows.put_runs(runs)
    if below:
        rows.trim_runs(below)
    return answers


def _with_jobs(rows: FiringUnit, now: float, ids: IdSource, effects: Sequence[Fired]) -> list[Fired]:
    """Add the jobs of these effects; returns the effects as they are when some of the keys are taken."""
    keyed = _without_key(rows, now, [job for each in effects for job in each.jobs])
    real = [not_added(each, keyed) if any(job.id in keyed for job in each.jobs) else each for each in effects]
    jobs = [job for each in real for job in each.jobs]
    if jobs:
        add(rows, now, ids, jobs, [group for each in real for group in each.groups])
    return real


def _without_key(rows: FiringUnit, now: float, jobs: Sequence[NewJob]) -> set[str]:
    """Those that cannot be added, because another job holds their key; found out before, so that no group is left."""
    taken: set[str] = set()
    refused: set[str] = set()
    for job in jobs:
        if job.unique is None:
            continue
        if job.unique in taken or holder(rows, job.unique, now) is not None:
            refused.add(job.id)
        taken.add(job.unique)
    return refused


def _with_repeats(rows: FiringUnit, fires: Sequence[Fire], answers: list[FireAnswer]) -> list[FireAnswer]:
    """A fire that was carried out, and whose answer was lost, is stale when it is sent again: its job tells (C3)."""
    asked = [
        (each.schedule, each.slots[0])
        for each, answer in zip(fires, answers, strict=True)
        if answer == "stale" and each.slots
    ]
    added = _are_there(rows, asked)
    return [
        "fired" if answer == "stale" and each.slots and each.slots[0].job in added else answer
        for each, answer in zip(fires, answers, strict=True)
    ]


def _have_run(rows: FiringUnit, schedules: Sequence[str]) -> set[str]:
    """The jobs that the newest records of these schedules tell of; they may have been removed (C3)."""
    going_on = rows.open_runs(schedules)
    newest = rows.newest_runs([(each, REMEMBERED) for each in schedules])
    return {run.job for run in chain(going_on, *newest) if run.job is not None}


def _are_there(rows: FiringUnit, asked: Sequence[tuple[str, SlotJob]]) -> set[str]:
    """Those of these jobs that the schedule has added before."""
    if not asked:
        return set()
    jobs = rows.jobs([slot.job for _, slot in asked])
    return {
        job.id for (schedule, _), job in zip(asked, jobs, strict=True) if job is not None and job.schedule == schedule
    }

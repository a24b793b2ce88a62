"""What firing a schedule does, as every store does it: pure, from the rows as they are to the rows as they will be.

A store holds the schedule, its open runs and its newest runs still, asks here, and writes all of the answer in one
commit, or nothing. Overlap and failed runs are decided here and not by the scheduler, since only the store knows them
at that moment (RULES H13).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from msgspec.structs import replace

from mainspring.model.record import JobRecord, NewGroup, NewJob
from mainspring.model.schedule import FAILED, Fire, FireAnswer, Run, ScheduleRecord, SlotJob

Kind = Literal["slot", "trigger"]


class Fired(NamedTuple):
    """What a fire writes: the schedule, new jobs and groups, and run records, of which the first may replace one."""

    answer: FireAnswer
    schedule: ScheduleRecord
    jobs: tuple[NewJob, ...] = ()
    groups: tuple[NewGroup, ...] = ()
    runs: tuple[Run, ...] = ()


def runs_needed(schedule: ScheduleRecord) -> int:
    """How many of its newest run records `fired` wants to see: between two runs lie at most a missed and a skipped one."""
    failures = schedule.definition.stop_after
    return 1 if failures is None else 3 * failures + 2


def ended_run(run: Run, job: JobRecord | None, now: float) -> Run:
    """An open run with the end of its job, when that has ended; `job` is None when it is gone."""
    if job is None:
        return replace(run, state="removed", ended=now)
    if not job.terminal:
        return run
    error = "" if job.error is None else f"{job.error.type}: {job.error.message}"
    return replace(
        run,
        state=job.state,
        started=job.started if job.started is not None else job.claimed,
        ended=job.finished if job.finished is not None else now,
        attempts=job.attempt,
        error=error,
    )


def seen_run(run: Run, job: JobRecord | None, now: float) -> Run:
    """A run as people see it: an open one in the state in which its job is."""
    if not run.open:
        return run
    seen = ended_run(run, job, now)
    if job is None or job.terminal:
        return seen
    return replace(seen, state=job.state, started=job.started, attempts=job.attempt)


def fired(
    schedule: ScheduleRecord | None, fire: Fire, open_runs: Sequence[Run], newest: Sequence[Run], now: float
) -> Fired | FireAnswer:
    """The effect of a fire, or the answer alone when nothing changes. `newest`: see `runs_needed`, oldest first.

    Both lists hold the runs as they are after `ended_run`.
    """
    refusal = _refusal(schedule, fire)
    if refusal is not None or schedule is None:
        return refusal or "unknown"
    if fire.slots and _has_failed(schedule, newest):
        stopped = replace(schedule, paused=FAILED, revision=schedule.revision + 1, changed=now)
        return Fired("stopped", stopped)
    ledger = _Ledger(schedule, newest, now)
    if fire.missed:
        ledger.left_out("missed", fire.missed_from, fire.missed_to, fire.missed)
    added = ledger.run_slots("slot", fire.slots, open_runs)
    definition = schedule.definition
    runs = schedule.runs + added
    over = definition.max_runs is not None and runs >= definition.max_runs
    after = replace(
        schedule,
        next=None if over else fire.next,
        due=None if over else fire.due,
        fired_to=max(schedule.fired_to, fire.to),
        runs=runs,
        missed=schedule.missed + fire.missed,
        skipped=schedule.skipped + len(fire.slots) - added,
        number=ledger.number,
    )
    answer: FireAnswer = "fired" if added else "skipped" if fire.slots else "moved"
    return Fired(answer, after, tuple(ledger.jobs), tuple(ledger.groups), tuple(ledger.runs))


def triggered(
    schedule: ScheduleRecord | None, job: SlotJob, open_runs: Sequence[Run], newest: Sequence[Run], now: float
) -> Fired | FireAnswer:
    """The effect of a person's "run it now": a job without a slot, by the same rule of overlap, paused or not."""
    if schedule is None or schedule.dropped is not None:
        return "unknown"
    ledger = _Ledger(schedule, newest, now)
    if not ledger.run_slots("trigger", (job,), open_runs):
        return "skipped"
    after = replace(schedule, number=ledger.number)
    return Fired("fired", after, tuple(ledger.jobs), tuple(ledger.groups), tuple(ledger.runs))


def not_added(effect: Fired, jobs: Sequence[str]) -> Fired:
    """The effect when these of its jobs could not be added, because another job holds their unique key."""
    runs = tuple(
        replace(run, kind="skipped", job=None, group=None, state="skipped", last_slot=run.slot)
        if run.job in jobs
        else run
        for run in effect.runs
    )
    slots = sum(run.job in jobs and run.kind == "slot" for run in effect.runs)
    schedule = effect.schedule
    schedule = replace(schedule, runs=schedule.runs - slots, skipped=schedule.skipped + slots)
    answer: FireAnswer = "fired" if any(run.job for run in runs) else "skipped"
    return effect._replace(answer=answer, schedule=schedule, runs=runs)


def _refusal(schedule: ScheduleRecord | None, fire: Fire) -> FireAnswer | None:
    if schedule is None or schedule.dropped is not None:
        return "unknown"
    if schedule.paused:
        return "paused"
    if schedule.revision != fire.revision or schedule.due != fire.expected:
        return "stale"
    if any(each.slot <= schedule.fired_to for each in fire.slots):
        return "stale"
    return None


def _has_failed(schedule: ScheduleRecord, newest: Sequence[Run]) -> bool:
    """Whether its last `stop_after` runs have all died, since people last touched it."""
    wanted = schedule.definition.stop_after
    if wanted is None:
        return False
    states = [run.state for run in newest if run.job is not None and not run.open and run.fired >= schedule.changed]
    return len(states) >= wanted and all(state == "dead" for state in states[-wanted:])


class _Ledger:
    """The jobs, groups and run records of one fire, numbered on from the last one."""

    def __init__(self, schedule: ScheduleRecord, newest: Sequence[Run], now: float) -> None:
        self._schedule = schedule
        self._last = newest[-1] if newest else None
        self._now = now
        self.number = schedule.number
        self.jobs: list[NewJob] = []
        self.groups: list[NewGroup] = []
        self.runs: list[Run] = []

    def run_slots(self, kind: Kind, slots: Sequence[SlotJob], open_runs: Sequence[Run]) -> int:
        """Add the jobs that the rule of overlap lets be; the rest is skipped. Returns how many were added."""
        overlap = self._schedule.definition.overlap
        waits_on: str | None = None
        number = len(slots)
        if overlap != "allow" and open_runs:
            number = min(number, 1) if overlap == "queue" and len(open_runs) == 1 and open_runs[0].group else 0
            waits_on = open_runs[0].group
        tied = overlap == "queue" or (overlap == "skip" and number > 1)
        for each in slots[:number]:
            self._run(kind, each, waits_on, each.group if tied else None)
            waits_on = each.group if tied else None
        if slots[number:] and kind == "slot":
            rest = slots[number:]
            self.left_out("skipped", rest[0].slot, rest[-1].slot, len(rest))
        return number

    def left_out(self, kind: Literal["missed", "skipped"], first: float | None, last: float | None, count: int) -> None:
        """Record slots that do not run, in the last record if that is of the same kind."""
        if self._last is not None and self._last.kind == kind:
            self._last = replace(self._last, last_slot=last, count=self._last.count + count)
            self.runs.append(self._last)
            return
        self._append(
            Run(
                schedule=self._schedule.id,
                number=self.number + 1,
                kind=kind,
                slot=first,
                last_slot=last,
                count=count,
                fired=self._now,
                state=kind,
                ended=self._now,
            )
        )

    def _run(self, kind: Kind, each: SlotJob, waits_on: str | None, group: str | None) -> None:
        slot = each.slot if kind == "slot" else None
        template = self._schedule.definition.template
        self.jobs.append(
            replace(template, id=each.job, schedule=self._schedule.id, slot=slot, waits_on=waits_on, group=group)
        )
        if group is not None:
            self.groups.append(NewGroup(id=group, size=1, on_failure="wait"))
        self._append(
            Run(
                schedule=self._schedule.id,
                number=self.number + 1,
                kind=kind,
                slot=slot,
                job=each.job,
                group=group,
                fired=self._now,
            )
        )

    def _append(self, run: Run) -> None:
        self.number += 1
        self._last = run
        self.runs.append(run)

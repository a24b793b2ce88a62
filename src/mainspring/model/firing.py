"""What firing a schedule does, as every store does it: pure, from the rows as they are to the rows as they will be.

A store holds the schedule, its open runs and its newest runs still, asks here, and writes all of the answer in one
commit, or nothing. Overlap and failed runs are decided here and not by the scheduler, since only the store knows them
at that moment (RULES H13).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from mainspring.model.ledger import Ledger
from mainspring.model.record import NewGroup, NewJob
from mainspring.model.schedule import FAILED, Fire, FireAnswer, Run, ScheduleRecord, SlotJob

_FAILURES: Final = frozenset({"dead", "expired"})


class Asked(NamedTuple):
    """What an effect was decided on, so that it can be decided again when some of its jobs cannot be added."""

    schedule: ScheduleRecord
    what: Fire | SlotJob
    open_runs: Sequence[Run]
    newest: Sequence[Run]
    now: float


class Fired(NamedTuple):
    """What a fire writes: the schedule, new jobs and groups, and run records.

    Records with a number that was there before replace the one of that number: at most two, of slots left out.
    """

    answer: FireAnswer
    schedule: ScheduleRecord
    jobs: tuple[NewJob, ...] = ()
    groups: tuple[NewGroup, ...] = ()
    runs: tuple[Run, ...] = ()
    asked: Asked | None = None


def runs_needed(schedule: ScheduleRecord, open_runs: int = 0) -> int:
    """How many of its newest run records `fired` wants to see, when so many runs are open.

    Before and after each run lie at most two records of slots left out, so that the last runs that have ended are
    among these.
    """
    failures = schedule.definition.stop_after
    return 2 if failures is None else 3 * (failures + open_runs)


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
        return Fired("stopped", replace(schedule, paused=FAILED, revision=schedule.revision + 1, changed=now))
    return _fired(Asked(schedule, fire, open_runs, newest, now), fire, ())


def triggered(
    schedule: ScheduleRecord | None, job: SlotJob, open_runs: Sequence[Run], newest: Sequence[Run], now: float
) -> Fired | FireAnswer:
    """The effect of a person's "run it now": a job without a slot, by the same rule of overlap, paused or not."""
    if schedule is None or schedule.dropped is not None or schedule.unreadable:
        return "unknown"
    effect = _triggered(Asked(schedule, job, open_runs, newest, now), job, ())
    return effect if effect.jobs else "skipped"


def not_added(effect: Fired, jobs: Collection[str]) -> Fired:
    """The effect when these of its jobs could not be added, because another job holds their unique key: skipped."""
    asked = effect.asked
    if asked is None:
        return effect
    return _fired(asked, asked.what, jobs) if isinstance(asked.what, Fire) else _triggered(asked, asked.what, jobs)


def _fired(asked: Asked, fire: Fire, refused: Collection[str]) -> Fired:
    schedule = asked.schedule
    ledger = Ledger(schedule, asked.newest, asked.now)
    if fire.missed:
        ledger.left_out("missed", fire.missed_from, fire.missed_to, fire.missed)
    added = ledger.run("slot", fire.slots, asked.open_runs, refused)
    limit, runs = schedule.definition.max_runs, schedule.runs + added
    over = limit is not None and runs >= limit
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
    return Fired(answer, after, tuple(ledger.jobs), tuple(ledger.groups), ledger.runs, asked)


def _triggered(asked: Asked, job: SlotJob, refused: Collection[str]) -> Fired:
    ledger = Ledger(asked.schedule, asked.newest, asked.now)
    added = ledger.run("trigger", (job,), asked.open_runs, refused)
    after = replace(asked.schedule, number=ledger.number)
    jobs, groups = tuple(ledger.jobs), tuple(ledger.groups)
    return Fired("fired" if added else "skipped", after, jobs, groups, ledger.runs, asked)


def _refusal(schedule: ScheduleRecord | None, fire: Fire) -> FireAnswer | None:
    if schedule is None or schedule.dropped is not None or schedule.unreadable:
        return "unknown"
    if schedule.paused:
        return "paused"
    if schedule.revision != fire.revision or schedule.due != fire.expected:
        return "stale"
    if any(each.slot <= schedule.fired_to for each in fire.slots):
        return "stale"
    return None


def _has_failed(schedule: ScheduleRecord, newest: Sequence[Run]) -> bool:
    """Whether its last `stop_after` runs that have ended all failed, since people last touched it.

    One whose job expired before it began has failed; one that people cancelled has not.
    """
    wanted = schedule.definition.stop_after
    if wanted is None:
        return False
    states = [run.state for run in newest if run.job is not None and not run.open and run.fired >= schedule.changed]
    return len(states) >= wanted and _FAILURES.issuperset(states[-wanted:])

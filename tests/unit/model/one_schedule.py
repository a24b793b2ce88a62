"""A pretended store with one schedule in it: what a store and a scheduler do, from the pure parts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from msgspec.structs import replace

from mainspring.model.catch_up import Decision, decided
from mainspring.model.every import Every
from mainspring.model.firing import Fired, fired, not_added, runs_needed, triggered
from mainspring.model.ledger import ended_run
from mainspring.model.planning import paused, planned, resumed
from mainspring.model.record import Failure, JobRecord, NewJob
from mainspring.model.schedule import BY_REQUEST, Definition, Fire, FireAnswer, Run, ScheduleRecord, SlotJob
from mainspring.model.states import State
from mainspring.model.triggers import Trigger

MINUTELY = Every(60)
START = datetime(2026, 11, 22, 9, tzinfo=UTC).timestamp()
TEMPLATE = NewJob(id="", task="report")


def definition(trigger: Trigger, **options: Any) -> Definition:
    return Definition(trigger=repr(trigger).encode(), template=TEMPLATE, from_end=trigger.from_end, **options)


def new_record(trigger: Trigger, now: float = START, **options: Any) -> ScheduleRecord:
    return planned("nightly", definition(trigger, **options), trigger, now)


def fire_of(record: ScheduleRecord, decision: Decision, *, name: str = "job") -> Fire:
    """What a scheduler sends."""
    assert record.due is not None
    return Fire(
        schedule=record.id,
        revision=record.revision,
        expected=record.due,
        slots=tuple(SlotJob(slot, f"{name}@{slot}", f"group@{slot}") for slot in decision.slots),
        missed=decision.missed,
        missed_from=decision.missed_from,
        missed_to=decision.missed_to,
        to=decision.to,
        next=decision.next,
        due=decision.due,
    )


def ended_job(job: str, state: State, at: float) -> JobRecord:
    error = Failure(type="ValueError", message="no") if state == "dead" else None
    return JobRecord(
        id=job, task="report", state=state, created=at, due=at, started=at, finished=at, attempt=1, error=error
    )


@dataclass
class OneSchedule:
    """Its clock may go anywhere. `slots` are those that became jobs, in that order, whatever was removed since."""

    trigger: Trigger
    now: float = START
    record: ScheduleRecord | None = None
    runs: dict[int, Run] = field(default_factory=dict)
    slots: list[float] = field(default_factory=list)
    jobs: dict[str, NewJob] = field(default_factory=dict)
    ends: dict[str, JobRecord] = field(default_factory=dict)
    taken: bool = False
    """Whether another job holds the unique key of the template."""
    _ids: count[int] = field(default_factory=count)

    def there(self) -> ScheduleRecord:
        assert self.record is not None
        return self.record

    def put(self, trigger: Trigger | None = None, *, declared_by: str = "", **options: Any) -> ScheduleRecord:
        self.trigger = trigger or self.trigger
        self.record = planned(
            "nightly", definition(self.trigger, **options), self.trigger, self.now, stored=self.record,
            declared_by=declared_by,
        )  # fmt: skip
        return self.record

    def pause(self, reason: str = BY_REQUEST) -> None:
        self.record = paused(self.there(), self.now, reason)

    def resume(self) -> None:
        self.record = resumed(self.there(), self.trigger, self.now)

    def drop(self) -> None:
        self.record = replace(self.there(), dropped=self.now, changed=self.now)

    def decision(self) -> Decision | None:
        """What a scheduler decides now; None while nothing is due."""
        record = self.there()
        if record.due is None or record.due > self.now or record.paused or record.dropped is not None:
            return None
        runs = [run for run in self.seen() if run.job is not None]
        ended = max((run.ended for run in runs if run.ended is not None), default=None)
        return decided(record, self.trigger, self.now, active=any(run.open for run in runs), ended=ended)

    def fire(self) -> FireAnswer | None:
        """One look of a scheduler."""
        decision = self.decision()
        if decision is None:
            return None
        return self.send(fire_of(self.there(), decision, name=str(next(self._ids))))

    def send(self, fire: Fire) -> FireAnswer:
        """A fire that was decided some time ago."""
        seen = self.seen()
        open_runs = [run for run in seen if run.open]
        effect = fired(self.record, fire, open_runs, self._newest(seen, open_runs), self.now)
        return self._apply(effect)

    def run_now(self) -> FireAnswer:
        seen = self.seen()
        open_runs = [run for run in seen if run.open]
        name = f"asked{next(self._ids)}"
        effect = triggered(
            self.record, SlotJob(0.0, name, name + "g"), open_runs, self._newest(seen, open_runs), self.now
        )
        return self._apply(effect)

    def end(self, state: State = "completed", run: Run | None = None) -> None:
        """The oldest open run ends, or this one."""
        for each in [run] if run is not None else self.open_runs()[:1]:
            assert each.job is not None
            self.ends[each.job] = ended_job(each.job, state, self.now)

    def seen(self) -> list[Run]:
        return [
            ended_run(run, self.ends[run.job], self.now) if run.open and run.job in self.ends else run
            for _, run in sorted(self.runs.items())
        ]

    def open_runs(self) -> list[Run]:
        return [run for run in self.seen() if run.open]

    def _newest(self, seen: Sequence[Run], open_runs: Sequence[Run]) -> Sequence[Run]:
        return seen[-runs_needed(self.there(), len(open_runs)) :]

    def _apply(self, effect: Fired | FireAnswer) -> FireAnswer:
        if isinstance(effect, str):
            return effect
        if self.taken:
            effect = not_added(effect, [job.id for job in effect.jobs])
        self.record = effect.schedule
        self.runs.update((run.number, run) for run in effect.runs)
        for job in effect.jobs:
            assert job.id not in self.jobs
            self.jobs[job.id] = job
            if job.slot is not None:
                self.slots.append(job.slot)
        return effect.answer


def running(trigger: Trigger = MINUTELY, **options: Any) -> OneSchedule:
    one = OneSchedule(trigger)
    one.put(**options)
    return one


def at(one: OneSchedule, after: float) -> OneSchedule:
    one.now = START + after
    return one


def slot_fire(one: OneSchedule, *slots: float, **fields: Any) -> Fire:
    record = one.there()
    assert record.due is not None
    return Fire(
        schedule=record.id,
        revision=record.revision,
        expected=record.due,
        slots=tuple(SlotJob(START + slot, f"job{slot:g}", f"group@{slot:g}") for slot in slots),
        **{"to": START + slots[-1], "next": START + slots[-1] + 60, "due": START + slots[-1] + 60, **fields},
    )

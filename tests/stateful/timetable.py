"""Random verbs about schedules on the model and on another store: people, two schedulers with old reads, and workers.

The decisions are the engine's own (`planning`, `catch_up`); the clock is set forwards and back; replies get lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mainspring.model.catch_up import decided
from mainspring.model.record import Failure, Settlement
from mainspring.model.schedule import Definition, Fire, FireAnswer, SlotJob
from mainspring.model.states import SettleKind
from mainspring.store.base import Claim, DueSchedule, Filter, Lane, Store
from tests.stateful.pair import ALL
from tests.stateful.people import NAMES, TRIGGERS, People, definitions, lost

LANES: Final = (Lane("default", "t", "", 9), Lane("default", "u", "", 9))
KINDS: Final[tuple[SettleKind, ...]] = ("complete", "complete", "dead", "dead", "retry", "wait", "cancelled", "release")

Verb = Callable[[Store, str], Awaitable[object]]

schedulers = st.sampled_from([0, 1])


class Timetable(People):
    """Give `other` to compare a store with the model."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: dict[int, tuple[list[DueSchedule], float]] = {0: ([], 0.0), 1: ([], 0.0)}
        self.sent: list[Fire] = []

    # --- schedulers

    @rule(scheduler=schedulers, limit=st.sampled_from([1, ALL]), without=st.sampled_from([(), (NAMES[0],)]))
    def look(self, scheduler: int, limit: int, without: tuple[str, ...]) -> None:
        due = self.both("due_schedules", lambda store: store.due_schedules(limit, without=without))
        self.looks[scheduler] = (due.schedules, due.now)

    @rule(scheduler=schedulers, lose=lost)
    def fire(self, scheduler: int, lose: bool) -> None:
        """What it has decided on its last look, which may be long ago."""
        schedules, now = self.looks[scheduler]
        self.send([self.fire_of(each, now) for each in schedules], lose)

    @rule(scheduler=schedulers, lose=lost)
    def work(self, scheduler: int, lose: bool) -> None:
        """A look and its fires at once, as mostly."""
        self.look(scheduler, ALL, ())
        self.fire(scheduler, lose)

    @rule(schedulers=st.lists(schedulers, min_size=1, max_size=4), late=st.sampled_from([0.0, 0.0, 8.0, 100.0]))
    def go_on(self, schedulers: list[int], late: float) -> None:
        """Time passes, and each slot fires in time; or later, when nobody was there."""
        for scheduler in schedulers:
            next_due = self.run(self.model.due_schedules(ALL)).next_due
            if next_due is not None and next_due > self.clock.now():
                self.clock.advance(next_due - self.clock.now() + late)
            self.work(scheduler, False)

    @rule(definition=definitions())
    def go_on_under_another_rule(self, definition: Definition) -> None:
        self.put(NAMES[0], definition, False, False)
        self.go_on([0, 1, 0], 0.0)

    @rule(kinds=st.lists(st.sampled_from(["complete", "dead", "dead", "retry"]), min_size=1, max_size=4))
    def go_on_with_workers(self, kinds: list[SettleKind]) -> None:
        """Whatever can run after each fire ends so."""
        for number, kind in enumerate(kinds):
            self.go_on([number % 2], 0.0)
            self.run_jobs([kind] * 9, LANES)

    @precondition(lambda self: self.sent)
    @rule(number=st.integers(0, 99))
    def fire_again(self, number: int) -> None:
        """A reply that was lost long ago."""
        self.send([self.sent[number % len(self.sent)]], False)

    def fire_of(self, due: DueSchedule, now: float) -> Fire:
        record = due.schedule
        assert record.due is not None
        trigger = TRIGGERS[record.definition.trigger]
        decision = decided(record, trigger, now, active=due.active, ended=due.ended)
        return Fire(
            schedule=record.id,
            revision=record.revision,
            expected=record.due,
            slots=tuple(SlotJob(slot, self.make(), self.make()) for slot in decision.slots),
            missed=decision.missed,
            missed_from=decision.missed_from,
            missed_to=decision.missed_to,
            to=decision.to,
            next=decision.next,
            due=decision.due,
        )

    def send(self, fires: list[Fire], lose: bool) -> None:
        self.sent = [*self.sent, *fires][-20:]
        going_on = {name: [run for run in self.run(self.model.runs(name)) if run.open] for name in NAMES}
        rules = {each.id: each.definition.overlap for each in self.run(self.model.get_schedules(NAMES)).schedules}
        known = {job.id for job in self.run(self.model.find(Filter(), limit=ALL)).jobs}

        def act(store: Store) -> Awaitable[list[FireAnswer]]:
            return store.fire(fires)

        answers = self.both("fire", act, act if lose else None)
        for fire, answer in zip(fires, answers, strict=True):
            new = [each.job for each in fire.slots if each.job not in known]
            if answer == "fired" and new == [each.job for each in fire.slots]:
                overlap = rules[fire.schedule]
                assert overlap == "allow" or len(going_on[fire.schedule]) <= (overlap == "queue"), "H13: overlap"

    # --- workers

    @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3), lanes=st.sampled_from([LANES, LANES[:1]]))
    def run_jobs(self, kinds: list[SettleKind], lanes: tuple[Lane, ...]) -> None:
        request = Claim("w1", next(self.claims), lanes, len(kinds))
        jobs = self.both("claim", lambda store: store.claim(request)).jobs
        batch = [
            Settlement(job=job.id, lease=job.lease, kind=kind, ran=0.25, after=6.0 if kind == "retry" else 0.0,
                       error=Failure(type="E", message=kind) if kind == "dead" else None)
            for job, kind in zip(jobs, kinds, strict=False)
        ]  # fmt: skip
        self.both("settle", lambda store: store.settle(batch))

    @rule(limit=st.integers(1, 2))
    def start_jobs(self, limit: int) -> None:
        """They go on until they are replayed, or for ever."""
        request = Claim("w2", next(self.claims), LANES, limit)
        self.both("claim", lambda store: store.claim(request))

    @rule(number=st.integers(0, 99), lose=lost)
    def cancel(self, number: int, lose: bool) -> None:
        self.on_one("cancel", number, lose, lambda store, job: store.cancel([job]))

    @rule(number=st.integers(0, 99), lose=lost)
    def replay(self, number: int, lose: bool) -> None:
        self.on_one("replay", number, lose, lambda store, job: store.replay([job], force=True), ended=True)

    @rule(number=st.integers(0, 99))
    def delete(self, number: int) -> None:
        self.forget_groups()
        self.on_one("delete", number, False, lambda store, job: store.delete([job]), ended=True)

    def on_one(self, verb: str, number: int, lose: bool, act: Verb, *, ended: bool = False) -> None:
        """Any job of a schedule."""
        jobs = sorted(job.id for job in self.seen.values() if job.schedule is not None and job.terminal >= ended)
        if jobs:
            chosen = jobs[number % len(jobs)]
            self.both(verb, lambda store: act(store, chosen), (lambda store: act(store, chosen)) if lose else None)

    # --- upkeep and time

    @rule()
    def sweep(self) -> None:
        self.both("sweep", lambda store: store.sweep("w1", ALL))

    @rule(lose=lost)
    def prune_runs(self, lose: bool) -> None:
        def act(store: Store) -> Awaitable[object]:
            return store.prune_runs(ALL)

        self.both("prune_runs", act, act if lose else None)

    @rule(age=st.sampled_from([1.0, 30.0]))
    def prune(self, age: float) -> None:
        self.forget_groups()
        retention = {"completed": age, "dead": age, "cancelled": age}
        self.both("prune", lambda store: self.pruned(store, retention))

    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0, 10.0, 40.0, 4000.0]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-50.0, -3.0, 3.0, 90_000.0]))
    def step(self, seconds: float) -> None:
        """Somebody sets the clock."""
        self.clock.step(max(seconds, -self.back))

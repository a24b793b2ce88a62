"""The interleavings of RULES H13 one after the other, and long lives of one schedule."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from mainspring.model.cron import Cron, Daily
from mainspring.model.every import Every, Once
from mainspring.model.schedule import BY_REQUEST, VANISHED, Fire, SlotJob
from mainspring.model.states import State
from mainspring.model.triggers import Trigger
from tests.unit.model.one_schedule import START, OneSchedule, at, fire_of, running, slot_fire

MINUTELY = Every(60)


# --- RULES H13, one interleaving after the other --------------------------------------------------------------


def test_H13_two_schedulers_decide_the_same_slot_and_one_fires() -> None:
    one = at(running(overlap="allow"), 5)
    first, second = (fire_of(one.there(), one.decision() or pytest.fail("not due"), name=name) for name in "ab")
    assert [one.send(first), one.send(second), one.send(first)] == ["fired", "stale", "stale"]
    assert one.slots == [START]


@pytest.mark.parametrize(
    ("act", "answer"),
    [
        (lambda one: one.pause(), "paused"),
        (lambda one: (one.pause(), one.resume()), "stale"),
        (lambda one: one.put(Cron("* * * * *")), "stale"),
        (lambda one: one.put(misfire="all"), "stale"),
        (lambda one: one.drop(), "unknown"),
        (lambda one: (one.drop(), one.put()), "stale"),
        (lambda one: one.fire(), "stale"),
        (lambda one: one.run_now(), "fired"),
        (lambda one: one.put(overlap="allow"), "fired"),
    ],
)
def test_H13_a_fire_meets_what_happened_since_it_was_decided(act: Any, answer: str) -> None:
    one = at(running(overlap="allow"), 5)
    late = fire_of(one.there(), one.decision() or pytest.fail("not due"), name="late")
    act(one)
    before = list(one.slots)
    assert one.send(late) == answer
    assert one.slots == before + ([START] if answer == "fired" else [])


def test_H13_a_late_look_does_not_move_a_schedule_back() -> None:
    """Neither one without slots, nor one whose slot would be above the watermark still."""
    one = running(Every(60, anchor="end"), overlap="allow")
    assert at(one, 0).fire() == "fired"
    look = fire_of(one.there(), at(one, 60).decision() or pytest.fail("not due"))
    one.end()
    assert at(one, 61).fire() == "moved"
    moved = one.there()
    assert (moved.next, moved.due) == (START + 120, START + 120)
    assert one.send(look) == "stale"
    assert one.send(replace(look, slots=(SlotJob(START + 60, "late", "group"),), to=START + 60)) == "stale"
    assert one.there() is moved


def test_H13_no_slot_at_or_below_the_watermark_becomes_a_job() -> None:
    one = running(overlap="allow")
    one.record = replace(one.there(), fired_to=START + 60)
    for slots in ([0], [60], [60, 120]):
        assert one.send(slot_fire(one, *slots)) == "stale"
    assert one.send(slot_fire(one, 120)) == "fired"


def test_H13_daily_fired_then_the_clock_steps_back_then_the_trigger_is_replaced() -> None:
    one = running(Daily(time(9)), overlap="allow")
    assert at(one, 0.01).fire() == "fired"
    at(one, -1.99)
    assert one.fire() is None
    for trigger in (Cron("0 9 * * *"), Cron("0 9 * * *") | Daily(time(21)), Every(60), Daily(time(9))):
        one.put(trigger, overlap="allow")
        one.pause()
        one.resume()
        at(one, 0.01).fire()
        at(one, -1.99)
    assert one.slots == [START]
    assert at(one, 24 * 3600).fire() == "fired"
    assert one.slots == [START, START + 24 * 3600]


def test_H13_a_clock_a_day_ahead_and_back_runs_no_slot_twice() -> None:
    """What has run early has run: the schedule rests until its clock is there again."""
    one = running(misfire="all", misfire_limit=5000, overlap="allow")
    assert at(one, 24 * 3600).fire() == "fired"
    assert at(one, 60).fire() is None
    assert at(one, 24 * 3600 + 60).fire() == "fired"
    assert one.slots == [START + 60 * n for n in range(24 * 60 + 2)]


def test_H13_a_fire_that_is_lost_is_decided_again() -> None:
    one = at(running(), 0)
    lost = one.decision()
    assert lost is not None
    assert one.decision() == lost
    assert at(one, 1).fire() == "fired"
    assert one.slots == [START]


def test_H13_failures_are_seen_at_the_fire_not_at_the_end_of_a_job() -> None:
    one = running(stop_after=1)
    one.fire()
    before = one.there()
    one.end("dead")
    assert one.there() is before
    assert at(one, 60).fire() == "stopped"


# --- long lives ---------------------------------------------------------------------------------------------

TRIGGERS: list[Trigger] = [
    MINUTELY,
    Every(45, first="after"),
    Every(600, anchor="end"),
    Every(12.5),
    Cron("*/3 * * * *"),
    Cron("0 */2 * * *", tz="Europe/Berlin"),
    Daily(time(9, 30)),
    Once(datetime(2026, 11, 22, 9, 20, tzinfo=UTC)),
    Once(datetime(2026, 11, 22, 8, tzinfo=UTC)),
    Every(100) | Cron("1 * * * *"),
    Every(30).except_(Cron("5-50 * * * *")),
]

OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "misfire": st.sampled_from(["once", "skip", "all"]),
        "misfire_limit": st.sampled_from([1, 3, 100]),
        "misfire_grace": st.sampled_from([1, 100]),
        "overlap": st.sampled_from(["skip", "allow", "queue"]),
        "start_at": st.sampled_from([START - 100, START + 1000.5]),
        "end_at": st.sampled_from([START, START + 7000.5]),
        "max_runs": st.sampled_from([1, 4]),
        "jitter": st.sampled_from([0.5, 500.0]),
        "stop_after": st.sampled_from([1, 3]),
    },
)
STEPS = st.sampled_from([-86400.0, -100.0, -2.0, 0.0, 0.25, 1.0, 30.0, 60.0, 601.5, 3600.0, 200_000.0])
ENDS: st.SearchStrategy[State] = st.sampled_from(["completed", "dead", "dead", "cancelled"])


class LongLife(RuleBasedStateMachine):
    """People, schedulers, workers and the clock do what they like: what RULES H13 promises holds all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.one = OneSchedule(MINUTELY)
        self.late: list[Fire] = []
        self.watermark = 0.0
        self.revision = 0

    @initialize(trigger=st.sampled_from(TRIGGERS), options=OPTIONS)
    def begin(self, trigger: Trigger, options: dict[str, Any]) -> None:
        self.one.put(trigger, **options)

    @rule(trigger=st.sampled_from(TRIGGERS), options=OPTIONS)
    def put(self, trigger: Trigger, options: dict[str, Any]) -> None:
        self.one.put(trigger, **options)

    @rule(step=STEPS)
    def clock(self, step: float) -> None:
        self.one.now = round(self.one.now + step, 6)

    @rule(step=STEPS)
    def look(self, step: float) -> None:
        self.clock(step)
        self.fire()

    @rule()
    def fire(self) -> None:
        before = self.one.there()
        decision = self.one.decision()
        answer = self.one.fire()
        after = self.one.there()
        if answer == "fired" and before.definition.overlap == "skip" and len(decision.slots if decision else ()) == 1:
            assert len(self.one.open_runs()) == 1
        if answer in {"fired", "skipped", "moved"} and not before.definition.from_end:
            assert after.fired_to > before.fired_to
            assert after.due is None or after.due > self.one.now

    @rule()
    def decide(self) -> None:
        decision = self.one.decision()
        if decision is not None:
            self.late.append(fire_of(self.one.there(), decision, name=f"late{len(self.late)}-"))

    @precondition(lambda self: self.late)
    @rule()
    def send(self) -> None:
        self.one.send(self.late.pop(0))

    @rule(reason=st.sampled_from([BY_REQUEST, VANISHED]))
    def pause(self, reason: str) -> None:
        self.one.pause(reason)

    @rule()
    def resume(self) -> None:
        self.one.resume()
        assert not self.one.there().paused

    @rule()
    def run_now(self) -> None:
        self.one.run_now()

    @rule(state=ENDS)
    def end(self, state: State) -> None:
        self.one.end(state)

    @rule()
    def toggle_key(self) -> None:
        self.one.taken = not self.one.taken

    @rule(trigger=st.sampled_from(TRIGGERS))
    def drop_and_put(self, trigger: Trigger) -> None:
        self.one.drop()
        self.fire_nothing()
        self.one.put(trigger)

    def fire_nothing(self) -> None:
        before = self.one.there()
        assert self.one.fire() is None
        assert self.one.there() is before

    def teardown(self) -> None:
        """One that is active goes on: when its runs end and somebody looks in time, it soon runs, stops or finishes."""
        if self.one.record is None or self.one.there().state != "active":
            return
        self.one.taken = False
        for _ in range(5):
            due = self.one.there().due
            while self.one.open_runs():
                self.one.end()
            if due is None:
                return
            self.one.now = max(self.one.now, due)
            if self.one.fire() in {"fired", "stopped"}:
                return
        raise AssertionError(f"five looks in time, and nothing ran: {self.one.there()}")

    @invariant()
    def each_slot_once_and_in_order(self) -> None:
        assert all(a < b for a, b in zip(self.one.slots, self.one.slots[1:], strict=False))

    @invariant()
    def the_watermark_and_the_revision_only_grow(self) -> None:
        record = self.one.record
        if record is None:
            return
        assert record.fired_to >= max([self.watermark, *self.one.slots])
        assert record.revision >= self.revision
        self.watermark, self.revision = record.fired_to, record.revision

    @invariant()
    def what_comes_next_is_above_the_watermark_and_in_time(self) -> None:
        record = self.one.record
        if record is None or record.next is None:
            return
        assert record.next > record.fired_to
        assert record.due is not None
        assert record.next <= record.due < record.next + (record.definition.jitter or 1e-6)
        assert record.definition.end_at is None or record.next <= record.definition.end_at
        assert record.definition.max_runs is None or record.runs < record.definition.max_runs

    @invariant()
    def the_ledger_is_complete(self) -> None:
        record = self.one.record
        if record is None:
            return
        runs = [run for _, run in sorted(self.one.runs.items())]
        assert [run.number for run in runs] == list(range(1, record.number + 1))
        assert [run.job for run in runs if run.job] == list(self.one.jobs)
        between = 0
        for run in runs:
            between = 0 if run.job else between + 1
            assert between <= 2
        queued = [run for run in self.one.open_runs() if self.one.jobs[run.job or ""].waits_on]
        groups = {job.group for job in self.one.jobs.values()}
        assert all(self.one.jobs[run.job or ""].waits_on in groups for run in queued)


LongLife.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLongLife = LongLife.TestCase


@given(
    st.sampled_from([each for each in TRIGGERS if not each.from_end]),
    st.lists(st.tuples(st.floats(0, 5000), st.booleans()), min_size=1, max_size=30),
    st.sampled_from([0.0, 90.0]),
)
def test_H13_nothing_owed_is_lost_and_nothing_runs_twice(
    trigger: Trigger, steps: list[tuple[float, bool]], jitter: float
) -> None:
    """Where all are caught up and may overlap: every slot up to the last look, whenever the schedulers looked."""
    one = running(trigger, misfire="all", misfire_limit=10**6, overlap="allow", jitter=jitter)
    record = one.there()
    expected: list[float] = []
    slot, started = record.next, trigger.starting(record.begin)
    for step, look in [*steps, (100.0, True)]:
        one.now = round(one.now + step, 6)
        if look:
            one.fire()
    late = 0 if record.due is None or record.next is None else record.due - record.next
    while slot is not None and round(slot + late, 6) <= one.now:
        expected.append(slot)
        slot = started.next_after(slot)
    assert one.slots == expected
    assert one.there().runs == len(expected)


NOON, LATER = (Once(datetime(2026, 11, 22, hour, tzinfo=UTC)) for hour in (12, 18))
DAILY = Daily(time(4))


def forgotten(one: OneSchedule, trigger: Trigger) -> None:
    """As `vanished="remove"` does, and then it is declared again."""
    one.drop()
    one.put(trigger, declared_by="shop")


def removed(one: OneSchedule, trigger: Trigger) -> None:
    one.drop()
    one.put(trigger)


def there_and_back(one: OneSchedule, trigger: Trigger) -> None:
    one.put(LATER)
    one.put(trigger)


@pytest.mark.parametrize("act", [forgotten, removed, there_and_back])
@pytest.mark.parametrize("trigger", [NOON, NOON | DAILY, (NOON | DAILY).except_(Cron("0 5 * * *"))])
@pytest.mark.parametrize("put_at", [0.0, 4 * 3600.0])
def test_H13_a_single_time_that_has_fired_does_not_fire_again(act: Any, trigger: Trigger, put_at: float) -> None:
    """In time or later, when it had passed before the schedule was put: its watermark lies above it either way."""
    one = OneSchedule(trigger)
    at(one, put_at).put()
    assert at(one, max(put_at, 3 * 3600.0)).fire() == "fired"
    for later in (1, 60, 3600):
        one.now += later
        act(one, trigger)
        assert one.fire() is None
        assert one.there().next == (None if trigger is NOON else START + 19 * 3600)
    assert len(one.slots) == 1


ACTS: dict[str, Callable[[OneSchedule], object]] = {
    "put": lambda one: one.put(NOON),
    "put another": lambda one: one.put(LATER),
    "put both": lambda one: one.put(NOON | LATER),
    "put later": lambda one: one.put(NOON, start_at=START + 6 * 3600),
    "remove": lambda one: removed(one, NOON),
    "remove another": lambda one: removed(one, LATER),
    "pause": lambda one: one.pause(),
    "vanish": lambda one: one.pause(VANISHED),
    "resume": lambda one: one.resume(),
    "hour": lambda one: setattr(one, "now", one.now + 3600),
    "back": lambda one: setattr(one, "now", one.now - 1800),
    "look": lambda one: one.fire(),
}


OFTEN = [*sorted(ACTS), *["hour", "look"] * 4]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(OFTEN), max_size=30))
def test_H13_single_times_fire_once_at_most_and_are_not_lost(acts: list[str]) -> None:
    one = OneSchedule(NOON)
    one.put(overlap="allow")
    for act in acts:
        ACTS[act](one)
        one.end()
        assert len(one.slots) <= 2
        if one.slots and not {"put another", "put both", "remove another"}.intersection(acts):
            assert len(one.slots) == 1
    one.resume()
    one.put(NOON)
    one.now = max(one.now, START) + 10 * 3600
    one.fire()
    assert one.slots
    assert one.there().state == "finished"


@given(st.lists(st.tuples(st.sampled_from(TRIGGERS), st.floats(0, 5000), st.booleans()), min_size=1, max_size=10))
def test_H13_what_is_due_when_the_trigger_changes_still_runs(changes: list[tuple[Trigger, float, bool]]) -> None:
    one = running(overlap="allow")
    for trigger, later, look in changes:
        one.now = round(one.now + later, 6)
        owed = one.there().due is not None and (one.there().due or 0) <= one.now and one.there().next is not None
        one.put(trigger, overlap="allow")
        if look or owed:
            runs = one.there().runs
            one.fire()
            assert one.there().runs > runs or not owed
        one.end()

"""Which slots are due: one by one, and against counting all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mainspring.errors import InvalidTrigger
from mainspring.model import catch_up
from mainspring.model.catch_up import COUNTED, Decision, decided
from mainspring.model.cron import Cron, Daily
from mainspring.model.every import Every, Once
from mainspring.model.schedule import ScheduleRecord
from mainspring.model.slots import due_of
from mainspring.model.triggers import LATEST, Trigger, first_slot, jitter_of, slot_after
from tests.unit.model.one_schedule import START, new_record

HOUR = 3600.0
MINUTELY = Every(60)


def decide(record: ScheduleRecord, trigger: Trigger, after: float, **ends: Any) -> Decision:
    return decided(record, trigger, START + after, **ends)


def slots(decision: Decision) -> list[float]:
    return [slot - START for slot in decision.slots]


def missed(decision: Decision) -> tuple[int, float | None, float | None]:
    first, last = decision.missed_from, decision.missed_to
    return decision.missed, first if first is None else first - START, last if last is None else last - START


def rest(decision: Decision) -> tuple[float, float | None, float | None]:
    following, due = decision.next, decision.due
    return (
        decision.to - START,
        following if following is None else following - START,
        due if due is None else due - START,
    )


# --- one by one ---------------------------------------------------------------------------------------


def test_S3_a_slot_in_time_runs_and_the_next_counts_from_it_not_from_now() -> None:
    decision = decide(new_record(MINUTELY), MINUTELY, 59.9)
    assert slots(decision) == [0]
    assert missed(decision) == (0, None, None)
    assert rest(decision) == (0, 60, 60)


@pytest.mark.parametrize(
    ("options", "runs", "left_out"),
    [
        ({}, [600], (10, 0, 540)),
        ({"misfire": "once", "misfire_grace": 30}, [600], (10, 0, 540)),
        ({"misfire": "once", "misfire_grace": 29}, [], (11, 0, 600)),
        ({"misfire": "skip"}, [600], (10, 0, 540)),
        ({"misfire": "skip", "misfire_grace": 10}, [], (11, 0, 600)),
        ({"misfire": "all"}, [60.0 * n for n in range(11)], (0, None, None)),
        ({"misfire": "all", "misfire_limit": 3}, [480, 540, 600], (8, 0, 420)),
        ({"misfire": "all", "misfire_grace": 90}, [540, 600], (9, 0, 480)),
        ({"misfire": "all", "max_runs": 2}, [0, 60], (9, 120, 600)),
        ({"misfire": "all", "max_runs": 2, "misfire_limit": 3}, [480, 540], (9, 0, 600)),
        ({"misfire": "all", "max_runs": 1, "misfire_grace": 90}, [540], (10, 0, 600)),
        ({"misfire": "all", "max_runs": 11}, [60.0 * n for n in range(11)], (0, None, None)),
        ({"misfire": "once", "max_runs": 1}, [600], (10, 0, 540)),
        ({"misfire": "all", "end_at": START + 121}, [0, 60, 120], (0, None, None)),
    ],
)
def test_S3_misfire_after_ten_minutes_and_a_half(
    options: dict[str, Any], runs: list[float], left_out: tuple[object, ...]
) -> None:
    decision = decide(new_record(MINUTELY, **options), MINUTELY, 630)
    assert slots(decision) == runs
    assert missed(decision) == left_out
    end = "end_at" in options
    assert rest(decision) == ((120, None, None) if end else (600, 660, 660))


def test_skip_has_a_grace_of_a_minute_of_its_own() -> None:
    daily = Daily(time(9))
    record = new_record(daily, misfire="skip")
    assert slots(decide(record, daily, 60)) == [0]
    late = decide(record, daily, 61)
    assert (slots(late), missed(late)) == ([], (1, 0, 0))
    assert rest(late) == (0, 24 * HOUR, 24 * HOUR)


def test_runs_spent_miss_the_rest() -> None:
    record = replace(new_record(MINUTELY, max_runs=3, misfire="all"), runs=3)
    assert decide(record, MINUTELY, 130).slots == ()


def test_jitter_makes_slots_late_for_nobody() -> None:
    """Neither the grace nor what has passed is measured with it."""
    record = new_record(MINUTELY, jitter=3000, misfire_grace=1)
    late = jitter_of(record.id, 3000)
    assert record.due == pytest.approx(START + late, abs=1e-6)
    decision = decide(record, MINUTELY, late + 0.5)
    assert (slots(decision), decision.missed, decision.next) == ([0], 0, START + 60)
    assert decision.due == pytest.approx(START + 60 + late, abs=1e-6)


def test_a_slot_looked_at_in_the_very_moment_is_in_time() -> None:
    record = new_record(Every(0.1), jitter=7.7, misfire_grace=0)
    assert record.due is not None
    assert decided(record, Every(0.1), record.due).slots == (START,)


def test_SCH_023_an_end_at_the_start_is_one_slot() -> None:
    record = new_record(MINUTELY, end_at=START)
    assert rest(decide(record, MINUTELY, 1)) == (0, None, None)


def test_what_a_trigger_would_have_said_before_it_was_in_force_does_not_count() -> None:
    old_slot_kept = replace(new_record(MINUTELY, now=START, misfire="all"), begin=START + 600)
    decision = decide(old_slot_kept, MINUTELY, 721)
    assert slots(decision) == [0, 660, 720]


# --- gaps too long to count ---------------------------------------------------------------------------------


def test_a_year_of_minutes_is_computed_where_the_trigger_can() -> None:
    record = new_record(MINUTELY, misfire="all", misfire_limit=3)
    decision = decide(record, MINUTELY, 365 * 24 * HOUR + 5)
    assert decision.missed == 365 * 24 * 60 - 2
    assert slots(decision) == [365 * 24 * HOUR - 120, 365 * 24 * HOUR - 60, 365 * 24 * HOUR]
    assert missed(decision)[1:] == (0, 365 * 24 * HOUR - 180)
    assert rest(decision)[1] == 365 * 24 * HOUR + 60


@pytest.mark.parametrize(("limit", "questions"), [(1, 125), (3, 130), (100, 260), (1000, 1250)])
def test_a_longer_gap_of_another_trigger_is_not_walked_through(limit: int, questions: int) -> None:
    """What runs and the ends of what is missed are exact; how many are missed is "at least"."""
    cron, year = Cron("* * * * *"), 365 * 24 * HOUR
    record = new_record(cron, misfire="all", misfire_limit=limit)
    asked: list[float] = []
    decision = decided(record, Noted(cron, asked.append), START + year + 5)
    assert slots(decision) == [year - 60 * n for n in reversed(range(limit))]
    assert missed(decision)[1:] == (0, year - 60 * limit)
    assert COUNTED <= decision.missed <= COUNTED + 64
    assert rest(decision) == (year, year + 60, year + 60)
    assert len(asked) <= questions


UNEVEN: list[Trigger] = [
    Cron("* 9-16 * * 1-5", tz="Europe/Berlin"),
    Cron("*/5 * 9 * * *"),
    Cron("* * * * 1"),
    Cron("* * 1 1 *"),
    Cron("* * * * *") | Every(0.5),
    Cron("0 9 1 * *"),
    Every(1).except_(Cron("* 0-22 * * *")),
]


@pytest.mark.parametrize("trigger", UNEVEN, ids=repr)
@pytest.mark.parametrize("limit", [1, 100, 1000])
def test_the_work_is_bounded_where_slots_lie_unevenly(trigger: Trigger, limit: int) -> None:
    record = new_record(trigger, misfire="all", misfire_limit=limit)
    asked: list[float] = []
    started = trigger.starting(record.begin)
    decision = decided(record, Noted(started, asked.append), START + 250 * 24 * HOUR)
    assert len(asked) < 500 + 2 * limit
    assert all(started.next_after(a) == b for a, b in pairwise(decision.slots))
    last = decision.slots[-1]
    assert started.next_after(last) == decision.next
    assert decision.missed_to is None or started.next_after(decision.missed_to) == decision.slots[0]


def test_a_gap_one_longer_than_is_counted() -> None:
    cron = Cron("* * * * *")
    for more in (-1, 0, 1, 2):
        decision = decide(new_record(cron), cron, (COUNTED + more) * 60)
        assert slots(decision) == [(COUNTED + more) * 60]
        assert missed(decision) == (min(COUNTED + more, COUNTED + 1), 0, (COUNTED + more - 1) * 60)


def test_the_last_before_the_newest_is_found_where_slots_lie_unevenly() -> None:
    """A slot a second for an hour, and one more a week later."""

    def following(t: float) -> float | None:
        week = START + 7 * 24 * HOUR
        return float(math.floor(t) + 1) if t < START + HOUR else week if t < week else None

    decision = decide(new_record(Own(following), now=START - 1), Own(following), 8 * 24 * HOUR)
    assert slots(decision) == [7 * 24 * HOUR]
    assert missed(decision)[1:] == (-1, HOUR)
    assert decision.missed >= COUNTED


@dataclass(frozen=True, slots=True)
class Noted(Trigger):
    """Notes each question."""

    kind: ClassVar[str] = "noted"
    inner: Trigger
    note: Callable[[float], None]

    def next_after(self, t: float, /) -> float | None:
        self.note(t)
        return self.inner.next_after(t)


# --- the end of a run ---------------------------------------------------------------------------------


AFTER_END = Every(60, anchor="end")


def waiting(**options: Any) -> ScheduleRecord:
    record = new_record(AFTER_END, **options)
    return replace(record, next=None, due=START + 60, fired_to=START, runs=1)


def test_SCH_032_the_first_runs_at_once_and_then_the_end_is_waited_for() -> None:
    decision = decide(new_record(AFTER_END), AFTER_END, 5)
    assert slots(decision) == [0]
    assert rest(decision) == (0, None, 65)


def test_SCH_032_while_a_run_goes_on_it_is_looked_for_again() -> None:
    assert rest(decide(waiting(), AFTER_END, 60, active=True, ended=START)) == (0, None, 61)
    quick = Every(0.5, anchor="end")
    assert decided(waiting(), quick, START + 60, active=True).due == START + 60.05
    quicker = Every(0.001, anchor="end")
    assert decided(waiting(), quicker, START + 60, active=True).due == START + 60.01


def test_SCH_032_next_is_computed_from_the_end() -> None:
    assert rest(decide(waiting(), AFTER_END, 100, ended=START + 99)) == (0, 159, 159)
    late = decide(waiting(), AFTER_END, 160, ended=START + 99)
    assert slots(late) == [159]
    assert rest(late) == (159, None, 220)


def test_a_run_whose_end_nobody_has_seen_counts_from_its_slot() -> None:
    assert slots(decide(waiting(), AFTER_END, 61)) == [60]


def test_a_missed_run_is_followed_by_one_an_interval_later() -> None:
    """Else it would be missed for ever: nothing ends, from which to count."""
    decision = decide(waiting(misfire="skip"), AFTER_END, 1000, ended=START + 1)
    assert missed(decision) == (1, 61, 61)
    assert rest(decision) == (61, 1060, 1060)


def test_the_end_comes_at_once_when_no_later_slot_can_be_in_time() -> None:
    ending = {"end_at": START + 90}
    assert rest(decide(new_record(AFTER_END, **ending), AFTER_END, 31)) == (0, None, None)
    assert rest(decide(new_record(AFTER_END, **ending), AFTER_END, 30)) == (0, None, 90)
    assert rest(decide(waiting(**ending), AFTER_END, 60, ended=START + 31)) == (0, None, None)
    assert rest(decide(waiting(**ending), AFTER_END, 60, active=True)) == (0, None, None)


def test_a_changed_trigger_counts_from_its_change_even_from_an_earlier_end() -> None:
    changed = replace(waiting(), begin=START + 500)
    assert rest(decide(changed, AFTER_END, 500, ended=START + 1)) == (0, 560, 560)


# --- triggers of people's own -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Own(Trigger):
    kind: ClassVar[str] = "own"
    answer: Callable[[float], Any]

    def next_after(self, t: float, /) -> float | None:
        found: float | None = self.answer(t)
        return found


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda _: math.nan, "later than"),
        (lambda t: t, "later than"),
        (lambda t: t + 1e-9, "later than"),
        (lambda t: t - 60, "later than"),
        (lambda _: "soon", "a slot is a number"),
        (lambda _: datetime(2030, 1, 1, tzinfo=UTC), "a slot is a number"),
        (lambda _: True, "a slot is a number"),
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error_and_no_endless_loop(answer: Any, says: str) -> None:
    with pytest.raises(InvalidTrigger, match=says):
        decide(new_record(MINUTELY), Own(answer), 10)


def test_first_slots_are_checked_too() -> None:
    with pytest.raises(InvalidTrigger, match="first slot from"):
        first_slot(Early(), START)
    assert first_slot(Own(lambda _: None), START) is None
    assert first_slot(Own(lambda t: t + 2 * LATEST), START) is None
    assert slot_after(Own(lambda _: math.inf), START) is None


@dataclass(frozen=True, slots=True)
class Early(Trigger):
    def next_after(self, t: float, /) -> float | None:
        return None

    def first_at(self, begin: float, /) -> float | None:
        return begin - 1


def test_answers_are_rounded_to_what_a_store_keeps() -> None:
    assert slot_after(Own(lambda t: t + 1 / 3), START) == round(START + 0.333334, 6)
    whole = slot_after(Own(lambda t: int(t) + 60), START)
    assert (whole, type(whole)) == (START + 60, float)


def test_SCH_024_no_slot_at_all_is_finished() -> None:
    assert new_record(Own(lambda _: None)).due is None


def test_a_trigger_finer_than_a_microsecond_goes_on() -> None:
    """The slot is not answered with itself, however it was rounded."""

    def moons(t: float) -> float:
        return 947182440 + (math.floor((t - 947182440) / 2551442.8765392) + 1) * 2551442.8765392

    at: float | None = START
    found: list[float] = []
    while at is not None and len(found) < 500:
        at = slot_after(Own(moons), at)
        found.append(at or 0)
    assert all(2551442 < b - a < 2551443 for a, b in pairwise(found))


# --- against counting all of them ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bursts(Trigger):
    """Five slots in a second, each quarter of an hour; and none after a while."""

    kind: ClassVar[str] = "bursts"

    def next_after(self, t: float, /) -> float | None:
        tick = math.floor(max(t, START) * 5) + 1
        if tick % 4500 > 4:
            tick = (tick // 4500 + 1) * 4500
        return tick / 5 if tick / 5 < START + 40 * HOUR else None


TRIGGERS: list[Trigger] = [
    MINUTELY,
    Every(7.25, first="after"),
    Every(timedelta(hours=5)),
    Every(100, start=datetime(2026, 11, 22, 9, 30, 0, 500_000, tzinfo=UTC)),
    Every(60, anchor="end"),
    Cron("* * * * *"),
    Cron("*/20 3-5 * * * *"),
    Cron("0 */5 * * *", tz="Europe/Berlin"),
    Daily(time(12, 30), tz="Asia/Tokyo"),
    Once(datetime(2026, 11, 22, 10, tzinfo=UTC)),
    Once(datetime(2026, 11, 22, 8, tzinfo=UTC)),
    Every(45) | Cron("10 * * * *"),
    Every(30).except_(Cron("5-50 * * * *")),
    Bursts(),
]

OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "misfire": st.sampled_from(["once", "skip", "all"]),
        "misfire_limit": st.sampled_from([1, 2, 5, 100]),
        "misfire_grace": st.sampled_from([0.5, 60, 4000]),
        "start_at": st.sampled_from([START - 100, START + 1000.5]),
        "end_at": st.sampled_from([START - 1, START, START + 60, START + 7000.5]),
        "max_runs": st.sampled_from([1, 2, 50]),
        "jitter": st.sampled_from([0.5, 500.0]),
    },
)


def counted(record: ScheduleRecord, trigger: Trigger, now: float) -> Decision:
    """The same by counting: all slots that have passed, and then what the options say."""
    assert record.next is not None
    wanted = record.definition
    at = round(now - jitter_of(record.id, wanted.jitter), 6)
    started = trigger.starting(record.begin)
    every: list[float] = []
    slot: float | None = record.next
    while slot is not None and (slot <= at or not every) and (wanted.end_at is None or slot <= wanted.end_at):
        every.append(slot)
        slot = None if trigger.from_end else started.next_after(slot)
    if slot is not None and wanted.end_at is not None and slot > wanted.end_at:
        slot = None
    most = wanted.misfire_limit if wanted.misfire == "all" else 1
    grace = wanted.misfire_grace or (60.0 if wanted.misfire == "skip" else math.inf)
    run = [each for each in every if at - each <= grace + 1e-7][-most:][: wanted.max_runs]
    out = [each for each in every if each not in run]
    due = None if slot is None else due_of(record, slot)
    if trigger.from_end:
        slot = started.next_after(now)
        slot = None if wanted.end_at is not None and slot is not None and slot > wanted.end_at else slot
        due = None if slot is None else due_of(record, slot)
        slot = None if run else slot
    first, last = (out[0], out[-1]) if out else (None, None)
    return Decision(tuple(run), len(out), first, last, every[-1], slot, due)


@given(st.sampled_from(TRIGGERS), OPTIONS, st.floats(0, 36 * HOUR), st.sampled_from([COUNTED, 4]))
def test_decided_is_what_counting_says(trigger: Trigger, options: dict[str, Any], later: float, most: int) -> None:
    """With `most` at 4 nearly every gap is too long to be counted: then only the number of missed ones differs."""
    record = new_record(trigger, **options)
    if record.due is None:
        return
    now = round(max(START + later, record.due), 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catch_up, "COUNTED", most)
        decision = decided(record, trigger, now)
    expected = counted(record, trigger, now)
    assert decision._replace(missed=0) == expected._replace(missed=0)
    total = decision.missed + len(decision.slots)
    if total != expected.missed + len(expected.slots):
        wanted = options.get("misfire_limit", 100) if options.get("misfire") == "all" else 1
        assert most + wanted + 1 <= total < expected.missed + len(expected.slots)


@given(st.sampled_from(TRIGGERS), st.floats(0, 9e5), st.floats(0, 9e5))
def test_slots_between_are_counted_right(trigger: Trigger, t: float, longer: float) -> None:
    t = round(START + t / 100, 6)
    end = round(t + longer / 100, 6)
    started = trigger.starting(START + 50)
    known = started.slots_between(t, end)
    if known is None:
        return
    number, slot = 0, started.next_after(t)
    while slot is not None and slot <= end:
        number, slot = number + 1, started.next_after(slot)
    assert known == number
    assert started.slots_between(end, t) == (0 if end > t else known)

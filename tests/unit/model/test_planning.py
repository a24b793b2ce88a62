"""What becomes of a schedule when people act on it."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

import pytest
from msgspec.structs import replace

from mainspring.errors import ScheduleUnreadable
from mainspring.model.cron import Cron, Daily
from mainspring.model.every import Every, Once
from mainspring.model.planning import paused, planned, resumed
from mainspring.model.record import NewJob
from mainspring.model.schedule import BY_REQUEST, FAILED, VANISHED, ScheduleRecord, unreadable
from mainspring.model.triggers import Trigger, jitter_of
from tests.unit.model.one_schedule import START, definition, new_record

MINUTELY = Every(60)
HOURLY = Every(3600)
AFTER_END = Every(60, anchor="end")
NINE = Daily(time(9))
EIGHT_ONCE = Once(datetime(2026, 11, 22, 8, tzinfo=UTC))
TEN_ONCE = Once(datetime(2026, 11, 22, 10, tzinfo=UTC))
SOON_ONCE = Once(datetime(2026, 11, 22, 9, 1, 5, tzinfo=UTC))
TEN = START + 3600


def changed(record: ScheduleRecord, trigger: Trigger, after: float, **options: Any) -> ScheduleRecord:
    return planned(record.id, definition(trigger, **options), trigger, START + after, stored=record)


def ran(record: ScheduleRecord, slot: float, following: float | None) -> ScheduleRecord:
    """As after a fire."""
    return replace(record, fired_to=slot, runs=record.runs + 1, number=record.number + 1, next=following, due=following)


def when(record: ScheduleRecord) -> tuple[float | None, float | None]:
    following, due = record.next, record.due
    return None if following is None else round(following - START, 6), None if due is None else round(due - START, 6)


# --- a new one ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "options", "first"),
    [
        (MINUTELY, {}, 0),  # SCH-028
        (Every(60, first="after"), {}, 60),
        (MINUTELY, {"start_at": START + 30}, 30),  # SCH-005
        (Every(60, first="after"), {"start_at": START + 30}, 90),
        (MINUTELY, {"start_at": START - 30}, 0),  # SCH-030
        (AFTER_END, {}, 0),
        (NINE, {}, 0),
        (NINE, {"start_at": START + 1}, 24 * 3600),
        (EIGHT_ONCE, {}, 0),  # SCD-018
        (TEN_ONCE, {}, 3600),
        (TEN_ONCE, {"start_at": START + 7200}, 7200),
        (MINUTELY, {"end_at": START}, 0),  # SCH-023
        (MINUTELY, {"end_at": START - 1}, None),  # SCH-024
        (MINUTELY, {"start_at": START + 30, "end_at": START + 29}, None),
        (MINUTELY, {"max_runs": 1}, 0),
    ],
)
def test_the_first_slot(trigger: Trigger, options: dict[str, Any], first: float | None) -> None:
    record = new_record(trigger, **options)
    assert when(record) == (first, first)
    assert record.state == ("finished" if first is None else "active")
    assert (record.revision, record.runs, record.number, record.fired_to) == (1, 0, 0, 0.0)
    assert record.created == record.changed == START


def test_jitter_moves_the_look_and_not_the_slot() -> None:
    record = new_record(MINUTELY, jitter=50)
    assert when(record) == (0, round(jitter_of("nightly", 50), 6))


def test_H13_a_removed_one_that_is_put_again_stays_above_its_watermark() -> None:
    """Its numbers go on too: no run record is overwritten, and no fire that is still on its way is taken."""
    old = replace(new_record(MINUTELY), fired_to=START + 60, number=7, revision=3, runs=2, dropped=START + 61)
    again = changed(old, MINUTELY, -5)  # and the clock stepped back, too
    assert when(again) == (60.000001, 60.000001)
    assert (again.revision, again.number, again.runs, again.fired_to) == (4, 7, 0, START + 60)
    assert again.dropped is None
    assert again.created == START - 5
    later = changed(old, MINUTELY, 500)
    assert when(later) == (500, 500)
    assert changed(old, EIGHT_ONCE, -5).state == "finished"
    assert when(changed(old, SOON_ONCE, 500)) == (500, 500)  # owed, and not lost


# --- a changed one -----------------------------------------------------------------------------------


def test_put_is_idempotent() -> None:
    record = new_record(MINUTELY)
    assert changed(record, MINUTELY, 10) is record
    declared = planned("nightly", definition(MINUTELY), MINUTELY, START + 10, stored=record, declared_by="shop")
    assert (declared.declared_by, declared.revision) == ("shop", 2)
    assert when(declared) == when(record)


def test_S3_SCD_014_a_change_keeps_what_it_does_not_name() -> None:
    record = replace(ran(new_record(MINUTELY), START, START + 60), missed=3, skipped=2)
    after = changed(record, HOURLY, 10)
    assert (after.runs, after.missed, after.skipped, after.number) == (1, 3, 2, 1)
    assert (after.fired_to, after.created) == (START, START)
    assert (after.revision, after.changed) == (2, START + 10)
    assert when(after) == (3610, 3610)
    other_task = definition(MINUTELY)
    other = planned(
        "nightly", replace(other_task, template=NewJob(id="", task="bill")), MINUTELY, START + 10, stored=record
    )
    assert (other.revision, when(other)) == (2, (60, 60))


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [(HOURLY, 3610), (Cron("*/5 * * * *"), 300), (TEN_ONCE, 3600), (SOON_ONCE, 65), (NINE, 24 * 3600)],
)
def test_SCD_014_a_changed_trigger_counts_from_now(trigger: Trigger, expected: float) -> None:
    record = ran(new_record(MINUTELY), START, START + 60)
    assert when(changed(record, trigger, 10)) == (expected, expected)


def test_H13_a_trigger_replaced_after_the_clock_stepped_back_does_not_fire_again() -> None:
    """Daily at 9:00 has fired; the clock steps back 2 s; the trigger is replaced: not 9:00 again."""
    record = ran(new_record(NINE), START, START + 24 * 3600)
    for trigger in (Daily(time(9)).except_(Cron("* * * * 0")), Cron("0 9 * * *"), Cron("* * * * *")):
        following = changed(record, trigger, -2).next
        assert following is not None
        assert following > START
    assert when(changed(record, Cron("0 9 * * *"), -2)) == (24 * 3600, 24 * 3600)


def test_H13_a_slot_that_was_due_stays_due_through_a_change() -> None:
    record = new_record(NINE)
    after = changed(record, HOURLY, 0.3)
    assert when(after) == (0, 0)
    assert after.begin == START + 0.3
    assert when(changed(after, Cron("0 0 * * *"), 5)) == (0, 0)
    not_yet = changed(new_record(NINE, now=START - 1), HOURLY, -0.5)
    assert when(not_yet) == (3599.5, 3599.5)


def test_a_start_put_off_lets_slots_pass() -> None:
    record = new_record(MINUTELY)
    assert when(changed(record, HOURLY, 1, start_at=START + 100)) == (100, 100)
    put_off = changed(record, MINUTELY, 1, start_at=START + 100)
    assert when(put_off) == (100, 100)
    assert when(changed(put_off, MINUTELY, 2)) == (2, 2)  # and taken back again
    assert when(changed(put_off, MINUTELY, 2, start_at=START + 1)) == (2, 2)


def test_a_start_that_has_passed_changes_nothing_that_has_begun() -> None:
    record = ran(new_record(MINUTELY), START, START + 60)
    after = changed(record, MINUTELY, 10, start_at=START + 5)
    assert (after.begin, when(after)) == (START, (60, 60))


@pytest.mark.parametrize("start_at", [None, START + 5000, START - 5000])
@pytest.mark.parametrize("jitter", [0.0, 5.0])
def test_H13_a_single_time_that_has_run_does_not_come_again(start_at: float | None, jitter: float) -> None:
    record = ran(new_record(EIGHT_ONCE), START, None)
    assert record.state == "finished"
    after = changed(record, EIGHT_ONCE, 10, start_at=start_at, jitter=jitter, end_at=START + 9000)
    assert after.state == "finished"
    assert changed(after, EIGHT_ONCE, 20).state == "finished"


def test_S3_once_may_be_set_again() -> None:
    record = ran(new_record(EIGHT_ONCE), START, None)
    assert when(changed(record, TEN_ONCE, 10)) == (3600, 3600)
    assert when(changed(record, SOON_ONCE, 70)) == (70, 70)
    past = Once(datetime(2026, 11, 22, 8, 30, tzinfo=UTC))
    assert changed(record, past, 10).state == "finished"  # below the watermark: it may have run


def test_S3_SCD_018_a_past_time_that_has_not_run_comes_at_once() -> None:
    for trigger in (EIGHT_ONCE, EIGHT_ONCE | NINE, EIGHT_ONCE | Once(datetime(2026, 11, 22, 7, tzinfo=UTC))):
        assert when(new_record(trigger, now=START + 5)) == (5, 5)
    gone = replace(new_record(TEN_ONCE), dropped=START + 1)
    assert when(changed(gone, TEN_ONCE, 4000)) == (4000, 4000)
    rests = paused(new_record(TEN_ONCE), START + 10, VANISHED)
    assert when(changed(rests, TEN_ONCE, 4000)) == (3600, 3600)
    waits = changed(new_record(HOURLY, now=START + 9000), TEN_ONCE, 8000)
    assert when(waits) == (8000, 8000)  # replaced before anything ran


def test_H13_single_times_in_a_union_or_an_exclusion_are_done_one_by_one() -> None:
    nine_once = Once(datetime(2026, 11, 22, 9, tzinfo=UTC))
    both = nine_once | TEN_ONCE
    gone = replace(ran(new_record(both), START, TEN), dropped=START + 1)
    assert when(changed(gone, both, 10)) == (3600, 3600)
    assert when(changed(gone, both, 3700)) == (3700, 3700)  # the other one is owed
    assert when(changed(gone, nine_once | NINE, 10)) == (24 * 3600, 24 * 3600)
    assert when(changed(gone, nine_once.except_(Cron("0 7 * * *")), 10)) == (None, None)
    assert when(changed(gone, both.except_(Cron("0 7 * * *")), 10)) == (3600, 3600)
    assert when(changed(gone, (nine_once | HOURLY).except_(HOURLY), 10)) == (None, None)


def test_jitter_leaves_the_grid_where_it_was() -> None:
    record = ran(new_record(MINUTELY), START, START + 60)
    after = changed(record, MINUTELY, 10, jitter=30)
    assert (after.begin, after.next) == (START, START + 60)
    assert after.due == pytest.approx(START + 60 + jitter_of("nightly", 30), abs=1e-6)


@pytest.mark.parametrize("trigger", [HOURLY, Every(90), NINE], ids=repr)
def test_H13_a_slot_that_waits_for_its_jitter_is_owed_whatever_the_next_trigger_is(trigger: Trigger) -> None:
    record = new_record(MINUTELY, jitter=50)
    wait = jitter_of("nightly", 50)
    assert wait > 2
    after = changed(record, trigger, 2, jitter=50)
    assert when(after) == when(record) == (0, round(wait, 6))
    assert changed(record, trigger, wait + 1, jitter=50).next == START
    assert when(changed(record, trigger, 2, jitter=0.0)) == (0, 0)
    later = ran(new_record(MINUTELY, jitter=50), START, START + 60)
    assert changed(later, HOURLY, 2, jitter=50).next == TEN + 2  # nobody owes what has not come


def test_a_pause_lets_no_slot_pass_that_still_waits_for_its_jitter() -> None:
    """It would not have fired either; what would have is gone."""
    record = new_record(MINUTELY, jitter=50)
    wait = jitter_of("nightly", 50)
    rests = paused(record, START + 1, BY_REQUEST)
    assert when(resumed(rests, MINUTELY, START + 2)) == when(record)
    assert resumed(rests, MINUTELY, START + wait + 1).next == START + 60


def test_ends_may_be_moved() -> None:
    record = ran(new_record(MINUTELY), START, START + 60)
    ended = changed(record, MINUTELY, 10, end_at=START + 59)
    assert ended.state == "finished"
    assert when(changed(ended, MINUTELY, 130, end_at=START + 1000)) == (180, 180)
    spent = changed(record, MINUTELY, 10, max_runs=1)
    assert spent.state == "finished"
    assert when(changed(spent, MINUTELY, 70, max_runs=2)) == (120, 120)
    assert changed(spent, MINUTELY, 70, max_runs=1, jitter=1).state == "finished"
    owed = changed(new_record(TEN_ONCE, end_at=TEN - 1), TEN_ONCE, 4000)
    assert when(owed) == (3600, 3600)


def waits_for_an_end() -> ScheduleRecord:
    return replace(new_record(AFTER_END), next=None, due=START + 60, fired_to=START, runs=1)


def test_one_that_waits_for_an_end_goes_on_waiting() -> None:
    waits = waits_for_an_end()
    assert when(changed(waits, AFTER_END, 10, end_at=TEN, max_runs=5)) == (None, 60)
    assert when(changed(waits, Every(90, anchor="end"), 10)) == (None, 10)  # to be looked at now
    assert when(changed(waits, MINUTELY, 10)) == (70, 70)
    spent = changed(waits, AFTER_END, 10, max_runs=1)
    assert spent.state == "finished"
    assert when(changed(spent, AFTER_END, 20)) == (None, 20)


def test_a_change_to_the_end_of_runs() -> None:
    record = ran(new_record(MINUTELY), START, START + 60)
    assert when(changed(record, AFTER_END, 10)) == (None, 10)
    assert when(changed(new_record(HOURLY, now=START + 5), AFTER_END, 4)) == (4, 4)  # nothing has run yet


# --- pauses ---------------------------------------------------------------------------------------------


def test_a_pause_lets_slots_pass() -> None:
    record = ran(new_record(MINUTELY), START, START + 60)
    rests = paused(record, START + 10, BY_REQUEST)
    assert (rests.state, rests.paused, rests.revision, when(rests)) == ("paused", "by request", 2, (60, 60))
    soon = resumed(rests, MINUTELY, START + 20)
    assert (soon.state, soon.revision, when(soon)) == ("active", 3, (60, 60))
    assert when(resumed(rests, MINUTELY, START + 60)) == (120, 120)
    assert when(resumed(rests, MINUTELY, START + 601)) == (660, 660)
    assert resumed(rests, MINUTELY, START + 20).changed == START + 20


def test_H13_resumed_after_the_clock_stepped_back() -> None:
    rests = paused(ran(new_record(MINUTELY), START + 600, START + 660), START + 610, BY_REQUEST)
    assert when(resumed(rests, MINUTELY, START + 5)) == (660, 660)
    owed = replace(rests, next=START + 3)
    assert when(resumed(owed, MINUTELY, START + 5)) == (660, 660)


def test_pause_and_resume_are_idempotent() -> None:
    record = new_record(MINUTELY)
    assert resumed(record, MINUTELY, START) is record
    rests = paused(record, START, BY_REQUEST)
    assert paused(rests, START + 9, BY_REQUEST) is rests


def test_what_comes_once_is_not_lost_by_a_pause() -> None:
    rests = paused(new_record(TEN_ONCE), START + 10, BY_REQUEST)
    assert when(resumed(rests, TEN_ONCE, TEN + 100)) == (3600, 3600)
    rests = paused(new_record(AFTER_END), START + 10, BY_REQUEST)
    assert when(resumed(rests, AFTER_END, TEN)) == (0, 0)
    rests = paused(replace(waits_for_an_end(), next=START + 70, due=START + 70), START + 10, BY_REQUEST)
    assert when(resumed(rests, AFTER_END, TEN)) == (None, 3600)
    rests = paused(waits_for_an_end(), START + 10, BY_REQUEST)
    assert when(resumed(rests, AFTER_END, TEN)) == (None, 60)
    finished = paused(ran(new_record(TEN_ONCE), TEN, None), TEN + 1, BY_REQUEST)
    assert resumed(finished, TEN_ONCE, TEN + 9).state == "finished"


def test_of_several_single_times_those_that_pass_in_a_pause_are_gone() -> None:
    both = TEN_ONCE | Once(datetime(2026, 11, 22, 11, tzinfo=UTC))
    rests = paused(new_record(both), START + 10, BY_REQUEST)
    assert when(resumed(rests, both, TEN + 100)) == (7200, 7200)
    assert resumed(rests, both, TEN + 3700).state == "finished"
    assert when(changed(ran(new_record(NINE), START, START + 86400), both, 7300)) == (7300, 7300)


def test_a_change_leaves_a_pause_alone() -> None:
    rests = paused(new_record(MINUTELY), START + 10, BY_REQUEST)
    after = changed(rests, HOURLY, 20)
    assert (after.state, when(after)) == ("paused", (3620, 3620))
    assert when(resumed(after, HOURLY, START + 30)) == (3620, 3620)


def test_one_that_vanished_goes_on_when_it_is_declared_again() -> None:
    gone = paused(new_record(MINUTELY), START + 10, VANISHED)
    back = changed(gone, MINUTELY, 70)
    assert (back.state, when(back)) == ("active", (120, 120))
    assert back.revision > gone.revision
    assert when(changed(gone, HOURLY, 70)) == (3670, 3670)


@pytest.mark.parametrize("reason", [BY_REQUEST, FAILED])
def test_one_that_people_or_failures_paused_does_not_go_on_by_vanishing(reason: str) -> None:
    rests = paused(new_record(MINUTELY), START + 10, reason)
    assert paused(rests, START + 20, VANISHED) is rests
    assert changed(rests, MINUTELY, 70) is rests
    by_hand = paused(paused(new_record(MINUTELY), START + 10, VANISHED), START + 20, BY_REQUEST)
    assert by_hand.paused == BY_REQUEST
    assert changed(by_hand, MINUTELY, 70) is by_hand


# --- a definition that cannot be read


def spoilt(record: ScheduleRecord) -> ScheduleRecord:
    empty, reason = unreadable(ValueError("a word of a newer version"))
    return replace(record, definition=empty, unreadable=reason)


@pytest.mark.parametrize("paused_for", ["", BY_REQUEST, VANISHED])
def test_a_put_mends_what_could_not_be_read_and_keeps_the_rest(paused_for: str) -> None:
    """S3-44. A declaration ends a pause that a vanished one had."""
    whole = replace(ran(new_record(MINUTELY), START, START + 60), paused=paused_for)
    wanted = definition(HOURLY, overlap="allow")
    mended = planned(whole.id, wanted, HOURLY, START + 30, stored=spoilt(whole))
    assert (mended.unreadable, mended.definition) == ("", wanted)
    assert mended.revision > whole.revision
    assert (mended.fired_to, mended.runs, mended.number) == (START, 1, 1)
    assert mended.paused == ("" if paused_for == VANISHED else paused_for)
    assert mended.next == START + 30 + 3600


def test_what_was_due_while_it_could_not_be_read_is_due_when_it_is_mended() -> None:
    mended = changed(spoilt(ran(new_record(MINUTELY), START, START + 60)), MINUTELY, 90)
    assert when(mended) == (60, 60)


@pytest.mark.parametrize("reason", [BY_REQUEST, VANISHED, FAILED])
def test_nobody_pauses_or_resumes_what_cannot_be_read(reason: str) -> None:
    record = spoilt(new_record(MINUTELY))
    with pytest.raises(ScheduleUnreadable, match=r"'nightly'.*a word of a newer version.*put it again or remove it"):
        paused(record, START, reason)
    with pytest.raises(ScheduleUnreadable):
        resumed(replace(record, paused=reason), MINUTELY, START)

"""What a fire writes, the interleavings of RULES H13, and long lives of one schedule."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from mainspring.model.every import Every
from mainspring.model.firing import Fired, fired, not_added, runs_needed, triggered
from mainspring.model.ledger import ended_run, reopened_run, seen_run
from mainspring.model.record import JobRecord, NewGroup, NewJob
from mainspring.model.schedule import FAILED, Run, SlotJob
from mainspring.model.states import State
from tests.unit.model.one_schedule import (
    START,
    TEMPLATE,
    OneSchedule,
    at,
    ended_job,
    fire_of,
    new_record,
    running,
    slot_fire,
)

MINUTELY = Every(60)


def ledger(one: OneSchedule) -> list[tuple[str, float | None, int]]:
    return [
        (run.kind, None if run.slot is None else run.slot - START, run.count) for _, run in sorted(one.runs.items())
    ]


def links(one: OneSchedule) -> list[tuple[str | None, str | None]]:
    """For each job: what it waits on, and the group that others can wait on."""

    def of(group: str | None) -> str | None:
        return None if group is None else group.removeprefix("group@")

    return [(of(job.waits_on), of(job.group)) for job in one.jobs.values()]


# --- what is written ----------------------------------------------------------------------------------


def test_a_fire_adds_a_job_of_the_template_and_a_record() -> None:
    one = at(running(), 0.5)
    assert one.fire() == "fired"
    (job,) = one.jobs.values()
    assert job == replace(TEMPLATE, id=job.id, schedule="nightly", slot=START)
    (run,) = one.runs.values()
    assert run == Run(schedule="nightly", number=1, kind="slot", slot=START, job=job.id, fired=START + 0.5)
    assert run.open
    record = one.there()
    assert (record.fired_to, record.runs, record.number, record.next) == (START, 1, 1, START + 60)
    assert record.revision == 1  # people have not changed it


def test_H13_the_template_is_that_of_the_row_not_of_who_fires() -> None:
    """A fire that was decided before the arguments changed adds nothing; the next one has the new arguments."""
    one = running()
    early = fire_of(new_record(MINUTELY), one.decision() or pytest.fail("not due"))
    one.record = replace(
        one.there(),
        definition=replace(one.there().definition, template=NewJob(id="", task="bill")),
        revision=2,
    )
    assert one.send(early) == "stale"
    assert not one.jobs
    assert one.fire() == "fired"
    assert [job.task for job in one.jobs.values()] == ["bill"]


def test_S3_missed_slots_are_one_record_and_counted() -> None:
    one = at(running(), 630)
    assert one.fire() == "fired"
    assert ledger(one) == [("missed", 0, 10), ("slot", 600, 1)]
    record = one.there()
    assert (record.runs, record.missed, record.skipped, record.number) == (1, 10, 0, 2)
    run = one.runs[1]
    assert (run.slot, run.last_slot, run.state, run.open, run.duration) == (START, START + 540, "missed", False, None)


def test_a_fire_without_a_slot_only_moves_on() -> None:
    one = running(misfire="skip", misfire_grace=5)
    assert at(one, 10).fire() == "moved"
    assert ledger(one) == [("missed", 0, 1)]
    assert (one.there().fired_to, one.there().runs) == (START, 0)
    assert one.send(replace(slot_fire(one, 0), slots=(), to=START - 100)) == "moved"
    assert one.there().fired_to == START


def test_SCH_026_SCH_027_max_runs_finishes_with_the_last_at_once() -> None:
    one = running(max_runs=2)
    assert at(one, 0).fire() == "fired"
    one.end()
    assert one.there().state == "active"
    assert at(one, 60).fire() == "fired"
    assert one.there().state == "finished"
    assert at(one, 6000).fire() is None


# --- overlap ----------------------------------------------------------------------------------------------


def test_S3_SCH_031_skip_while_a_run_goes_on() -> None:
    one = running()
    assert at(one, 0).fire() == "fired"
    for minute in (1, 2, 3):
        assert at(one, minute * 60).fire() == "skipped"
    assert ledger(one) == [("slot", 0, 1), ("skipped", 60, 3)]
    assert (one.runs[2].slot, one.runs[2].last_slot, one.runs[2].state) == (START + 60, START + 180, "skipped")
    assert (one.there().skipped, one.there().runs, one.there().number) == (3, 1, 2)
    one.end("dead")
    assert at(one, 240).fire() == "fired"
    assert at(one, 300).fire() == "skipped"
    assert ledger(one)[-1] == ("skipped", 300, 1)
    assert links(one) == [(None, None)] * 2


def test_S3_allow_runs_beside_each_other() -> None:
    one = running(overlap="allow", misfire="all")
    assert at(one, 60).fire() == "fired"
    assert at(one, 120).fire() == "fired"
    assert len(one.open_runs()) == 3
    assert links(one) == [(None, None)] * 3


def test_S3_queue_one_behind_the_run_that_goes_on() -> None:
    one = running(overlap="queue")
    assert at(one, 0).fire() == "fired"
    assert at(one, 60).fire() == "fired"
    assert at(one, 120).fire() == "skipped"
    first, second = (START + slot for slot in (0, 60))
    assert links(one) == [(None, f"{first}"), (f"{first}", f"{second}")]
    one.end()
    assert at(one, 180).fire() == "fired"
    assert links(one)[-1] == (f"{second}", f"{START + 180}")
    assert ledger(one) == [("slot", 0, 1), ("slot", 60, 1), ("skipped", 120, 1), ("slot", 180, 1)]


def test_slots_caught_up_together_run_one_after_the_other() -> None:
    """Unless they may run beside each other. A run that fails does not hold up the next one."""
    one = running(misfire="all")
    effect = fired(one.there(), slot_fire(one, 0, 60, 120), (), (), START + 130)
    assert isinstance(effect, Fired)
    assert [(job.waits_on, job.group) for job in effect.jobs] == [
        (None, "group@0"), ("group@0", "group@60"), ("group@60", "group@120"),
    ]  # fmt: skip
    assert effect.groups == tuple(NewGroup(id=f"group@{slot}", size=1, on_failure="wait") for slot in (0, 60, 120))
    assert one.send(slot_fire(one, 0, 60, 120)) == "fired"
    assert at(one, 180).fire() == "skipped"


def test_a_run_begun_without_a_group_cannot_be_waited_for() -> None:
    one = running()
    assert one.fire() == "fired"
    at(one, 10).put(overlap="queue")
    assert at(one, 60).fire() == "skipped"
    one.end()
    assert at(one, 120).fire() == "fired"
    assert at(one, 180).fire() == "fired"


def test_records_of_slots_left_out_grow_side_by_side() -> None:
    """However often the two kinds alternate, two records lie between two runs: else `stop_after` would not see far."""
    one = running()
    assert one.fire() == "fired"
    for after in range(130, 1000, 130):
        assert at(one, after).fire() == "skipped"
    assert [kind for kind, _, _ in ledger(one)] == ["slot", "missed", "skipped"]
    record, missed, skipped = one.there(), one.runs[2], one.runs[3]
    assert (missed.count, skipped.count) == (record.missed, record.skipped) == (8, 7)
    assert (missed.fired, missed.ended) == (START + 910, START + 910)
    assert (missed.slot, missed.last_slot, skipped.last_slot) == (START + 60, START + 840, START + 900)


# --- failures -------------------------------------------------------------------------------------------


def run_through(one: OneSchedule, *states: State) -> list[str | None]:
    answers: list[str | None] = []
    for state in states:
        one.now += 60
        answers.append(one.fire())
        one.end(state)
    return answers


def test_S3_SCD_023_failing_runs_do_not_end_a_schedule() -> None:
    one = running()
    for _ in range(20):
        assert run_through(one, "dead") == ["fired"]


def test_S3_unless_so_many_have_failed_one_after_the_other() -> None:
    one = running(stop_after=3)
    assert run_through(one, "dead", "dead", "completed", "dead", "dead", "dead") == ["fired"] * 6
    one.now += 60
    before = one.there()
    assert one.fire() == "stopped"
    record = one.there()
    assert (record.paused, record.revision, record.state) == (FAILED, before.revision + 1, "paused")
    assert (record.fired_to, record.runs) == (before.fired_to, before.runs)
    assert one.fire() is None
    one.resume()
    assert one.fire() is None  # with the first slot after now
    assert run_through(one, "dead", "dead", "completed") == ["fired"] * 3  # counted anew


@pytest.mark.parametrize("state", ["cancelled", "completed"])
def test_only_failures_in_a_row_count(state: State) -> None:
    assert run_through(running(stop_after=2), "dead", state, "expired", state, "dead") == ["fired"] * 5


@pytest.mark.parametrize("states", [("expired", "expired"), ("dead", "expired"), ("expired", "dead")])
def test_runs_that_expired_have_failed_too(states: tuple[State, State]) -> None:
    one = running(stop_after=2)
    assert run_through(one, *states) == ["fired"] * 2
    one.now += 60
    assert one.fire() == "stopped"


def test_stop_after_sees_past_open_runs_and_slots_left_out() -> None:
    one = running(stop_after=2, overlap="allow")
    for _ in range(12):
        one.now += 130
        one.fire()
    for run in one.open_runs()[:2]:
        one.end("dead", run)
    one.now += 130
    assert one.fire() == "stopped"
    assert runs_needed(one.there(), 10) == 36
    assert runs_needed(new_record(MINUTELY)) == 2


def test_a_change_counts_failures_anew() -> None:
    one = running(stop_after=2)
    assert run_through(one, "dead", "dead") == ["fired", "fired"]
    one.now += 1
    one.put(stop_after=2, misfire="all")
    assert run_through(one, "dead") == ["fired"]


# --- run now ----------------------------------------------------------------------------------------------


def test_S3_run_now_has_no_slot_and_moves_nothing() -> None:
    one = running(max_runs=1)
    assert one.run_now() == "fired"
    (job,) = one.jobs.values()
    assert (job.slot, job.schedule) == (None, "nightly")
    assert ledger(one) == [("trigger", None, 1)]
    record = one.there()
    assert (record.runs, record.fired_to, record.next, record.revision) == (0, 0.0, START, 1)
    assert one.run_now() == "skipped"
    assert ledger(one) == [("trigger", None, 1)]
    assert one.fire() == "skipped"
    one.pause()
    one.end()
    assert one.run_now() == "fired"
    assert triggered(None, SlotJob(0, "a", "b"), (), (), START) == "unknown"
    one.drop()
    assert one.run_now() == "unknown"


def test_run_now_is_queued_where_slots_are() -> None:
    one = running(overlap="queue")
    assert [one.fire(), one.run_now(), one.run_now()] == ["fired", "fired", "skipped"]
    assert links(one)[1][0] == f"{START}"


# --- jobs that could not be added -----------------------------------------------------------------------


def test_a_slot_whose_key_is_taken_is_skipped() -> None:
    one = running(max_runs=1)
    one.taken = True
    assert one.fire() == "skipped"
    assert at(one, 60).fire() == "skipped"
    record = one.there()
    assert (record.runs, record.skipped, record.number, record.fired_to) == (0, 2, 1, START + 60)
    assert record.state == "active"  # not one of its runs is spent
    assert ledger(one) == [("skipped", 0, 2)]
    assert not one.jobs
    assert one.run_now() == "skipped"
    assert one.there() == record


def test_the_chain_of_those_that_are_added_has_no_hole() -> None:
    one = running(misfire="all", max_runs=3)
    effect = fired(one.there(), slot_fire(one, 0, 60, 120), (), (), START + 130)
    assert isinstance(effect, Fired)
    assert effect.schedule.state == "finished"
    partly = not_added(effect, ["job60"])
    assert [(job.id, job.waits_on) for job in partly.jobs] == [("job0", None), ("job120", "group@0")]
    assert [group.id for group in partly.groups] == ["group@0", "group@120"]
    assert [(run.number, run.kind, run.job) for run in partly.runs] == [
        (1, "slot", "job0"), (2, "skipped", None), (3, "slot", "job120"),
    ]  # fmt: skip
    assert (partly.answer, partly.schedule.runs, partly.schedule.skipped) == ("fired", 2, 1)
    assert partly.schedule.next == START + 180
    single = not_added(effect, ["job0", "job60"])
    assert [(job.id, job.waits_on, job.group) for job in single.jobs] == [("job120", None, None)]
    assert not_added(effect, []) == effect
    stopped = Fired("stopped", one.there())
    assert not_added(stopped, ["job0"]) is stopped


def test_behind_a_run_that_goes_on_nobody_takes_the_place_of_one_whose_key_is_taken() -> None:
    """Nobody has looked whether the key of that one is free."""
    one = running(overlap="queue", misfire="all")
    assert one.fire() == "fired"
    effect = fired(one.there(), slot_fire(one, 60, 120, 180), one.open_runs(), (), START + 190)
    assert isinstance(effect, Fired)
    assert [job.id for job in effect.jobs] == ["job60"]
    refused = not_added(effect, ["job60"])
    assert (refused.answer, refused.jobs, refused.groups) == ("skipped", (), ())
    assert [(run.kind, run.count) for run in refused.runs] == [("skipped", 3)]
    assert (refused.schedule.runs, refused.schedule.skipped) == (1, 3)


# --- ends of runs --------------------------------------------------------------------------------------------


RUN = Run(schedule="nightly", number=1, kind="slot", slot=START, job="job", fired=START)


def test_the_end_of_a_job_is_copied_to_its_run() -> None:
    dead = replace(ended_job("job", "dead", START + 10), claimed=START + 1, started=START + 2, attempt=3)
    run = ended_run(RUN, dead, START + 99)
    assert (run.state, run.started, run.ended, run.attempts) == ("dead", START + 2, START + 10, 3)
    assert (run.error, run.duration, run.open) == ("ValueError: no", 8, False)
    assert ended_run(RUN, replace(dead, started=None), START).duration == 9
    assert ended_run(RUN, replace(dead, started=None, claimed=None, error=None), START).duration is None
    assert reopened_run(run) == RUN


def test_an_end_that_nobody_saw() -> None:
    run = ended_run(RUN, None, START + 5)
    assert (run.state, run.ended, run.open) == ("removed", START + 5, False)


def test_people_see_an_open_run_in_the_state_of_its_job() -> None:
    job = JobRecord(id="job", task="report", state="running", created=START, due=START, started=START + 1, attempt=2)
    seen = seen_run(RUN, job, START + 9)
    assert (seen.state, seen.started, seen.attempts, seen.open) == ("running", START + 1, 2, True)
    assert ended_run(RUN, job, START + 9) is RUN
    assert seen_run(RUN, ended_job("job", "completed", START + 3), START + 9).state == "completed"
    assert seen_run(RUN, None, START + 9).state == "removed"
    over = replace(RUN, state="dead", ended=START)
    assert seen_run(over, None, START + 9) is over

"""Single moves whose detail the sequences do not show."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from mainspring.model import moves
from mainspring.model.record import CRASH_LIMIT, FOREVER, Failure, JobRecord, NewJob, Settlement
from mainspring.model.states import SETTLE_KINDS, SettleKind

NOW = 1_000.0


def added(**fields: object) -> JobRecord:
    return moves.added(NewJob(id="job", task="task", **fields), NOW)  # type: ignore[arg-type]  # any field


def running(**changes: object) -> JobRecord:
    return replace(moves.claimed(added(), NOW, "w", 3), **changes)


def settle(job: JobRecord, kind: SettleKind, **fields: object) -> JobRecord:
    return moves.settled(job, Settlement(job=job.id, lease=job.lease, kind=kind, **fields), NOW + 1)  # type: ignore[arg-type]


# --- add ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "state", "due"),
    [
        ({}, "ready", NOW),
        ({"delay": 5.0}, "scheduled", NOW + 5),
        ({"run_at": NOW + 9, "delay": 5.0}, "scheduled", NOW + 9),
        ({"run_at": NOW - 9}, "ready", NOW),
        ({"delay": -5.0}, "ready", NOW),
    ],
)
def test_H9_durations_are_added_to_the_given_now(fields: dict[str, object], state: str, due: float) -> None:
    job = added(**fields)
    assert (job.state, job.due, job.created) == (state, due, NOW)


def test_a_held_job_waits_whatever_its_delay() -> None:
    job = moves.added(NewJob(id="job", task="task", delay=5.0), NOW, held=True)
    assert (job.state, job.reason, job.due) == ("waiting", "job", NOW + 5)
    woken = moves.woken(job, NOW + 1)
    assert (woken.state, woken.due) == ("scheduled", NOW + 5)
    assert moves.woken(job, NOW + 6).state == "ready"


def test_expiry_and_unique_window_are_durations_or_moments() -> None:
    assert added(expires_in=7.0).expires == NOW + 7
    assert added(expires_at=NOW + 8).expires == NOW + 8
    assert added(unique="k", unique_for=60.0).unique_until == NOW + 60
    assert added(unique="k", unique_for=FOREVER).unique_until == FOREVER
    assert added(unique="k").unique_until is None


@pytest.mark.parametrize(("fields", "linked"), [({}, False), ({"unique": "k"}, True), ({"group": "g"}, True)])
def test_a_job_is_linked_when_its_end_concerns_others(fields: dict[str, object], linked: bool) -> None:
    assert added(**fields).linked is linked


# --- settle -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SETTLE_KINDS)
def test_C4_cancel_beats_retry_and_everything_but_an_end(kind: SettleKind) -> None:
    ends = {"complete": "completed", "dead": "dead", "expired": "expired"}
    assert settle(running(cancel_requested=True), kind).state == ends.get(kind, "cancelled")


@pytest.mark.parametrize("kind", ["retry", "repeat", "snooze"])
def test_M3_a_next_run_beyond_expires_ends_the_job_at_once(kind: SettleKind) -> None:
    job = running(expires=NOW + 11)
    assert settle(job, kind, after=9.9).state == "scheduled"
    late = settle(job, kind, after=10.0)
    assert (late.state, late.finished) == ("expired", NOW + 1)


@pytest.mark.parametrize("kind", ["sleep", "wait"])
def test_M3_sleep_and_wait_clear_expires(kind: SettleKind) -> None:
    assert settle(running(expires=NOW + 11), kind, after=100.0).expires is None


def test_repeat_opens_a_round_and_resets_what_was_used_up() -> None:
    """SCH-033."""
    job = settle(running(counters={"rule": 3}, crashes=2, rescues=1), "repeat", after=2.0)
    assert (job.round, job.counters, job.crashes, job.rescues, job.begun) == (1, {}, 0, 0, None)
    assert (job.attempt, job.lease, job.due, job.reason) == (1, 1, NOW + 3, "repeat")


def test_counters_are_kept_unless_they_are_given() -> None:
    job = running(counters={"rule": 1})
    assert settle(job, "retry").counters == {"rule": 1}
    assert settle(job, "retry", counters={"rule": 2}).counters == {"rule": 2}


def test_a_crash_makes_a_suspect_and_the_third_a_dead_job() -> None:
    job = settle(running(), "crash")
    assert (job.state, job.suspect, job.crashes) == ("ready", True, 1)
    last = settle(running(crashes=CRASH_LIMIT - 1), "crash", error=Failure(type="ProcessCrashed", message=""))
    assert (last.state, last.crashes) == ("dead", CRASH_LIMIT)


def test_an_end_keeps_worker_and_times_for_the_history() -> None:
    job = settle(running(), "complete", ran=0.25, result=b"42")
    assert (job.worker, job.claimed, job.started, job.finished, job.result) == ("w", NOW, NOW + 0.75, NOW + 1, b"42")
    last = moves.last_attempt(job)
    assert last is not None
    assert (last.ending, last.started, last.ended, last.lease) == ("completed", NOW + 0.75, NOW + 1, 1)


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        ("retry", "retried"),
        ("repeat", "repeated"),
        ("snooze", "snoozed"),
        ("sleep", "slept"),
        ("wait", "waited"),
        ("release", "released"),
        ("crash", "crashed"),
    ],
)
def test_H15_each_way_out_has_its_word(kind: SettleKind, ending: str) -> None:
    before = running()
    settlement = Settlement(job="job", lease=1, kind=kind, ran=0.5, error=Failure(type="E", message="m"))
    past = moves.past_attempt(before, moves.settled(before, settlement, NOW + 1), settlement, NOW + 1)
    assert past is not None
    assert (past.ending, past.lease, past.attempt, past.worker) == (ending, 1, 1, "w")
    assert (past.claimed, past.started, past.ended, past.error) == (NOW, NOW + 0.5, NOW + 1, settlement.error)


# --- rescue -------------------------------------------------------------------------------------------


def test_D42_the_first_rescue_is_at_once_and_later_ones_wait_longer_and_longer() -> None:
    job, waits = running(), []
    for _ in range(12):
        job = moves.rescued(job, NOW, suspect=False, charged=False)
        waits.append(job.due - NOW)
        assert job.state == ("ready" if len(waits) == 1 else "scheduled")
        job = moves.claimed(moves.promoted(job, job.due), job.due, "w", 1)
        job = replace(job, claimed=NOW)
    assert waits == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_C6_only_a_charge_counts_and_the_third_is_the_end() -> None:
    free = moves.rescued(running(), NOW, suspect=True, charged=False)
    assert (free.state, free.suspect, free.crashes) == ("ready", True, 0)
    dead = moves.rescued(running(crashes=CRASH_LIMIT - 1), NOW, suspect=True, charged=True)
    assert (dead.state, dead.crashes) == ("dead", CRASH_LIMIT)
    assert "died 3 times" in dead.reason


def test_C6_a_suspect_that_was_not_started_stays_one() -> None:
    assert moves.rescued(running(suspect=True), NOW, suspect=False, charged=False).suspect


def test_C6_a_release_before_the_start_proves_nothing() -> None:
    assert settle(running(suspect=True), "release").suspect
    assert not settle(running(suspect=True), "release", ran=0.5).suspect
    assert not settle(running(suspect=True), "complete").suspect


# --- the rest -----------------------------------------------------------------------------------------


def test_claim_of_a_late_job_ends_it_without_a_lease() -> None:
    job = moves.claimed(added(expires_in=5.0), NOW + 5, "w", 1)
    assert (job.state, job.lease, job.attempt, job.worker) == ("expired", 0, 0, None)
    assert moves.last_attempt(job) is None


def test_begun_is_the_first_start_of_this_life() -> None:
    job = settle(running(), "retry")
    again = moves.claimed(moves.promoted(job, NOW + 1), NOW + 50, "w", 4)
    assert (again.begun, again.claimed, again.claim) == (NOW, NOW + 50, 4)


@pytest.mark.parametrize(("due", "state"), [(NOW + 30, "scheduled"), (NOW - 30, "ready"), (NOW, "ready")])
@pytest.mark.parametrize("delay", [0.0, 10.0])
def test_reschedule_moves_both_ways_and_the_past_means_now(due: float, state: str, delay: float) -> None:
    job = moves.rescheduled(added(delay=delay), NOW, due)
    assert (job.state, job.due) == (state, max(due, NOW))


def test_replay_of_an_expired_job_clears_expires() -> None:
    """D43."""
    job = moves.replayed(moves.expired(added(expires_in=5.0), NOW + 6), NOW + 7)
    assert (job.state, job.expires, job.due, job.reason) == ("ready", None, NOW + 7, "replay")


@pytest.mark.parametrize(("fresh", "round_"), [(False, 0), (True, 1)])
def test_C13_a_fresh_replay_opens_a_round(fresh: bool, round_: int) -> None:
    dead = settle(running(), "dead")
    assert moves.replayed(dead, NOW, fresh=fresh).round == round_


def test_FAI_012_a_completed_job_is_replayed_by_force_only() -> None:
    done = settle(running(), "complete", result=b"1")
    assert moves.replayed(done, NOW) is done
    forced = moves.replayed(done, NOW, force=True)
    assert (forced.state, forced.result) == ("ready", None)

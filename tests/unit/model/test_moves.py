"""Any sequence of verbs, on one job: it never reaches a place that the table does not allow."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mainspring.model import moves
from mainspring.model.record import CRASH_LIMIT, Failure, JobRecord, NewJob, Settlement
from mainspring.model.states import SETTLE_KINDS, STATES, TABLE, TERMINAL, SettleKind, Verb, allowed, target

GIVEN_BACK = {"snooze", "sleep", "wait", "release"}
START = 1_000.0


class Op(NamedTuple):
    """One verb, with whatever it may be told. `passed`: seconds since the verb before."""

    verb: Verb
    passed: float = 0.0
    after: float = 0.0
    ran: float | None = None
    held: bool = False
    flag: bool = False
    other: bool = False


NEW = st.builds(
    NewJob,
    id=st.just("job"),
    task=st.just("task"),
    delay=st.sampled_from([0.0, 5.0]),
    run_at=st.sampled_from([None, None, START - 5, START + 7]),
    expires_in=st.sampled_from([None, None, 12.0]),
    expires_at=st.sampled_from([None, None, START + 30]),
)
VERBS: tuple[Verb, ...] = tuple({row.verb for row in TABLE} - {"add", "delete"})
OPS = st.builds(
    Op,
    verb=st.sampled_from(sorted(VERBS)) | st.sampled_from(["promote", "wake", "claim", *SETTLE_KINDS]),
    passed=st.sampled_from([0.0, 0.0, 1.0, 6.0]),
    after=st.sampled_from([0.0, 3.0, -1.0]),
    ran=st.sampled_from([None, 0.5]),
    held=st.booleans(),
    flag=st.booleans(),
    other=st.booleans(),
)


def settlement_of(job: JobRecord, op: Op, kind: SettleKind) -> Settlement:
    return Settlement(
        job=job.id,
        lease=job.lease,
        kind=kind,
        after=op.after,
        ran=op.ran,
        error=Failure(type="E", message="m") if op.flag else None,
        counters={"rule": 1} if op.other else None,
        result=b"1" if kind == "complete" else None,
    )


def apply(job: JobRecord, op: Op, now: float) -> JobRecord:
    """The verb, as a store would ask for it: a settlement only with the lease of a running job."""
    if op.verb in SETTLE_KINDS:
        return moves.settled(job, settlement_of(job, op, op.verb), now)
    match op.verb:
        case "promote":
            return moves.promoted(job, now, held=op.held)
        case "wake":
            return moves.woken(job, now)
        case "claim":
            return moves.claimed(job, now, "worker", 7)
        case "rescue":
            return moves.rescued(job, now, suspect=op.flag, charged=op.other)
        case "expire":
            return moves.expired(job, now)
        case "cancel":
            return moves.cancelled(job, now)
        case "reschedule":
            return moves.rescheduled(job, now, now + op.after)
        case "replay":
            return moves.replayed(job, now, held=op.held, force=op.flag, fresh=op.other)
        case _:
            return moves.revived(job)


@settings(max_examples=300)
@given(NEW, st.booleans(), st.lists(OPS, max_size=40))
def test_every_sequence_of_verbs_leaves_a_legal_state(new: NewJob, held: bool, ops: list[Op]) -> None:
    now = START
    job = moves.added(new, now, held=held)
    check_record(job)
    for op in ops:
        now += op.passed
        after = apply(job, op, now)
        check_move(job, op, after, now)
        check_record(after)
        job = after
    event(f"ended {job.state}")


def check_move(before: JobRecord, op: Op, after: JobRecord, now: float) -> None:
    rows = [row for row in TABLE if (row.verb, row.state) == (op.verb, before.state)]
    if not rows:
        assert after is before
        assert not allowed(op.verb, before.state)
        return
    assert after is before or after.state in {row.to for row in rows}
    if before.terminal and after is not before:
        assert op.verb in ("replay", "revive")
    if before.state == "running" and before.cancel_requested and after.state != "running":
        assert after.state in TERMINAL, "C4: a cancel request beats everything but an end"
    check_numbers(before, op, after)
    check_times(before, op, after, now)


def check_numbers(before: JobRecord, op: Op, after: JobRecord) -> None:
    taken = after.state == "running" and before.state != "running"
    assert after.lease == before.lease + taken, "leases only grow, by one for each claim"
    back = op.verb in GIVEN_BACK and after.state != before.state and not after.terminal
    assert after.attempt == before.attempt + taken - back
    assert before.settled <= after.settled <= after.lease
    if op.verb in SETTLE_KINDS and after is not before:
        assert after.settled == after.lease
        proves_nothing = op.verb == "release" and op.ran is None and before.suspect
        assert after.suspect == (op.verb == "crash" or proves_nothing), (
            "any settlement of a start but a crash clears it"
        )
    assert after.round >= before.round


def check_times(before: JobRecord, op: Op, after: JobRecord, now: float) -> None:
    if after is before or after.state == before.state:
        return
    if after.terminal:
        assert after.finished == now
    elif after.state == "scheduled":
        assert after.due >= now
        assert after.due > now or op.verb in ("retry", "repeat", "snooze", "sleep")
    elif after.state == "ready":
        assert after.due == now
    assert after.created == before.created


def check_record(job: JobRecord) -> None:
    """What holds of a job at rest, whatever it has been through."""
    running = job.state == "running"
    assert job.state in STATES
    assert 0 <= job.attempt <= job.lease
    assert (job.finished is not None) == job.terminal
    if not job.terminal:
        assert (job.worker is not None) == (job.claimed is not None) == running
        assert job.crashes < CRASH_LIMIT
        assert job.result is None
    if job.state in ("scheduled", "waiting"):
        assert job.reason, "somebody will ask why it does not run"
    if job.cancel_requested:
        assert running or job.terminal
    if running:
        assert job.begun is not None


@given(NEW, st.lists(OPS, max_size=25))
def test_replay_and_revive_clear_what_was_used_up(new: NewJob, ops: list[Op]) -> None:
    now, job = START, moves.added(new, START)
    for op in ops:
        now += op.passed
        job = apply(job, op, now)
    if not job.terminal:
        return
    for fresh in (moves.replayed(job, now, force=True), moves.revived(job)):
        if fresh is job:
            assert job.state != "cancelled"
            continue
        assert (fresh.crashes, fresh.rescues, fresh.counters, fresh.suspect) == (0, 0, {}, False)
        assert (fresh.cancel_requested, fresh.expires, fresh.begun, fresh.finished) == (False, None, None, None)
        assert (fresh.lease, fresh.settled, fresh.attempt) == (job.lease, job.settled, job.attempt)


@given(NEW, st.lists(OPS, max_size=25))
def test_history_has_each_lease_once_and_misses_none(new: NewJob, ops: list[Op]) -> None:
    """H15: what leaves `running` without an end, and replay, append; a release before start appends nothing."""
    now, job = START, moves.added(new, START)
    kept: list[int] = []
    skipped: set[int] = set()
    for op in ops:
        now += op.passed
        after = apply(job, op, now)
        past = None
        if op.verb in SETTLE_KINDS:
            past = moves.past_attempt(job, after, settlement_of(job, op, op.verb), now)
            if op.verb == "release" and op.ran is None:
                skipped.add(job.lease)
        elif op.verb == "rescue":
            past = moves.past_attempt(job, after, None, now)
        elif op.verb in ("replay", "revive") and after is not job:
            past = moves.last_attempt(job)
        if past is not None:
            assert past.ended is not None
            assert past.ending != "running"
            kept.append(past.lease)
        job = after
    last = moves.last_attempt(job)
    if last is not None:
        kept.append(last.lease)
    assert kept == sorted(set(kept)), "leases are unique and in order"
    assert set(kept) | skipped >= set(range(1, job.lease + 1))


@given(NEW, st.lists(OPS, max_size=25), OPS)
def test_moves_agree_with_the_table(new: NewJob, ops: list[Op], last: Op) -> None:
    """The conditions, worked out a second time from the record alone."""
    now, job = START, moves.added(new, START)
    for op in ops:
        now += op.passed
        job = apply(job, op, now)
    now += last.passed
    due = job.due if last.verb in ("promote", "wake") else now + max(last.after, 0.0)
    late = job.expires is not None and job.expires <= (due if last.verb in SETTLE_KINDS else now)
    charged = last.verb == "crash" or (last.verb == "rescue" and last.other)
    holding = {
        "cancel requested": job.cancel_requested,
        "expired": late,
        "crash limit": job.crashes + charged >= CRASH_LIMIT,
        "again": job.rescues > 0,
        "delayed": due > now,
        "due": due <= now,
        "held": last.held,
        "forced": last.flag,
    }
    wanted = target(last.verb, job.state, [name for name, holds in holding.items() if holds])  # type: ignore[misc]
    assert apply(job, last, now).state == (job.state if wanted is None else wanted)


def test_a_settlement_of_nothing_is_not_taken_for_an_old_one() -> None:
    """A job that was never claimed has settled no lease: 0 is not one."""
    job = moves.added(NewJob(id="job", task="task"), START)
    nothing = Settlement(job="job", lease=0, kind="complete")
    assert not moves.accepts(job, nothing)
    assert not moves.already_settled(job, nothing)


def test_accepts_only_the_lease_that_runs() -> None:
    job = moves.claimed(moves.added(NewJob(id="job", task="task"), START), START, "w", 1)
    now = Settlement(job="job", lease=1, kind="retry")
    assert moves.accepts(job, now)
    assert not moves.accepts(job, replace(now, lease=2))
    after = moves.settled(job, now, START)
    assert not moves.accepts(after, now)
    assert moves.already_settled(after, now)
    assert not moves.already_settled(after, replace(now, lease=2))

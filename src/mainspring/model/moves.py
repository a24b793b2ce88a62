"""What each verb does to one job: pure functions from a record to the record after it.

A store finds the record, asks here, and writes the answer in one commit; it never decides. What the end of a job
does to others (keys, groups, jobs that wait, follow-ups) is the store's `finish`, one for all verbs (RULES C5).
"""

from __future__ import annotations

from collections.abc import Collection
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from mainspring.model.record import (
    CRASH_LIMIT,
    NO_COUNTERS,
    AttemptEnding,
    AttemptRecord,
    JobRecord,
    NewJob,
    Settlement,
)
from mainspring.model.states import TERMINAL, Condition, State, target

RESCUE_BACKOFF: Final = 1.0
RESCUE_BACKOFF_CAP: Final = 300.0

FOR_JOB: Final = "job"
"""The reason of a job that waits for the end of a job or group, and for nothing else."""

_ENDINGS: Final[dict[str, AttemptEnding]] = {
    "retry": "retried",
    "repeat": "repeated",
    "snooze": "snoozed",
    "sleep": "slept",
    "wait": "waited",
    "release": "released",
    "crash": "crashed",
}
_GIVES_ATTEMPT_BACK: Final = frozenset({"snooze", "sleep", "wait", "release"})
_MAY_EXPIRE: Final = frozenset({"retry", "repeat", "snooze"})


def added(new: NewJob, now: float, *, held: bool = False, linked: bool = False) -> JobRecord:
    """The record of a new job. `held`: what it waits on has not ended yet, or its key is taken in order."""
    due = new.run_at if new.run_at is not None else now + new.delay
    conditions: list[Condition] = []
    if held:
        conditions.append("held")
    if due > now:
        conditions.append("delayed")
    state = target("add", None, conditions)
    assert state is not None
    return JobRecord(
        id=new.id,
        task=new.task,
        version=new.version,
        queue=new.queue,
        payload=new.payload,
        priority=new.priority,
        tags=new.tags,
        metadata=new.metadata,
        options=new.options,
        hooks=new.hooks,
        unique=new.unique,
        unique_until=None if new.unique_for is None else now + new.unique_for,
        parent=new.parent,
        root=new.root,
        correlation=new.correlation,
        trace=new.trace,
        schedule=new.schedule,
        slot=new.slot,
        waits_on=new.waits_on,
        group=new.group,
        linked=linked or new.unique is not None or new.group is not None,
        state=state,
        reason=_reason_of(state, FOR_JOB, "delay"),
        created=now,
        due=max(due, now),
        expires=_expiry(new, now),
    )


def promoted(job: JobRecord, now: float, *, held: bool = False) -> JobRecord:
    """A scheduled job whose time has come."""
    conditions: list[Condition] = []
    if job.due <= now:
        conditions.append("due")
    if held:
        conditions.append("held")
    state = target("promote", job.state, conditions)
    if state is None:
        return job
    return replace(job, state=state, reason=_reason_of(state, "key", ""), due=now)


def woken(job: JobRecord, now: float) -> JobRecord:
    """A waiting job whose last reason to wait has gone."""
    state = target("wake", job.state, _delayed(job.due, now))
    if state is None:
        return job
    return replace(job, state=state, reason=_reason_of(state, "", "delay"), due=max(job.due, now))


def claimed(job: JobRecord, now: float, worker: str, claim: int) -> JobRecord:
    """A ready job handed to a worker, or ended `expired` when it may not start any more."""
    state = target("claim", job.state, _late(job, now))
    if state is None:
        return job
    if state != "running":
        return _ended(job, state, now, "expired before it was started")
    return replace(
        job,
        state=state,
        reason="",
        lease=job.lease + 1,
        attempt=job.attempt + 1,
        worker=worker,
        claim=claim,
        claimed=now,
        started=None,
        begun=now if job.begun is None else job.begun,
        error=None,
        finished=None,
    )


def settled(job: JobRecord, settlement: Settlement, now: float) -> JobRecord:
    """A running job after its attempt. The caller has checked the lease (`accepts`)."""
    kind = settlement.kind
    due = now + max(settlement.after, 0.0)
    state = target(kind, job.state, _conditions(job, settlement, due, now))
    if state is None:
        return job
    started = None if settlement.ran is None else now - settlement.ran
    job = replace(
        job,
        settled=job.lease,
        started=started,
        error=settlement.error,
        counters=job.counters if settlement.counters is None else MappingProxyType(dict(settlement.counters)),
        suspect=kind == "crash" or (job.suspect and kind == "release" and settlement.ran is None),
        crashes=job.crashes + 1 if kind == "crash" else job.crashes,
    )
    if state in TERMINAL:
        return _ended(job, state, now, _why(job, settlement, state), settlement.result)
    back = kind in _GIVES_ATTEMPT_BACK
    job = replace(
        job,
        state=state,
        reason=settlement.reason if state == "waiting" and settlement.reason else _reason_of(state, kind, kind),
        due=due,
        worker=None,
        claimed=None,
        started=None,
        attempt=job.attempt - 1 if back else job.attempt,
        expires=None if kind in ("sleep", "wait") else job.expires,
    )
    return _fresh_round(job) if kind == "repeat" else job


def accepts(job: JobRecord, settlement: Settlement) -> bool:
    """Whether this settlement's lease is the one that runs the job now."""
    return job.state == "running" and job.lease == settlement.lease


def already_settled(job: JobRecord, settlement: Settlement) -> bool:
    """Whether an earlier send of this settlement was accepted: its lease is the settled one (RULES C3)."""
    return 0 < settlement.lease == job.settled


def rescued(job: JobRecord, now: float, *, suspect: bool, charged: bool) -> JobRecord:
    """A running job taken from a dead worker. `suspect`: it may have been started there; `charged`: it counts."""
    crashes = job.crashes + 1 if charged else job.crashes
    conditions: list[Condition] = []
    if job.cancel_requested:
        conditions.append("cancel requested")
    if crashes >= CRASH_LIMIT:
        conditions.append("crash limit")
    if job.rescues >= 1:
        conditions.append("again")
    state = target("rescue", job.state, conditions)
    if state is None:
        return job
    job = replace(job, suspect=job.suspect or suspect, crashes=crashes, rescues=job.rescues + 1)
    if state in ("cancelled", "dead"):
        return _ended(job, state, now, job.reason if state == "cancelled" else _crash_reason(crashes))
    wait = min(RESCUE_BACKOFF * 2 ** max(job.rescues - 2, 0), RESCUE_BACKOFF_CAP) if state == "scheduled" else 0.0
    return replace(
        job,
        state=state,
        reason=_reason_of(state, "", "rescue"),
        due=now + wait,
        worker=None,
        claimed=None,
        started=None,
    )


def expired(job: JobRecord, now: float) -> JobRecord:
    """A job that has not started and may not start any more."""
    state = target("expire", job.state, _late(job, now))
    return job if state is None else _ended(job, state, now, "expired before it was started")


def cancelled(job: JobRecord, now: float, reason: str = "cancelled by request") -> JobRecord:
    """A job that somebody wants to end: at once when it does not run, else by a request that its worker sees."""
    state = target("cancel", job.state)
    if state is None:
        return job
    if state == "running":
        return replace(job, cancel_requested=True, reason=reason)
    return _ended(job, state, now, reason)


def rescheduled(job: JobRecord, now: float, due: float) -> JobRecord:
    """A scheduled or ready job at another time; a time that has passed means now."""
    state = target("reschedule", job.state, _delayed(due, now))
    if state is None:
        return job
    return replace(job, state=state, reason=_reason_of(state, "", "delay"), due=max(due, now))


def replayed(job: JobRecord, now: float, *, held: bool = False, force: bool = False, fresh: bool = False) -> JobRecord:
    """A job that has ended, made ready again by a person: what was used up is reset, lease and attempt go on."""
    conditions: list[Condition] = []
    if held:
        conditions.append("held")
    if force:
        conditions.append("forced")
    state = target("replay", job.state, conditions)
    if state is None:
        return job
    job = replace(_unended(job, state, FOR_JOB), due=now, reason=FOR_JOB if state == "waiting" else "replay")
    return replace(job, round=job.round + 1) if fresh else job


def revived(job: JobRecord) -> JobRecord:
    """A job that was cancelled because of the one it waits on, which has been replayed: it waits again."""
    state = target("revive", job.state)
    return job if state is None else _unended(job, state, FOR_JOB)


def attempt_of(job: JobRecord, ending: AttemptEnding, ended: float | None) -> AttemptRecord:
    """The record of the attempt that this job is in, or ended with."""
    return AttemptRecord(
        job=job.id,
        lease=job.lease,
        attempt=job.attempt,
        ending=ending,
        worker=job.worker,
        claimed=job.claimed,
        started=job.started,
        ended=ended,
        error=job.error,
    )


def past_attempt(
    before: JobRecord, after: JobRecord, settlement: Settlement | None, now: float
) -> AttemptRecord | None:
    """What goes to the history when a running job moves on without an end; None when nothing does (RULES H15)."""
    if before.state != "running" or after.state == "running" or after.terminal:
        return None
    if settlement is None:
        return attempt_of(before, "rescued", now)
    if settlement.kind == "release" and settlement.ran is None:
        return None
    shown = replace(before, started=None if settlement.ran is None else now - settlement.ran, error=settlement.error)
    return attempt_of(shown, _ENDINGS[settlement.kind], now)


def last_attempt(job: JobRecord) -> AttemptRecord | None:
    """The attempt on the row itself: the one that runs, or the one that the job ended with."""
    if job.state == "running":
        return attempt_of(job, "running", None)
    if job.terminal and job.lease and job.claimed is not None:
        return attempt_of(job, job.state, job.finished)  # type: ignore[arg-type]  # a terminal state is an ending
    return None


def _conditions(job: JobRecord, settlement: Settlement, due: float, now: float) -> Collection[Condition]:
    conditions: list[Condition] = []
    if job.cancel_requested:
        conditions.append("cancel requested")
    if settlement.kind in _MAY_EXPIRE and job.expires is not None and due >= job.expires:
        conditions.append("expired")
    if settlement.kind == "crash" and job.crashes + 1 >= CRASH_LIMIT:
        conditions.append("crash limit")
    if due > now:
        conditions.append("delayed")
    return conditions


def _delayed(due: float, now: float) -> tuple[Condition, ...]:
    return ("delayed",) if due > now else ()


def _late(job: JobRecord, now: float) -> tuple[Condition, ...]:
    return ("expired",) if job.expires is not None and job.expires <= now else ()


def _ended(job: JobRecord, state: State, now: float, reason: str, result: bytes | None = None) -> JobRecord:
    return replace(job, state=state, reason=reason, finished=now, result=result)


def _unended(job: JobRecord, state: State, reason: str) -> JobRecord:
    return replace(
        job,
        state=state,
        reason=reason,
        expires=None,
        finished=None,
        worker=None,
        claimed=None,
        started=None,
        begun=None,
        cancel_requested=False,
        suspect=False,
        crashes=0,
        rescues=0,
        counters=NO_COUNTERS,
        result=None,
    )


def _why(job: JobRecord, settlement: Settlement, state: State) -> str:
    """The reason of an end: what the attempt said, unless the store made another end of it."""
    if state == "cancelled" and job.cancel_requested:
        return job.reason
    if state == "expired" and settlement.kind != "expired":
        return "expired before its next attempt"
    return settlement.reason


def _fresh_round(job: JobRecord) -> JobRecord:
    return replace(job, round=job.round + 1, counters=NO_COUNTERS, begun=None, crashes=0, rescues=0)


def _expiry(new: NewJob, now: float) -> float | None:
    return new.expires_at if new.expires_in is None else now + new.expires_in


def _reason_of(state: State, waiting: str, scheduled: str) -> str:
    return waiting if state == "waiting" else scheduled if state == "scheduled" else ""


def _crash_reason(crashes: int) -> str:
    return f"its worker process died {crashes} times while it ran"

"""A job as a row and back. Plain jobs, which are most, pass without a look at what is packed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from mainspring.model.record import AttemptRecord, Failure, Hook, JobRecord
from mainspring.model.states import State

Value = str | bytes | int | float | None
Row = tuple[Value, ...]
JobRow = tuple[
    int, str, State, str, str, str, int, int, float, float, float | None, int, int, int, str | None,
    int, float | None, float | None, float | None, float | None, int, int, str, str | None, str | None, str | None, bytes,
    bytes, bytes | None,
]  # fmt: skip
"""A row of `jobs`, in the order of the schema."""


class More(Struct, frozen=True, omit_defaults=True):
    """What few jobs have, and never change. An endless key is a flag: JSON has no infinity."""

    tags: tuple[str, ...] = ()
    metadata: bytes = b""
    hooks: tuple[Hook, ...] = ()
    unique: str | None = None
    unique_until: float | None = None
    unique_forever: bool = False
    parent: str | None = None
    root: str | None = None
    correlation: str | None = None
    trace: str | None = None
    schedule: str | None = None
    slot: float | None = None
    waits_on: str | None = None
    group: str | None = None


class Spent(Struct, frozen=True, omit_defaults=True):
    """What a job has used up."""

    round: int = 0
    crashes: int = 0
    rescues: int = 0
    counters: dict[str, int] = {}


_NOTHING_MORE: Final = More()
_MARKS: Final = ("parent", "correlation", "schedule", "group", "waits_on")
_encode = msgspec.json.Encoder().encode
_more = msgspec.json.Decoder(More).decode
_spent = msgspec.json.Decoder(Spent).decode
_failure = msgspec.json.Decoder(Failure).decode


def job_of(row: JobRow) -> JobRecord:
    """The job of a row of `SELECT jobs.*`."""
    (
        _, id_, state, queue, task, version, priority, suspect, due, created, expires, lease, settled, attempt, worker,
        claim, claimed, started, begun, finished, cancel_requested, linked, reason, error, spent, more, options,
        payload, result,
    ) = row  # fmt: skip
    job = JobRecord(
        id=id_,
        task=task,
        version=version,
        queue=queue,
        payload=payload,
        priority=priority,
        options=options,
        linked=linked == 1,
        state=state,
        reason=reason,
        created=created,
        due=due,
        expires=expires,
        lease=lease,
        settled=settled,
        attempt=attempt,
        worker=worker,
        claim=claim,
        claimed=claimed,
        started=started,
        begun=begun,
        finished=finished,
        cancel_requested=cancel_requested == 1,
        suspect=suspect == 1,
        result=result,
    )
    if error is None and spent is None and more is None:
        return job
    return _completed(job, error, spent, more)


def added_row(job: JobRecord) -> Row:
    """The parameters of the statement `insert`."""
    more = more_of(job)
    return (
        job.id, job.state, job.queue, job.task, job.version, job.priority, job.suspect, job.due, job.created,
        job.expires, job.linked, job.reason, None if more is _NOTHING_MORE else _encode(more).decode(), job.options,
        job.payload,
    )  # fmt: skip


def written_row(job: JobRecord) -> Row:
    """The parameters of the statement `write`."""
    return (
        job.state, job.reason, job.due, job.expires, job.lease, job.settled, job.attempt, job.worker, job.claim,
        job.claimed, job.started, job.begun, job.finished, job.cancel_requested, job.suspect, job.linked,
        failure_text(job.error), _spent_text(job), job.result, job.id,
    )  # fmt: skip


def more_of(job: JobRecord) -> More:
    """What this job has beyond the plain; the same empty value for all that have nothing."""
    if not (job.tags or job.metadata or job.hooks or job.linked) and not _is_related(job):
        return _NOTHING_MORE
    forever = job.unique_until == math.inf
    more = More(
        tags=job.tags,
        metadata=job.metadata,
        hooks=job.hooks,
        unique=job.unique,
        unique_until=None if forever else job.unique_until,
        unique_forever=forever,
        parent=job.parent,
        root=job.root,
        correlation=job.correlation,
        trace=job.trace,
        schedule=job.schedule,
        slot=job.slot,
        waits_on=job.waits_on,
        group=job.group,
    )
    return _NOTHING_MORE if more == _NOTHING_MORE else more


def marks_of(job: JobRecord) -> Iterator[tuple[str, str, str]]:
    """The rows by which this job is found: kind, value, job."""
    for tag in job.tags:
        yield "tag", tag, job.id
    for kind in _MARKS:
        value = getattr(job, kind)
        if value is not None:
            yield kind, value, job.id


def attempt_row(attempt: AttemptRecord) -> Row:
    """The parameters of the statement `append_attempt`."""
    return (
        attempt.job, attempt.lease, attempt.attempt, attempt.ending, attempt.worker, attempt.claimed, attempt.started,
        attempt.ended, failure_text(attempt.error),
    )  # fmt: skip


def failure_text(error: Failure | None) -> str | None:
    """An error as JSON."""
    return None if error is None else _encode(error).decode()


def failure_of(text: str | None) -> Failure | None:
    """An error from JSON."""
    return None if text is None else _failure(text)


def _is_related(job: JobRecord) -> bool:
    return not (
        job.parent is None
        and job.root is None
        and job.correlation is None
        and job.trace is None
        and job.schedule is None
        and job.slot is None
        and job.waits_on is None
    )


def _completed(job: JobRecord, error: str | None, spent: str | None, more: str | None) -> JobRecord:
    """The job with what is packed."""
    if spent is not None:
        used = _spent(spent)
        job = replace(job, round=used.round, crashes=used.crashes, rescues=used.rescues, counters=used.counters)
    if error is not None:
        job = replace(job, error=_failure(error))
    if more is None:
        return job
    m = _more(more)
    return replace(
        job,
        tags=m.tags,
        metadata=m.metadata,
        hooks=m.hooks,
        unique=m.unique,
        unique_until=math.inf if m.unique_forever else m.unique_until,
        parent=m.parent,
        root=m.root,
        correlation=m.correlation,
        trace=m.trace,
        schedule=m.schedule,
        slot=m.slot,
        waits_on=m.waits_on,
        group=m.group,
    )


def _spent_text(job: JobRecord) -> str | None:
    if not (job.round or job.crashes or job.rescues or job.counters):
        return None
    return _encode(Spent(job.round, job.crashes, job.rescues, dict(job.counters))).decode()

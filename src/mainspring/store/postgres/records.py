"""A job as a row and back. Plain jobs, which are most, pass without a look at what few have.

Ids come as text and times as seconds since 1970, by the codecs of the connection; JSON comes as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from mainspring.model.record import NO_COUNTERS, AttemptRecord, Failure, Group, Hook, JobRecord, NewJob
from mainspring.store.serial.rows import KeyHolder

Row = Iterable[Any]
"""A row of asyncpg, in the order of the statement's columns."""

LARGE: Final = 2048
"""Payloads and results of more bytes than this lie in `blobs`: a row that ends is moved, they are not (RULES H11f)."""

_OWN: Final = """j.id, j.task, j.version, j.queue,
    coalesce(j.payload, (SELECT b.value FROM {schema}.blobs b WHERE b.job = j.id AND b.kind = 'payload')),
    j.priority, j.options, j.linked, date_part('epoch', j.created), date_part('epoch', j.due),
    date_part('epoch', j.expires), j.lease, j.settled, j.attempt, date_part('epoch', j.begun), j.suspect,
    CASE WHEN num_nonnulls(j.tags, j.metadata, j.hooks, j.unique_key, j.unique_until, j.parent, j.root, j.correlation,
        j.trace, j.schedule, j.slot, j.waits_on, j.group_id, j.counters, j.error) + j.round + j.crashes + j.rescues > 0
    THEN json_build_object('tags', j.tags, 'metadata', j.metadata, 'hooks', j.hooks, 'unique', j.unique_key,
        'unique_until', date_part('epoch', j.unique_until), 'parent', j.parent, 'root', j.root,
        'correlation', j.correlation, 'trace', j.trace, 'schedule', j.schedule, 'slot', date_part('epoch', j.slot),
        'waits_on', j.waits_on, 'group', j.group_id, 'round', j.round, 'crashes', j.crashes, 'rescues', j.rescues,
        'counters', j.counters, 'error', j.error) END"""
_STANDING: Final = """j.state, j.reason, j.worker, j.claim, date_part('epoch', j.claimed),
    date_part('epoch', j.started), j.cancel_requested"""
CLAIMED_COLUMNS: Final = _OWN
"""What `claimed_job` reads, of a row `j` of `jobs`: whoever claims knows the rest. What few jobs have comes as one
value. The server makes numbers of times faster than a codec here does."""
LIVE_COLUMNS: Final = f"{_OWN}, {_STANDING}, NULL::float8, NULL::json"
"""What `job_of` reads, of a row `j` of `jobs`."""
ENDED_COLUMNS: Final = f"""{_OWN}, {_STANDING}, date_part('epoch', j.finished),
    coalesce(j.result, (SELECT b.value FROM {{schema}}.blobs b WHERE b.job = j.id AND b.kind = 'result'))"""  # noqa: S608  # nothing of it comes from outside
"""The same of a row `j` of `jobs_done` or `jobs_kept`."""

_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_encode = msgspec.json.Encoder().encode
_failure = msgspec.json.Decoder(Failure).decode


class Rare(msgspec.Struct, frozen=True):
    """What few jobs have. Endless times come as words: JSON has no infinity."""

    metadata: msgspec.Raw
    tags: tuple[str, ...] | None
    hooks: tuple[Hook, ...] | None
    unique: str | None
    unique_until: float | str | None
    parent: str | None
    root: str | None
    correlation: str | None
    trace: str | None
    schedule: str | None
    slot: float | None
    waits_on: str | None
    group: str | None
    round: int
    crashes: int
    rescues: int
    counters: dict[str, int] | None
    error: Failure | None


_rare = msgspec.json.Decoder(Rare).decode


def is_id(text: str) -> bool:
    """Whether the server can read this as an id; what it cannot is the id of nothing.

    >>> is_id("01a2008d-7400-7000-8000-000000000000"), is_id("no id")
    (True, False)
    """
    return _ID.fullmatch(text) is not None


def claimed_job(row: Row, now: float, worker: str, claim: int) -> JobRecord:
    """The job of a row of `CLAIMED_COLUMNS`, which this claim has just been given."""
    (
        id_, task, version, queue, payload, priority, options, linked, created, due, expires, lease, settled, attempt,
        begun, suspect, rare,
    ) = row  # fmt: skip
    job = JobRecord(
        id=id_,
        task=task,
        version=version,
        queue=queue,
        payload=payload.encode(),
        priority=priority,
        options=b"" if options is None else options.encode(),
        linked=linked,
        state="running",
        created=created,
        due=due,
        expires=expires,
        lease=lease,
        settled=settled,
        attempt=attempt,
        worker=worker,
        claim=claim,
        claimed=now,
        begun=begun,
        suspect=suspect,
    )
    return job if rare is None else _with_rare(job, rare)


def job_of(row: Row) -> JobRecord:
    """The job of a row of `LIVE_COLUMNS` or `ENDED_COLUMNS`."""
    (
        id_, task, version, queue, payload, priority, options, linked, created, due, expires, lease, settled, attempt,
        begun, suspect, rare, state, reason, worker, claim, claimed, started, cancel_requested, finished, result,
    ) = row  # fmt: skip
    job = JobRecord(
        id=id_,
        task=task,
        version=version,
        queue=queue,
        payload=payload.encode(),
        priority=priority,
        options=b"" if options is None else options.encode(),
        linked=linked,
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
        cancel_requested=cancel_requested,
        suspect=suspect,
        finished=finished,
        result=None if result is None else result.encode(),
    )
    return job if rare is None else _with_rare(job, rare)


def lean_values(new: NewJob) -> tuple[Any, ...]:
    """A row of the statement `add`, in the order of its parameters."""
    return new.id, new.queue, new.task, new.version, new.priority, text_of(new.options), new.payload.decode()


def new_values(new: NewJob) -> tuple[Any, ...]:
    """The same for `add_more`."""
    return (
        *lean_values(new), new.delay, new.run_at, new.expires_in, new.expires_at, new.correlation, new.trace,
        new.schedule, new.slot, new.parent, new.root, _json(new.tags),
        _encode(new.hooks).decode() if new.hooks else None, text_of(new.metadata),
    )  # fmt: skip


def is_lean(new: NewJob) -> bool:
    """Whether a job has nothing but what `lean_values` says, and is ready at once."""
    return (
        new.delay == 0.0
        and new.run_at is None
        and new.expires_in is None
        and new.expires_at is None
        and new.correlation is None
        and new.trace is None
        and new.schedule is None
        and new.slot is None
        and new.parent is None
        and new.root is None
        and not new.tags
        and not new.hooks
        and not new.metadata
    )


def added_values(job: JobRecord) -> tuple[Any, ...]:
    """A row of the statement `insert`, in the order of its parameters."""
    return (
        job.id, job.created, job.due, job.expires, job.unique_until, job.slot, job.priority, job.linked, job.state,
        job.queue, job.task, job.version, job.reason, job.unique, job.correlation, job.trace, job.schedule, job.parent,
        job.root, job.waits_on, job.group, _json(job.tags), _hooks_text(job), text_of(job.metadata),
        text_of(job.options), small(job.payload),
    )  # fmt: skip


def changed_values(job: JobRecord) -> tuple[Any, ...]:
    """A row of the statement `write`: everything that a verb may change on a job that goes on."""
    return (
        job.id, job.state, job.reason, job.due, job.expires, job.lease, job.settled, job.attempt, job.worker,
        job.claim, job.claimed, job.started, job.begun, job.cancel_requested, job.suspect, job.linked, job.round,
        job.crashes, job.rescues, counters_text(job.counters), failure_text(job.error),
    )  # fmt: skip


def ended_values(job: JobRecord) -> tuple[Any, ...]:
    """The same for a job that has ended."""
    return (*changed_values(job), job.finished, small(job.result))


def attempt_values(attempt: AttemptRecord) -> tuple[Any, ...]:
    """A row of `attempts`."""
    return (
        attempt.job, attempt.lease, attempt.attempt, attempt.ending, attempt.worker, attempt.claimed, attempt.started,
        attempt.ended, failure_text(attempt.error),
    )  # fmt: skip


def attempt_of(row: Row) -> AttemptRecord:
    """An attempt of a row of `attempts`."""
    job, lease, attempt, ending, worker, claimed, started, ended, error = row
    return AttemptRecord(
        job=job,
        lease=lease,
        attempt=attempt,
        ending=ending,
        worker=worker,
        claimed=claimed,
        started=started,
        ended=ended,
        error=None if error is None else _failure(error),
    )


def group_of(row: Row) -> Group:
    """A fan-in of a row of `groups`."""
    id_, size, remaining, failed, on_failure = row
    return Group(id=id_, size=size, remaining=remaining, failed=failed, on_failure=on_failure)


def holder_of(row: Row) -> KeyHolder:
    """Who holds a key, of the columns `job` and `until`."""
    job, until = row
    return KeyHolder(job, until)


def columns_of(rows: Iterable[Sequence[Any]]) -> list[Any]:
    """Rows as the parameters of a statement that `unnest`s them: a column of nulls is null itself, and costs nothing.

    >>> columns_of([(1, None, "a"), (2, None, None)])
    [(1, 2), None, ('a', None)]
    """
    return [None if column.count(None) == len(column) else column for column in zip(*rows, strict=True)]


def small(value: bytes | None) -> str | None:
    """What goes into the row itself; None when it is large, or there is nothing."""
    return None if value is None or len(value) > LARGE else value.decode()


def text_of(value: bytes) -> str | None:
    """JSON as text; None for nothing."""
    return value.decode() if value else None


def _hooks_text(job: JobRecord) -> str | None:
    """The follow-ups stored on a job, as JSON."""
    return _encode(job.hooks).decode() if job.hooks else None


def counters_text(counters: Mapping[str, int]) -> str | None:
    """What retry rules have used up, as JSON."""
    return _encode(dict(counters)).decode() if counters else None


def failure_text(error: Failure | None) -> str | None:
    """An error as JSON."""
    return None if error is None else _encode(error).decode()


def _json(values: Sequence[str]) -> str | None:
    return _encode(values).decode() if values else None


def _with_rare(job: JobRecord, text: str) -> JobRecord:
    rare = _rare(text)
    metadata = bytes(rare.metadata)
    return msgspec.structs.replace(
        job,
        tags=rare.tags or (),
        metadata=b"" if metadata == b"null" else metadata,
        hooks=rare.hooks or (),
        unique=rare.unique,
        unique_until=float(rare.unique_until) if isinstance(rare.unique_until, str) else rare.unique_until,
        parent=rare.parent,
        root=rare.root,
        correlation=rare.correlation,
        trace=rare.trace,
        schedule=rare.schedule,
        slot=rare.slot,
        waits_on=rare.waits_on,
        group=rare.group,
        round=rare.round,
        crashes=rare.crashes,
        rescues=rare.rescues,
        counters=MappingProxyType(rare.counters) if rare.counters else NO_COUNTERS,
        error=rare.error,
    )

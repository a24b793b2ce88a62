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

_HOT: Final = """j.id, j.task, j.version, j.queue,
    coalesce(j.payload, (SELECT b.value FROM {schema}.blobs b WHERE b.job = j.id AND b.kind = 'payload')),
    j.priority, j.options, j.linked, j.state, j.reason, date_part('epoch', j.created), date_part('epoch', j.due),
    date_part('epoch', j.expires), j.lease, j.settled, j.attempt, j.worker, j.claim, date_part('epoch', j.claimed),
    date_part('epoch', j.started), date_part('epoch', j.begun), j.cancel_requested, j.suspect"""
_RARE: Final = """j.tags, j.metadata, j.hooks, j.unique_key, date_part('epoch', j.unique_until), j.parent, j.root,
    j.correlation, j.trace, j.schedule, date_part('epoch', j.slot), j.waits_on, j.group_id, j.round, j.crashes,
    j.rescues, j.counters, j.error"""
LIVE_COLUMNS: Final = f"{_HOT}, NULL::float8, NULL::json, {_RARE}"
"""What `job_of` reads, of a row `j` of `jobs`. The server makes numbers of times faster than a codec here does."""
ENDED_COLUMNS: Final = f"""{_HOT}, date_part('epoch', j.finished),
    coalesce(j.result, (SELECT b.value FROM {{schema}}.blobs b WHERE b.job = j.id AND b.kind = 'result')), {_RARE}"""  # noqa: S608  # nothing of it comes from outside
"""The same of a row `j` of `jobs_done` or `jobs_kept`."""

_PLAIN: Final = 25  # how many columns every job has a use for
_NOTHING_RARE: Final = (None,) * 13 + (0, 0, 0, None, None)
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_encode = msgspec.json.Encoder().encode
_hooks = msgspec.json.Decoder(tuple[Hook, ...]).decode
_failure = msgspec.json.Decoder(Failure).decode
_counters = msgspec.json.Decoder(dict[str, int]).decode


def is_id(text: str) -> bool:
    """Whether the server can read this as an id; what it cannot is the id of nothing.

    >>> is_id("01a2008d-7400-7000-8000-000000000000"), is_id("no id")
    (True, False)
    """
    return _ID.fullmatch(text) is not None


def job_of(row: Row) -> JobRecord:
    """The job of a row of `LIVE_COLUMNS` or `ENDED_COLUMNS`."""
    values = tuple(row)
    (
        id_, task, version, queue, payload, priority, options, linked, state, reason, created, due, expires, lease,
        settled, attempt, worker, claim, claimed, started, begun, cancel_requested, suspect, finished, result,
    ) = values[:_PLAIN]  # fmt: skip
    rare = values[_PLAIN:]
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
    return job if rare == _NOTHING_RARE else _completed(job, rare)


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


def _completed(job: JobRecord, rare: tuple[Any, ...]) -> JobRecord:
    """The job with what few have."""
    (
        tags, metadata, hooks, unique, unique_until, parent, root, correlation, trace, schedule, slot, waits_on, group,
        round_, crashes, rescues, counters, error,
    ) = rare  # fmt: skip
    return msgspec.structs.replace(
        job,
        tags=() if tags is None else tuple(tags),
        metadata=b"" if metadata is None else metadata.encode(),
        hooks=() if hooks is None else _hooks(hooks),
        unique=unique,
        unique_until=unique_until,
        parent=parent,
        root=root,
        correlation=correlation,
        trace=trace,
        schedule=schedule,
        slot=slot,
        waits_on=waits_on,
        group=group,
        round=round_,
        crashes=crashes,
        rescues=rescues,
        counters=NO_COUNTERS if counters is None else MappingProxyType(_counters(counters)),
        error=None if error is None else _failure(error),
    )

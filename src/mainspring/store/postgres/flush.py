"""Writing what a verb has done, each kind of change as one statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from mainspring.model.record import AttemptRecord, JobRecord
from mainspring.store.postgres.days import Days
from mainspring.store.postgres.place import Connection
from mainspring.store.postgres.records import (
    LARGE,
    added_values,
    attempt_values,
    changed_values,
    columns_of,
    ended_values,
    is_id,
)
from mainspring.store.postgres.schedule_flush import Part, flush_schedules
from mainspring.store.postgres.work import Work

KEPT_ATTEMPTS: Final = 100
"""Attempts of a job that are kept."""


async def flush(
    connection: Connection, sql: Mapping[str, str], work: Work, days: Days, about_schedules: Mapping[str, str]
) -> None:
    """Write everything, keys first: only there can somebody else be in the way."""

    async def batch(name: str, rows: Iterable[Sequence[Any]], *more: object) -> None:
        columns = columns_of(rows)
        if columns:
            await connection.execute(sql[name], *columns, *more)

    await batch("free_keys", sorted(work.keys_freed))
    await batch("take_keys", [(key, taken.job, taken.until) for key, taken in sorted(work.keys_taken.items())])
    groups = [work.groups_put[each] for each in sorted(work.groups_put)]
    await batch("put_groups", [(each.id, each.size, each.remaining, each.failed, each.on_failure) for each in groups])
    await _remove(connection, sql, sorted(work.removed))
    sorted_out = _sorted_out(work)
    if sorted_out.revived:
        await connection.execute(sql["revive"], [job.id for job in sorted_out.revived])
    added = columns_of(map(added_values, work.added.values()))
    fired = bool(work.runs_put and added and not work.changed and not any(map(_ended, work.added.values())))
    if added and not fired:
        await connection.execute(sql["insert"], *added)
    await batch("write", map(changed_values, (*sorted_out.going_on, *sorted_out.revived)))
    await batch("end", map(ended_values, sorted_out.ended), *days)
    await batch("note", [(job.id, job.reason, job.linked) for job in sorted_out.noted])
    await batch("blobs", _large(work.added.values(), sorted_out.ended))
    await batch("append_attempts", map(attempt_values, work.history))
    await batch("trim_attempts", [(job,) for job in _long(work.history)])
    await batch("drop_workers", [(worker,) for worker in work.workers_dropped])
    await flush_schedules(connection, about_schedules, work, [Part(sql["insert"], added)] if fired else [])


def _ended(job: JobRecord) -> bool:
    return job.terminal


class _SortedOut(NamedTuple):
    """Changed jobs by where they go."""

    going_on: list[JobRecord]
    ended: list[JobRecord]
    revived: list[JobRecord]
    noted: list[JobRecord]


def _sorted_out(work: Work) -> _SortedOut:
    changes = [(work.before(each), work.changed[each]) for each in sorted(work.changed) if each not in work.removed]
    lives = [(before is not None and not before.terminal, after) for before, after in changes]
    return _SortedOut(
        going_on=[after for lived, after in lives if lived and not after.terminal],
        # A job that was added and has ended at once, because of what it would wait on, is inserted first.
        ended=[after for lived, after in lives if lived and after.terminal]
        + [job for job in work.added.values() if job.terminal],
        revived=[after for lived, after in lives if not lived and not after.terminal],
        noted=[after for lived, after in lives if not lived and after.terminal],
    )


async def forget_groups(
    connection: Connection, sql: Mapping[str, str], waited_on: Iterable[str | None], joined: Iterable[str | None]
) -> None:
    """Forget groups with the last of the jobs that were removed: those that waited on them, and their members."""
    waited = {each for each in waited_on if each is not None and is_id(each)}
    members = {each for each in joined if each is not None and is_id(each)} - waited
    if waited or members:
        groups = sorted(waited | members)
        await connection.execute(sql["lock_groups"], groups)
        await connection.execute(sql["forget_groups"], groups, sorted(members))


async def _remove(connection: Connection, sql: Mapping[str, str], ids: list[str]) -> None:
    if ids:
        gone = await connection.fetch(sql["remove"], ids)
        await forget_groups(connection, sql, [row[0] for row in gone], [row[1] for row in gone])


def _large(added: Iterable[JobRecord], ended: Iterable[JobRecord]) -> list[tuple[str, str, str]]:
    payloads = [(job.id, "payload", job.payload.decode()) for job in added if len(job.payload) > LARGE]
    results = [(job, job.result) for job in ended if job.result is not None]
    return payloads + [(job.id, "result", result.decode()) for job, result in results if len(result) > LARGE]


def _long(history: Sequence[AttemptRecord]) -> list[str]:
    """Jobs that may have more attempts than are kept."""
    return sorted({attempt.job for attempt in history if attempt.lease > KEPT_ATTEMPTS})

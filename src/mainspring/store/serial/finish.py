"""The one way in which a job ends, and what its end does to others, in the same step (RULES C5, C11).

Settle, cancel, expire, claim and rescue all come through `apply`: it writes the records, keeps the history, and for
every job that has just ended frees its key, adds the follow-ups stored on it, counts its group down by the batch's
sum, and lets go or cancels what waited on it. No end needs the task's code, and no chain hangs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec.structs import replace

from mainspring.ids import IdSource
from mainspring.model.moves import FOR_JOB, added, cancelled, woken
from mainspring.model.record import AttemptRecord, Group, Hook, JobRecord, NewJob
from mainspring.store.serial.rows import PARENT_FAILED, Unit

Change = tuple[JobRecord, JobRecord]
Outlook = Literal["open", "held", "failed"]


def apply(
    rows: Unit, now: float, ids: IdSource, changes: Sequence[Change], attempts: Sequence[AttemptRecord] = ()
) -> None:
    """Write these changes and everything that the ends among them bring about."""
    if attempts:
        rows.append_attempts(attempts)
    pending = list(changes)
    while pending:
        rows.write(pending)
        ended = [after for before, after in pending if after.terminal and not before.terminal]
        pending = _consequences(rows, now, ids, ended) if ended else []


def outlook(rows: Unit, waits_on: str) -> Outlook | None:
    """How it stands with the job or group of this id: has it let go, does it hold, has it failed? None: unknown."""
    job = rows.jobs([waits_on])[0]
    if job is not None:
        return "held" if not job.terminal else "open" if job.state == "completed" else "failed"
    group = rows.groups([waits_on])[0]
    return None if group is None else group_outlook(group)


def group_outlook(group: Group) -> Outlook:
    """The same for a group: with `on_failure="stop"` the first member that fails decides."""
    if group.failed and group.on_failure == "stop":
        return "failed"
    return "held" if group.remaining > 0 else "open"


def _consequences(rows: Unit, now: float, ids: IdSource, ended: Sequence[JobRecord]) -> list[Change]:
    """What the end of these jobs does to others; the changes are the caller's to write."""
    _free_keys(rows, now, ended)
    _add_hooks(rows, now, ids, ended)
    linked = [job for job in ended if job.linked]
    if not linked:
        return []
    open_ids = [job.id for job in linked if job.state == "completed"]
    failed_ids = [job.id for job in linked if job.state != "completed"]
    for group in _count_down(rows, linked):
        looks = group_outlook(group)
        if looks != "held":
            (open_ids if looks == "open" else failed_ids).append(group.id)
    changes = [(job, woken(job, now)) for job in _waiting_on(rows, open_ids)]
    changes += [(job, cancelled(job, now, PARENT_FAILED)) for job in _waiting_on(rows, failed_ids)]
    return changes


def _waiting_on(rows: Unit, ids: Sequence[str]) -> list[JobRecord]:
    """Those that wait for these ends; not those that were let go long ago and wait for a signal by now."""
    return [job for job in rows.dependants(ids, "waiting") if job.reason == FOR_JOB]


def _free_keys(rows: Unit, now: float, ended: Sequence[JobRecord]) -> None:
    free = [
        (job.unique, job.id)
        for job in ended
        if job.unique is not None and (job.unique_until is None or job.unique_until <= now)
    ]
    if free:
        rows.free_keys(free)


def _add_hooks(rows: Unit, now: float, ids: IdSource, ended: Sequence[JobRecord]) -> None:
    hooked = [added(_hook_job(job, hook, ids()), now) for job in ended for hook in job.hooks if hook.on == job.state]
    if hooked:
        rows.insert(hooked)


def _hook_job(job: JobRecord, hook: Hook, identifier: str) -> NewJob:
    return NewJob(
        id=identifier,
        task=hook.task,
        version=hook.version,
        queue=hook.queue,
        priority=hook.priority,
        options=hook.options,
        payload=job.payload,
        parent=job.id,
        root=job.root or job.id,
        correlation=job.correlation,
        trace=job.trace,
    )


def _count_down(rows: Unit, ended: Sequence[JobRecord]) -> list[Group]:
    """Groups after these ends, by the sum of the batch: siblings that end together are each counted (RULES C11)."""
    ends: dict[str, tuple[int, int]] = {}
    for job in ended:
        if job.group is not None:
            members, failures = ends.get(job.group, (0, 0))
            ends[job.group] = (members + 1, failures + (job.state != "completed"))
    changed: list[Group] = []
    for group in rows.groups(sorted(ends)):
        if group is not None:
            members, failures = ends[group.id]
            changed.append(replace(group, remaining=group.remaining - members, failed=group.failed + failures))
            rows.put_group(changed[-1])
    return changed

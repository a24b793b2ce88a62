"""What people do to jobs: cancel, replay, reschedule, delete."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from mainspring.ids import IdSource
from mainspring.model.moves import cancelled, last_attempt, replayed, rescheduled, revived
from mainspring.model.record import Group, JobRecord
from mainspring.store.base import CancelAnswer, ChangeAnswer, ReplayAnswer
from mainspring.store.serial.finish import apply, outlook
from mainspring.store.serial.rows import PARENT_FAILED, FiringUnit, KeyHolder, Unit


def cancel(rows: Unit, now: float, ids: IdSource, targets: Sequence[str], reason: str) -> list[CancelAnswer]:
    """See `Jobs.cancel`."""
    answers: list[CancelAnswer] = []
    for target in targets:
        job = rows.jobs([target])[0]
        if job is None:
            answers.append("unknown")
        elif job.terminal:
            answers.append("ended")
        else:
            after = cancelled(job, now, reason)
            apply(rows, now, ids, [(job, after)])
            answers.append("cancelled" if after.terminal else "requested")
    return answers


def replay(
    rows: FiringUnit, now: float, ids: IdSource, targets: Sequence[str], *, force: bool, fresh: bool
) -> list[ReplayAnswer]:
    """See `Jobs.replay`."""
    return [_replay(rows, now, ids, target, force=force, fresh=fresh) for target in targets]


def reschedule(rows: Unit, now: float, ids: IdSource, targets: Sequence[str], due: float) -> list[ChangeAnswer]:
    """See `Jobs.reschedule`."""
    answers: list[ChangeAnswer] = []
    for target in targets:
        job = rows.jobs([target])[0]
        after = None if job is None else rescheduled(job, now, due)
        if job is None or after is None:
            answers.append("unknown")
        elif after is job:
            answers.append("refused")
        else:
            apply(rows, now, ids, [(job, after)])
            answers.append("changed")
    return answers


def delete(rows: Unit, targets: Sequence[str]) -> list[ChangeAnswer]:
    """See `Jobs.delete`."""
    jobs = rows.jobs(targets)
    remove(rows, [job for job in jobs if job is not None and job.terminal])
    return ["unknown" if job is None else "changed" if job.terminal else "refused" for job in jobs]


def remove(rows: Unit, jobs: Sequence[JobRecord]) -> None:
    """Delete ended jobs with all that belongs to them, their unique keys included."""
    if jobs:
        rows.free_keys([(job.unique, job.id) for job in jobs if job.unique is not None])
        rows.remove([job.id for job in jobs])


def _replay(rows: FiringUnit, now: float, ids: IdSource, target: str, *, force: bool, fresh: bool) -> ReplayAnswer:
    job = rows.jobs([target])[0]
    if job is None:
        return "unknown"
    looks = "open" if job.waits_on is None else outlook(rows, job.waits_on) or "open"
    after = replayed(job, now, held=looks == "held", force=force, fresh=fresh)
    if after is job or looks == "failed":
        return "refused"
    if not _retake_key(rows, now, after):
        return "conflict"
    past = last_attempt(job)
    apply(rows, now, ids, [(job, after)], [] if past is None else [past])
    _count_again(rows, now, ids, job)
    if job.schedule is not None:
        rows.reopen_runs([(job.schedule, job.id)])
    return "replayed"


def _retake_key(rows: Unit, now: float, job: JobRecord) -> bool:
    """Take the job's unique key back; False when another job holds it by now."""
    if job.unique is None:
        return True
    holder = rows.key(job.unique)
    if holder is not None and holder.job != job.id and _still_held(rows, now, holder):
        return False
    rows.take_key(job.unique, KeyHolder(job.id, job.unique_until))
    return True


def _still_held(rows: Unit, now: float, holder: KeyHolder) -> bool:
    if holder.until is None or holder.until > now:
        return True
    job = rows.jobs([holder.job])[0]
    return job is not None and not job.terminal


def _count_again(rows: Unit, now: float, ids: IdSource, replayed_job: JobRecord) -> None:
    """The group of a replayed job counts it again, and what was cancelled because of it waits again, and so on."""
    pending = [replayed_job]
    while pending:
        job = pending.pop()
        for dependant in rows.dependants(_revivable(rows, job), "cancelled"):
            if dependant.reason == PARENT_FAILED and _retake_key(rows, now, dependant):
                apply(rows, now, ids, [(dependant, revived(dependant))])
                pending.append(dependant)


def _revivable(rows: Unit, job: JobRecord) -> list[str]:
    """The job and its group, as far as those that wait on them may hope again; `job` is as it was when it had ended."""
    ids = [job.id] if job.state != "completed" else []
    group = None if job.group is None else rows.groups([job.group])[0]
    if group is not None:
        rows.put_group(_with_member(group, job))
        if group.failed - (job.state != "completed") <= 0:
            ids.append(group.id)
    return ids


def _with_member(group: Group, job: JobRecord) -> Group:
    failed = group.failed - 1 if job.state != "completed" else group.failed
    return replace(group, remaining=group.remaining + 1, failed=failed)

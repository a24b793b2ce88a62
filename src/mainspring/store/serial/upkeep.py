"""Workers and their liveness, and the bounded upkeep that any worker does for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from mainspring.ids import IdSource
from mainspring.model.moves import expired, past_attempt, promoted, rescued, settled
from mainspring.model.record import JobRecord, Settlement
from mainspring.store.base import Beat, BeatReply, Held, Swept, Worker
from mainspring.store.serial.control import remove
from mainspring.store.serial.finish import Change, apply
from mainspring.store.serial.rows import Rows, Unit, WorkerRow
from mainspring.store.serial.schedules import note_ends_of

Lapsed = Callable[[WorkerRow], bool]
"""Says that a worker is dead; how a store knows is its own matter (beats, locks)."""

_ALL: Final = 1_000_000


def join(rows: Rows, now: float, worker: Worker) -> float:
    """See `Upkeep.join`."""
    row = rows.worker(worker.id)
    if row is None:
        rows.put_worker(WorkerRow(worker, joined=now, beat=now, steady_since=now))
    return now


def beat(rows: Rows, now: float, sign: Beat) -> BeatReply:
    """See `Upkeep.beat`."""
    row = rows.worker(sign.worker)
    if row is None:
        return BeatReply(now, known=False)
    gap = row.worker.lease_time / 2
    steady = row.steady_since if 0 <= now - row.beat <= gap else now
    rows.put_worker(row._replace(beat=now, steady_since=steady, stalled=sign.stalled))
    rows.set_progress(sign.progress)
    _note_started(rows, now, sign)
    return BeatReply(now, True, tuple(rows.cancel_requests(sign.worker)), tuple(sorted(rows.paused())))


def _note_started(rows: Rows, now: float, sign: Beat) -> None:
    """The start is the first thing that was told of it; a lease that has gone has nothing to tell."""
    jobs = rows.jobs([each.job for each in sign.started]) if sign.started else []
    changes: list[Change] = []
    for told, job in zip(sign.started, jobs, strict=True):
        if job is not None and job.state == "running" and job.lease == told.lease and job.started is None:
            changes.append((job, replace(job, started=now - told.ran)))
    if changes:
        rows.write(changes)


def held(rows: Rows, worker: str) -> list[Held]:
    """See `Upkeep.held`."""
    return [Held(job.id, job.lease) for job in rows.running(worker, _ALL)]


def leave(rows: Unit, now: float, ids: IdSource, worker: str, *, died: bool, started: Sequence[str] | None) -> None:
    """See `Upkeep.leave`."""
    jobs = rows.running(worker, _ALL)
    unstarted = [job for job in jobs if started is not None and job.id not in started] if died else jobs
    _release(rows, now, ids, unstarted)
    if died:
        _rescue(rows, now, ids, [job for job in jobs if started is None or job.id in started])
    rows.drop_worker(worker)


def steady(rows: Unit, now: float, worker: str) -> bool:
    """Whether this worker may declare others dead by their silence: its own beats came without a gap (RULES C1)."""
    row = rows.worker(worker)
    if row is None:
        return False
    lease_time = row.worker.lease_time
    return 0 <= now - row.beat <= lease_time / 2 and now - row.steady_since >= lease_time


def silent(now: float) -> Lapsed:
    """Liveness by beats: not heard of for longer than the lease time, or last heard of before the clock stepped back.

    Whoever asks has been steady for a whole lease time, so the living have beaten by the present clock.
    """
    return lambda row: not 0 <= now - row.beat <= row.worker.lease_time


def sweep(rows: Rows, now: float, ids: IdSource, worker: str, limit: int, lapsed: Lapsed | None) -> Swept:
    """See `Upkeep.sweep`. `lapsed` is None when this worker may not judge others now."""
    tidied = tidy(rows, now, ids, worker, limit, lapsed)
    return tidied._replace(next_due=rows.next_due(), watch=_others_run(rows, worker))


def tidy(rows: Unit, now: float, ids: IdSource, worker: str, limit: int, lapsed: Lapsed | None) -> Swept:
    """What a sweep changes. When there will be more to do is another question."""
    due = rows.due(now, limit)
    late = rows.late(now, limit)
    gone = [job for job in late if job.id not in {each.id for each in due}]
    apply(rows, now, ids, [(job, promoted(job, now)) for job in due])
    apply(rows, now, ids, [(job, expired(job, now)) for job in gone])
    saved = 0 if lapsed is None else _rescue_lapsed(rows, now, ids, worker, lapsed)
    more = len(due) == limit or len(late) == limit
    return Swept(now, None, len(due), 0, len(gone), saved, more)


def nothing_to_sweep(rows: Rows, now: float, worker: str) -> Swept | None:
    """The answer of a sweep that has nothing to do but for lapsed workers, by reads alone; None: there is something."""
    if rows.due(now, 1) or rows.late(now, 1) or rows.running(None, 1):
        return None
    return Swept(now, rows.next_due(), watch=_others_run(rows, worker))


def lapsed_workers(rows: Unit, sweeper: str, lapsed: Lapsed | None) -> list[str]:
    """The workers that have died, but for the one that asks."""
    if lapsed is None:
        return []
    return [row.worker.id for row, _ in rows.workers() if row.worker.id != sweeper and lapsed(row)]


def prune(rows: Rows, now: float, retention: dict[str, float], limit: int) -> int:
    """See `Upkeep.prune`."""
    removed = 0
    for state, age in retention.items():
        jobs = rows.prunable(state, now - age, limit - removed)
        note_ends_of(rows, now, jobs)
        remove(rows, jobs)
        removed += len(jobs)
        if removed >= limit:
            break
    return removed


def _others_run(rows: Unit, sweeper: str) -> bool:
    return any(running and row.worker.id != sweeper for row, running in rows.workers())


def _rescue_lapsed(rows: Unit, now: float, ids: IdSource, sweeper: str, lapsed: Lapsed) -> int:
    saved = 0
    for each in lapsed_workers(rows, sweeper, lapsed):
        jobs = rows.running(each, _ALL)
        _rescue(rows, now, ids, jobs)
        rows.drop_worker(each)
        saved += len(jobs)
    strays = rows.running(None, _ALL)
    _rescue(rows, now, ids, strays)
    return saved + len(strays)


def _rescue(rows: Unit, now: float, ids: IdSource, jobs: Sequence[JobRecord]) -> None:
    """Take jobs from one dead worker. Only a suspect is charged; where there was none, all become suspects (C6)."""
    guilty = {job.id for job in jobs if job.suspect}
    changes: list[Change] = []
    for job in jobs:
        charged = job.id in guilty
        changes.append((job, rescued(job, now, suspect=not guilty, charged=charged)))
    history = [past_attempt(before, after, None, now) for before, after in changes]
    apply(rows, now, ids, changes, [attempt for attempt in history if attempt is not None])


def _release(rows: Unit, now: float, ids: IdSource, jobs: Sequence[JobRecord]) -> None:
    """Hand back what was not started. The lease counts as ended by another verb: a late settlement is stale."""
    changes: list[Change] = []
    for job in jobs:
        after = settled(job, Settlement(job=job.id, lease=job.lease, kind="release"), now)
        changes.append((job, replace(after, settled=job.settled)))
    apply(rows, now, ids, changes)

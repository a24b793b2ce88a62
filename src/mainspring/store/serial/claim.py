"""Handing out work: the first ready jobs over the lanes that a worker asks for."""

from __future__ import annotations

from typing import Final

from mainspring.ids import IdSource
from mainspring.model.moves import claimed
from mainspring.model.record import JobRecord
from mainspring.store.base import Claim
from mainspring.store.serial.finish import Change, apply
from mainspring.store.serial.rows import Rows

EXPIRED_LIMIT: Final = 1000
"""Expired jobs that one claim ends on its way; the sweep does the rest."""


def claim(rows: Rows, now: float, ids: IdSource, request: Claim) -> list[JobRecord]:
    """See `Jobs.claim`."""
    if request.repeat:
        given = rows.claimed_as(request.worker, request.number)
        if given:
            return sorted(given, key=claim_order)
    taken: list[JobRecord] = []
    caps = [lane.cap for lane in request.lanes]
    ended = 0
    while len(taken) < request.limit and ended < EXPIRED_LIMIT:
        changes = _take(rows, now, request, caps, request.limit - len(taken), suspects=not taken)
        if not changes:
            break
        running = [after for _, after in changes if after.state == "running"]
        taken += running
        if len(running) == len(changes):
            rows.write(changes)
            break  # nothing had expired on the way, so nothing follows, and the lanes have no more to give
        apply(rows, now, ids, changes)
        ended += len(changes) - len(running)
    return sorted(taken, key=claim_order) if ended else taken


def claim_order(job: JobRecord) -> tuple[int, float, str]:
    """Higher priority first, then the earlier due time, then the older id (RULES M4)."""
    return (-job.priority, job.due, job.id)


def _take(rows: Rows, now: float, request: Claim, caps: list[int], limit: int, *, suspects: bool) -> list[Change]:
    paused = rows.paused()
    heads: list[tuple[int, JobRecord]] = []
    sources = 0
    for index, lane in enumerate(request.lanes):
        if lane.queue in paused or caps[index] <= 0:
            continue
        for suspect in (False, True) if suspects and request.suspects > 0 else (False,):
            found = rows.heads(lane, suspect, 1 if suspect else min(caps[index], limit))
            if found:
                heads += [(index, job) for job in found]
                sources += 1
    if sources > 1:
        heads.sort(key=lambda head: claim_order(head[1]))
    return _choose(rows, now, request, caps, limit, heads)


def _choose(
    rows: Rows,
    now: float,
    request: Claim,
    caps: list[int],
    limit: int,
    heads: list[tuple[int, JobRecord]],
) -> list[Change]:
    """The first of the lanes' heads, no lane over its cap, at most one suspect for a worker that has none."""
    may_suspect: bool | None = None
    changes: list[Change] = []
    for index, job in heads:
        if len(changes) == limit:
            break
        if caps[index] <= 0:
            continue
        if job.suspect:
            if may_suspect is None:
                may_suspect = not any(held.suspect for held in rows.running(request.worker, 100_000))
            if not may_suspect:
                continue
            may_suspect = False
        after = claimed(job, now, request.worker, request.number)
        if after.state == "running":
            caps[index] -= 1
        changes.append((job, after))
    return changes

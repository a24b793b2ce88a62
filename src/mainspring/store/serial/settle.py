"""Ending attempts: a mixed batch, each answered on its own, all in one step."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from mainspring.ids import IdSource
from mainspring.model.moves import accepts, already_settled, past_attempt, settled
from mainspring.model.record import Answer, AttemptRecord, JobRecord, Settlement
from mainspring.store.serial.add import add, check_parents
from mainspring.store.serial.finish import Change, apply
from mainspring.store.serial.rows import Unit


def settle(rows: Unit, now: float, ids: IdSource, settlements: Sequence[Settlement]) -> list[Answer]:
    """See `Jobs.settle`. Keys of the ended jobs are free for the follow-ups of the same batch (RULES H11g)."""
    current = {job.id: job for job in rows.jobs([each.job for each in settlements]) if job is not None}
    for settlement in settlements:
        job = current.get(settlement.job)
        if settlement.follow_ups and job is not None and accepts(job, settlement):
            check_parents(rows, settlement.follow_ups, settlement.groups)
    answers: list[Answer] = []
    changes: list[Change] = []
    history: list[AttemptRecord] = []
    following: list[Settlement] = []
    for settlement in settlements:
        job = current.get(settlement.job)
        answer = _answer(job, settlement)
        if job is not None and answer == "accepted" and accepts(job, settlement):
            after = settled(job, settlement, now)
            past = past_attempt(job, after, settlement, now)
            if past is not None:
                history.append(past)
            changes.append((job, after))
            current[job.id] = after
            if settlement.follow_ups:
                following.append(settlement)
        answers.append(answer)
    apply(rows, now, ids, changes, history)
    for settlement in following:
        _follow(rows, now, ids, settlement)
    return answers


def _answer(job: JobRecord | None, settlement: Settlement) -> Answer:
    if job is None:
        return "unknown"
    return "accepted" if accepts(job, settlement) or already_settled(job, settlement) else "stale"


def _follow(rows: Unit, now: float, ids: IdSource, settlement: Settlement) -> None:
    """Add the follow-ups; one whose key is taken is left out, and its parent says who holds the key (RULES H12)."""
    answers = add(rows, now, ids, settlement.follow_ups, settlement.groups)
    holders = [answer.id for new, answer in zip(settlement.follow_ups, answers, strict=True) if answer.id != new.id]
    parent = rows.jobs([settlement.job])[0] if holders else None
    if parent is not None:
        reason = f"follow-up not added, its unique key is held by {', '.join(holders)}"
        rows.write([(parent, replace(parent, reason=f"{parent.reason}; {reason}" if parent.reason else reason))])

"""What an earlier life of the fleet has left of its schedules' jobs, and the start that wants none of it."""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

from mainspring.app.schedule_writes import OPEN, asked
from mainspring.store.base import Filter, Store, WorkerSeen

log = logging.getLogger("mainspring.app")

PAGE: Final = 1000
NOBODY: Final = "starting"
"""A worker that has not joined: it may not judge others by their silence."""

REASON: Final = "left by an earlier run; this app cancels them at its start"


async def cancel_left(store: Store) -> int:
    """Cancel the jobs of schedules that an earlier life of the fleet has left; returns how many.

    Nothing is done while another worker lives: then this is no restart. One that has died without a word counts as
    living for its lease time, unless the store knows better, as SQLite does. Jobs that are added meanwhile are not of
    an earlier life.
    """
    now = await asked(store.now, "asking for the time")
    await asked(partial(store.sweep, NOBODY), "looking for dead workers")
    if any(lives(worker, now) for worker in await asked(store.workers, "looking for workers")):
        return 0
    cursor: str | None = None
    number = 0
    while True:
        page = await asked(partial(store.find, Filter(states=OPEN), cursor=cursor, limit=PAGE), "looking for jobs")
        left = [job.id for job in page.jobs if job.schedule is not None and job.created <= now]
        if left:
            answers = await asked(partial(store.cancel, left, REASON), "cancelling jobs")
            number += sum(answer in {"cancelled", "requested"} for answer in answers)
        cursor = page.cursor
        if cursor is None:
            break
    if number:
        log.warning(
            "%d job(s) of schedules were left by an earlier run and are cancelled (on_restart='cancel')", number
        )
    return number


def lives(seen: WorkerSeen, now: float) -> bool:
    """Whether a worker has to be taken for living: it was heard of within its lease time."""
    return 0 <= now - seen.beat <= seen.worker.lease_time

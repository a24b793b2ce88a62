"""What the runs of a schedule before this one have come to, for the job that asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import datetime
from functools import partial
from typing import Final

from mainspring.clock import moment
from mainspring.engine.patient import patiently
from mainspring.errors import AppError
from mainspring.model.record import JobRecord
from mainspring.model.schedule import MOST_KEPT_RUNS, Run
from mainspring.store.base import Schedules

_PAGES: Final = (20, 500, MOST_KEPT_RUNS)
"""How many of the newest runs are read, until a completed one is among them: mostly it is the last."""


class History:
    """Reads runs for the jobs of one worker, in the worker's loop."""

    def __init__(self, store: Schedules, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop

    def last_completed(self, job: JobRecord, schedule: str) -> Awaitable[datetime | None]:
        """The end of the newest completed run before the one of this job. Raises AppError in another thread."""
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if not here:
            raise AppError(NOT_HERE)
        return self._last_completed(job.id, schedule)

    async def _last_completed(self, job: str, schedule: str) -> datetime | None:
        for limit in _PAGES:
            runs = await patiently(partial(self._store.runs, schedule, limit=limit), "runs")
            ended = last_end(runs, job)
            if ended is not None:
                return moment(ended)
            if len(runs) < limit:
                return None
        return None


NOT_HERE: Final = (
    "only an async task can ask for last_completed(), with await, in the worker's own loop; in a thread or a child process"
    " read it in the task that enqueues this one, and pass it as an argument"
)


async def nothing() -> None:
    """For a job of no schedule."""


def last_end(runs: list[Run], job: str) -> float | None:
    """When the last of the completed runs before the one of this job ended; these are the newest runs, oldest first."""
    before = [run for run in runs if run.job == job]
    number = before[0].number if before else None
    return max(
        (
            run.ended
            for run in runs
            if run.state == "completed" and run.ended is not None and (number is None or run.number < number)
        ),
        default=None,
    )

"""What the runs of a schedule before this one have come to, for the job that asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import datetime
from functools import partial
from typing import Final

from mainspring.clock import moment
from mainspring.engine.blocking import result_of, running_loop
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
        if running_loop() is not self._loop:
            raise AppError(IN_A_THREAD)
        return self._last_completed(job.id, schedule)

    def last_completed_blocking(self, job: JobRecord, schedule: str) -> datetime | None:
        """The same for another thread, which waits. Raises AppError in the loop itself, AppClosed when that ends."""
        if running_loop() is self._loop:
            raise AppError(
                "this is the worker's own event loop, which .sync would block for ever: await the verb itself"
            )
        return result_of(partial(self._last_completed, job.id, schedule), self._loop)

    async def _last_completed(self, job: str, schedule: str) -> datetime | None:
        for limit in _PAGES:
            runs = await patiently(partial(self._store.runs, schedule, limit=limit), "runs")
            ended = last_end(runs, job)
            if ended is not None:
                return moment(ended)
            if len(runs) < limit:
                return None
        return None


class ContextSync:
    """What a Context has to await, for blocking code: `ctx.sync`, in a task that runs in a thread."""

    __slots__ = ("_history", "_job")

    def __init__(self, job: JobRecord, history: History | None) -> None:
        self._job = job
        self._history = history

    def last_completed(self) -> datetime | None:
        """See `Context.last_completed`. Waits for the worker's loop.

        Raises AppError in that loop itself and in a child process (`process=True`), AppClosed when the loop ends.
        """
        schedule = self._job.schedule
        if schedule is None:
            return None
        if self._history is None:
            raise AppError(NOT_HERE)
        return self._history.last_completed_blocking(self._job, schedule)


IN_A_THREAD: Final = "last_completed() is awaited in the worker's own loop; in a thread call ctx.sync.last_completed()"

NOT_HERE: Final = (
    "last_completed() asks the worker, which cannot be reached from a child process or outside of a worker; read it in the"
    " task that enqueues this one, and pass it as an argument"
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

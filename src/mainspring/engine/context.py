"""What a running job knows about itself: the `Context` that a task gets as its first parameter, if it wants one."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final

from mainspring.clock import moment
from mainspring.codec import decode, encode
from mainspring.engine.history import NOT_HERE, ContextSync, History, nothing
from mainspring.errors import AppError
from mainspring.model.record import JobRecord
from mainspring.store.base import Inside

PROGRESS_LIMIT: Final = 16 * 1024
"""Bytes that one `progress` may have."""

Sink = Callable[[bytes], None]
"""Takes encoded progress at once, where no beat carries it: in a child process."""


class Surroundings:
    """What all jobs of one worker share. `offset` turns times of the loop into those of the store.

    `history` is that of the schedules; None where there are none, and outside of workers.
    """

    __slots__ = ("history", "offset", "state", "stopping")

    def __init__(self, state: object = None, offset: float = 0.0) -> None:
        self.state = state
        self.offset = offset
        self.stopping = False
        self.history: History | None = None


DETACHED: Final = Surroundings()


class JobLogger(logging.LoggerAdapter[logging.Logger]):
    """Puts the ids of a job on every record, beside what the caller puts there."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:  # Any: the signature that logging has
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def ids_of(job: JobRecord) -> dict[str, object]:
    """What a record of the log about a job carries beside its text; `schedule` and `slot` (UTC) where it has them.

    >>> ids_of(JobRecord(id="7", task="poll", state="ready", created=0.0, due=0.0, schedule="poll", slot=60.0))
    {'job_id': '7', 'task': 'poll', 'attempt': 0, 'schedule': 'poll', 'slot': '1970-01-01T00:01:00+00:00'}
    """
    ids: dict[str, object] = {"job_id": job.id, "task": job.task, "attempt": job.attempt}
    if job.schedule is not None:
        ids["schedule"] = job.schedule
        if job.slot is not None:
            ids["slot"] = moment(job.slot).isoformat()
    return ids


class Context:
    """One attempt of one job, as the function that runs it sees it.

    A task gets it as its first parameter when that is annotated `Context`; any other code finds it by
    `Context.current()`. A task that is called directly, without a job, gets a detached one: attempt 1, fence 0.

    Times are aware datetimes in UTC by the store's clock. `cancelled` becomes True when the job is cancelled, its
    timeout has passed, or the worker's grace is over: an async function is cancelled as well, a sync one in a thread
    must look at it. `stopping` becomes True at once when the worker begins to stop.

    >>> ctx = Context.detached("mail.send")
    >>> ctx.task, ctx.attempt, ctx.stopping
    ('mail.send', 1, False)
    """

    __slots__ = ("_around", "_logger", "_sink", "_started", "cancelled", "inside", "job", "reported")

    inside: Inside
    """The engine's: the transaction that this attempt runs in. Not there in other attempts, which it costs nothing."""

    def __init__(
        self,
        job: JobRecord,
        around: Surroundings = DETACHED,
        started: float | None = None,
        sink: Sink | None = None,
    ) -> None:
        self.job: Final = job
        """The job as it was claimed."""
        self.cancelled = False
        """Whether this attempt should end now. Safe to read from any thread."""
        self.reported: bytes | None = None
        """What `progress` was told last and no beat has carried yet, encoded."""
        self._around = around
        self._started = started
        self._sink = sink
        self._logger: JobLogger | None = None

    @classmethod
    def current(cls) -> Context:
        """The Context of the job that runs here and now. Raises AppError outside of a job.

        >>> with entered(Context.detached("a")):
        ...     Context.current().task
        'a'
        """
        context = CURRENT.get(None)
        if context is None:
            raise AppError(
                "Context.current() was asked outside of a job; pass what is needed as an argument, or test with "
                "Context.detached(name)"
            )
        return context

    @classmethod
    def detached(cls, task_name: str) -> Context:
        """The Context of a task that is called directly: no job, no store, attempt 1, fence 0."""
        now = round(time.time(), 6)
        job = JobRecord(
            id="detached", task=task_name, state="running", created=now, due=now, claimed=now, begun=now, attempt=1
        )
        return cls(job, DETACHED, now)

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.job.id

    @property
    def task(self) -> str:
        """The task's name."""
        return self.job.task

    @property
    def queue(self) -> str:
        """The job's queue."""
        return self.job.queue

    @property
    def attempt(self) -> int:
        """Which run of the job this is, from 1."""
        return self.job.attempt

    @property
    def fence(self) -> int:
        """The lease of this attempt: a number that only grows over all attempts of the job, also when it is replayed.

        Send it along to a system that remembers the highest it has seen, and an attempt that was thought dead can do
        no harm there.
        """
        return self.job.lease

    @property
    def created(self) -> datetime:
        """When the job was added."""
        return moment(self.job.created)

    @property
    def due(self) -> datetime:
        """When this attempt was to start at the earliest."""
        return moment(self.job.due)

    @property
    def started(self) -> datetime:
        """When this attempt started."""
        return moment(self._start)

    @property
    def delay(self) -> float:
        """Seconds between `due` and `started`: how long the job had to wait for a worker.

        The first attempt of a schedule's job counts from its slot (`scheduled`) instead: how late this run is.
        """
        slot = self.job.slot if self.job.attempt == 1 else None
        return max(self._start - (self.job.due if slot is None else slot), 0.0)

    @property
    def schedule(self) -> str | None:
        """The id of the schedule that added the job; None when none has."""
        return self.job.schedule

    @property
    def scheduled(self) -> datetime | None:
        """The slot of its schedule that the job is for; None without one, also when a person has triggered it."""
        return None if self.job.slot is None else moment(self.job.slot)

    def last_completed(self) -> Awaitable[datetime | None]:
        """When the newest completed run of this schedule before this one ended, to be awaited; None when there is none.

        Runs that failed do not count, and none of an earlier attempt of this job. As far back as the schedule keeps its
        runs (`keep`). Without a schedule it is None. Raises AppError in a thread, where it is
        `ctx.sync.last_completed()`, and in a child process, which cannot ask its worker.

            since = await ctx.last_completed()
        """
        schedule = self.job.schedule
        if schedule is None:
            return nothing()
        if self._around.history is None:
            raise AppError(NOT_HERE)
        return self._around.history.last_completed(self.job, schedule)

    @property
    def sync(self) -> ContextSync:
        """The same verbs for blocking code: a task that runs in a thread."""
        return ContextSync(self.job, self._around.history)

    @property
    def metadata(self) -> dict[str, object]:
        """What was given as `metadata` when the job was added."""
        return decode(self.job.metadata, dict[str, object], what="metadata") if self.job.metadata else {}

    @property
    def tags(self) -> tuple[str, ...]:
        """The job's tags."""
        return self.job.tags

    @property
    def correlation(self) -> str | None:
        """The id that ties this job to others."""
        return self.job.correlation

    @property
    def state(self) -> Any:  # what the app's lifespan yields is the user's own type
        """What the app's lifespan has yielded; None without one."""
        return self._around.state

    @property
    def connection(self) -> Any:  # a connection of the store's driver, which is another type for each store
        """The open transaction that this attempt of a `@app.task(transaction=True)` runs in.

        On PostgreSQL an asyncpg connection; on SQLite one of ours with the same `execute`, `executemany`, `fetch`,
        `fetchrow` and `fetchval`, all to be awaited. The worker commits after the function has returned; never commit or
        roll back here. Raises AppError in other tasks, and where a task is called without a job.

            await ctx.connection.execute("UPDATE account SET cents = cents - $1 WHERE id = $2", cents, account)
        """
        try:
            return self.inside.transaction.connection
        except AttributeError:
            raise AppError(
                f"{self.job.task} does not run inside a transaction; define it with @app.task(transaction=True), and let a"
                " worker run it"
            ) from None

    @property
    def stopping(self) -> bool:
        """Whether the worker is stopping: a long job should come to an end within the grace. Safe from any thread."""
        return self._around.stopping

    @property
    def logger(self) -> JobLogger:
        """A logger whose records carry `job_id`, `task` and `attempt`; its name is `mainspring.task.` + the task's.

        Where a schedule has added the job, they carry `schedule` and `slot`, too.
        """
        if self._logger is None:
            self._logger = JobLogger(logging.getLogger(f"mainspring.task.{self.job.task}"), ids_of(self.job))
        return self._logger

    def progress(self, value: object) -> None:
        """Say how far this attempt is, as any JSON value of at most 16 KiB. Cheap: the last one rides on the next beat.

        Safe from any thread. Raises EncodingError or PayloadTooLarge.
        """
        data = encode(value, what="progress", limit=PROGRESS_LIMIT)
        if self._sink is not None:
            self._sink(data)
        else:
            self.reported = data

    @property
    def _start(self) -> float:
        # A worker gives the time of its loop, and the offset makes it the store's; others give the store's.
        if self._started is None:
            return self.job.claimed or self.job.created
        return round(self._started + self._around.offset, 6)


CURRENT: Final[ContextVar[Context | None]] = ContextVar("mainspring_context", default=None)
"""The Context of the job that runs here."""


@contextmanager
def entered(context: Context) -> Iterator[Context]:
    """Makes it `Context.current()` while the block lasts."""
    token = CURRENT.set(context)
    try:
        yield context
    finally:
        CURRENT.reset(token)

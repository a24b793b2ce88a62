"""`app.jobs`: looking at jobs, and what a person does to them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from mainspring.app.connection import Connection
from mainspring.app.job import Job, known, not_found, of_record
from mainspring.app.options import duration, moment_of
from mainspring.clock import Duration
from mainspring.engine.arguments import Parameters
from mainspring.errors import InvalidOption
from mainspring.model.record import AttemptRecord, JobRecord
from mainspring.model.states import STATES, State
from mainspring.store.base import CancelAnswer, ChangeAnswer, Count, Filter, ReplayAnswer, Store

T = TypeVar("T")


class JobPage(NamedTuple):
    """Jobs in the order of their ids, and where the next page starts; None when this was the last."""

    jobs: list[Job[object]]
    cursor: str | None


class JobsFace:
    """The jobs of an app. Every verb as `app.jobs.sync.verb()` for blocking code."""

    def __init__(self, connection: Connection, returns: Callable[[str], Parameters | None]) -> None:
        self._connection = connection
        self._returns = returns

    async def get(self, job_id: str) -> Job[object]:
        """The job of this id, with its record. Raises JobNotFound."""
        record = (await (await self._store()).get([job_id]))[0]
        if record is None:
            raise not_found(job_id)
        return self.of(record)

    async def find(
        self,
        *,
        states: Sequence[State] = (),
        task: str | None = None,
        queue: str | None = None,
        tags: Sequence[str] = (),
        parent: str | None = None,
        correlation: str | None = None,
        schedule: str | None = None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        cursor: str | None = None,
        limit: int = 100,
        newest: bool = False,
    ) -> JobPage:
        """A page of the jobs for which all conditions hold, by id: oldest first, or `newest` first.

        `tags`: all of them. `schedule`: those that the schedule of this id has added. Created: from <= t < to, aware
        datetimes. `cursor`: that of the page before. Raises InvalidOption for conditions that cannot be meant.

            page = await app.jobs.find(states=["dead"], task="mail.send")
        """
        if isinstance(states, str) or isinstance(tags, str):
            raise InvalidOption('states and tags are lists, as in states=["dead"]')
        unknown = [each for each in states if each not in STATES]
        if unknown:
            raise InvalidOption(f"there is no state {unknown[0]!r}; there are: {', '.join(STATES)}")
        if limit < 1:
            raise InvalidOption(f"limit must be 1 or more, not {limit!r}")
        wanted = Filter(
            states=tuple(states),
            task=task,
            queue=queue,
            tags=tuple(tags),
            parent=parent,
            correlation=correlation,
            schedule=schedule,
            created_from=None if created_from is None else moment_of("created_from", created_from),
            created_to=None if created_to is None else moment_of("created_to", created_to),
        )
        page = await (await self._store()).find(wanted, cursor=cursor, limit=limit, newest=newest)
        return JobPage([self.of(record) for record in page.jobs], page.cursor)

    async def attempts(self, job_id: str) -> list[AttemptRecord]:
        """The attempts of a job, oldest first, at most the newest 100; the one that runs or ended it last."""
        return await (await self._store()).attempts(job_id)

    async def cancel(self, job_id: str, *, reason: str = "cancelled by request") -> CancelAnswer:
        """End a job that does not run; ask the worker of one that does. See `Job.cancel`. Raises JobNotFound.

        To cancel by tag, task or queue, cancel what `find` finds, until a page is empty:

            while found := (await app.jobs.find(tags=["order:7"], states=["scheduled", "waiting", "ready"])).jobs:
                for job in found:
                    await job.cancel("the order is gone")
        """
        return known(await (await self._connection.opened()).cancel(job_id, reason), job_id)

    async def replay(self, job_id: str, *, force: bool = False, fresh: bool = False) -> ReplayAnswer:
        """Make a job that has ended ready again, its attempts counted anew.

        Returns "replayed", "conflict" (its unique key has another holder) or "refused" (it has not ended; or it is
        completed, which takes `force`). `fresh` forgets remembered steps. Raises JobNotFound.
        """
        answer = (await (await self._store()).replay([job_id], force=force, fresh=fresh))[0]
        if answer == "unknown":
            raise not_found(job_id)
        return answer

    async def reschedule(self, job_id: str, *, delay: Duration | None = None, run_at: datetime | None = None) -> bool:
        """Give a scheduled or ready job another time; False when it is neither.

        Raises JobNotFound, and InvalidOption unless one of `delay` (from now) and `run_at` (aware) is given.
        """
        if (delay is None) == (run_at is None):
            raise InvalidOption("give delay (from now) or run_at (a moment)")
        store = await self._store()
        due = moment_of("run_at", run_at) if run_at is not None else await store.now() + duration("delay", delay)
        return changed((await store.reschedule([job_id], due))[0], job_id)

    async def delete(self, job_id: str) -> bool:
        """Remove a job that has ended, with its attempts; False when it has not ended. Raises JobNotFound."""
        return changed((await (await self._store()).delete([job_id]))[0], job_id)

    async def counts(self) -> list[Count]:
        """How many jobs there are, by queue, task, version and state."""
        return await (await self._store()).counts()

    def of(self, record: JobRecord) -> Job[object]:
        """The handle of a job whose record was read elsewhere."""
        return of_record(self._connection, record, self._returns(record.task))

    @property
    def sync(self) -> JobsSync:
        """The same verbs for blocking code, in any thread."""
        return JobsSync(self, self._connection)

    async def _store(self) -> Store:
        return (await self._connection.opened()).store


class JobsSync:
    """The jobs of an app, for blocking code: see `JobsFace` for each verb."""

    def __init__(self, jobs: JobsFace, connection: Connection) -> None:
        self._jobs = jobs
        self._connection = connection

    def get(self, job_id: str) -> Job[object]:
        """See `JobsFace.get`."""
        return self._call(lambda: self._jobs.get(job_id))

    def find(
        self,
        *,
        states: Sequence[State] = (),
        task: str | None = None,
        queue: str | None = None,
        tags: Sequence[str] = (),
        parent: str | None = None,
        correlation: str | None = None,
        schedule: str | None = None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        cursor: str | None = None,
        limit: int = 100,
        newest: bool = False,
    ) -> JobPage:
        """See `JobsFace.find`."""
        return self._call(
            lambda: self._jobs.find(
                states=states,
                task=task,
                queue=queue,
                tags=tags,
                parent=parent,
                correlation=correlation,
                schedule=schedule,
                created_from=created_from,
                created_to=created_to,
                cursor=cursor,
                limit=limit,
                newest=newest,
            )
        )

    def attempts(self, job_id: str) -> list[AttemptRecord]:
        """See `JobsFace.attempts`."""
        return self._call(lambda: self._jobs.attempts(job_id))

    def cancel(self, job_id: str, *, reason: str = "cancelled by request") -> CancelAnswer:
        """See `JobsFace.cancel`."""
        return self._call(lambda: self._jobs.cancel(job_id, reason=reason))

    def replay(self, job_id: str, *, force: bool = False, fresh: bool = False) -> ReplayAnswer:
        """See `JobsFace.replay`."""
        return self._call(lambda: self._jobs.replay(job_id, force=force, fresh=fresh))

    def reschedule(self, job_id: str, *, delay: Duration | None = None, run_at: datetime | None = None) -> bool:
        """See `JobsFace.reschedule`."""
        return self._call(lambda: self._jobs.reschedule(job_id, delay=delay, run_at=run_at))

    def delete(self, job_id: str) -> bool:
        """See `JobsFace.delete`."""
        return self._call(lambda: self._jobs.delete(job_id))

    def counts(self) -> list[Count]:
        """See `JobsFace.counts`."""
        return self._call(self._jobs.counts)

    def _call(self, verb: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self._connection.call(verb)


def changed(answer: ChangeAnswer, job_id: str) -> bool:
    """Whether a verb changed the job. Raises JobNotFound."""
    if answer == "unknown":
        raise not_found(job_id)
    return answer == "changed"

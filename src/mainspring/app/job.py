"""`Job`: the handle of one stored job, and the same for blocking code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from mainspring.app.options import duration
from mainspring.clock import Duration
from mainspring.codec import decode
from mainspring.errors import JobCancelled, JobExpired, JobFailed, JobNotFound
from mainspring.model.record import JobRecord, NewJob
from mainspring.model.states import State
from mainspring.store.base import Added, CancelAnswer

if TYPE_CHECKING:
    from mainspring.app.connection import Connection
    from mainspring.engine.arguments import Parameters

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


class Job(Generic[R_co]):
    """One job as this process knows it: what it saw last, and verbs that ask the store.

    `id`: a UUIDv7. `task`: the name. `state` and `record`: as last seen; None before anything was seen of it, as of a
    job that somebody else had enqueued under the same unique key. `created`: False when it was there already.
    """

    __slots__ = ("_connection", "_returns", "created", "id", "record", "state", "task")

    def __init__(
        self,
        connection: Connection,
        id: str,  # noqa: A002  # the word of the face
        *,
        task: str,
        state: State | None = None,
        created: bool = False,
        record: JobRecord | None = None,
        returns: Parameters | None = None,
    ) -> None:
        self._connection = connection
        self._returns = returns
        self.id = id
        self.task = task
        self.state = state
        self.created = created
        self.record = record

    async def result(self, timeout: Duration | None = None) -> R_co:
        """Wait until the job has ended, and return what its task returned, by the task's return annotation.

        `timeout` bounds this wait, in seconds (0: look once); the job goes on. Raises TimeoutError, JobFailed (dead;
        with the original error as text), JobExpired, JobCancelled, JobNotFound (deleted or pruned meanwhile).
        """
        limit = None if timeout is None else duration("timeout", timeout)
        if self.record is None or not self.record.terminal:
            opened = await self._connection.opened()
            self._seen(await opened.results.ended(self.id, limit))
        assert self.record is not None
        return cast("R_co", result_of(self.record, self._returns))

    async def refresh(self) -> JobRecord:
        """Read the job again: its record, also kept in `record` and `state`. Raises JobNotFound."""
        opened = await self._connection.opened()
        record = (await opened.store.get([self.id]))[0]
        if record is None:
            raise not_found(self.id)
        return self._seen(record)

    async def cancel(self, reason: str = "cancelled by request") -> CancelAnswer:
        """End the job if it does not run; ask its worker if it does. A request beats every retry (RULES C4).

        Returns "cancelled", "requested" (running: it ends soon), or "ended" (too late). Raises JobNotFound.
        """
        opened = await self._connection.opened()
        return known(await opened.cancel(self.id, reason), self.id)

    @property
    def sync(self) -> JobSync[R_co]:
        """The same verbs for blocking code, in any thread."""
        return JobSync(self, self._connection)

    def _seen(self, record: JobRecord) -> JobRecord:
        self.record = record
        self.state = record.state
        self.task = record.task
        return record

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.task or '?'} {self.state or 'not seen yet'}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)


class JobSync(Generic[R_co]):
    """A job's verbs for blocking code."""

    __slots__ = ("_connection", "_job")

    def __init__(self, job: Job[R_co], connection: Connection) -> None:
        self._job = job
        self._connection = connection

    def result(self, timeout: Duration | None = None) -> R_co:
        """See `Job.result`."""
        return self._connection.call(lambda: self._job.result(timeout))

    def refresh(self) -> JobRecord:
        """See `Job.refresh`."""
        return self._connection.call(self._job.refresh)

    def cancel(self, reason: str = "cancelled by request") -> CancelAnswer:
        """See `Job.cancel`."""
        return self._connection.call(lambda: self._job.cancel(reason))


def enqueued(connection: Connection, new: NewJob, added: Added, returns: Parameters | None) -> Job[Any]:
    """The handle of a job that was just added, or of the one that was there."""
    state: State | None = None
    if added.created:
        later = new.delay > 0 or new.run_at is not None
        state = "waiting" if new.waits_on is not None else "scheduled" if later else "ready"
    return Job(connection, added.id, task=new.task, state=state, created=added.created, returns=returns)


def of_record(connection: Connection, record: JobRecord, returns: Parameters | None) -> Job[object]:
    """The handle of a job that was read."""
    return Job(connection, record.id, task=record.task, state=record.state, record=record, returns=returns)


def result_of(record: JobRecord, returns: Parameters | None) -> object:
    """What an ended job returned; raises what says how it ended otherwise (API.md D45)."""
    match record.state:
        case "completed":
            if returns is not None:
                return returns.decode_result(record.result)
            return None if record.result is None else decode(record.result, what="the result")
        case "dead":
            error = record.error
            kind, text = ("", record.reason) if error is None else (error.type, error.message)
            raise JobFailed(record.id, kind or "no error", text, record.attempt)
        case "expired":
            raise JobExpired(record.id, f"job {record.id} expired: {record.reason}")
        case _:
            raise JobCancelled(record.id, f"job {record.id} was cancelled: {record.reason}")


def not_found(job_id: str) -> JobNotFound:
    """The error for an id that the store does not have."""
    return JobNotFound(job_id, f"there is no job {job_id}: never committed, deleted or pruned")


def known(answer: CancelAnswer, job_id: str) -> CancelAnswer:
    """The answer of a cancel. Raises JobNotFound."""
    if answer == "unknown":
        raise not_found(job_id)
    return answer

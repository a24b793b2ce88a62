"""The verbs about jobs and about the workers that run them. Each is one atomic step; all take batches.

Every verb may be repeated after an unclear answer and then answers as it did, or would have done (RULES C3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from mainspring.model.record import Answer, JobRecord, NewGroup, NewJob, Settlement


class Added(NamedTuple):
    """`id` is the new job's, or that of the job which already has this id or holds the unique key."""

    id: str
    created: bool


class Lane(NamedTuple):
    """What a claim may take, and how much of it: the jobs of one version of a task in one queue."""

    queue: str
    task: str
    version: str
    cap: int


class Claim(NamedTuple):
    """A worker's request for work.

    `number` grows by one with each new claim of this worker; a claim that ended without an answer is sent again with
    its number and `repeat=True`, and gets what it had been given (RULES C2). `suspects`: how many suspects it takes.
    """

    worker: str
    number: int
    lanes: Sequence[Lane]
    limit: int
    suspects: int = 0
    repeat: bool = False


class Claimed(NamedTuple):
    """The jobs, in claim order (priority, due, id), now running; and the store's now."""

    jobs: list[JobRecord]
    now: float


class Worker(NamedTuple):
    """One worker process. The id is unique per start: a restarted process is another worker.

    `lease_time` is how long it may be silent, in seconds, before others may rescue what it runs.
    """

    id: str
    name: str = ""
    host: str = ""
    pid: int = 0
    queues: tuple[str, ...] = ()
    lease_time: float = 30.0


class Started(NamedTuple):
    """A job that its worker has really started, and how long ago, in seconds."""

    job: str
    lease: int
    ran: float


class Beat(NamedTuple):
    """A sign of life, with what there is to tell.

    `progress` by job id (JSON); whether the loop stands still; the jobs that are `started` and have not ended, so that
    people see what is claimed and what runs (telling it again changes nothing).
    """

    worker: str
    progress: Sequence[tuple[str, bytes]] = ()
    stalled: bool = False
    started: Sequence[Started] = ()


class BeatReply(NamedTuple):
    """What the store tells a worker: jobs of its own that somebody wants cancelled, queues that are paused.

    `known` is False when the store has no row for this worker: it must join again, and has lost its leases.
    """

    now: float
    known: bool
    cancel: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()


class Held(NamedTuple):
    """A lease that the store thinks a worker has."""

    job: str
    lease: int


class Swept(NamedTuple):
    """What one bounded sweep did, and when there will be more to do (`next_due`, None when nothing is scheduled).

    `watch`: other workers hold jobs, so where their death can be seen at once, somebody should look often.
    """

    now: float
    next_due: float | None
    promoted: int = 0
    woken: int = 0
    expired: int = 0
    rescued: int = 0
    more: bool = False
    watch: bool = False


CancelAnswer = Literal["cancelled", "requested", "ended", "unknown"]
ReplayAnswer = Literal["replayed", "conflict", "refused", "unknown"]
ChangeAnswer = Literal["changed", "refused", "unknown"]


class Jobs(Protocol):
    """What an engine asks of a store about jobs."""

    async def add(self, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
        """Store the jobs and groups, all or none, and answer for each job in order.

        A job whose id is there already is not changed (`created` False). A job whose unique key is taken is not
        added; its answer is the holder's id. Within the batch the jobs count as added one by one, in order. A job
        that waits on one that has ended is let go, or cancelled, at once.
        """
        ...

    async def claim(self, claim: Claim) -> Claimed:
        """Take at most `limit` ready jobs, from each lane at most its cap, first by priority (higher first), due, id.

        Jobs past their `expires` are ended instead of handed out. Suspects are handed out only on request, and never
        to a worker that holds one already.
        """
        ...

    async def lanes(self) -> list[Lane]:
        """The lanes that have ready jobs now, whoever may know their tasks; `cap` is 1 for each."""
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> list[Answer]:
        """End attempts; a mixed batch, answered each on its own. Follow-ups are added in the same commit.

        `accepted` also for a repeat of a settlement that was accepted before; `stale` changes nothing.
        """
        ...

    async def cancel(self, ids: Sequence[str], reason: str = "cancelled by request") -> list[CancelAnswer]:
        """End jobs that do not run; ask the workers of those that do. `ended` changes nothing."""
        ...

    async def replay(self, ids: Sequence[str], *, force: bool = False, fresh: bool = False) -> list[ReplayAnswer]:
        """Make ended jobs ready again; completed ones with `force` only, remembered steps forgotten with `fresh`.

        Jobs that were cancelled because of them wait again, and their groups count them again. `conflict`: the
        unique key has another holder. `refused`: the job has not ended, or waits on one that has failed.
        """
        ...

    async def reschedule(self, ids: Sequence[str], due: float) -> list[ChangeAnswer]:
        """Give scheduled and ready jobs another time (seconds since 1970; what has passed means now)."""
        ...

    async def delete(self, ids: Sequence[str]) -> list[ChangeAnswer]:
        """Remove ended jobs with all that belongs to them. A job that has not ended is `refused`."""
        ...


class Upkeep(Protocol):
    """Liveness of workers, and the bounded work that any of them does for all."""

    async def join(self, worker: Worker) -> float:
        """Make a worker known, before its first claim. Returns the store's now. Repeating it changes nothing."""
        ...

    async def beat(self, beat: Beat) -> BeatReply:
        """A sign of life. A worker whose beats have gaps of half a lease time may not rescue others (RULES C1)."""
        ...

    async def held(self, worker: str) -> list[Held]:
        """The leases that the store thinks this worker has, so that it can release those it never got (RULES C2)."""
        ...

    async def leave(self, worker: str, *, died: bool = False, started: Sequence[str] | None = None) -> None:
        """The end of a worker. What it still holds is released; with `died`, rescued as from a lapsed worker.

        `started`: the ids of the jobs that it had really started, when the caller has seen it; only these can be
        suspects (RULES C6). None: not known, all of them can.
        """
        ...

    async def sweep(self, worker: str, limit: int = 1000) -> Swept:
        """Promote what is due and expire what is late, `limit` jobs of each; rescue all that dead workers hold.

        A dead worker's jobs are taken together: only so can its suspect be told from the others (RULES C6).

        Only a worker whose own beats have been accepted without a gap for a whole lease time declares another dead.
        """
        ...

    async def prune(self, retention: dict[str, float], limit: int = 1000) -> int:
        """Remove ended jobs older than `retention` seconds of their state, at most `limit`; returns how many.

        Jobs whose root has not ended are spared; a flow that failed is kept as long as the job that failed, since its
        replay needs the others. States that are not named are kept. How the run of a schedule ended is written down in
        the same step that removes its job, if `prune_runs` has not done so.
        """
        ...

    async def wait(self, queues: Sequence[str], timeout: float) -> bool:
        """A hint: returns True when there may be something new to claim, False after `timeout` seconds."""
        ...

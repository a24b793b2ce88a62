"""What the suite is given by the author of a store, and what it builds with."""

from __future__ import annotations

from typing import Literal, Protocol, TypedDict, Unpack

from mainspring.clock import FakeClock
from mainspring.model.record import Failure, Hook, JobRecord, NewGroup, NewJob, Settlement
from mainspring.model.states import SettleKind
from mainspring.store.base import Beat, Store

BEATS_UNTIL_LAPSED = 5
"""Thirds of a lease time: one for the gap that may lie behind, three to be steady, one to be past the lease time."""


GROUP = "019b7600-0000-7000-8000-000000000001"
OTHER_GROUP = "019b7600-0000-7000-8000-000000000002"
"""Ids of groups: made like those of jobs, so that a store may keep them as UUIDs."""


class StoreHarness(Protocol):
    """A store under test and the strings to pull. Yield one, open, from a fixture called `harness`.

    `clock` drives the store's now. `liveness` says how the store knows a dead worker: by its silence (`beats`) or
    because the operating system says so (`locks`).
    """

    @property
    def store(self) -> Store:
        """The open store. After `reopen` it may be another object."""
        ...

    @property
    def clock(self) -> FakeClock:
        """The clock that the store reads."""
        ...

    @property
    def liveness(self) -> Literal["beats", "locks"]:
        """How this store knows a dead worker."""
        ...

    async def lapse(self, worker: str) -> None:
        """Make this worker dead in the eyes of a sweep by any other worker that has joined.

        For stores that go by beats: `await fall_silent(self.store, self.clock, worker)`. For those that go by locks:
        let go of the worker's lock, and leave the clock alone.
        """
        ...

    async def spoil(self, schedule: str) -> None:
        """Make the stored definition of this schedule one that cannot be read, as a newer version may have written it.

        Where definitions are stored as JSON: give `overlap` a word that there is not. Stores without schedules: nothing.
        """
        ...

    async def reopen(self) -> None:
        """Close the store and open it again, as another process would. Stores that keep nothing may do nothing."""
        ...


async def fall_silent(store: Store, clock: FakeClock, worker: str) -> None:
    """Let time pass until `worker` has lapsed, while every other worker that has joined beats on."""
    seen = [each.worker for each in await store.workers()]
    longest = max((each.lease_time for each in seen), default=30.0)
    for _ in range(BEATS_UNTIL_LAPSED):
        clock.advance(longest / 3)
        for each in seen:
            if each.id != worker:
                await store.beat(Beat(each.id))


class JobFields(TypedDict, total=False):
    """The fields of `NewJob` besides its id and task."""

    version: str
    queue: str
    payload: bytes
    priority: int
    delay: float
    run_at: float | None
    expires_in: float | None
    expires_at: float | None
    unique: str | None
    unique_for: float | None
    tags: tuple[str, ...]
    metadata: bytes
    options: bytes
    hooks: tuple[Hook, ...]
    parent: str | None
    root: str | None
    correlation: str | None
    trace: str | None
    schedule: str | None
    slot: float | None
    waits_on: str | None
    group: str | None


class SettlementFields(TypedDict, total=False):
    """The fields of `Settlement` besides job, lease and kind."""

    after: float
    ran: float | None
    reason: str
    result: bytes | None
    error: Failure | None
    counters: dict[str, int] | None
    follow_ups: tuple[NewJob, ...]
    groups: tuple[NewGroup, ...]


def new_job(identifier: str, task: str = "work", **fields: Unpack[JobFields]) -> NewJob:
    """A job to be added.

    >>> new_job("a", priority=3).task
    'work'
    """
    return NewJob(id=identifier, task=task, **fields)


def settlement(job: JobRecord, kind: SettleKind, **fields: Unpack[SettlementFields]) -> Settlement:
    """The settlement of this job under the lease that it was seen with."""
    return Settlement(job=job.id, lease=job.lease, kind=kind, **fields)


def hooks() -> tuple[Hook, ...]:
    """A follow-up for each end that can have one; their tasks are called `on_dead`, `on_expired`, `on_cancelled`."""
    return (
        Hook(on="dead", task="on_dead"),
        Hook(on="expired", task="on_expired", queue="hooks", priority=7),
        Hook(on="cancelled", task="on_cancelled"),
    )

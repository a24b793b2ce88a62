"""The reads. They change nothing, and may be a moment behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from mainspring.model.record import AttemptRecord, Group, JobRecord
from mainspring.model.states import State
from mainspring.store.base.jobs import Worker


class Filter(NamedTuple):
    """Which jobs: all conditions that are given must hold. `tags`: all of them. Created: from <= t < to."""

    states: tuple[State, ...] = ()
    task: str | None = None
    queue: str | None = None
    tags: tuple[str, ...] = ()
    parent: str | None = None
    correlation: str | None = None
    schedule: str | None = None
    group: str | None = None
    created_from: float | None = None
    created_to: float | None = None


class Page(NamedTuple):
    """Jobs in the order of their ids, and where the next page starts; None when this was the last."""

    jobs: list[JobRecord]
    cursor: str | None


class Count(NamedTuple):
    """How many jobs of one queue, task and state there are; `exact` is False above the store's ceiling."""

    queue: str
    task: str
    version: str
    state: State
    number: int
    exact: bool = True


class WorkerSeen(NamedTuple):
    """A worker as the store sees it."""

    worker: Worker
    joined: float
    beat: float
    stalled: bool
    running: int


class Reads(Protocol):
    """What people and the engine look up."""

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        """The jobs, in the order of the ids; None for an unknown one."""
        ...

    async def find(self, filter: Filter, *, cursor: str | None = None, limit: int = 100, newest: bool = False) -> Page:  # noqa: A002
        """Jobs by filter, ordered by id, oldest first or `newest` first; `cursor` continues an earlier page."""
        ...

    async def attempts(self, job: str) -> list[AttemptRecord]:
        """Every attempt of a job that is kept (the newest 100), oldest first; the one that runs or ended it last."""
        ...

    async def groups(self, ids: Sequence[str]) -> list[Group | None]:
        """Fan-ins, in the order of the ids."""
        ...

    async def counts(self) -> list[Count]:
        """How many jobs there are, by queue, task, version and state."""
        ...

    async def progress(self, job: str) -> bytes | None:
        """What the running attempt reported last (JSON)."""
        ...

    async def workers(self) -> list[WorkerSeen]:
        """The workers that have joined and not left."""
        ...

    async def paused(self) -> list[str]:
        """The queues that are paused, by name."""
        ...

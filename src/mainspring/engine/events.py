"""What the engine tells the hub: values, sent only when somebody listens. The store is the record (RULES M11)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mainspring.engine.drained import Stopped


@dataclass(frozen=True, slots=True)
class JobStarted:
    """A worker of this process starts an attempt."""

    job: str
    task: str
    queue: str
    attempt: int


@dataclass(frozen=True, slots=True)
class JobEnded:
    """The store has accepted how an attempt ended: `kind` is that of the settlement, `ran` the seconds it took.

    `ran` is None for a job that was handed back and never started; when its worker knew no more of it than its id,
    `task` is empty.
    """

    job: str
    task: str
    kind: str
    ran: float | None


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """An attempt of this process has lost its lease: another worker may run the job, its result is not taken."""

    job: str
    lease: int


@dataclass(frozen=True, slots=True)
class WorkerStarted:
    """A worker has joined."""

    worker: str


@dataclass(frozen=True, slots=True)
class WorkerStopped:
    """A worker has left; `report` says what it left behind."""

    worker: str
    report: Stopped


@dataclass(frozen=True, slots=True)
class WorkerStalled:
    """The loop of a worker has stood still for `seconds`. Told from the thread that watches it."""

    worker: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ScheduleFired:
    """This process has fired a schedule: `slots` became `jobs`, oldest first; the times are in UTC.

    Of several slots, those that the rule of overlap left out are named too, and have no job.
    """

    schedule: str
    jobs: tuple[str, ...]
    slots: tuple[datetime, ...]


@dataclass(frozen=True, slots=True)
class SlotsMissed:
    """`number` slots of a schedule, from `first` to `last`, came too late to run; the times are in UTC.

    `number` is counted as `count` of a run is: in a long gap it means "at least".
    """

    schedule: str
    number: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class ScheduleStopped:
    """A schedule is paused since its last runs have failed, as many as its `stop_after`."""

    schedule: str
    reason: str

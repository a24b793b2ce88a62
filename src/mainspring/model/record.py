"""What a store keeps: a job as it was added, as it stands, and the attempts it has behind it.

Immutable values. Times are seconds since 1970 by the store's clock; durations are seconds. Bytes are JSON that only
the engine reads: a store never looks inside.

They are no part of any cycle, so the garbage collector leaves them alone (`gc=False`): a store in memory holds many, and
to walk through them takes time at which nothing else runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct

from mainspring.model.states import TERMINAL, State

FOREVER: Final = math.inf
"""`unique_for`: the key stays taken until its job is pruned."""

CRASH_LIMIT: Final = 3
"""How often a suspect may take its process down before it ends dead."""

NO_COUNTERS: Final[Mapping[str, int]] = MappingProxyType({})

Ending = Literal["dead", "expired", "cancelled"]
OnFailure = Literal["stop", "wait"]


class Failure(Struct, frozen=True, gc=False, kw_only=True):
    """An error as text, cleaned and cut: the class may not exist in the process that reads it."""

    type: str
    message: str
    traceback: str = ""


class Hook(Struct, frozen=True, gc=False, kw_only=True):
    """A follow-up stored on the job as data: added by the store when the job ends in the state `on`.

    It gets the job's own payload, and has no hooks of its own (RULES C5, M17).
    """

    on: Ending
    task: str
    version: str = ""
    queue: str = "default"
    priority: int = 0
    options: bytes = b""


class NewJob(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A job to be added. The id is made by the caller, before the first await, so that an add can be repeated.

    `delay` and `expires_in` count from the store's now; `run_at` and `expires_at` are absolute. `waits_on` is the id
    of the job or group whose end lets this one go; `group` is the group that counts this job's end.
    """

    id: str
    task: str
    version: str = ""
    queue: str = "default"
    payload: bytes = b"{}"
    priority: int = 0
    delay: float = 0.0
    run_at: float | None = None
    expires_in: float | None = None
    expires_at: float | None = None
    unique: str | None = None
    unique_for: float | None = None
    tags: tuple[str, ...] = ()
    metadata: bytes = b""
    options: bytes = b""
    hooks: tuple[Hook, ...] = ()
    parent: str | None = None
    root: str | None = None
    correlation: str | None = None
    trace: str | None = None
    schedule: str | None = None
    slot: float | None = None
    waits_on: str | None = None
    group: str | None = None


class NewGroup(Struct, frozen=True, gc=False, kw_only=True):
    """A fan-in to be added with its members: jobs that wait on its id go on when `size` members have ended."""

    id: str
    size: int
    on_failure: OnFailure = "stop"


class Group(Struct, frozen=True, gc=False, kw_only=True):
    """A fan-in as it stands: members that have not ended yet, and members that ended otherwise than completed."""

    id: str
    size: int
    remaining: int
    failed: int = 0
    on_failure: OnFailure = "stop"


class JobRecord(Struct, frozen=True, gc=False, kw_only=True):
    """One job as the store holds it.

    `lease` only grows and is the right to settle; `attempt` counts runs, and is given back by snooze, sleep, wait and
    release. `settled` is the lease whose settlement was accepted last: a repeated settlement is recognised by it.
    `begun` is when the first attempt of this life started, the start of `give_up_after`. `linked` says that the end
    of this job concerns others (a key, a group, jobs that wait), so that a plain one can be ended cheaply.
    """

    id: str
    task: str
    version: str = ""
    queue: str = "default"
    payload: bytes = b"{}"
    priority: int = 0
    tags: tuple[str, ...] = ()
    metadata: bytes = b""
    options: bytes = b""
    hooks: tuple[Hook, ...] = ()
    unique: str | None = None
    unique_until: float | None = None
    parent: str | None = None
    root: str | None = None
    correlation: str | None = None
    trace: str | None = None
    schedule: str | None = None
    slot: float | None = None
    waits_on: str | None = None
    group: str | None = None
    linked: bool = False

    state: State
    reason: str = ""
    created: float
    due: float
    expires: float | None = None
    lease: int = 0
    settled: int = 0
    attempt: int = 0
    round: int = 0
    worker: str | None = None
    claim: int = 0
    claimed: float | None = None
    started: float | None = None
    begun: float | None = None
    finished: float | None = None
    cancel_requested: bool = False
    suspect: bool = False
    crashes: int = 0
    rescues: int = 0
    counters: Mapping[str, int] = NO_COUNTERS
    result: bytes | None = None
    error: Failure | None = None

    @property
    def terminal(self) -> bool:
        """Whether the job has ended."""
        return self.state in TERMINAL


AttemptEnding = Literal[
    "running", "completed", "dead", "expired", "cancelled",
    "retried", "repeated", "snoozed", "slept", "waited", "released", "crashed", "rescued",
]  # fmt: skip
"""How an attempt ended; `running` while it has not."""


class AttemptRecord(Struct, frozen=True, gc=False, kw_only=True):
    """One run of a job, keyed by (job, lease): the attempt number is given back by some verbs and comes again."""

    job: str
    lease: int
    attempt: int
    ending: AttemptEnding
    worker: str | None = None
    claimed: float | None = None
    started: float | None = None
    ended: float | None = None
    error: Failure | None = None


class Settlement(Struct, frozen=True, gc=False, kw_only=True):
    """What the store writes at the end of an attempt, if `lease` is still the job's.

    `after` is seconds from the store's now. `ran` is how long the function ran, None when it was never started.
    `follow_ups` and `groups` are added in the same commit. `reason` is kept on the row for people.
    """

    job: str
    lease: int
    kind: Literal[
        "complete", "retry", "repeat", "snooze", "sleep", "wait", "release", "crash", "dead", "cancelled", "expired"
    ]
    after: float = 0.0
    ran: float | None = None
    reason: str = ""
    result: bytes | None = None
    error: Failure | None = None
    counters: Mapping[str, int] | None = None
    follow_ups: tuple[NewJob, ...] = ()
    groups: tuple[NewGroup, ...] = ()


Answer = Literal["accepted", "stale", "unknown"]
"""`accepted`: written, now or by an earlier send of the same settlement. `stale`: the lease was somebody else's, or
another verb ended it. `unknown`: no such job."""

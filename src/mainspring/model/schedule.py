"""What a store keeps of a schedule: what people declared, how far it has come, and a record of each run.

Immutable values. Times are seconds since 1970 by the store's clock, durations are seconds. `trigger` and the bytes of
the template are JSON that only the engine reads.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from mainspring.errors import ScheduleUnreadable
from mainspring.model.record import NewJob
from mainspring.model.states import State

Misfire = Literal["once", "skip", "all"]
Overlap = Literal["skip", "allow", "queue"]
ScheduleState = Literal["active", "paused", "finished"]

KEPT_RUNS: Final = 100
"""Run records of a schedule that are kept unless told otherwise."""

MOST_KEPT_RUNS: Final = 10_000

MOST_CAUGHT_UP: Final = 1000
"""Slots of one schedule that are run at most after a gap; they are one decision and one commit."""

BY_REQUEST: Final = "by request"
VANISHED: Final = "no longer declared"
FAILED: Final = "too many failed runs"
"""The three reasons for which a schedule is paused."""

_LONGEST_REASON: Final = 200


class Definition(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A schedule as people declare it: equal definitions mean that nothing is to be changed.

    `template` has neither an id nor a slot: each fire makes a job of it. See `app.schedules.put` for the options.
    `from_end` is that of the trigger: its next slot is known only when the last run has ended.
    """

    trigger: bytes
    template: NewJob
    from_end: bool = False
    misfire: Misfire = "once"
    misfire_limit: int = 100
    misfire_grace: float | None = None
    overlap: Overlap = "skip"
    start_at: float | None = None
    end_at: float | None = None
    max_runs: int | None = None
    jitter: float = 0.0
    stop_after: int | None = None
    keep: int = KEPT_RUNS
    keep_for: float | None = None


class ScheduleRecord(Struct, frozen=True, gc=False, kw_only=True):
    """A schedule as stored.

    `revision` grows with each change that people make, `fired_to` with each fire: a watermark below which no slot is
    fired again, whatever is changed (RULES H13). `next` is the slot that comes next; `due` is when it is to be looked
    at: at the slot, later by the jitter, or when the end of a run is waited for (`next` is None then). Neither: it has
    finished. `begin`: the trigger counts from here. `runs`: slots that became jobs; `missed`: slots that were too
    late, at least (see `Run.count`); `skipped`: those whose turn came while another run went on. `number`: of the last
    run record. `paused`: why, "" when it is not. `declared_by`: the code that declared it, "" for one that was put. `dropped`: when it was
    removed; the row stays for a day, for its watermark. `unreadable`: why its definition cannot be read, which then
    stands here empty; what is stored stays as it is until it is put again. Nothing but that and a removal is done to
    such a one.
    """

    id: str
    definition: Definition
    declared_by: str = ""
    revision: int = 1
    begin: float
    next: float | None
    due: float | None
    fired_to: float = 0.0
    runs: int = 0
    missed: int = 0
    skipped: int = 0
    number: int = 0
    paused: str = ""
    created: float
    changed: float
    dropped: float | None = None
    unreadable: str = ""

    @property
    def state(self) -> ScheduleState:
        """`finished` has no slot left; it goes on when its definition is changed."""
        return "paused" if self.paused else "finished" if self.due is None else "active"


def unreadable(error: Exception) -> tuple[Definition, str]:
    """What stands for a definition that cannot be read, and why it cannot.

    >>> unreadable(ValueError("Invalid enum value 'never'"))[1]
    "Invalid enum value 'never'"
    """
    return Definition(trigger=b"", template=NewJob(id="", task="")), (str(error) or repr(error))[:_LONGEST_REASON]


def readable(record: ScheduleRecord) -> ScheduleRecord:
    """The record. Raises ScheduleUnreadable when its definition cannot be read: nobody knows what it is to do."""
    if record.unreadable:
        raise ScheduleUnreadable(
            record.id,
            f"schedule {record.id!r}: its definition cannot be read by this version of Mainspring "
            f"({record.unreadable}); put it again or remove it",
        )
    return record


RunKind = Literal["slot", "trigger", "missed", "skipped"]
"""`slot`: a job for a slot; `trigger`: a job that a person asked for now; `missed`: slots that were too late;
`skipped`: slots whose turn came while another run went on."""

RunState = State | Literal["missed", "skipped", "removed"]
"""The state of the job; `removed` when it is gone and nobody saw its end."""


class Run(Struct, frozen=True, gc=False, kw_only=True):
    """What became of one slot, or of several that were left out together (`count`, from `slot` to `last_slot`).

    `count` of missed slots is exact for an `Every`, and up to 100; of more it is the least number there can be.

    `number` counts the records of a schedule from 1. `fired`: when this was decided. `state` is None in a store as
    long as nobody has seen the end of the job; who reads a run gets the state in which the job is. `group` is what the
    next run waits for, when it has to wait for this one.
    """

    schedule: str
    number: int
    kind: RunKind
    slot: float | None = None
    last_slot: float | None = None
    count: int = 1
    job: str | None = None
    group: str | None = None
    fired: float
    state: RunState | None = None
    started: float | None = None
    ended: float | None = None
    attempts: int = 0
    error: str = ""

    @property
    def open(self) -> bool:
        """Whether the job has not ended, as far as was seen."""
        return self.job is not None and self.ended is None

    @property
    def duration(self) -> float | None:
        """Seconds from the start of the last attempt to the end; None before that, and when it never started."""
        return None if self.started is None or self.ended is None else max(self.ended - self.started, 0.0)


class SlotJob(Struct, frozen=True, gc=False):
    """A slot that is to become a job. The ids are made by the caller; `group` is used when a run waits for this one."""

    slot: float
    job: str
    group: str


class Fire(Struct, frozen=True, gc=False, kw_only=True):
    """What a scheduler has decided: succeeds only when the schedule still has this revision and this `expected` due.

    All slots lie above the watermark, oldest first. `missed` slots, from `missed_from` to `missed_to`, are recorded
    instead of run. `to`: the new watermark; `next` and `due`: see `ScheduleRecord`. Without slots it only moves on.
    """

    schedule: str
    revision: int
    expected: float
    slots: tuple[SlotJob, ...] = ()
    missed: int = 0
    missed_from: float | None = None
    missed_to: float | None = None
    to: float
    next: float | None
    due: float | None


FireAnswer = Literal["fired", "skipped", "moved", "stopped", "stale", "paused", "unknown"]
"""`fired`: at least one job was added. `skipped`: none, another run goes on. `moved`: there was no slot to run.
`stopped`: paused instead, the last runs have failed. `stale`: somebody was faster, or changed it."""

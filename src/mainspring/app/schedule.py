"""`Schedule` and `ScheduleRun`: what was read of a schedule and of its runs. Values: nothing that is done to them shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from mainspring.app.schedule_options import ScheduleOptions
from mainspring.clock import moment
from mainspring.codec import decode
from mainspring.engine.triggers import trigger_of
from mainspring.model.schedule import Definition, Run, RunKind, RunState, ScheduleRecord, ScheduleState, readable
from mainspring.model.trigger_kinds import TriggerKinds
from mainspring.model.triggers import Trigger


class Schedule:
    """A schedule as it was when it was read. Times are aware datetimes in UTC.

    `record` is what the store holds; the properties say it in the words of the face. One whose stored definition this
    version cannot read, for a newer one has written it, is `unreadable`: it does not fire here, what was declared of it
    raises ScheduleUnreadable, and it can be put again or removed.
    """

    __slots__ = ("_kinds", "_trigger", "record")

    def __init__(self, record: ScheduleRecord, kinds: TriggerKinds) -> None:
        self.record = record
        self._kinds = kinds
        self._trigger: Trigger | None = None

    @property
    def id(self) -> str:
        """Its name."""
        return self.record.id

    @property
    def state(self) -> ScheduleState:
        """One of "active", "paused", "finished"; the last when no slot is left."""
        return self.record.state

    @property
    def reason(self) -> str:
        """Why it is paused, or else why it is unreadable; "" when it is neither."""
        return self.record.paused or self.record.unreadable

    @property
    def unreadable(self) -> str:
        """Why its definition cannot be read; "" when it can."""
        return self.record.unreadable

    @property
    def trigger(self) -> Trigger:
        """When it fires.

        Raises InvalidTrigger for one of a kind that the app was not given (`App(triggers=…)`), ScheduleUnreadable.
        """
        if self._trigger is None:
            self._trigger = trigger_of(self._definition, self._kinds)
        return self._trigger

    @property
    def next(self) -> datetime | None:
        """Its next slot, in the past when that is late; None: paused, finished, or the end of a run is waited for."""
        record = self.record
        return None if record.paused or record.next is None else moment(record.next)

    @property
    def runs(self) -> int:
        """Slots that became jobs."""
        return self.record.runs

    @property
    def missed(self) -> int:
        """Slots that were too late to be run: of an `Every` exactly, of others up to 100 in each gap, and at least so
        many when a gap was longer.
        """
        return self.record.missed

    @property
    def skipped(self) -> int:
        """Slots that were left out because another run went on."""
        return self.record.skipped

    @property
    def declared_by(self) -> str:
        """The package whose code declares it with a decorator; "" for one that was put."""
        return self.record.declared_by

    @property
    def created(self) -> datetime:
        """When it was put first."""
        return moment(self.record.created)

    @property
    def changed(self) -> datetime:
        """When people changed it last: a put, a pause, another trigger."""
        return moment(self.record.changed)

    @property
    def task(self) -> str:
        """The name of the task that its jobs run. Raises ScheduleUnreadable."""
        return self._definition.template.task

    @property
    def metadata(self) -> dict[str, object]:
        """The metadata of its jobs, `task.options(metadata=…)`; a copy. Raises ScheduleUnreadable."""
        data = self._definition.template.metadata
        return decode(data, dict[str, object], what="metadata") if data else {}

    @property
    def options(self) -> ScheduleOptions:
        """All its options, with which `put` would make the same schedule; a copy. Raises ScheduleUnreadable."""
        definition = self._definition
        options: ScheduleOptions = {
            "misfire": definition.misfire,
            "misfire_grace": definition.misfire_grace,
            "overlap": definition.overlap,
            "start_at": _moment(definition.start_at),
            "end_at": _moment(definition.end_at),
            "max_runs": definition.max_runs,
            "jitter": definition.jitter,
            "stop_after": definition.stop_after,
            "keep": definition.keep,
            "keep_for": definition.keep_for,
        }
        if definition.misfire == "all":
            options["misfire_limit"] = definition.misfire_limit
        return options

    @property
    def _definition(self) -> Definition:
        return readable(self.record).definition

    def __repr__(self) -> str:
        try:
            said = f" {self.trigger!r}"
        except Exception:  # noqa: BLE001  # whatever a trigger of somebody else's raises: this is shown in logs
            said = " unreadable" if self.record.unreadable else " of an unknown trigger"
        return f"<Schedule {self.id} {self.state}{said}{'' if self.next is None else f' next {self.next.isoformat()}'}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and other.record == self.record

    def __hash__(self) -> int:
        return hash((self.id, self.record.revision))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRun:
    """What became of a slot of a schedule, or of several slots that were left out together.

    `number` counts the records of a schedule from 1. `kind`: "slot", "trigger" (a person asked for it: it has no
    slot), "missed" (too late), "skipped" (another run went on). `slot`, `last_slot`: the first and the last of `count`
    slots; of more than 100 missed ones, unless they are those of an `Every`, `count` is "at least". `job`: the id of the job, None when there is none. `state`: that of the job, or "missed", "skipped";
    "removed": it is gone, and nobody saw its end. `started`: its last attempt. `duration`: seconds from there to the
    end. `error`: type and message, "" without one.
    """

    schedule: str
    number: int
    kind: RunKind
    slot: datetime | None
    last_slot: datetime | None
    count: int
    job: str | None
    fired: datetime
    state: RunState | None
    started: datetime | None
    ended: datetime | None
    duration: float | None
    attempts: int
    error: str

    @classmethod
    def of(cls, run: Run) -> Self:
        """As it is stored."""
        return cls(
            schedule=run.schedule,
            number=run.number,
            kind=run.kind,
            slot=_moment(run.slot),
            last_slot=_moment(run.last_slot),
            count=run.count,
            job=run.job,
            fired=moment(run.fired),
            state=run.state,
            started=_moment(run.started),
            ended=_moment(run.ended),
            duration=run.duration,
            attempts=run.attempts,
            error=run.error,
        )


def _moment(at: float | None) -> datetime | None:
    return None if at is None else moment(at)

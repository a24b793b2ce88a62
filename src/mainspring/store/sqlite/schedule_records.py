"""A schedule, and the record of a run, as a row and back."""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec.structs import replace

from mainspring.model.schedule import Run, RunKind, RunState, ScheduleRecord
from mainspring.store.definitions import definition_text, read_definition
from mainspring.store.sqlite.records import Row

ScheduleRow = tuple[
    int, str, int, float | None, float | None, float, int, int, int, int, float, str, float, float, float | None, str,
    int, float | None, str,
]  # fmt: skip
"""A row of `schedules`, in the order of the schema."""

RunRow = tuple[
    int, str, int, RunKind, float | None, float | None, int, str | None, str | None, float, RunState | None, float | None,
    float | None, int, str, float | None,
]  # fmt: skip
"""A row of `schedule_runs`, in the order of the schema."""

AT_ONCE: Final = -1.0
"""`until` of a run that is to be removed with the next pruning."""


class Keeping(NamedTuple):
    """Which runs a schedule keeps: those above `beyond`, and `keep_for` seconds long."""

    beyond: int
    keep_for: float | None

    def until(self, run: Run) -> float | None:
        """When this run may be removed; None: only for being one too many."""
        if run.number <= self.beyond:
            return AT_ONCE
        return None if self.keep_for is None else run.fired + self.keep_for


def schedule_of(row: ScheduleRow) -> ScheduleRecord:
    """The schedule of a row of `SELECT schedules.*`."""
    (
        _, id_, revision, next_, due, fired_to, runs, missed, skipped, number, begin, paused, created, changed, dropped,
        declared_by, keep, keep_for, definition,
    ) = row  # fmt: skip
    read, unreadable = read_definition(definition)
    if unreadable:
        read = replace(read, keep=keep, keep_for=keep_for)
    return ScheduleRecord(
        id=id_,
        definition=read,
        declared_by=declared_by,
        revision=revision,
        begin=begin,
        next=next_,
        due=due,
        fired_to=fired_to,
        runs=runs,
        missed=missed,
        skipped=skipped,
        number=number,
        paused=paused,
        created=created,
        changed=changed,
        dropped=dropped,
        unreadable=unreadable,
    )


def put_row(record: ScheduleRecord) -> Row:
    """The parameters of the statement `put`."""
    return (
        record.id, record.revision, record.next, record.due, record.fired_to, record.runs, record.missed,
        record.skipped, record.number, record.begin, record.paused, record.created, record.changed, record.dropped,
        record.declared_by, record.definition.keep, record.definition.keep_for,
        definition_text(record.definition),
    )  # fmt: skip


def touched_row(record: ScheduleRecord, place: int) -> Row:
    """The parameters of the statement `touch`."""
    return record.revision, record.paused, record.changed, record.dropped, place


def moved_row(record: ScheduleRecord, place: int) -> Row:
    """The parameters of the statement `move`."""
    return (
        record.next, record.due, record.fired_to, record.runs, record.missed, record.skipped, record.number, place,
    )  # fmt: skip


def only_moved(before: ScheduleRecord, after: ScheduleRecord) -> bool:
    """Whether no more has changed than what a fire changes. What people change has another revision."""
    return (
        before.revision == after.revision
        and before.definition is after.definition
        and before.paused == after.paused
        and before.dropped == after.dropped
        and before.declared_by == after.declared_by
        and before.begin == after.begin
        and before.created == after.created
        and before.changed == after.changed
    )


def run_of(row: RunRow) -> Run:
    """The run of a row of `SELECT schedule_runs.*`."""
    _, schedule, number, kind, slot, last_slot, count, job, group, fired, state, started, ended, attempts, error, _ = (
        row
    )
    return Run(
        schedule=schedule,
        number=number,
        kind=kind,
        slot=slot,
        last_slot=last_slot,
        count=count,
        job=job,
        group=group,
        fired=fired,
        state=state,
        started=started,
        ended=ended,
        attempts=attempts,
        error=error,
    )


def keeping_of(record: ScheduleRecord) -> Keeping:
    """Which runs this schedule keeps."""
    return Keeping(record.number - record.definition.keep, record.definition.keep_for)


def run_row(run: Run, keeping: Keeping) -> Row:
    """The parameters of the statement `put_run`."""
    return (
        run.schedule, run.number, run.kind, run.slot, run.last_slot, run.count, run.job, run.group, run.fired,
        run.state, run.started, run.ended, run.attempts, run.error, keeping.until(run),
    )  # fmt: skip

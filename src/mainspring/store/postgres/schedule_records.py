"""A schedule, and the record of a run, as a row and back. Times come as seconds since 1970, exact to the microsecond."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec

from mainspring.model.record import Failure, JobRecord
from mainspring.model.schedule import Run, ScheduleRecord
from mainspring.store.definitions import definition_text, read_definition
from mainspring.store.postgres.records import Row

NOW: Final = "date_part('epoch', t.now)"
"""The time of a statement that has read it as `t`."""

SCHEDULE_COLUMNS: Final = """s.id, date_part('epoch', s.next), date_part('epoch', s.due), date_part('epoch', s.fired_to),
    date_part('epoch', s.begin_at), date_part('epoch', s.created), date_part('epoch', s.changed),
    date_part('epoch', s.dropped), s.revision, s.number, s.runs, s.missed, s.skipped, s.paused, s.declared_by,
    s.definition"""
"""What `schedule_of` reads, of a row `s` of `schedules`."""

RUN_COLUMNS: Final = """r.schedule, r.number, date_part('epoch', r.slot), date_part('epoch', r.last_slot),
    date_part('epoch', r.fired), date_part('epoch', r.started), date_part('epoch', r.ended), r.job, r.group_id, r.count,
    r.attempts, r.kind, r.state, r.error"""
"""What `run_of` reads, of a row `r` of `schedule_runs`."""

RunRow: TypeAlias = tuple[
    str, int, float | None, float | None, float, float | None, float | None, str | None, str | None, int, int,
    str, str | None, str,
]  # fmt: skip
"""A row of `RUN_COLUMNS` in JSON."""

_failure = msgspec.json.Decoder(Failure).decode


def schedule_of(row: Row) -> ScheduleRecord:
    """The schedule of a row of `SCHEDULE_COLUMNS`."""
    (
        id_, next_, due, fired_to, begin, created, changed, dropped, revision, number, runs, missed, skipped, paused,
        declared_by, definition,
    ) = row  # fmt: skip
    read, unreadable = read_definition(definition)
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


def put_values(record: ScheduleRecord, seen: ScheduleRecord | None) -> tuple[Any, ...]:
    """A row of the statement `put`, in the order of its parameters. `seen`: what is to be there still."""
    definition = record.definition
    return (
        record.id, record.next, record.due, record.fired_to, record.begin, record.created, record.changed,
        record.dropped, record.revision, record.number, record.runs, record.missed, record.skipped, definition.keep,
        definition.keep_for, record.paused, record.declared_by, definition_text(definition),
        *((None, None, None, None) if seen is None else _version(seen)),
    )  # fmt: skip


def _version(seen: ScheduleRecord) -> tuple[int, float, int, bool]:
    """What tells whether a row is still as it was seen: see `serial.schedules.is_as_seen`."""
    return seen.revision, seen.fired_to, seen.number, seen.dropped is not None


def moved_values(record: ScheduleRecord) -> tuple[Any, ...]:
    """A row of the statement `move`."""
    return (
        record.id, record.next, record.due, record.fired_to, record.changed, record.dropped, record.revision,
        record.number, record.runs, record.missed, record.skipped, record.paused,
    )  # fmt: skip


def fired_values(record: ScheduleRecord, seen: ScheduleRecord | None) -> tuple[Any, ...]:
    """A row of the part `moved`. `seen`: what is to be there still."""
    assert seen is not None
    return (
        record.id, record.next, record.due, record.fired_to, record.changed, record.revision, record.number,
        record.runs, record.missed, record.skipped, record.paused, seen.revision, seen.due, seen.fired_to, seen.number,
    )  # fmt: skip


def only_moved(before: ScheduleRecord, after: ScheduleRecord) -> bool:
    """Whether no more has changed than what `move` writes."""
    return (
        before.definition is after.definition
        and before.declared_by == after.declared_by
        and before.begin == after.begin
        and before.created == after.created
    )


def run_of(row: Row) -> Run:
    """The run of a row of `RUN_COLUMNS`."""
    (
        schedule, number, slot, last_slot, fired, started, ended, job, group, count, attempts, kind, state, error,
    ) = row  # fmt: skip
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


def added_run_values(run: Run) -> tuple[Any, ...]:
    """A row of the statements `add_runs` and `grow_runs`."""
    return (
        run.schedule, run.number, run.slot, run.last_slot, run.fired, run.started, run.ended, run.job, run.group,
        run.count, run.attempts, run.kind, run.state, run.error,
    )  # fmt: skip


def changed_run_values(run: Run) -> tuple[Any, ...]:
    """A row of the statement `change_runs`: what the end of a job changes of its run."""
    return run.schedule, run.number, run.started, run.ended, run.attempts, run.state, run.error


def standing_job(id: str, row: Row) -> JobRecord:  # noqa: A002  # the field's name
    """How a job stands, of a row of the statement `standing`: enough for a run, and no more."""
    state, schedule, claimed, started, attempt, error, finished = row
    return JobRecord(
        id=id,
        task="",
        schedule=schedule,
        state=state,
        created=0.0,
        due=0.0,
        attempt=attempt,
        claimed=claimed,
        started=started,
        finished=finished,
        error=None if error is None else _failure(error),
    )

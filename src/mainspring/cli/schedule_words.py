"""A stored schedule and its runs as lines for people and as JSON for programs. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import tzinfo
from typing import Final, NamedTuple

import msgspec

from mainspring.cli.tables import Json
from mainspring.cli.trigger_words import duration_words, iso, moment_words, trigger_words
from mainspring.model.schedule import FAILED, Definition, Run, ScheduleRecord
from mainspring.model.trigger_kinds import KIND
from mainspring.model.triggers import Trigger

HEADS: Final = ("ID", "STATE", "TRIGGER", "NEXT", "LAST", "RUNS", "MISSED", "SKIPPED")
RUN_HEADS: Final = ("NUMBER", "KIND", "SLOT", "STATE", "STARTED", "TOOK", "ATTEMPTS", "JOB", "ERROR")

_LONGEST_ERROR: Final = 80
_UNREADABLE: Final = "unreadable"
_TOLD_OF_UNREADABLE: Final = {"id", "state", "unreadable", "declared by", "created", "changed", "last slot", "counted"}


class Listed(NamedTuple):
    """A schedule with what is told of it: its trigger (None: it cannot be read here), its newest run.

    `task_known`: whether the app has its task; None when no app was named.
    """

    record: ScheduleRecord
    trigger: Trigger | None
    last: Run | None
    task_known: bool | None = None


def trigger_said(listed: Listed) -> str:
    """In short; of an unknown trigger the name of its kind."""
    if listed.record.unreadable:
        return _UNREADABLE
    if listed.trigger is not None:
        return trigger_words(listed.trigger)
    kind = (_plain(listed.record.definition) or {}).get(KIND)
    return _UNREADABLE if kind is None else f"{kind} (own: name --app)"


def row(listed: Listed, zone: tzinfo) -> tuple[str | int, ...]:
    """A line of `ls`, under HEADS."""
    record = listed.record
    return (
        record.id,
        record.state,
        trigger_said(listed),
        next_words(record, zone, seconds=True),
        "-" if listed.last is None else listed.last.state or "-",
        record.runs,
        record.missed,
        record.skipped,
    )


def next_words(record: ScheduleRecord, zone: tzinfo, *, seconds: bool = False) -> str:
    """When it fires next, with its jitter; in whole seconds, or else with a word about the jitter."""
    if record.state != "active" or record.unreadable:
        return "-"
    if record.next is None or record.due is None:
        return "after the run"
    if seconds:
        return moment_words(math.floor(record.due), zone)
    jitter = "" if record.due == record.next else f" (slot {moment_words(record.next, zone)}, and its jitter)"
    return f"{moment_words(record.due, zone)}{jitter}"


def unknown_task(record: ScheduleRecord) -> str:
    """What is said of a schedule whose task the app does not have."""
    return (
        f"{record.id}: this app has no task {record.definition.template.task!r}; where no worker knows it, its jobs wait "
        "for ever"
    )


def pairs(listed: Listed, zone: tzinfo) -> list[tuple[str, str]]:
    """The lines of `show` about the schedule itself; "" where there is nothing to say."""
    record, definition = listed.record, listed.record.definition
    template = definition.template
    told = [
        ("id", record.id),
        ("state", _state(record)),
        ("unreadable", record.unreadable),
        ("trigger", trigger_said(listed)),
        ("next", next_words(record, zone).strip("-")),
        ("task", _task(listed)),
        ("queue", f"{template.queue}, priority {template.priority}" if template.priority else template.queue),
        ("arguments", template.payload.decode(errors="replace")),
        ("tags", ", ".join(template.tags)),
        ("metadata", template.metadata.decode(errors="replace")),
        ("misfire", _misfire(definition)),
        ("overlap", definition.overlap),
        ("jitter", duration_words(definition.jitter) if definition.jitter else ""),
        ("start at", _moment(definition.start_at, zone)),
        ("end at", _moment(definition.end_at, zone)),
        ("max runs", _number(definition.max_runs)),
        ("stop after", _number(definition.stop_after, " failed runs")),
        ("keep", _keep(definition)),
        ("declared by", record.declared_by),
        ("created", moment_words(record.created, zone)),
        ("changed", f"{moment_words(record.changed, zone)}, revision {record.revision}"),
        ("last slot", _moment(record.fired_to or None, zone)),
        ("counted", f"{record.runs} runs, {record.missed} missed, {record.skipped} skipped"),
    ]
    return [pair for pair in told if not record.unreadable or pair[0] in _TOLD_OF_UNREADABLE]


def run_row(run: Run, zone: tzinfo) -> tuple[str | int, ...]:
    """A line of the last runs, under RUN_HEADS."""
    error = " ".join(run.error.split())
    return (
        run.number,
        run.kind if run.count == 1 else f"{run.count} {run.kind}",
        _moment(run.slot, zone) or "-",
        run.state or "-",
        _moment(run.started, zone) or "-",
        "-" if run.duration is None else duration_words(round(run.duration, 3)),
        run.attempts,
        run.job or "-",
        error if len(error) <= _LONGEST_ERROR else f"{error[: _LONGEST_ERROR - 1]}…",
    )


def as_json(listed: Listed) -> Json:
    """A schedule for programs: times in ISO 8601, durations in seconds."""
    record = listed.record
    return {
        "id": record.id,
        "state": record.state,
        "paused": record.paused or None,
        "unreadable": record.unreadable or None,
        "trigger": _plain(record.definition),
        "task": None if record.unreadable else record.definition.template.task,
        "task_known": listed.task_known,
        "queue": None if record.unreadable else record.definition.template.queue,
        "next": iso(record.next),
        "due": iso(record.due),
        "runs": record.runs,
        "missed": record.missed,
        "skipped": record.skipped,
        "last": None if listed.last is None else run_json(listed.last),
    }


def as_json_in_full(listed: Listed) -> Json:
    """The same with its definition, if that can be read."""
    record, definition = listed.record, listed.record.definition
    return {
        **as_json(listed),
        **({} if record.unreadable else _definition_json(definition)),
        "declared_by": record.declared_by or None,
        "revision": record.revision,
        "created": iso(record.created),
        "changed": iso(record.changed),
        "fired_to": iso(record.fired_to) if record.fired_to else None,
    }


def run_json(run: Run) -> Json:
    """A run for programs."""
    return {
        "number": run.number,
        "kind": run.kind,
        "slot": iso(run.slot),
        "last_slot": iso(run.last_slot),
        "count": run.count,
        "job": run.job,
        "state": run.state,
        "fired": iso(run.fired),
        "started": iso(run.started),
        "ended": iso(run.ended),
        "duration": run.duration,
        "attempts": run.attempts,
        "error": run.error or None,
    }


def _definition_json(definition: Definition) -> Json:
    template = definition.template
    return {
        "arguments": _value(template.payload),
        "version": template.version,
        "priority": template.priority,
        "tags": template.tags,
        "metadata": _value(template.metadata),
        "misfire": definition.misfire,
        "misfire_limit": definition.misfire_limit,
        "misfire_grace": definition.misfire_grace,
        "overlap": definition.overlap,
        "jitter": definition.jitter,
        "start_at": iso(definition.start_at),
        "end_at": iso(definition.end_at),
        "max_runs": definition.max_runs,
        "stop_after": definition.stop_after,
        "keep": definition.keep,
        "keep_for": definition.keep_for,
    }


def _state(record: ScheduleRecord) -> str:
    if record.paused != FAILED:
        return f"paused: {record.paused}" if record.paused else record.state
    number = record.definition.stop_after
    return f"paused: {FAILED}, {number} in a row; go on: mainspring schedules resume {record.id}"


def _task(listed: Listed) -> str:
    template = listed.record.definition.template
    name = f"{template.task} {template.version}".rstrip()
    return f"{name} (this app has no such task)" if listed.task_known is False else name


def _misfire(definition: Definition) -> str:
    words = f"all, at most {definition.misfire_limit}" if definition.misfire == "all" else definition.misfire
    grace = definition.misfire_grace
    return words if grace is None else f"{words}, grace {duration_words(grace)}"


def _keep(definition: Definition) -> str:
    words = f"{definition.keep} runs"
    return words if definition.keep_for is None else f"{words}, at most {duration_words(definition.keep_for)}"


def _moment(at: float | None, zone: tzinfo) -> str:
    return "" if at is None else moment_words(at, zone)


def _number(value: int | None, unit: str = "") -> str:
    return "" if value is None else f"{value}{unit}"


def _plain(definition: Definition) -> Mapping[str, object] | None:
    """The trigger as stored; None when that is no such thing."""
    try:
        return msgspec.json.decode(definition.trigger, type=dict[str, object])
    except (msgspec.MsgspecError, ValueError):
        return None


def _value(data: bytes) -> object:
    return msgspec.json.decode(data) if data else None

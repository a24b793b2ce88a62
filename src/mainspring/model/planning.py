"""What becomes of a schedule when people act on it: put, changed, paused, resumed. Pure: a record in, a record out.

What nobody has run yet is not forgotten by a change: a slot that was due already stays due. Only a pause lets slots
pass. A record that is returned as it was given (the same object) means that there is nothing to write.
"""

from __future__ import annotations

from msgspec.structs import replace

from mainspring.model.schedule import VANISHED, Definition, ScheduleRecord
from mainspring.model.triggers import Trigger, jitter_of


def planned(
    id: str,  # noqa: A002  # the field's name
    definition: Definition,
    trigger: Trigger,
    now: float,
    *,
    stored: ScheduleRecord | None = None,
    declared_by: str = "",
) -> ScheduleRecord:
    """The record to put: a new one, or the stored one with this definition.

    Runs, missed and skipped slots, the watermark and a pause of the stored one are kept, but one that was paused
    because it had vanished goes on. A changed trigger counts from now: its next slot is the first after now and after
    the watermark; one that has a single slot in all, which has passed, fires at once.
    """
    if stored is None or stored.dropped is not None:
        return _new(id, definition, trigger, now, stored, declared_by)
    if stored.paused == VANISHED:
        return planned(id, definition, trigger, now, stored=resumed(stored, trigger, now), declared_by=declared_by)
    if stored.definition == definition and stored.declared_by == declared_by:
        return stored
    changed = replace(stored, definition=definition, declared_by=declared_by, revision=stored.revision + 1, changed=now)
    if _timing(stored.definition) == _timing(definition):
        return changed
    if _timing(stored.definition)[:3] == _timing(definition)[:3]:  # its end has changed, not its slots
        return _at(changed, _next_of(changed, trigger, now) if changed.next is None else changed.next)
    begin = _begin(definition, now)
    if stored.next is not None and stored.due is not None and stored.due <= now and not stored.paused:
        return _at(replace(changed, begin=begin), stored.next)
    changed = replace(changed, begin=begin)
    if begin > now:
        return _at(changed, _above(trigger.starting(begin), begin, changed.fired_to))
    return _at(changed, _next_of(changed, trigger, now), look=now)


def paused(record: ScheduleRecord, now: float, reason: str) -> ScheduleRecord:
    """No slot fires until it is resumed; those that pass meanwhile are gone."""
    if record.paused == reason:
        return record
    return replace(record, paused=reason, revision=record.revision + 1, changed=now)


def resumed(record: ScheduleRecord, trigger: Trigger, now: float) -> ScheduleRecord:
    """Goes on with the first slot after now; failed runs are counted anew."""
    if not record.paused:
        return record
    record = replace(record, paused="", revision=record.revision + 1, changed=now)
    if record.next is None or record.next > now:
        return record
    return _at(record, _next_of(record, trigger, now), look=now)


def _new(
    id: str,  # noqa: A002  # the field's name
    definition: Definition,
    trigger: Trigger,
    now: float,
    dropped: ScheduleRecord | None,
    declared_by: str,
) -> ScheduleRecord:
    begin = _begin(definition, now)
    fired_to = 0.0 if dropped is None else dropped.fired_to
    record = ScheduleRecord(
        id=id,
        definition=definition,
        declared_by=declared_by,
        revision=1 if dropped is None else dropped.revision + 1,
        begin=begin,
        next=None,
        due=None,
        fired_to=fired_to,
        number=0 if dropped is None else dropped.number,
        created=now,
        changed=now,
    )
    return _at(record, _above(trigger.starting(begin), begin, fired_to))


def _timing(definition: Definition) -> tuple[object, ...]:
    """What decides about its slots: first what they are, then which of them count."""
    return (
        definition.trigger,
        definition.start_at,
        definition.jitter,
        definition.end_at,
        definition.max_runs,
    )


def _begin(definition: Definition, now: float) -> float:
    return now if definition.start_at is None else max(now, definition.start_at)


def _above(trigger: Trigger, begin: float, fired_to: float) -> float | None:
    """The first slot of a schedule that begins, above the watermark of an earlier one of this id."""
    first = trigger.first_at(begin)
    return first if first is None or first > fired_to else trigger.next_after(fired_to)


def _next_of(record: ScheduleRecord, trigger: Trigger, now: float) -> float | None:
    """The first slot after now and after the watermark, or the only slot there is, when nobody has run it."""
    trigger = trigger.starting(record.begin)
    if trigger.from_end and record.runs:
        return None
    following = trigger.next_after(max(now, record.fired_to, record.begin))
    if following is not None:
        return following
    first = trigger.first_at(record.begin)
    return first if first is not None and first > record.fired_to and trigger.next_after(first) is None else None


def _at(record: ScheduleRecord, slot: float | None, *, look: float | None = None) -> ScheduleRecord:
    """The record with this as its next slot, if that still counts. `look`: when to ask for the end of a run instead."""
    definition = record.definition
    over = definition.max_runs is not None and record.runs >= definition.max_runs
    if over or (slot is not None and definition.end_at is not None and slot > definition.end_at):
        return replace(record, next=None, due=None)
    if slot is None:
        return replace(record, next=None, due=look if definition.from_end else None)
    return replace(record, next=slot, due=due_of(record, slot))


def due_of(record: ScheduleRecord, slot: float) -> float:
    """When a slot is to be looked at: later by the jitter of this schedule."""
    return round(slot + jitter_of(record.id, record.definition.jitter), 6)

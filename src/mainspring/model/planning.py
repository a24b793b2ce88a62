"""What becomes of a schedule when people act on it: put, changed, paused, resumed. Pure: a record in, a record out.

What nobody has run yet is not forgotten by a change: a slot that has come stays as it is, also when it is put off by
the jitter. Only a pause, and a start that is put off, let slots pass. A single time that the watermark has reached is
done, whatever is changed. A record that is returned as it was given (the same object) means that there is nothing to
write.
"""

from __future__ import annotations

from msgspec.structs import replace

from mainspring.model.every import Once
from mainspring.model.schedule import VANISHED, Definition, ScheduleRecord, readable
from mainspring.model.slots import due_of, in_time
from mainspring.model.triggers import MICROSECOND, Except, Trigger, Union, first_slot, slot_after


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
    the watermark; one that has a single slot in all, which has passed, fires at once, unless the watermark has reached
    it: then the schedule has finished. A changed `start_at` matters until the schedule has begun, and after that when
    it lies in the future: nothing runs before it. One that is `unreadable` is mended: its trigger counts as changed.
    """
    if stored is None or stored.dropped is not None:
        return _new(id, definition, trigger, now, stored, declared_by)
    if stored.unreadable:
        stored = replace(stored, unreadable="")
    if stored.paused == VANISHED:
        return planned(id, definition, trigger, now, stored=resumed(stored, trigger, now), declared_by=declared_by)
    old = stored.definition
    if old == definition and stored.declared_by == declared_by:
        return stored
    changed = replace(stored, definition=definition, declared_by=declared_by, revision=stored.revision + 1, changed=now)
    if old.trigger != definition.trigger:
        return _turned(changed, trigger, now)
    if old.start_at != definition.start_at and max(definition.start_at or now, stored.begin) > now:
        return _begun_anew(changed, trigger, now) if _slots_left(stored, trigger, now) else changed
    if _bounds(old) == _bounds(definition):
        return changed
    slot = _next_of(changed, trigger, now) if changed.next is None else changed.next
    return _at(changed, slot, look=changed.due or now)


def paused(record: ScheduleRecord, now: float, reason: str) -> ScheduleRecord:
    """No slot fires until it is resumed; those that pass meanwhile are gone.

    One that is paused for another reason is not marked as vanished: it stays paused when it is declared again.
    Raises ScheduleUnreadable.
    """
    readable(record)
    if record.paused == reason or (record.paused and reason == VANISHED):
        return record
    return replace(record, paused=reason, revision=record.revision + 1, changed=now)


def resumed(record: ScheduleRecord, trigger: Trigger, now: float) -> ScheduleRecord:
    """Goes on with the first slot after now, or one that still waits for its jitter; failed runs are counted anew.

    A trigger that counts from the end of a run, or has a single slot in all, fires at once when its time has come.
    Raises ScheduleUnreadable.
    """
    readable(record)
    if not record.paused:
        return record
    record = replace(record, paused="", revision=record.revision + 1, changed=now)
    if record.next is None or due_of(record, record.next) > now:
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
    """A schedule without a past, but for the watermark and the numbers of a removed one of this id."""
    record = ScheduleRecord(
        id=id,
        definition=definition,
        declared_by=declared_by,
        revision=1 if dropped is None else dropped.revision + 1,
        begin=now,
        next=None,
        due=None,
        fired_to=0.0 if dropped is None else dropped.fired_to,
        number=0 if dropped is None else dropped.number,
        created=now,
        changed=now,
    )
    return _begun_anew(record, trigger, now)


def _turned(record: ScheduleRecord, trigger: Trigger, now: float) -> ScheduleRecord:
    """With another trigger than before."""
    start = record.definition.start_at
    if start is not None and start > now:
        return _begun_anew(record, trigger, now)
    record = replace(record, begin=now)
    if record.next is not None and record.next <= now and not record.paused:
        return _at(record, record.next)
    return _at(record, _next_of(record, trigger, now), look=now)


def _begun_anew(record: ScheduleRecord, trigger: Trigger, now: float) -> ScheduleRecord:
    """From its start or now, whatever is later; and above the watermark, wherever the clock is."""
    begin = max(now, record.definition.start_at or now)
    if record.fired_to >= begin:
        begin = round(record.fired_to + MICROSECOND, 6)
    return _at(replace(record, begin=begin), _first_of(record, trigger, begin))


def _slots_left(record: ScheduleRecord, trigger: Trigger, now: float) -> bool:
    """Whether it would go on at all: a time that comes once only does not come again by a later start."""
    return record.due is not None or trigger.from_end or _next_of(record, trigger, now) is not None


def _bounds(definition: Definition) -> tuple[object, ...]:
    """What decides which of the slots count, and when they are looked at."""
    return definition.jitter, definition.end_at, definition.max_runs


def _next_of(record: ScheduleRecord, trigger: Trigger, now: float) -> float | None:
    """The first slot after now and after the watermark, or the only slot there is, when nobody has run it."""
    started = trigger.starting(record.begin)
    if started.from_end:
        first = None if record.runs else _first_of(record, trigger, record.begin)
        return first if first is not None and first > record.fired_to else None
    following = slot_after(started, max(now, record.fired_to, record.begin))
    if following is not None:
        return following
    first = _first_of(record, trigger, record.begin)
    return first if first is not None and first > record.fired_to and slot_after(started, first) is None else None


def _first_of(record: ScheduleRecord, trigger: Trigger, begin: float) -> float | None:
    """Its first slot from `begin` on: a single time in the past comes now, but only when it has not come before."""
    left = _unspent(trigger.starting(begin), record.fired_to)
    return None if left is None else first_slot(left, begin)


def _unspent(trigger: Trigger, watermark: float) -> Trigger | None:
    """What is left of a trigger without the single times that the watermark has reached; None: nothing."""
    match trigger:
        case Once():
            return trigger if trigger.at.timestamp() > watermark else None
        case Union():
            members = [left for each in trigger.members if (left := _unspent(each, watermark)) is not None]
            return members[0] if len(members) == 1 else Union(tuple(members)) if members else None
        case Except():
            base = _unspent(trigger.base, watermark)
            return None if base is None or base == trigger.excluded else Except(base, trigger.excluded)
        case _:
            return trigger


def _at(record: ScheduleRecord, slot: float | None, *, look: float | None = None) -> ScheduleRecord:
    """The record with this as its next slot, if that still counts. `look`: when to ask for the end of a run instead."""
    definition = record.definition
    over = definition.max_runs is not None and record.runs >= definition.max_runs
    if over or slot != in_time(record, slot):
        return replace(record, next=None, due=None)
    if slot is None:
        return replace(record, next=None, due=look if definition.from_end else None)
    return replace(record, next=slot, due=due_of(record, slot))

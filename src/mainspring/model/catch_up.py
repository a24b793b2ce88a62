"""Which slots of a schedule are due, and what becomes of those that come late. Pure."""

from __future__ import annotations

import math
from collections import deque
from typing import Final, NamedTuple

from msgspec.structs import replace

from mainspring.model.schedule import ScheduleRecord
from mainspring.model.slots import due_of, in_time, slot_after
from mainspring.model.triggers import MICROSECOND, Trigger, jitter_of

SKIP_GRACE: Final = 60.0
"""Seconds for which a slot counts as on time where late ones are skipped, unless told otherwise."""

COUNTED: Final = 1000
"""Slots of one gap that are counted one by one; a longer gap counts as so many, where it cannot be computed."""

SHORTEST_LOOK: Final = 0.01
LONGEST_LOOK: Final = 1.0
"""Seconds between two looks for the end of a run that a schedule waits for: a tenth of the interval, within these."""


class Decision(NamedTuple):
    """What is to be done with a schedule now: the slots to run, oldest first, those missed, and how it goes on."""

    slots: tuple[float, ...]
    missed: int
    missed_from: float | None
    missed_to: float | None
    to: float
    next: float | None
    due: float | None


def decided(
    record: ScheduleRecord, trigger: Trigger, now: float, *, active: bool = False, ended: float | None = None
) -> Decision:
    """What a scheduler asks the store to do with a schedule that is due.

    A slot that is older than `misfire_grace` is missed. Of the others the newest runs (`once`, `skip`), or the newest
    `misfire_limit` (`all`); the rest is missed. `skip` is `once` with a grace of 60 s unless it has its own.
    `active`, `ended`: whether a run goes on, and when the last one has ended; for triggers that count from there.
    Raises InvalidTrigger when an answer of the trigger makes no sense, and whatever a trigger of people's own raises.
    """
    trigger = trigger.starting(record.begin)
    if record.next is not None:
        return _of_slots(record, trigger, now)
    if active:
        return _moved(record, None, _next_look(record, trigger, now))
    slot = in_time(record, slot_after(trigger, max(record.begin, record.fired_to, ended or record.begin)))
    if slot is None or due_of(record, slot) > now:
        return _moved(record, slot, None if slot is None else due_of(record, slot))
    return _of_slots(replace(record, next=slot), trigger, now)


def _of_slots(record: ScheduleRecord, trigger: Trigger, now: float) -> Decision:
    definition = record.definition
    at = round(now - jitter_of(record.id, definition.jitter), 6)
    wanted = definition.misfire_limit if definition.misfire == "all" else 1
    passed = _passed(record, trigger, at, wanted)
    run = _in_grace(record, passed.newest[-wanted:], at)
    missed = passed.number - len(run)
    following, due = _following(record, trigger, passed.following, now, ran=bool(run))
    return Decision(
        slots=tuple(run),
        missed=missed,
        missed_from=record.next if missed else None,
        missed_to=passed.newest[-len(run) - 1] if missed else None,
        to=passed.newest[-1],
        next=following,
        due=due,
    )


def _in_grace(record: ScheduleRecord, slots: list[float], at: float) -> list[float]:
    """Those that are not too late to run, and not more than `max_runs` lets be."""
    definition = record.definition
    grace = SKIP_GRACE if definition.misfire_grace is None else definition.misfire_grace
    if definition.misfire == "skip" or definition.misfire_grace is not None:
        slots = [slot for slot in slots if round(at - slot, 6) <= grace]
    if definition.max_runs is not None:
        slots = slots[max(len(slots) - max(definition.max_runs - record.runs, 0), 0) :]
    return slots


def _following(
    record: ScheduleRecord, trigger: Trigger, following: float | None, now: float, *, ran: bool
) -> tuple[float | None, float | None]:
    """The slot after those that have passed, and when to look at it, or for the end of the run that has begun now."""
    if trigger.from_end:
        following = in_time(record, slot_after(trigger, max(now, record.begin)))
    due = None if following is None else due_of(record, following)
    return (None if trigger.from_end and ran else following), due


class _Passed(NamedTuple):
    """The slots up to now: how many there are, the newest of them, and the first that is still to come."""

    number: int
    newest: list[float]
    following: float | None


def _passed(record: ScheduleRecord, trigger: Trigger, at: float, wanted: int) -> _Passed:
    """From the slot of the record on; what its trigger would have said before it was in force does not count."""
    assert record.next is not None
    if trigger.from_end:
        return _Passed(1, [record.next], None)
    end = at if record.definition.end_at is None else min(at, record.definition.end_at)
    begin = max(record.next, record.begin)
    newest = deque([record.next], maxlen=wanted + 1)
    known = trigger.slots_between(begin, end)
    number = 1 + (known or 0)
    following: float | None = begin
    if known is None or known <= wanted:
        number, following = _walked(trigger, begin, end, newest, max(COUNTED, wanted + 1))
    if following is not None and following <= end:  # there are too many to walk through all of them
        _, following = _walked(trigger, _near_end(trigger, begin, end, wanted), end, newest, math.inf)
    return _Passed(number, list(newest), in_time(record, following))


def _walked(trigger: Trigger, t: float, end: float, newest: deque[float], most: float) -> tuple[int, float | None]:
    """Append the slots in (t, end]; how many there are then, at most `most`, and the slot after them."""
    number, slot = 1, slot_after(trigger, t)
    while slot is not None and slot <= end and number < most:
        newest.append(slot)
        number += 1
        slot = slot_after(trigger, slot)
    return number, slot


def _near_end(trigger: Trigger, low: float, end: float, wanted: int) -> float:
    """A time with more than `wanted` slots between it and the end, but not many more; by halves."""
    high = end
    for _ in range(64):
        middle = round((low + high) / 2, 6)
        behind = _behind(trigger, middle, end, 4 * wanted + 1)
        if behind <= wanted:
            high = middle
        else:
            low = middle
        if wanted < behind <= 4 * wanted or high - low <= MICROSECOND:
            break
    return low


def _behind(trigger: Trigger, t: float, end: float, most: int) -> int:
    """How many slots lie in (t, end]; counted no further than `most`."""
    known = trigger.slots_between(t, end)
    if known is not None:
        return known
    number, slot = 0, slot_after(trigger, t)
    while slot is not None and slot <= end and number < most:
        number += 1
        slot = slot_after(trigger, slot)
    return number


def _next_look(record: ScheduleRecord, trigger: Trigger, now: float) -> float | None:
    """When to ask again for the end of a run; None when no slot can come after it."""
    earliest = slot_after(trigger, max(now, record.begin))
    if in_time(record, earliest) is None or earliest is None:
        return None
    return round(now + min(max((earliest - now) / 10, SHORTEST_LOOK), LONGEST_LOOK), 6)


def _moved(record: ScheduleRecord, following: float | None, due: float | None) -> Decision:
    """There is no slot to run: one is to come, or the end of a run is still awaited, or nothing is left."""
    return Decision((), 0, None, None, record.fired_to, following, due)

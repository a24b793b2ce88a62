"""Which slots of a schedule are due, and what becomes of those that come late. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from mainspring.model.newest import newest_slots
from mainspring.model.schedule import ScheduleRecord
from mainspring.model.slots import due_of, in_time
from mainspring.model.triggers import Trigger, jitter_of, slot_after

SKIP_GRACE: Final = 60.0
"""Seconds for which a slot counts as on time where late ones are skipped, unless told otherwise."""

COUNTED: Final = 100
"""Slots of one gap that are counted one by one, from the first on; see `newest_slots` for the others."""

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
    `misfire_limit` (`all`), of which the oldest come first when `max_runs` does not let all of them be; the rest is
    missed. `skip` is `once` with a grace of 60 s unless it has its own.

    `missed` is exact where the trigger computes it (`slots_between`), and up to `COUNTED` slots beside those that may
    run; of a longer gap it is the least number there can be. So the work is bounded: a trigger is asked for some
    `COUNTED` slots, and for those that may run, however long nobody looked.
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
    at = round(now - jitter_of(record.id, definition.jitter), 6) if definition.jitter else now
    wanted = definition.misfire_limit if definition.misfire == "all" else 1
    number, newest, following = _passed(record, trigger, at, wanted)
    run = _allowed(record, newest[-wanted:], at)
    to = newest[-1]
    following, due = _following(record, trigger, following, now, ran=bool(run))
    if len(run) == number:
        return Decision(run, 0, None, None, to, following, due)
    chosen = frozenset(run)
    left = [slot for slot in newest if slot not in chosen]
    first = left[0] if number == len(newest) else record.next
    return Decision(run, number - len(run), first, left[-1], to, following, due)


def _allowed(record: ScheduleRecord, slots: Sequence[float], at: float) -> tuple[float, ...]:
    """Those that are not too late to run, and not more than `max_runs` lets be."""
    definition = record.definition
    grace = SKIP_GRACE if definition.misfire_grace is None else definition.misfire_grace
    if definition.misfire == "skip" or definition.misfire_grace is not None:
        slots = [slot for slot in slots if round(at - slot, 6) <= grace]
    if definition.max_runs is not None:
        slots = slots[: max(definition.max_runs - record.runs, 0)]
    return tuple(slots)


def _following(
    record: ScheduleRecord, trigger: Trigger, following: float | None, now: float, *, ran: bool
) -> tuple[float | None, float | None]:
    """The slot after those that have passed, and when to look at it, or for the end of the run that has begun now."""
    if trigger.from_end:
        following = in_time(record, slot_after(trigger, max(now, record.begin)))
    due = None if following is None else due_of(record, following)
    return (None if trigger.from_end and ran else following), due


def _passed(record: ScheduleRecord, trigger: Trigger, at: float, wanted: int) -> tuple[int, list[float], float | None]:
    """The slots up to now: how many, at least `wanted` and one of the newest, and the first that is still to come.

    From the slot of the record on; what its trigger would have said before it was in force does not count.
    """
    first = record.next
    assert first is not None
    if trigger.from_end:
        return 1, [first], None
    end = at if record.definition.end_at is None else min(at, record.definition.end_at)
    begin = max(first, record.begin)
    following = slot_after(trigger, begin)
    if following is None or following > end:
        return 1, [first], in_time(record, following)
    known = trigger.slots_between(begin, end)
    newest = [first]
    if known is None:
        following = _walked(trigger, following, end, newest)
        if following is None or following > end:
            return len(newest), newest, in_time(record, following)
    counted = len(newest)
    low = begin if counted == 1 else newest[-1]
    apart = (low - begin) / (counted - 1) if known is None and counted > 1 else (end - begin) / (known or 1)
    found = newest_slots(trigger, low, end, wanted + 1, apart)
    number = counted + len(found) if known is None else 1 + known
    newest = found if len(found) > wanted else newest + found
    return number, newest, in_time(record, slot_after(trigger, newest[-1]))


def _walked(trigger: Trigger, slot: float | None, end: float, newest: list[float]) -> float | None:
    """Append the slots from `slot` to the end, up to `COUNTED` of them; the slot after those."""
    while slot is not None and slot <= end and len(newest) < COUNTED:
        newest.append(slot)
        slot = slot_after(trigger, slot)
    return slot


def _next_look(record: ScheduleRecord, trigger: Trigger, now: float) -> float | None:
    """When to ask again for the end of a run; None when no slot can come after it."""
    earliest = slot_after(trigger, max(now, record.begin))
    if in_time(record, earliest) is None or earliest is None:
        return None
    return round(now + min(max((earliest - now) / 10, SHORTEST_LOOK), LONGEST_LOOK), 6)


def _moved(record: ScheduleRecord, following: float | None, due: float | None) -> Decision:
    """There is no slot to run: one is to come, or the end of a run is still awaited, or nothing is left."""
    return Decision((), 0, None, None, record.fired_to, following, due)

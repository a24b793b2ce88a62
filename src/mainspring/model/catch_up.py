"""Which slots of a schedule are due, and what becomes of those that come late. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from msgspec.structs import replace

from mainspring.model.planning import due_of
from mainspring.model.schedule import ScheduleRecord
from mainspring.model.triggers import Trigger, jitter_of

SKIP_GRACE: Final = 60.0
"""Seconds for which a slot counts as on time where late ones are skipped, unless told otherwise."""

COUNTED: Final = 1000
"""Slots of one gap that are counted one by one; a longer gap counts as so many missed slots."""

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
    """
    trigger = trigger.starting(record.begin)
    if record.next is None:
        following = None if active else trigger.next_after(max(record.fired_to, ended or now))
        if active or following is None or not _counts(record, following) or due_of(record, following) > now:
            return _waiting(record, trigger, following, now, active=active)
        record = replace(record, next=following)
    return _of_slots(record, trigger, now)


def _of_slots(record: ScheduleRecord, trigger: Trigger, now: float) -> Decision:
    definition = record.definition
    at = now - jitter_of(record.id, definition.jitter)
    wanted = definition.misfire_limit if definition.misfire == "all" else 1
    passed = _passed(record, trigger, at, wanted)
    grace = definition.misfire_grace
    if grace is None and definition.misfire == "skip":
        grace = SKIP_GRACE
    run = [slot for slot in passed.newest if grace is None or at - slot <= grace]
    if definition.max_runs is not None:
        run = run[max(len(run) - (definition.max_runs - record.runs), 0) :]
    missed = passed.number - len(run)
    last = passed.newest[-1]
    dropped = [slot for slot in passed.newest if slot not in run]
    following = passed.following
    if following is not None and not _counts(record, following):
        following = None
    return Decision(
        slots=tuple(run),
        missed=missed,
        missed_from=passed.first if missed else None,
        missed_to=(dropped[-1] if dropped else passed.before_newest) if missed else None,
        to=last,
        next=None if trigger.from_end else following,
        due=_due_after(record, trigger, following, now),
    )


class _Passed(NamedTuple):
    """The slots up to now: the newest of them, how many there are, and the first that is still to come."""

    first: float
    newest: list[float]
    before_newest: float | None
    number: int
    following: float | None


def _passed(record: ScheduleRecord, trigger: Trigger, at: float, wanted: int) -> _Passed:
    assert record.next is not None
    first: float = record.next
    newest: deque[float] = deque([first], maxlen=wanted + 1)
    number = 1
    slot = _after(record, trigger, first)
    while slot is not None and slot <= at and _counts(record, slot):
        if number == COUNTED:
            return _jump(record, trigger, first, slot, at, wanted)
        newest.append(slot)
        number += 1
        slot = _after(record, trigger, slot)
    return _made(first, newest, number, slot, wanted)


def _jump(record: ScheduleRecord, trigger: Trigger, first: float, low: float, at: float, wanted: int) -> _Passed:
    """The newest of more slots than can be counted: the point with just enough of them behind it is searched."""
    end = at if record.definition.end_at is None else min(at, record.definition.end_at)
    high = end
    for _ in range(64):
        middle = (low + high) / 2
        slot, behind = trigger.next_after(middle), 0
        while slot is not None and slot <= end and behind <= 4 * wanted:
            behind += 1
            slot = trigger.next_after(slot)
        if behind > wanted:
            low = middle
        else:
            high = middle
        if wanted < behind <= 4 * wanted:
            break
    newest: deque[float] = deque(maxlen=wanted + 1)
    slot = trigger.next_after(low)
    while slot is not None and slot <= end:
        newest.append(slot)
        slot = trigger.next_after(slot)
    return _made(first, newest, max(COUNTED, wanted + 1), slot, wanted)


def _made(first: float, newest: deque[float], number: int, following: float | None, wanted: int) -> _Passed:
    slots = list(newest)
    return _Passed(first, slots[-wanted:], slots[-wanted - 1] if len(slots) > wanted else None, number, following)


def _after(record: ScheduleRecord, trigger: Trigger, slot: float) -> float | None:
    """The slot after this one; what the trigger would have said before it was in force does not count."""
    if trigger.from_end:
        return None
    return trigger.next_after(max(slot, record.begin))


def _counts(record: ScheduleRecord, slot: float) -> bool:
    end = record.definition.end_at
    return slot > record.fired_to and (end is None or slot <= end)


def _due_after(record: ScheduleRecord, trigger: Trigger, following: float | None, now: float) -> float | None:
    if not trigger.from_end:
        return None if following is None else due_of(record, following)
    earliest = trigger.next_after(now)
    return None if earliest is None else due_of(record, earliest)


def _waiting(
    record: ScheduleRecord, trigger: Trigger, following: float | None, now: float, *, active: bool
) -> Decision:
    """There is no slot to run: one is to come, or the end of a run is still awaited, or nothing is left."""
    if following is not None and not _counts(record, following):
        following = None
    due = None if following is None else due_of(record, following)
    if active:
        earliest = trigger.next_after(now)
        wait = LONGEST_LOOK if earliest is None else (earliest - now) / 10
        due = round(now + min(max(wait, SHORTEST_LOOK), LONGEST_LOOK), 6)
    return Decision((), 0, None, None, record.fired_to, following, due)

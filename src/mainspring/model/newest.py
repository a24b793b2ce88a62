"""The newest slots of a stretch of time, found from its end: what lies before them is not walked through. Pure.

A trigger answers one question only, "which slot comes after t". So the newest are found by asking ever further from
the end, and by halves where that went too far.
"""

from __future__ import annotations

import math
from typing import Final

from mainspring.model.triggers import MICROSECOND, Trigger, slot_after

PIECE: Final = 64
"""Slots that are looked for in one go. A go ends when it finds four times as many."""


def newest_slots(trigger: Trigger, low: float, end: float, wanted: int, apart: float) -> list[float]:
    """Slots in (low, end], oldest first: the newest `wanted` of them or some more, or all when there are no more.

    `apart`: how many seconds probably lie between two slots; a wrong guess costs questions only. Where slots lie
    evenly the trigger is asked for about `wanted` slots. Raises as `slot_after`.
    """
    piece = min(wanted, PIECE)
    width = max(apart, MICROSECOND) * piece
    pieces: list[list[float]] = []
    found, high = 0, end
    while found < wanted and high > low:
        begin = max(low, round(high - width, 6))
        slots = _slots(trigger, begin, high, 4 * piece)
        if slots is None:
            width = max(width / 4, MICROSECOND)
            continue
        if not slots:
            newest = _newest(trigger, low, begin, width)
            if newest is None:
                break
            # Far in the future a float cannot tell one microsecond from the next.
            slots, begin = [newest], min(round(newest - MICROSECOND, 6), math.nextafter(newest, low))
        pieces.append(slots)
        found, high = found + len(slots), begin
        if 2 * len(slots) < piece:
            width *= 2
    return [slot for slots in reversed(pieces) for slot in slots]


def _slots(trigger: Trigger, low: float, high: float, most: int) -> list[float] | None:
    """The slots in (low, high]; None when there are more than `most`."""
    slots: list[float] = []
    slot = slot_after(trigger, low)
    while slot is not None and slot <= high:
        if len(slots) == most:
            return None
        slots.append(slot)
        slot = slot_after(trigger, slot)
    return slots


def _newest(trigger: Trigger, low: float, high: float, width: float) -> float | None:
    """The newest slot in (low, high]; None when there is none. `width`: how far before `high` to ask first."""
    slot = None
    while slot is None:
        if high <= low:
            return None
        begin = max(low, round(high - width, 6))
        slot = _in(trigger, begin, high)
        high, width = (high if slot is not None else begin), width * 4
    return _last_from(trigger, slot, high)


def _last_from(trigger: Trigger, slot: float, high: float) -> float:
    """The newest slot up to `high`, from an older one on: by halves."""
    while True:
        following = _in(trigger, slot, high)
        if following is None:
            return slot
        slot = following
        middle = round((slot + high) / 2, 6)
        if middle > slot:
            later = _in(trigger, middle, high)
            slot, high = (slot, middle) if later is None else (later, high)


def _in(trigger: Trigger, low: float, high: float) -> float | None:
    """The first slot in (low, high]."""
    slot = slot_after(trigger, low)
    return slot if slot is not None and slot <= high else None

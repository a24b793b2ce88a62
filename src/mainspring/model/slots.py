"""The slots of a schedule, as far as its definition lets them count. Pure."""

from __future__ import annotations

from mainspring.model.schedule import ScheduleRecord
from mainspring.model.triggers import jitter_of


def due_of(record: ScheduleRecord, slot: float) -> float:
    """When a slot is to be looked at: later by the jitter of this schedule."""
    return round(slot + jitter_of(record.id, record.definition.jitter), 6) if record.definition.jitter else slot


def in_time(record: ScheduleRecord, slot: float | None) -> float | None:
    """The slot, unless it lies behind the end of its schedule."""
    end = record.definition.end_at
    return None if slot is None or (end is not None and slot > end) else slot

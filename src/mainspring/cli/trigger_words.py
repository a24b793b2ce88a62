"""Triggers, durations and times in the words that people read. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final

from mainspring.model.cron import Cron, Daily
from mainspring.model.every import Every, Once
from mainspring.model.triggers import Except, Slot, Trigger, Union
from mainspring.model.zones import Dst

_UNITS: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))

DST: Final[dict[Dst, str]] = {
    "none": "",
    "moved": "moved: the clock jumps over its time",
    "first": "first time: the clock shows it twice",
    "second": "second time: the clock shows it twice",
}
"""What daylight saving time does to a slot."""


def trigger_words(trigger: Trigger) -> str:
    """A trigger in short; one of a user's own class as it prints itself.

    >>> trigger_words(Every(90) | Cron("0 9 * * 1-5", tz="Europe/Berlin"))
    'every 90 s | cron 0 9 * * 1-5 (Europe/Berlin)'
    """
    match trigger:
        case Every(anchor="end"):
            return f"{duration_words(trigger.interval)} after each end"
        case Every():
            return f"every {duration_words(trigger.interval)}"
        case Cron():
            return f"cron {trigger.expression} ({trigger.tz})"
        case Daily():
            return f"daily {trigger.at:{'%H:%M:%S' if trigger.at.second else '%H:%M'}} ({trigger.tz})"
        case Once():
            return f"once {moment_words(trigger.at.timestamp(), UTC)}"
        case Union():
            return " | ".join(trigger_words(member) for member in trigger.members)
        case Except():
            base = trigger_words(trigger.base)
            return (
                f"{f'({base})' if isinstance(trigger.base, Union) else base} except {trigger_words(trigger.excluded)}"
            )
        case _:
            return repr(trigger)


def duration_words(seconds: float) -> str:
    """Seconds in the largest unit that divides them.

    >>> duration_words(7200), duration_words(90), duration_words(1.5), duration_words(0.02)
    ('2 h', '90 s', '1.5 s', '20 ms')
    """
    if 0 < seconds < 1:
        return f"{round(seconds * 1000, 3):g} ms"
    for size, unit in _UNITS:
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{round(seconds, 6):.10g} s"


def moment_words(at: float, zone: tzinfo) -> str:
    """A time on the clock of a zone, with its distance from UTC; parts of a second only where there are some.

    >>> moment_words(1764806400.5, UTC)
    '2025-12-04 00:00:00.500+00:00'
    """
    return local_words(datetime.fromtimestamp(at, zone))


def local_words(moment: datetime) -> str:
    """As `moment_words`, of a moment that has a zone."""
    return moment.isoformat(" ", "milliseconds" if moment.microsecond else "seconds")


def iso(at: float | None) -> str | None:
    """A time for programs: ISO 8601 in UTC, to the microsecond where there are parts of a second."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def slot_rows(slots: Sequence[Slot], zone: tzinfo | None) -> list[tuple[str, str, str]]:
    """Local time (of `zone`, or of the trigger itself), UTC, and what daylight saving time does."""
    return [
        (
            local_words(slot.local if zone is None else slot.local.astimezone(zone)),
            moment_words(slot.at, UTC),
            DST[slot.dst],
        )
        for slot in slots
    ]


def slot_json(slot: Slot, zone: tzinfo | None) -> dict[str, object]:
    """The same for programs."""
    local = slot.local if zone is None else slot.local.astimezone(zone)
    return {"utc": iso(slot.at), "local": local.isoformat(), "dst": slot.dst}

"""What is wrong with a cron expression that could not be read: the field at fault, as it was written, and what to write."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from cronsim import CronSim, CronSimError


class _Field(NamedTuple):
    """A field: its name in `Cron(…)`, its numbers, and what else it may say."""

    name: str
    least: int
    most: int
    also: str = ""


_FIELDS: Final = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31, ", L (the last one), LW (the last working day)"),
    _Field("month", 1, 12, ", JAN to DEC"),
    _Field("weekday", 0, 7, " (0 and 7: Sunday), SUN to SAT, 5L (the last Friday), MON#2 (the second Monday)"),
)
_ANY_TIME: Final = datetime(2000, 1, 1)  # noqa: DTZ001  # cronsim wants a time; nobody asks it for the next one
_NEAREST: Final = re.compile(r"\d+W", re.IGNORECASE)
_SPAN: Final = re.compile(r"(\w+)-(\w+)")


def fault_of(parts: Sequence[str]) -> str | None:
    """What is wrong, by the first field at fault; None when each field alone can be read.

    >>> fault_of("0 30-10 * * *".split())
    "hour '30-10': hours are 0 to 23, also as *, 1-5, */15 and lists with commas"
    >>> fault_of("50-10 * * * *".split())
    "minute '50-10' runs backwards; write 50-59,0-10"
    """
    for field, part in zip(_FIELDS[-len(parts) :], parts, strict=True):
        if not _is_read(field, part):
            return f"{field.name} {part!r}{_said(field, part)}"
    return None


def _is_read(field: _Field, part: str) -> bool:
    """Whether cronsim takes it, with all other fields wild."""
    fields = [part if each is field else "*" for each in _FIELDS]
    try:
        CronSim(" ".join(fields), _ANY_TIME)
    except (CronSimError, ValueError, AssertionError):
        return False
    return True


def _said(field: _Field, part: str) -> str:
    if "?" in part:
        return ": '?' is not known here; write '*'"
    if field.name == "day" and _NEAREST.fullmatch(part):
        return ": the working day nearest to a date is not known here; LW is the last one of the month"
    if part.endswith("/0"):
        return ": a step is 1 or more"
    backwards = next((each for each in part.split(",") if _runs_backwards(field, each)), None)
    if backwards is not None:
        return f" runs backwards; write {_forwards(field, backwards)}"
    return f": {field.name}s are {field.least} to {field.most}{field.also}, also as *, 1-5, */15 and lists with commas"


def _runs_backwards(field: _Field, part: str) -> bool:
    """Whether each end of a span can be read, and only the other way round both."""
    span = _SPAN.fullmatch(part)
    return span is not None and not _is_read(field, part) and _is_read(field, f"{span[2]}-{span[1]}")


def _forwards(field: _Field, part: str) -> str:
    """The two spans that were meant."""
    first, _, last = part.partition("-")
    if not (first.isdigit() and last.isdigit()):
        return "two ranges, such as FRI-SAT,SUN-MON or NOV-DEC,JAN"
    most = 6 if field.name == "weekday" else field.most
    return f"{first}-{most},{field.least}-{last}" if int(first) <= most else f"0-{last}"

"""A cron expression made ready for questions: its times on a wall clock, without a time zone.

cronsim reads the expression and tells which days it means; the search for the next time is our own, since it must not
go through hours that a zone does not have (see `zones`).
"""

from __future__ import annotations

import calendar
from bisect import bisect_left
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal

from cronsim import CronSim, CronSimError

from mainspring.errors import InvalidTrigger
from mainspring.model.cron_faults import fault_of

LONGEST_EXPRESSION: Final = 256
"""Characters of an expression."""

MACROS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

# 29 February on a given weekday: 40 years lie between two of them where a year such as 2100 has none.
_YEARS: Final = 50
_ANY_TIME: Final = datetime(2000, 1, 1)  # noqa: DTZ001  # cronsim wants a time; the plan asks it about days only
_UNREADABLE: Final = (CronSimError, ValueError, AssertionError)
"""What cronsim raises, of its own or by accident."""


class CronPlan:
    """The times of one expression; immutable, shared by all triggers that have it."""

    __slots__ = ("_days", "_hours", "_minutes", "_months", "_seconds", "_sim", "fixed", "whole")
    fixed: bool
    whole: Literal["day", "hour"] | None
    """What the expression names all of, when it names any of it."""

    def __init__(self, parts: list[str], sim: CronSim) -> None:
        self._sim = sim
        self._seconds = sorted(sim.seconds)
        self._minutes = sorted(sim.minutes)
        self._hours = sorted(sim.hours)
        self._months = frozenset(sim.months)
        self._days: dict[tuple[int, int], tuple[int, ...]] = {}
        all_seconds, all_minutes, all_hours = len(sim.seconds) == 60, len(sim.minutes) == 60, len(sim.hours) == 24
        loose = any(mark in part for part in parts[:-3] for mark in "*/")
        self.fixed = not (loose or all_seconds or all_minutes or all_hours)
        hours = all_minutes and (all_seconds or len(parts) == 5)
        self.whole = None if not hours else "day" if all_hours else "hour"

    def shows(self, wall: datetime) -> bool:
        """Whether this is one of the times."""
        return self.first_from(wall) == wall

    def first_from(self, wall: datetime) -> datetime:
        """The first time at or after `wall`, a whole second; never more than 40 years later."""
        if wall.month in self._months and wall.day in self._days_of(wall.year, wall.month):
            found = self._later_today(wall)
            if found is not None:
                return found
        year, month, day = self._next_day(wall.year, wall.month, wall.day)
        return datetime(year, month, day, self._hours[0], self._minutes[0], self._seconds[0])  # noqa: DTZ001  # a wall

    def can_happen(self) -> bool:
        """Whether any month that it names has a day that it means, in some year."""
        if any(1 <= day <= 28 for day in self._sim.days) and any(isinstance(day, int) for day in self._sim.weekdays):
            return True
        # The Gregorian calendar repeats after 400 years; 28 of them have every month begin on every weekday.
        return any(self._days_of(year, month) for year in range(2000, 2028) for month in self._months)

    def _later_today(self, wall: datetime) -> datetime | None:
        hour, minute, second = wall.hour, wall.minute, wall.second
        if hour in self._hours:
            if minute in self._minutes:
                at = bisect_left(self._seconds, second)
                if at < len(self._seconds):
                    return wall.replace(second=self._seconds[at])
            at = bisect_left(self._minutes, minute + 1)
            if at < len(self._minutes):
                return wall.replace(minute=self._minutes[at], second=self._seconds[0])
        at = bisect_left(self._hours, hour + 1)
        if at < len(self._hours):
            return wall.replace(hour=self._hours[at], minute=self._minutes[0], second=self._seconds[0])
        return None

    def _next_day(self, year: int, month: int, day: int) -> tuple[int, int, int]:
        """The first day after this one."""
        last = year + _YEARS
        while year <= last:
            if month in self._months:
                days = self._days_of(year, month)
                at = bisect_left(days, day + 1)
                if at < len(days):
                    return year, month, days[at]
            day = 0
            month += 1
            if month > 12:
                year, month = year + 1, 1
        raise AssertionError("a plan that can happen has a day in 50 years")

    def _days_of(self, year: int, month: int) -> tuple[int, ...]:
        """The days of a month that it names. What they are hangs on its first weekday and its length alone."""
        shape = calendar.monthrange(year, month)
        days = self._days.get(shape)
        if days is None:
            first = date(year, month, 1)
            match = self._sim.match_day
            days = tuple(day + 1 for day in range(shape[1]) if match(first + timedelta(days=day)))
            self._days[shape] = days
        return days


def normal_form(expression: object) -> str:
    """One spelling: macros written out, single spaces, names in capitals. Raises InvalidTrigger for no expression."""
    if expression is None:
        raise InvalidTrigger("a cron expression is a text such as '*/5 * * * *', not None; every minute is '* * * * *'")
    if not isinstance(expression, str):
        raise InvalidTrigger(f"a cron expression is a text such as '*/5 * * * *', not {expression!r}")
    if len(expression) > LONGEST_EXPRESSION:
        raise InvalidTrigger(f"a cron expression has at most {LONGEST_EXPRESSION} characters, not {len(expression)}")
    text = " ".join(expression.split())
    if text.startswith("@"):
        known = MACROS.get(text.lower())
        if known is None:
            raise InvalidTrigger(
                f"{text!r} is no macro of cron: use one of {', '.join(sorted(MACROS))};"
                " for a fixed time between runs use Every(…)"
            )
        return known
    return text.upper()


def read_expression(written: object) -> tuple[str, CronPlan]:
    """An expression in its normal form, and its plan. Raises InvalidTrigger, also for what never happens."""
    text = normal_form(written)
    parts = text.split()
    if len(parts) not in {5, 6}:
        raise InvalidTrigger(
            f"{written!r} has {len(parts)} fields; write 5 (minute hour day month weekday), or 6 with the second first"
        )
    try:
        plan = _plan_of(text)
    except _UNREADABLE:
        fault = fault_of(str(written).split())
        raise (
            _never(written) if fault is None else InvalidTrigger(f"{written!r} is no cron expression: {fault}")
        ) from None
    if plan is None:
        raise _never(written)
    return text, plan


@lru_cache(maxsize=4096)
def _plan_of(text: str) -> CronPlan | None:
    """The plan; None when it never happens. Raises as CronSim."""
    plan = CronPlan(text.split(" "), CronSim(text, _ANY_TIME))
    return plan if plan.can_happen() else None


def _never(written: object) -> InvalidTrigger:
    return InvalidTrigger(f"{written!r} never happens: no month that it names has such a day; check day and month")

"""Times of a wall clock in a time zone: cron expressions, and one time each day."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import ClassVar, Self
from zoneinfo import ZoneInfo

from mainspring.errors import InvalidTrigger
from mainspring.model.cron_fields import BY_NAME, expression_of
from mainspring.model.cron_plan import CronPlan, read_expression
from mainspring.model.spelling import EXPRESSIONS, TIMES, spelt
from mainspring.model.triggers import EARLIEST, LATEST, Slot, Trigger, made_of
from mainspring.model.zones import TimeZone, dst_of, moment_at, next_moment, zone_name, zone_of


@dataclass(frozen=True, slots=True)
class _Walled(Trigger):
    """What `Cron` and `Daily` share: a plan of wall times and the zone whose clock shows them."""

    _plan: CronPlan = field(init=False, repr=False, compare=False)
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def next_after(self, t: float, /) -> float | None:
        if t >= LATEST:
            return None
        return float(next_moment(self._plan, self._zone, math.floor(max(t, EARLIEST))))

    def shown(self, at: float, /) -> Slot:
        return Slot(at, datetime.fromtimestamp(at, self._zone), dst_of(self._plan, self._zone, math.floor(at)))

    def _settle(self, expression: object, tz: TimeZone) -> str:
        """Read both; the normal form of the expression."""
        name = zone_name(tz)
        text, plan = read_expression(expression)
        object.__setattr__(self, "_zone", zone_of(name))
        object.__setattr__(self, "_plan", plan)
        object.__setattr__(self, "tz", name)
        return text


@dataclass(frozen=True, slots=True, init=False)
class Cron(_Walled):
    """A cron expression in a time zone, UTC unless told otherwise.

    Five fields (minute hour day month weekday), or six with the second **first**; macros (`@daily`, …); names (`MON`,
    `jan`); `L`, `LW` as day; `5L`, `MON#2` as weekday. Where neither day nor weekday begins with `*`, either may
    match. Or by name: `Cron(minute=30, hour="9-17")`; what is not named is `*`, without a second it is second 0. Who
    names an hour, day, month or weekday names a minute, too: `Cron(minute=0, hour=3)`. `tz`: an IANA name, a ZoneInfo,
    or `datetime.UTC`.

    Daylight saving time: a time without `*` and `/` in second, minute and hour runs once a day: after the gap when the
    clock jumps over it, at the first of two. Others run at each real moment that the clock shows. Two expressions are
    equal when they are written alike.

    `Cron()` without any field is every minute; `Cron(None)`, say of a setting that was forgotten, is refused.

    Raises InvalidTrigger for what is no expression, never happens (30 February) or has an unknown time zone.

    >>> Cron("0 9 * * 1-5", tz="Europe/Berlin").preview(1, after=1764806400)[0].local.isoformat()
    '2025-12-04T09:00:00+01:00'
    """

    kind: ClassVar[str] = "cron"
    expression: str
    tz: str

    @spelt("Cron", EXPRESSIONS)
    def __init__(
        self,
        expression: str = BY_NAME,
        tz: TimeZone = "UTC",
        *,
        second: int | str | None = None,
        minute: int | str | None = None,
        hour: int | str | None = None,
        day: int | str | None = None,
        month: int | str | None = None,
        weekday: int | str | None = None,
    ) -> None:
        named = {"second": second, "minute": minute, "hour": hour, "day": day, "month": month, "weekday": weekday}
        if expression is BY_NAME:
            expression = expression_of(named)
        elif any(value is not None for value in named.values()):
            raise InvalidTrigger("give either an expression or named fields, not both")
        object.__setattr__(self, "expression", self._settle(expression, tz))

    def covered_until(self, t: float, /) -> float | None:
        """Its whole minutes, or with seconds its whole seconds; whole hours and days where it names all of them."""
        width = 60.0 if self.expression.count(" ") == 4 else 1.0
        slot = self.next_after(t - width)
        if slot is None or slot > t:
            return None
        if self._plan.whole is None:
            return slot + width
        wall = datetime.fromtimestamp(t, self._zone).replace(minute=0, second=0, microsecond=0, tzinfo=None)
        end = wall + timedelta(hours=1) if self._plan.whole == "hour" else wall.replace(hour=0) + timedelta(days=1)
        return max(slot + width, float(moment_at(end, self._zone)))

    def to_plain(self) -> dict[str, object]:
        return {"expression": self.expression, "tz": self.tz}

    @classmethod
    def from_plain(cls, plain: dict[str, object], /) -> Self:
        if "expression" not in plain:
            raise InvalidTrigger(f"a stored cron trigger has an expression; there is none in {plain!r}")
        return made_of(cls, plain)

    def __reduce__(self) -> tuple[object, ...]:
        return Cron, (self.expression, self.tz)


@dataclass(frozen=True, slots=True, init=False)
class Daily(_Walled):
    """Once each day at a time of a wall clock in a time zone, UTC unless told otherwise.

    Daylight saving time: when the clock jumps over the time, at the first moment after the gap; when it shows the time
    twice, at the first. Raises InvalidTrigger for a time with a zone of its own or with parts of a second.

    >>> Daily(time(3), tz="Europe/Berlin").preview(1, after=1764835200)[0].local.isoformat()
    '2025-12-05T03:00:00+01:00'
    """

    kind: ClassVar[str] = "daily"
    at: time
    tz: str

    @spelt("Daily", TIMES)
    def __init__(self, at: time, tz: TimeZone = "UTC") -> None:
        if not isinstance(at, time):
            raise InvalidTrigger(f"at must be a time such as datetime.time(9, 30), not {at!r}")
        if at.tzinfo is not None:
            raise InvalidTrigger(f"at={at!r} has a time zone; give a time without one, and tz='Europe/Berlin'")
        if at.microsecond:
            raise InvalidTrigger(f"at={at!r} has parts of a second; a wall clock shows whole ones")
        self._settle(f"{at.second} {at.minute} {at.hour} * * *", tz)
        object.__setattr__(self, "at", at.replace(fold=0))

    def to_plain(self) -> dict[str, object]:
        return {"at": self.at.isoformat(), "tz": self.tz}

    @classmethod
    def from_plain(cls, plain: dict[str, object], /) -> Self:
        at = plain.get("at")
        try:
            return made_of(cls, {**plain, "at": time.fromisoformat(at) if isinstance(at, str) else at})
        except ValueError as error:
            raise InvalidTrigger(f"{at!r} is no time of a day: {error}") from None

    def __reduce__(self) -> tuple[object, ...]:
        return Daily, (self.at, self.tz)

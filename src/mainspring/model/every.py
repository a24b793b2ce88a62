"""Intervals and single times: triggers that count real time and know no wall clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final, Literal, Self

from mainspring.errors import InvalidTrigger
from mainspring.model.spelling import INTERVALS, spelt
from mainspring.model.triggers import EARLIEST, LATEST, Trigger, made_of, moment_of, seconds_of

SHORTEST_INTERVAL: Final = 0.001
"""Seconds."""

_MILLION: Final = 1_000_000
_LATEST: Final = round(LATEST * _MILLION)


@dataclass(frozen=True, slots=True, init=False)
class Every(Trigger):
    """Again and again, `interval` seconds (or a timedelta) apart; real time, whatever the clocks of a zone do.

    - `anchor="grid"`: at `start`, `start + interval`, … whatever the runs take. Without `start` a schedule counts from
      its own beginning (`starting`), and a trigger that stands alone from 1970 UTC, so `Every(3600)` is each full hour.
    - `anchor="end"`: `interval` after the end of the run before.
    - `first`: `"now"`: the first run when the schedule begins; `"after"`: one interval later. A schedule that begins
      before `start` has its first run at `start`, with either `first` and either `anchor`.

    Raises InvalidTrigger for an interval under a millisecond, and for a `start` without a time zone.

    >>> Every(60).next_after(90)
    120.0
    >>> Every(timedelta(seconds=1.5), anchor="end").next_after(90)
    91.5
    """

    kind: ClassVar[str] = "every"
    interval: float
    anchor: Literal["grid", "end"]
    first: Literal["now", "after"]
    start: datetime | None
    _step: int = field(init=False, repr=False, compare=False)
    _origin: int = field(init=False, repr=False, compare=False)

    @spelt("Every", INTERVALS)
    def __init__(
        self,
        interval: float | timedelta,
        anchor: Literal["grid", "end"] = "grid",
        first: Literal["now", "after"] = "now",
        start: datetime | None = None,
    ) -> None:
        seconds = seconds_of("interval", interval)
        if seconds < SHORTEST_INTERVAL:
            raise InvalidTrigger(f"interval must be {SHORTEST_INTERVAL} s or more, not {interval!r}")
        if anchor not in {"grid", "end"}:
            raise InvalidTrigger(f"anchor must be 'grid' or 'end', not {anchor!r}")
        if first not in {"now", "after"}:
            raise InvalidTrigger(f"first must be 'now' or 'after', not {first!r}")
        object.__setattr__(self, "interval", seconds)
        object.__setattr__(self, "anchor", anchor)
        object.__setattr__(self, "first", first)
        origin = None if start is None else _in_utc("start", start)
        object.__setattr__(self, "start", origin)
        object.__setattr__(self, "_step", round(seconds * _MILLION))
        object.__setattr__(self, "_origin", 0 if origin is None else round(origin.timestamp() * _MILLION))

    def next_after(self, t: float, /) -> float | None:
        """Grid: the first point of the grid later than `t`. End: `interval` after `t`, the end of a run."""
        if t >= LATEST:
            return None
        step, origin, now = self._step, self._origin, round(max(t, EARLIEST) * _MILLION)
        if self.start is not None and now < origin:
            return origin / _MILLION
        at = now + step if self.anchor == "end" else origin + ((now - origin) // step + 1) * step
        return at / _MILLION if at < _LATEST else None

    def first_at(self, begin: float, /) -> float | None:
        """`begin`, or one interval later; `start` when that is still to come."""
        if self.start is not None and begin < self.start.timestamp():
            return self.start.timestamp()
        return begin if self.first == "now" else self.starting(begin).next_after(begin)

    def starting(self, begin: float, /) -> Every:
        """The grid from `begin`, unless it has a `start` of its own or no grid."""
        if self.start is not None or self.anchor == "end":
            return self
        made = object.__new__(Every)  # what it is made of has been checked before
        settle = object.__setattr__
        settle(made, "interval", self.interval)
        settle(made, "anchor", self.anchor)
        settle(made, "first", self.first)
        settle(made, "start", datetime.fromtimestamp(begin, UTC))
        settle(made, "_step", self._step)
        settle(made, "_origin", round(begin * _MILLION))
        return made

    def slots_between(self, t: float, end: float, /) -> int | None:
        """Computed on a grid, however many there are."""
        if self.anchor == "end":
            return None
        step, origin = self._step, self._origin
        before, until = ((round(min(max(at, EARLIEST), LATEST) * _MILLION) - origin) // step for at in (t, end))
        if self.start is not None:
            before, until = max(before, -1), max(until, -1)
        return max(until - before, 0)

    @property
    def from_end(self) -> bool:
        return self.anchor == "end"

    def to_plain(self) -> dict[str, object]:
        start = None if self.start is None else self.start.isoformat()
        return {"interval": self.interval, "anchor": self.anchor, "first": self.first, "start": start}

    @classmethod
    def from_plain(cls, plain: dict[str, object], /) -> Self:
        return made_of(cls, {**plain, "start": _from_text(plain.get("start"))})


@dataclass(frozen=True, slots=True)
class Once(Trigger):
    """A single time, an aware datetime. In the past or now: when the schedule begins, once.

    In a schedule whose watermark has reached it, it is done: it does not fire again, whatever is changed, nor when the
    schedule is removed and put again within a day. So a time in the past fires only where nothing fired after it.

    Raises InvalidTrigger for anything but a datetime with a time zone.

    >>> once = Once(datetime(2030, 1, 1, tzinfo=UTC))
    >>> once.next_after(0), once.next_after(1893456000)
    (1893456000.0, None)
    """

    kind: ClassVar[str] = "once"
    at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", _in_utc("at", self.at))

    def next_after(self, t: float, /) -> float | None:
        at = self.at.timestamp()
        return at if at > t else None

    def first_at(self, begin: float, /) -> float | None:
        return max(begin, self.at.timestamp())

    def to_plain(self) -> dict[str, object]:
        return {"at": self.at.isoformat()}

    @classmethod
    def from_plain(cls, plain: dict[str, object], /) -> Self:
        return made_of(cls, {**plain, "at": _from_text(plain.get("at"))})


def _in_utc(field: str, at: object) -> datetime:
    """One form for equal moments: they then print and store alike, too."""
    if not isinstance(at, datetime):
        raise InvalidTrigger(f"{field} must be a datetime with a time zone, not {at!r}")
    moment_of(field, at)
    return at.astimezone(UTC)


def _from_text(text: object) -> object:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else text
    except ValueError:
        raise InvalidTrigger(f"{text!r} is no time in ISO 8601") from None

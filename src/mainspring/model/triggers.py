"""Triggers: the pure rules of time behind schedules. A value in, a time out; no clock, no state.

A **slot** is a time at which a trigger fires, in seconds since 1970, whole microseconds. A schedule asks
`first_at(begin)` once, and then `next_after(slot)` from the slot it fired, never from now: so nothing drifts. The rule
of daylight saving time is in `zones`; `Every` counts real time.
"""

from __future__ import annotations

import hashlib
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final, NamedTuple, Self, TypeVar

from mainspring.errors import InvalidTrigger
from mainspring.model.zones import Dst

AnyTrigger = TypeVar("AnyTrigger", bound="Trigger")

MICROSECOND: Final = 0.000_001
"""What slots are counted in, as the stores' clocks are."""

EARLIEST: Final = -62_000_000_000.0
LATEST: Final = 250_000_000_000.0
"""Seconds since 1970, years 5 and 9892: no slot lies outside."""

_MOST_SKIPPED: Final = 20_000
"""How many excluded stretches a search passes before it gives up: half a second of work."""


class Slot(NamedTuple):
    """One time at which a trigger fires, for people."""

    at: float
    """Seconds since 1970."""
    local: datetime
    """The same moment on the trigger's own clock."""
    dst: Dst = "none"
    """How daylight saving time touches it: "none", "moved", "first", "second"."""


class Trigger(ABC):
    """When to fire. Compose with `a | b` and `a.except_(b)`; write your own as a frozen slotted dataclass.

    An own trigger needs a `kind` (its name in stores) and `next_after`; its fields must be plain data or triggers,
    or it says itself what it is made of with `to_plain` and `from_plain`. See `TriggerKinds`.
    """

    __slots__ = ()
    kind: ClassVar[str] = ""

    @abstractmethod
    def next_after(self, t: float, /) -> float | None:
        """The first slot later than `t`, both in seconds since 1970; None: there is none."""

    def first_at(self, begin: float, /) -> float | None:
        """The first slot of a schedule that begins at `begin`, which may be a slot itself; None: it never fires.

        A schedule asks `trigger.starting(begin)` for both this and all that follow.
        """
        return self.next_after(begin - MICROSECOND)

    def starting(self, begin: float, /) -> Trigger:
        """The same trigger, with `begin` as the origin of what has none: the grid of an `Every`."""
        return self

    @property
    def from_end(self) -> bool:
        """Whether `next_after` wants the end of the run that the last slot began, instead of that slot."""
        return False

    def slots_between(self, t: float, end: float, /) -> int | None:
        """How many slots lie later than `t` and not later than `end`; None: they must be counted one by one."""
        return None

    def covered_until(self, t: float, /) -> float | None:
        """As an exclusion: the end of the stretch around `t` that it takes out; None: it does not touch `t`."""
        return t + MICROSECOND if self.next_after(t - MICROSECOND) == t else None

    def shown(self, at: float, /) -> Slot:
        """One of its slots, for people; in UTC where the trigger has no time zone."""
        return Slot(at, datetime.fromtimestamp(at, UTC))

    def preview(self, n: int, *, after: datetime | float) -> tuple[Slot, ...]:
        """The next `n` slots later than `after`, with what daylight saving time does to them; fewer when it ends.

        A trigger knows no clock: `app.schedules.next_fires(id)` and `mainspring schedules preview` count from now. An
        `Every` without a `start` counts from `after`, and as if runs took no time. Raises InvalidTrigger for a
        datetime without a time zone, and unless `n` is 0 or more.
        """
        _check_count(n)
        begin = moment_of("after", after)
        trigger = self.starting(begin)
        at: float | None = begin
        slots: list[Slot] = []
        while at is not None and len(slots) < n:
            at = slot_after(trigger, at)
            if at is not None:
                slots.append(trigger.shown(at))
        return tuple(slots)

    def except_(self, excluded: Trigger, /) -> Except:
        """This trigger without the slots that `excluded` takes out; see `Except`."""
        return Except(self, excluded)

    def __or__(self, other: Trigger, /) -> Union:
        return Union((self, other))

    def to_plain(self) -> dict[str, object]:
        """Its fields as JSON values, tuples and triggers; the default is good for a dataclass of such."""
        own: object = self
        if not is_dataclass(own):
            raise InvalidTrigger(f"{type(self).__name__} is no dataclass; give it to_plain() and from_plain()")
        return {field.name: getattr(self, field.name) for field in fields(own) if field.init}

    @classmethod
    def from_plain(cls, plain: dict[str, object], /) -> Self:
        """The trigger of such fields; lists may have become tuples or stayed lists."""
        return made_of(cls, plain)


@dataclass(frozen=True, slots=True, repr=False)
class Union(Trigger):
    """Every slot of any member, each once: `Daily(time(9)) | Cron("0 12 * * 6")`.

    With an `Every(anchor="end")` among them all of it counts from the end of the last run.
    """

    kind: ClassVar[str] = "union"
    members: tuple[Trigger, ...]

    def __post_init__(self) -> None:
        flat: list[Trigger] = []
        for member in self.members:
            if not isinstance(member, Trigger):
                raise InvalidTrigger(f"a union is made of triggers, not of {member!r}")
            flat += member.members if isinstance(member, Union) else (member,)
        if not flat:
            raise InvalidTrigger("a union of no triggers never fires; give it one or more")
        object.__setattr__(self, "members", tuple(dict.fromkeys(flat)))

    def next_after(self, t: float, /) -> float | None:
        return min((at for member in self.members if (at := member.next_after(t)) is not None), default=None)

    def first_at(self, begin: float, /) -> float | None:
        return min((at for member in self.members if (at := member.first_at(begin)) is not None), default=None)

    def starting(self, begin: float, /) -> Union:
        members = tuple(member.starting(begin) for member in self.members)
        return self if all(map(operator.is_, members, self.members)) else Union(members)

    @property
    def from_end(self) -> bool:
        return any(member.from_end for member in self.members)

    def covered_until(self, t: float, /) -> float | None:
        return max((end for member in self.members if (end := member.covered_until(t)) is not None), default=None)

    def shown(self, at: float, /) -> Slot:
        """By the first member that fires then."""
        for member in self.members:
            if member.next_after(at - MICROSECOND) == at:
                return member.shown(at)
        return self.members[0].shown(at)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.members))


@dataclass(frozen=True, slots=True, repr=False)
class Except(Trigger):
    """The slots of `base` that `excluded` does not take out: `Every(60).except_(Cron("* 0-6 * * *"))`.

    A `Cron` of 5 fields takes out its whole minutes, one of 6 its whole seconds: `Cron("* * 25 12 *")` is all of
    Christmas Day. Other triggers take out exactly their slots.

    Where everything is taken out, a search ends after 20,000 stretches with InvalidTrigger (a stretch of a `Cron` is a
    minute, an hour or a day, whatever it names as a whole: so after 54 years of days).
    """

    kind: ClassVar[str] = "except"
    base: Trigger
    excluded: Trigger

    def __post_init__(self) -> None:
        for part in (self.base, self.excluded):
            if not isinstance(part, Trigger):
                raise InvalidTrigger(f"an exclusion is made of two triggers, not of {part!r}")
        if self.excluded.from_end:
            raise InvalidTrigger('Every(anchor="end") has no slots of its own to take out; use its grid')
        if self.base == self.excluded:
            raise InvalidTrigger(f"{self.base!r} without itself never fires; exclude something else")

    def next_after(self, t: float, /) -> float | None:
        return self._allowed(self.base.next_after(t))

    def first_at(self, begin: float, /) -> float | None:
        return self._allowed(self.base.first_at(begin))

    def starting(self, begin: float, /) -> Except:
        base, excluded = self.base.starting(begin), self.excluded.starting(begin)
        return self if base is self.base and excluded is self.excluded else Except(base, excluded)

    @property
    def from_end(self) -> bool:
        return self.base.from_end

    def covered_until(self, t: float, /) -> float | None:
        end = self.base.covered_until(t)
        if end is None or self.excluded.covered_until(t) is not None:
            return None
        # A part of the stretch may be given back: so no further than this slot.
        return min(end, t + MICROSECOND)

    def shown(self, at: float, /) -> Slot:
        return self.base.shown(at)

    def _allowed(self, at: float | None) -> float | None:
        """This slot of the base, or the first after it that is not taken out."""
        for _ in range(_MOST_SKIPPED):
            if at is None:
                return None
            end = self.excluded.covered_until(at)
            if end is None:
                return at
            at = self.base.next_after(max(at, end - MICROSECOND))
        raise InvalidTrigger(f"{self!r} finds no slot that is not taken out; exclude less")

    def __repr__(self) -> str:
        base = f"({self.base!r})" if isinstance(self.base, Union) else repr(self.base)
        return f"{base}.except_({self.excluded!r})"


def slot_after(trigger: Trigger, t: float) -> float | None:
    """The first slot later than `t`, up to the next whole microsecond; None: there is none.

    People write triggers of their own, so each answer is checked: raises InvalidTrigger for one that is no number, or
    not later. One that comes back to its last slot, by how floats are rounded, is asked again behind it.
    """
    slot = _number(trigger, trigger.next_after(t))
    least = t
    if slot is not None and t - MICROSECOND <= slot <= t:
        least = t + 2 * MICROSECOND
        slot = _number(trigger, trigger.next_after(t + MICROSECOND))
    if slot is not None and not slot > least:
        raise InvalidTrigger(f"{trigger!r} answers {slot!r} when asked for a slot later than {t!r}")
    return slot


def first_slot(trigger: Trigger, begin: float) -> float | None:
    """The first slot of a schedule that begins at `begin`. Raises InvalidTrigger as `slot_after` does."""
    slot = _number(trigger, trigger.first_at(begin))
    if slot is not None and not slot >= begin:
        raise InvalidTrigger(f"{trigger!r} answers {slot!r} when asked for the first slot from {begin!r} on")
    return slot


def jitter_of(schedule: str, jitter: float | timedelta) -> float:
    """The seconds, from 0 up to below `jitter`, by which the schedule of this id runs later than its slots.

    The same for every slot and in every process, so that slots stay apart and in order; different for each id, so
    that many schedules of one slot do not start together. Raises InvalidTrigger unless `jitter` is 0 or more.

    >>> 0 <= jitter_of("nightly", 60) < 60 and jitter_of("nightly", 60) == jitter_of("nightly", 60)
    True
    """
    width = seconds_of("jitter", jitter, zero=True)
    if not width:
        return 0.0
    share = int.from_bytes(hashlib.sha256(schedule.encode()).digest()[:6]) / 2**48
    return math.floor(width * share * 1e6) / 1e6


def made_of(cls: type[AnyTrigger], plain: Mapping[str, object]) -> AnyTrigger:
    """The class called with plain data, which it checks itself: no type checker can."""
    return cls(**plain)


def seconds_of(field: str, duration: object, *, zero: bool = False) -> float:
    """A duration as seconds, to the microsecond. Raises InvalidTrigger unless it is finite and > 0 (`zero`: >= 0)."""
    if isinstance(duration, bool) or not isinstance(duration, int | float | timedelta):
        raise InvalidTrigger(f"{field} must be seconds or a timedelta, not {duration!r}")
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not 0 <= seconds <= LATEST or (seconds == 0 and not zero):
        raise InvalidTrigger(f"{field} must be {'0 or more' if zero else 'above 0'} and finite, not {duration!r}")
    return round(seconds, 6)


def _check_count(n: object) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise InvalidTrigger(f"a preview shows n slots, a whole number from 0; not {n!r}")


def moment_of(field: str, at: object) -> float:
    """An aware datetime, or seconds since 1970, as the latter. Raises InvalidTrigger for anything else."""
    if isinstance(at, datetime):
        if at.utcoffset() is None:
            raise InvalidTrigger(f"{field}={at!r} has no time zone; use datetime.now(UTC), or give it a ZoneInfo")
        at = at.timestamp()
    if isinstance(at, bool) or not isinstance(at, int | float):
        raise InvalidTrigger(f"{field} must be a datetime with a time zone, not {at!r}")
    if not EARLIEST <= at <= LATEST:
        raise InvalidTrigger(f"{field}={at!r} is no time between the years 5 and 9892; times are seconds, not ms")
    return round(float(at), 6)


def _number(trigger: Trigger, at: object) -> float | None:
    """In whole microseconds; None where there is no slot."""
    if at is None:
        return None
    if isinstance(at, bool) or not isinstance(at, int | float):
        raise InvalidTrigger(f"{trigger!r} answers {at!r}: a slot is a number of seconds since 1970, or None")
    slot = round(float(at), 6)
    # Never down: else a trigger that is finer than a microsecond would answer with the same slot again.
    slot = slot if not slot < at else round(slot + MICROSECOND, 6)
    return None if slot > LATEST else slot

"""Wall clocks and real time: which real moments the times on a clock of a time zone are.

The rule of daylight saving time, for every time zone and every change of its offset:

- **Fixed times** (a plan without a wildcard or a step) happen once. A time that the clock jumps over happens at the
  first valid moment after it; a time that the clock shows twice happens the first time.
- **Wildcards and steps** happen at every real moment that the clock shows a time of theirs: not when the clock jumps
  over it, twice when it is shown twice.

Real moments are whole seconds since 1970; wall times are datetimes without a zone. Source of the rule: Debian's cron;
of `fold`: PEP 495. A search by halves finds a change of the offset, so no table of the zone is needed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Final, Literal, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mainspring.errors import InvalidTrigger

Dst = Literal["none", "moved", "first", "second"]
"""How daylight saving time touches a slot: not at all; its own time was jumped over, so it comes right after the gap;
the clock shows its time twice, and this is the first or the second time."""

TimeZone = str | ZoneInfo | timezone
"""How people may say one: an IANA name, a ZoneInfo, or `datetime.UTC`, of all timezones."""

EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # a wall clock has no zone
SECOND: Final = timedelta(seconds=1)
_NOTHING: Final = timedelta(0)
_OF_THE_MACHINE: Final = ("localtime", "posixrules", "right/")


class Wall(Protocol):
    """Times on a wall clock."""

    @property
    def fixed(self) -> bool:
        """Whether no field of the time of day is a wildcard or has a step."""
        ...

    def first_from(self, wall: datetime) -> datetime:
        """The first time at or after `wall`."""
        ...

    def shows(self, wall: datetime) -> bool:
        """Whether this is one of the times."""
        ...


def zone_name(tz: object) -> str:
    """The name of a zone given as one, as a ZoneInfo or as `datetime.UTC`. Raises InvalidTrigger for anything else."""
    name = "UTC" if isinstance(tz, timezone) and tz == UTC else tz.key if isinstance(tz, ZoneInfo) else tz
    if not isinstance(name, str):
        raise InvalidTrigger(f"tz must be the name of a time zone such as 'Europe/Berlin', or its ZoneInfo; not {tz!r}")
    return name


def zone_of(name: str) -> ZoneInfo:
    """The time zone of an IANA name such as `"Europe/Berlin"`. Raises InvalidTrigger for any other text."""
    if name.startswith(_OF_THE_MACHINE):
        raise InvalidTrigger(f"tz={name!r} is not the same on every machine; use a name such as 'Europe/Berlin'")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidTrigger(
            f"no time zone {name!r}: use an IANA name such as 'UTC' or 'Europe/Berlin'"
            " (where the system has no time zone data at all: pip install tzdata)"
        ) from None


def next_moment(plan: Wall, zone: ZoneInfo, after: int) -> int:
    """The first real moment of a plan later than `after`, by the rule of daylight saving time."""
    local = datetime.fromtimestamp(after, zone)
    return _next_fixed(plan, local, after) if plan.fixed else _next_shown(plan, local, after)


def moment_at(wall: datetime, zone: ZoneInfo) -> int:
    """The real moment of a fixed wall time: the first time it is shown, or the end of the gap it lies in."""
    before, after = _offsets(wall, zone)
    at = _real(wall, before)
    return at if before >= after else _change(zone, _real(wall, after), at)


def dst_of(plan: Wall, zone: ZoneInfo, at: int) -> Dst:
    """How daylight saving time touches a moment of a plan."""
    local = datetime.fromtimestamp(at, zone)
    wall = local.replace(tzinfo=None)
    before, after = _offsets(wall, zone)
    if before > after:
        return "second" if local.fold else "first"
    return "none" if plan.shows(wall) else "moved"


def _next_fixed(plan: Wall, local: datetime, after: int) -> int:
    """Each wall time once."""
    zone = _zone(local)
    wall = local.replace(tzinfo=None)
    while True:
        wall = plan.first_from(wall + SECOND)
        at = moment_at(wall, zone)
        if at > after:  # else we are in the second run of an overlap, and it was fired in the first
            return at


def _next_shown(plan: Wall, local: datetime, after: int) -> int:
    """Every real moment at which the clock shows a time of the plan."""
    zone = _zone(local)
    wall = local.replace(tzinfo=None, fold=0) + SECOND
    before, later = _offsets(local.replace(tzinfo=None), zone)
    if before > later and not local.fold:
        # In the first run of an overlap: what is left of it, and then all of the second run.
        change = _change(zone, after, _real(wall - SECOND, later))
        found = plan.first_from(wall)
        if _real(found, before) < change:
            return _real(found, before)
        after, wall = change - 1, _wall(change, later)
    while True:
        found = plan.first_from(wall)
        before, later = _offsets(found, zone)
        first, second = _real(found, before), _real(found, later)
        if before < later:
            wall = _wall(_change(zone, second, first), later)  # never shown: go on behind the gap
        elif first > after:
            return first
        elif second > after:
            return second
        else:
            wall = found + SECOND


def _change(zone: ZoneInfo, low: int, high: int) -> int:
    """The first second in (low, high] that has another offset than `low`; there must be one change between them."""
    offset = datetime.fromtimestamp(low, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high


def _offsets(wall: datetime, zone: ZoneInfo) -> tuple[timedelta, timedelta]:
    """Of the two readings of a wall time. Equal: shown once; the first larger: shown twice; smaller: never shown."""
    if zone.key == "UTC":
        return _NOTHING, _NOTHING
    first, second = zone.utcoffset(wall.replace(tzinfo=zone, fold=0)), zone.utcoffset(wall.replace(tzinfo=zone, fold=1))
    return first or _NOTHING, second or _NOTHING


def _real(wall: datetime, offset: timedelta) -> int:
    since = wall - EPOCH - offset
    return since.days * 86400 + since.seconds


def _wall(at: int, offset: timedelta) -> datetime:
    return EPOCH + timedelta(seconds=at) + offset


def _zone(local: datetime) -> ZoneInfo:
    zone = local.tzinfo
    assert isinstance(zone, ZoneInfo)
    return zone

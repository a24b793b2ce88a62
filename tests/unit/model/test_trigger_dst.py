"""Daylight saving time: fixed times once, wildcards at every real moment, in every zone that there is (H14, SCH-017).

The oracle looks at every minute of real time around a change of the clock and asks what the clock shows; it knows
nothing of folds and gaps.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.model.cron import Cron, Daily
from mainspring.model.every import Every
from mainspring.model.triggers import Trigger

BEGIN, END = 0, int(datetime(2038, 1, 1, tzinfo=UTC).timestamp())
SAMPLE = (
    "Africa/Cairo", "Africa/Casablanca", "Africa/Monrovia", "America/Caracas", "America/Havana", "America/New_York",
    "America/Nuuk", "America/Sao_Paulo", "America/St_Johns", "Antarctica/Casey", "Antarctica/Troll", "Asia/Gaza",
    "Asia/Kathmandu", "Asia/Pyongyang", "Asia/Tehran", "Atlantic/Azores", "Australia/Lord_Howe", "Europe/Berlin",
    "Europe/Dublin", "Europe/Lisbon", "Pacific/Apia", "Pacific/Chatham", "Pacific/Kwajalein", "UTC",
)  # fmt: skip

ALL_ZONES = tuple(sorted(available_timezones() - {"localtime", "posixrules"}))


class Change(NamedTuple):
    """The second at which a zone's clock is put forward or back, and by how much."""

    zone: str
    at: int
    before: timedelta
    after: timedelta

    @property
    def shape(self) -> tuple[object, ...]:
        """All that a search around it can depend on."""
        return self.before, self.after, (self.at + int(self.before.total_seconds())) % 86400


def offset(zone: ZoneInfo, at: int) -> timedelta:
    found = datetime.fromtimestamp(at, zone).utcoffset()
    assert found is not None
    return found


@cache
def changes(name: str) -> tuple[Change, ...]:
    return tuple(found_changes(name))


def found_changes(name: str) -> Iterator[Change]:
    zone = ZoneInfo(name)
    for low in range(BEGIN, END, 2 * 86400):
        high = low + 2 * 86400
        before, after = offset(zone, low), offset(zone, high)
        if before != after:
            start = low
            while high - start > 1:
                middle = (start + high) // 2
                start, high = (middle, high) if offset(zone, middle) == before else (start, middle)
            yield Change(name, high, before, after)


@cache
def distinct_changes(zones: tuple[str, ...]) -> list[Change]:
    return list({change.shape: change for zone in zones for change in changes(zone)}.values())


def local(zone: str, *wall: int, fold: int = 0) -> float:
    return datetime(*wall, fold=fold, tzinfo=ZoneInfo(zone)).timestamp()  # type: ignore[arg-type, misc]  # year … second


def fires(trigger: Trigger, after: float, until: float) -> list[float]:
    found = []
    while (at := trigger.next_after(after)) is not None and at <= until:
        assert at > after, f"{trigger!r} does not go forward from {after}"
        found.append(after := at)
    return found


def in_utc(trigger: Trigger, after: float, until: float) -> list[str]:
    return [datetime.fromtimestamp(at, UTC).strftime("%d %H:%M:%S") for at in fires(trigger, after, until)]


# --- the cases that everybody knows -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "wall", "shown"),
    [
        ("Europe/Berlin", (2026, 3, 29, 2, 30), "2026-03-29T03:00:00+02:00"),
        ("America/New_York", (2026, 3, 8, 2, 30), "2026-03-08T03:00:00-04:00"),
        ("Australia/Lord_Howe", (2026, 10, 4, 2, 15), "2026-10-04T02:30:00+11:00"),
        ("Antarctica/Troll", (2026, 3, 29, 1, 0), "2026-03-29T03:00:00+02:00"),
        ("America/Sao_Paulo", (2018, 11, 4, 0, 0), "2018-11-04T01:00:00-02:00"),  # no midnight at all
        ("Pacific/Apia", (2011, 12, 30, 12, 0), "2011-12-31T00:00:00+14:00"),  # a day that never was
        ("Africa/Monrovia", (1972, 1, 7, 0, 10), "1972-01-07T00:44:30+00:00"),  # seconds: no whole minute follows
    ],
)
def test_H14_a_fixed_time_in_the_gap_runs_right_after_it(zone: str, wall: tuple[int, ...], shown: str) -> None:
    for trigger in (
        Daily(time(wall[3], wall[4]), tz=zone),
        Cron(f"{wall[4]} {wall[3]} * * *", tz=zone),
        Cron(f"0 {wall[4]} {wall[3]} * * *", tz=zone),  # with seconds, too
    ):
        noon_before = local(zone, *wall) - 86400
        slots = [slot for slot in trigger.preview(3, after=noon_before - 7200) if slot.dst == "moved"]
        assert [slot.local.isoformat() for slot in slots] == [shown]
        assert slots[0].at == slots[0].local.timestamp()


def test_two_fixed_times_in_one_gap_are_one_slot() -> None:
    trigger = Cron("0,10,30 2 * * *", tz="Europe/Berlin")
    assert in_utc(trigger, local("Europe/Berlin", 2026, 3, 29), local("Europe/Berlin", 2026, 3, 30)) == ["29 01:00:00"]


def test_a_fixed_time_that_is_also_named_is_not_called_moved() -> None:
    trigger = Daily(time(2, 30), tz="Europe/Berlin") | Daily(time(3), tz="Europe/Berlin")
    begin, end = local("Europe/Berlin", 2026, 3, 29), local("Europe/Berlin", 2026, 3, 29, 12)
    assert in_utc(trigger, begin, end) == ["29 01:00:00"]
    assert Cron("0,30 2,3 * * *", tz="Europe/Berlin").preview(1, after=begin)[0].dst == "none"


def test_H14_a_fixed_time_in_the_overlap_runs_once_at_the_first() -> None:
    for trigger in (
        Daily(time(2, 30), tz="Europe/Berlin"),
        Cron("30 2 * * *", tz="Europe/Berlin"),
        Cron("0 30 2 * * *", tz="Europe/Berlin"),
    ):
        begin, end = local("Europe/Berlin", 2026, 10, 25), local("Europe/Berlin", 2026, 10, 26)
        assert in_utc(trigger, begin, end) == ["25 00:30:00"]
        assert [slot.dst for slot in trigger.preview(2, after=begin)] == ["first", "none"]
        second = local("Europe/Berlin", 2026, 10, 25, 2, 10, fold=1)
        assert trigger.next_after(second) == local("Europe/Berlin", 2026, 10, 26, 2, 30)


@pytest.mark.parametrize("expression", ["*/30 * * * *", "0 0,30 * * * *", "*/30 0-5 * * *", "0/30 0-5 * * *"])
def test_H14_wildcards_and_steps_run_at_every_real_moment(expression: str) -> None:
    trigger = Cron(expression, tz="Europe/Berlin")
    autumn = in_utc(trigger, local("Europe/Berlin", 2026, 10, 25, 1, 30), local("Europe/Berlin", 2026, 10, 25, 3))
    assert autumn == ["25 00:00:00", "25 00:30:00", "25 01:00:00", "25 01:30:00", "25 02:00:00"]
    spring = in_utc(trigger, local("Europe/Berlin", 2026, 3, 29, 1), local("Europe/Berlin", 2026, 3, 29, 4))
    assert spring == ["29 00:30:00", "29 01:00:00", "29 01:30:00", "29 02:00:00"]


def test_a_range_over_all_minutes_or_hours_is_a_wildcard() -> None:
    autumn = local("Europe/Berlin", 2026, 10, 25), local("Europe/Berlin", 2026, 10, 26)
    assert len(fires(Cron("0-59 2 * * *", tz="Europe/Berlin"), *autumn)) == 120
    assert len(fires(Cron("30 0-23 * * *", tz="Europe/Berlin"), *autumn)) == 25
    assert len(fires(Cron("0-59 30 2 * * *", tz="Europe/Berlin"), *autumn)) == 120
    assert len(fires(Cron("0-58 2 * * *", tz="Europe/Berlin"), *autumn)) == 59


def test_both_times_of_an_overlap_are_told_apart_in_a_preview() -> None:
    slots = Cron("30 * * * *", tz="Europe/Berlin").preview(4, after=local("Europe/Berlin", 2026, 10, 25, 1))
    assert [(slot.local.strftime("%H:%M%z"), slot.dst) for slot in slots] == [
        ("01:30+0200", "none"), ("02:30+0200", "first"), ("02:30+0100", "second"), ("03:30+0100", "none"),
    ]  # fmt: skip


def test_a_wildcard_in_the_gap_is_skipped_without_a_walk_through_it() -> None:
    trigger = Cron("* * 2 29 3 *", tz="Europe/Berlin")  # each second of an hour that 2026 does not have
    assert trigger.next_after(local("Europe/Berlin", 2026, 3, 1)) == local("Europe/Berlin", 2027, 3, 29, 2)


def test_H14_intervals_count_real_time() -> None:
    """APScheduler's users met an endless loop here (agronholm/apscheduler#980)."""
    begin = local("Europe/Berlin", 2026, 10, 24, 12)
    assert Every(timedelta(days=1)).starting(begin).next_after(begin) == begin + 86400


# --- every change of every clock ----------------------------------------------------------------------

HOURS_AND_MINUTES = {
    "*/30 * * * *": (range(24), (0, 30), False),
    "* 0,1,2,3 * * *": (range(4), range(60), False),
    "17 */2 * * *": (range(0, 24, 2), (17,), False),
    "0 0 * * *": ((0,), (0,), True),
    "30 2 * * *": ((2,), (30,), True),
    "1,15,59 0,1,2,3,23 * * *": ((0, 1, 2, 3, 23), (1, 15, 59), True),
}


def oracle(change: Change, expression: str, begin: int, end: int) -> list[float]:
    """The slots between two moments, from what the clock shows each minute."""
    hours, minutes, once = HOURS_AND_MINUTES[expression]
    zone = ZoneInfo(change.zone)
    shown = [(at, datetime.fromtimestamp(at, zone).replace(tzinfo=None)) for at in range(begin, end + 1, 60)]
    found: set[float] = set()
    seen: set[datetime] = set()
    for at, wall in shown:
        if wall.hour in hours and wall.minute in minutes and not (once and wall in seen):
            found.add(float(at))
        seen.add(wall)
    missing = change.after - change.before
    if once and missing > timedelta(0):
        wall = datetime.fromtimestamp(change.at, zone).replace(tzinfo=None) - missing
        jumped = (wall + timedelta(minutes=minute) for minute in range(int(missing.total_seconds() / 60)))
        if any(wall.hour in hours and wall.minute in minutes for wall in jumped):
            found.add(float(change.at))
    return sorted(found)


def check_around(change: Change) -> None:
    width = 4 * 3600 + int(abs(change.after - change.before).total_seconds())
    begin, end = change.at - width, change.at + width
    for expression in HOURS_AND_MINUTES:
        trigger = Cron(expression, tz=change.zone)
        found = fires(trigger, begin - 1, end)
        assert found == oracle(change, expression, begin, end), f"{expression} at {change}"


def whole_minutes(change: Change) -> bool:
    return not any(moment.total_seconds() % 60 for moment in (change.before, change.after)) and not change.at % 60


@pytest.mark.parametrize("zone", SAMPLE)
def test_SCH_017_every_change_of_a_sample_of_zones(zone: str) -> None:
    for change in filter(whole_minutes, distinct_changes((zone,))):
        check_around(change)


@pytest.mark.slow
def test_SCH_017_every_kind_of_change_in_all_zones() -> None:
    found = distinct_changes(ALL_ZONES)
    whole = [change for change in found if whole_minutes(change)]
    assert len(whole) > 100, "no time zone data"
    assert len(found) - len(whole) < 20, "clocks with odd seconds ended in the seventies"
    for change in whole:
        check_around(change)


@pytest.mark.slow
def test_a_daily_time_goes_forward_and_misses_no_day_in_all_zones() -> None:
    """Fires strictly increase around every change of 68 years; no more than a day and the change lie between two."""
    for zone in ALL_ZONES:
        trigger = Daily(time(2, 30), tz=zone)
        for change in changes(zone):
            found = fires(trigger, change.at - 36 * 3600, change.at + 36 * 3600)
            longest = 86400 + abs(change.after - change.before).total_seconds()
            assert all(b - a <= longest for a, b in pairwise(found)), change
            assert 2 <= len(found) <= 4, change


EXPRESSIONS = st.sampled_from(
    [
        *HOURS_AND_MINUTES,
        "*/20 30 2 * * *",
        "0 30 2 * * *",
        "15 30 1,2 * * *",
        "* * * * * *",
        "0 0 L * *",
        "5 4 * * SUN",
    ]
)


@given(st.sampled_from(SAMPLE), EXPRESSIONS, st.integers(-2 * 86400, 2 * 86400), st.integers(0), st.floats(0, 0.999))
def test_from_anywhere_the_next_slot_is_the_same(zone: str, expression: str, near: int, pick: int, part: float) -> None:
    """What is next does not hang on where one looks from: no slot is skipped, none comes twice."""
    all_changes = distinct_changes((zone,)) or [Change(zone, 1_800_000_000, timedelta(0), timedelta(0))]
    begin = all_changes[pick % len(all_changes)].at + near
    trigger = Cron(expression, tz=zone)
    first = trigger.next_after(begin)
    assert first is not None
    assert first > begin
    for share in (0.001, 0.25, 0.5, 0.75, part):
        between = begin + (first - begin) * share
        assert trigger.next_after(between) == first
    assert trigger.next_after(first - 1) == first
    second = trigger.next_after(first)
    assert second is not None
    assert second > first
    assert trigger.preview(2, after=begin)[1].at == second

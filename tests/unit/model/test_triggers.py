"""Intervals, single times, unions, exclusions, jitter, and triggers as plain data."""

from __future__ import annotations

import copy
import json
import math
import pickle
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.errors import InvalidTrigger
from mainspring.model.cron import Cron, Daily
from mainspring.model.every import Every, Once
from mainspring.model.trigger_kinds import TriggerKinds
from mainspring.model.triggers import LATEST, Except, Slot, Trigger, Union, jitter_of

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
AT_NOON = NOON.timestamp()


@dataclass(frozen=True, slots=True)
class Doubling(Trigger):
    """A user's own: at 1, 2, 4, … seconds after 1970, but not before `least`."""

    kind: ClassVar[str] = "doubling"
    least: int = 1

    def next_after(self, t: float, /) -> float | None:
        return float(max(self.least, 2 ** (math.floor(math.log2(t)) + 1) if t >= 1 else 1))


def fires(trigger: Trigger, after: float, n: int) -> list[float | None]:
    found: list[float | None] = []
    at: float | None = after
    while at is not None and len(found) < n:
        at = trigger.next_after(at)
        found.append(at)
    return found


# --- Every --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [0, -1, math.inf, math.nan, timedelta(0), 0.0005, True, "60", None, 1e12])
def test_SCH_001_SCH_022_an_interval_must_mean_something(interval: Any) -> None:
    with pytest.raises(InvalidTrigger, match="interval must be"):
        Every(interval)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"anchor": "start"}, "anchor must be 'grid' or 'end'"),
        ({"first": "later"}, "first must be 'now' or 'after'"),
        ({"start": datetime(2026, 1, 1)}, "no time zone; use"),  # noqa: DTZ001
        ({"start": 5}, "datetime with a time zone"),
    ],
)
def test_options_of_every_are_checked(option: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidTrigger, match=says):
        Every(60, **option)


def test_SCH_005_a_grid_begins_at_its_start() -> None:
    every = Every(timedelta(minutes=10), start=NOON)
    assert every.next_after(AT_NOON - 1) == AT_NOON
    assert every.next_after(AT_NOON) == AT_NOON + 600
    assert every.next_after(AT_NOON + 599.999999) == AT_NOON + 600
    assert every.next_after(AT_NOON + 86400 * 365 + 1) == AT_NOON + 86400 * 365 + 600  # no walk through a year
    assert every.first_at(AT_NOON - 5000) == AT_NOON
    assert every.starting(0) is every


def test_a_grid_without_a_start_counts_from_the_beginning_of_its_schedule() -> None:
    every = Every(60, first="after")
    assert every.first_at(1000.5) == 1060.5
    assert fires(every.starting(1000.5), 1000.5, 3) == [1060.5, 1120.5, 1180.5]
    assert fires(every, 1000.5, 2) == [1020.0, 1080.0]  # alone: whole multiples since 1970


def test_SCH_028_SCH_030_the_first_run_is_at_once() -> None:
    assert Every(60).first_at(1000.5) == 1000.5
    assert Every(60, start=NOON).first_at(AT_NOON + 5) == AT_NOON + 5
    assert Every(60, start=NOON, first="after").first_at(AT_NOON + 5) == AT_NOON + 60


def test_SCH_032_from_the_end_of_the_run() -> None:
    every = Every(60, anchor="end")
    assert every.from_end
    assert not Every(60).from_end
    assert every.next_after(1000.25) == 1060.25
    assert Every(60, anchor="end", start=NOON).next_after(5) == AT_NOON


@pytest.mark.parametrize("anchor", ["grid", "end"])
@pytest.mark.parametrize("first", ["now", "after"])
def test_what_begins_before_its_start_runs_first_at_its_start(anchor: Any, first: Any) -> None:
    every = Every(60, anchor=anchor, first=first, start=NOON)
    assert every.first_at(AT_NOON - 5000) == AT_NOON
    assert every.next_after(AT_NOON - 1) == AT_NOON
    assert every.first_at(AT_NOON) == AT_NOON + (60 if first == "after" else 0)


def test_a_grid_that_is_given_its_origin_is_like_one_that_has_a_start() -> None:
    """The copy for each fire is made without checks."""
    started, made = Every(7.5, first="after").starting(AT_NOON), Every(7.5, first="after", start=NOON)
    assert started == made
    assert hash(started) == hash(made)
    assert repr(started) == repr(made)
    assert pickle.loads(pickle.dumps(started)).next_after(AT_NOON) == made.next_after(AT_NOON) == AT_NOON + 7.5
    assert started.slots_between(AT_NOON, AT_NOON + 75) == 10


def test_far_ends_have_no_slot() -> None:
    assert Every(60).next_after(1e15) is None
    assert Every(LATEST).next_after(1) is None
    assert Every(60).next_after(-1e15) is not None


@given(st.floats(0.001, 1e6), st.floats(0, 2.2e9), st.floats(0, 2.2e9))
def test_a_grid_does_not_drift(interval: float, begin: float, t: float) -> None:
    """Next is from the grid, not from now: the slots are whole intervals apart, however many have passed."""
    every = Every(interval).starting(begin)
    assert every.start is not None
    found = every.next_after(t)
    assert found is not None
    assert found > t or math.isclose(found, t, abs_tol=1e-6)
    origin = every.start.timestamp()
    if found != origin:
        assert found - t <= every.interval + 2e-6 or t < origin
        steps = (found - origin) / every.interval
        assert abs(steps - round(steps)) * every.interval < 2e-6
    second = every.next_after(found)
    assert second is not None
    assert second - found == pytest.approx(every.interval, abs=2e-6)


# --- Once ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [None, 5, "2026-01-01", datetime(2026, 1, 1)])  # noqa: DTZ001
def test_SCH_003_once_needs_a_time_with_a_zone(at: Any) -> None:
    with pytest.raises(InvalidTrigger, match="time zone"):
        Once(at)


def test_once_fires_once() -> None:
    once = Once(NOON)
    assert fires(once, AT_NOON - 1, 2) == [AT_NOON, None]
    assert once == Once(NOON.astimezone(ZoneInfo("Asia/Tokyo")))
    assert once.preview(5, after=AT_NOON) == ()


def test_SCD_018_once_at_or_before_now_runs_when_the_schedule_begins() -> None:
    assert Once(NOON).first_at(AT_NOON + 100) == AT_NOON + 100
    assert Once(NOON).next_after(AT_NOON + 100) is None
    assert Once(NOON).first_at(AT_NOON - 100) == AT_NOON


# --- unions and exclusions ------------------------------------------------------------------------------


def test_a_union_has_every_slot_of_each_member_once() -> None:
    union = Every(20) | Every(30) | Once(datetime(1970, 1, 1, 0, 0, 45, tzinfo=UTC))
    assert fires(union, 0, 6) == [20, 30, 40, 45, 60, 80]
    assert union.first_at(10) == 10
    assert fires(Once(NOON) | Once(NOON + timedelta(1)), 0, 3) == [AT_NOON, AT_NOON + 86400, None]


def test_unions_are_flat_and_without_doubles() -> None:
    a, b, c = Every(20), Every(30), Every(40)
    assert (a | b) | c == a | (b | c) == Union((a, b, c, a))
    assert not (a | b).from_end
    assert (a | Every(5, anchor="end")).from_end
    assert (a | b).shown(5).at == 5  # not a slot of it: shown all the same
    assert repr(Cron("@daily") | Daily(time(9))) == (
        "Cron(expression='0 0 * * *', tz='UTC') | Daily(at=datetime.time(9, 0), tz='UTC')"
    )


@pytest.mark.parametrize("members", [(), (5,), (Every(60), "@daily")])
def test_a_union_is_made_of_triggers(members: Any) -> None:
    with pytest.raises(InvalidTrigger, match="a union"):
        Union(members)


def test_the_origin_of_a_schedule_reaches_every_part() -> None:
    trigger = (Every(60) | Cron("@hourly")).except_(Every(120))
    assert fires(trigger.starting(1000), 1000, 3) == [1060, 1180, 1300]


def test_an_exclusion_takes_slots_out() -> None:
    trigger = Daily(time(9)).except_(Cron("* * * * 6,0"))
    slots = trigger.preview(3, after=NOON - timedelta(days=4))  # Wednesday noon
    assert [slot.local.strftime("%a %H:%M") for slot in slots] == ["Thu 09:00", "Fri 09:00", "Mon 09:00"]


def test_an_exclusion_takes_out_whole_minutes_whatever_the_seconds() -> None:
    nights = Every(7.5).except_(Cron("* 0-5 * * *"))
    midnight = AT_NOON + 12 * 3600
    assert nights.next_after(midnight - 0.5) == midnight + 6 * 3600
    seconds = Every(0.25).except_(Cron("*/2 * * * * *"))
    assert fires(seconds, 1.5, 3) == [1.75, 3.0, 3.25]


def test_an_exclusion_of_other_triggers_takes_out_their_slots_alone() -> None:
    assert fires(Every(20).except_(Every(60)), 0, 4) == [20, 40, 80, 100]
    noon = Once(datetime(1970, 1, 1, 12, tzinfo=UTC))
    assert fires(Daily(time(12)).except_(noon | Daily(time(9))), 0, 1) == [86400 * 1.5]
    assert fires(Cron("0 12 * * *").except_(Daily(time(12)).except_(noon)), 0, 1) == [43200.0]
    part_of_a_minute = Cron("* * * * *").except_(Once(datetime(1970, 1, 1, 0, 0, 40, tzinfo=UTC)))
    assert fires(Every(20).except_(part_of_a_minute), 0, 1) == [40]
    assert fires(Every(43200).except_(Daily(time(12)).except_(noon)), 0, 3) == [43200, 86400, 172800]


def test_an_exclusion_of_whole_days_is_passed_in_one_step() -> None:
    """Four years of days; in hours or minutes the search would have given up."""
    leap_days = Every(1).except_(
        Cron("* * * 1,3-12 *", "America/Sao_Paulo") | Cron("* * 1-28 2 *", "America/Sao_Paulo")
    )
    begin = datetime(2016, 3, 1, 12, tzinfo=UTC).timestamp()
    assert leap_days.next_after(begin) == datetime(2020, 2, 29, 3, tzinfo=UTC).timestamp()


def test_an_exclusion_of_whole_hours_keeps_to_the_clock() -> None:
    """The hour that comes twice is taken out twice; the one after a gap is not touched."""
    trigger = Every(900).except_(Cron("* 2 * * *", tz="Europe/Berlin"))
    autumn, spring = (
        datetime(2026, 10, 25, tzinfo=UTC).timestamp(),
        datetime(2026, 3, 29, 0, 45, tzinfo=UTC).timestamp(),
    )
    assert fires(trigger, autumn - 900, 2) == [autumn + 2 * 3600, autumn + 2 * 3600 + 900]
    assert fires(trigger, spring - 1, 2) == [spring, spring + 900]
    split = Every(60).except_(Cron("* 23 * * *", tz="America/St_Johns"))  # 00:01 becomes 23:01 of the day before
    before = datetime(2006, 10, 29, 0, 0, tzinfo=ZoneInfo("America/St_Johns")).timestamp()
    assert fires(split, before - 3000, 3) == [before, before + 3600, before + 3660]


def test_an_exclusion_of_everything_ends() -> None:
    """A bounded search: no endless loop, and no end of the schedule that nobody sees."""
    with pytest.raises(InvalidTrigger, match="no slot that is not taken out"):
        Every(60).except_(Cron("*/2,1/2 * * * *")).next_after(AT_NOON)
    with pytest.raises(InvalidTrigger, match="no slot that is not taken out"):
        Cron("0 9 * * *").except_(Cron("* * * * *")).first_at(AT_NOON)
    assert Once(NOON).except_(Daily(time(12))).next_after(0) is None


def test_exclusions_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InvalidTrigger, match="without itself never fires"):
        Every(60).except_(Every(60))
    with pytest.raises(InvalidTrigger, match="use its grid"):
        Every(60).except_(Every(60, anchor="end"))
    with pytest.raises(InvalidTrigger, match="two triggers"):
        Except(Every(60), "weekends")  # type: ignore[arg-type]  # what a caller without a type checker writes


def test_an_interval_from_the_end_keeps_out_of_the_night() -> None:
    trigger = Every(3600, anchor="end").except_(Cron("* 0-5 * * *"))
    assert trigger.from_end
    found = trigger.next_after(AT_NOON + 11.5 * 3600)
    assert found is not None
    assert found >= AT_NOON + 18 * 3600
    assert repr((Every(1) | Every(2)).except_(Every(3))).startswith("(Every(")


@given(st.integers(0, 2_000_000_000))
def test_a_union_and_an_exclusion_agree_with_their_parts(t: int) -> None:
    a, b = Cron("*/7 * * * *", tz="Europe/Berlin"), Cron("0 */3 * * *", tz="Europe/Berlin")
    both, without = (a | b).preview(8, after=t), a.except_(b).preview(8, after=t)
    starts = {slot.at for slot in (*a.preview(8, after=t), *b.preview(8, after=t))}
    assert [slot.at for slot in both] == sorted(starts)[:8]
    assert [slot.at for slot in without] == [
        slot.at for slot in a.preview(10, after=t) if b.covered_until(slot.at) is None
    ][:8]


# --- preview and jitter -----------------------------------------------------------------------------------


def test_a_preview_shows_local_time() -> None:
    trigger = Cron("0 9 * * *", tz="Asia/Tokyo") | Every(86400)
    first, second = trigger.preview(2, after=NOON)
    assert first == Slot(AT_NOON + 12 * 3600, datetime(2026, 11, 23, 9, tzinfo=ZoneInfo("Asia/Tokyo")))
    assert second.local == NOON + timedelta(days=1)  # an Every counts from `after`
    assert second.local.tzinfo is UTC


@pytest.mark.parametrize("after", [datetime(2026, 1, 1), "now", True, math.nan, 1e15])  # noqa: DTZ001
def test_a_preview_needs_a_moment(after: Any) -> None:
    with pytest.raises(InvalidTrigger, match="after"):
        Every(60).preview(1, after=after)


@pytest.mark.parametrize("n", [-1, 1.5, True])
def test_a_preview_has_a_length(n: Any) -> None:
    with pytest.raises(InvalidTrigger, match="whole number"):
        Every(60).preview(n, after=0)


def test_jitter_is_stable_and_spread() -> None:
    found = [jitter_of(f"schedule-{n}", timedelta(minutes=1)) for n in range(1000)]
    assert found == [jitter_of(f"schedule-{n}", 60) for n in range(1000)]
    assert jitter_of("nightly", 60) == 9.898119  # the same in every process and version
    assert all(0 <= offset < 60 for offset in found)
    assert len(set(found)) == 1000
    assert 25 < sum(found) / 1000 < 35
    assert jitter_of("nightly", 0) == 0
    with pytest.raises(InvalidTrigger, match="jitter must be 0 or more"):
        jitter_of("nightly", -1)


# --- plain data -------------------------------------------------------------------------------------------

KINDS = TriggerKinds(Doubling)
EXAMPLES: list[Trigger] = [
    Every(60),
    Every(1.5, anchor="end", first="after"),
    Every(timedelta(days=1), start=NOON.astimezone(ZoneInfo("Asia/Tokyo"))),
    Cron("*/5 * * * MON", tz="Europe/Berlin"),
    Daily(time(9, 30, 5), tz="Asia/Tokyo"),
    Once(NOON),
    Every(60) | Cron("@daily") | Doubling(8),
    (Every(60) | Cron("@daily")).except_(Cron("* 0-5 * * *") | Doubling()),
    Doubling(4),
]


@pytest.mark.parametrize("trigger", EXAMPLES, ids=lambda trigger: trigger.kind)
def test_SCH_021_every_kind_goes_to_plain_data_and_back(trigger: Trigger) -> None:
    plain = KINDS.to_plain(trigger)
    assert plain["trigger"] == trigger.kind
    twin = KINDS.from_plain(json.loads(json.dumps(plain)))
    assert twin == trigger
    assert hash(twin) == hash(trigger)
    assert repr(twin) == repr(trigger)
    assert twin.next_after(1e9) == trigger.next_after(1e9)


@pytest.mark.parametrize("trigger", EXAMPLES, ids=lambda trigger: trigger.kind)
def test_values_travel_and_are_frozen(trigger: Trigger) -> None:
    for twin in (pickle.loads(pickle.dumps(trigger)), copy.deepcopy(trigger)):
        assert twin == trigger
        assert hash(twin) == hash(trigger)
    assert not hasattr(trigger, "__dict__")
    with pytest.raises((AttributeError, TypeError)):
        trigger.interval = 5  # type: ignore[attr-defined]  # frozen and slotted: that is the question


def test_stored_data_keep_their_form() -> None:
    """What is in a store today must be read tomorrow."""
    assert KINDS.to_plain(Every(60)) == {
        "trigger": "every", "interval": 60.0, "anchor": "grid", "first": "now", "start": None,
    }  # fmt: skip
    assert KINDS.to_plain(Cron("@daily").except_(Once(NOON))) == {
        "trigger": "except",
        "base": {"trigger": "cron", "expression": "0 0 * * *", "tz": "UTC"},
        "excluded": {"trigger": "once", "at": "2026-11-22T12:00:00+00:00"},
    }
    assert KINDS.to_plain(Daily(time(9)) | Doubling(3)) == {
        "trigger": "union",
        "members": [{"trigger": "daily", "at": "09:00:00", "tz": "UTC"}, {"trigger": "doubling", "least": 3}],
    }


@pytest.mark.parametrize(
    ("plain", "says"),
    [
        (
            {"trigger": "lunar"},
            r"unknown kind of trigger 'lunar'; known are cron, daily, .* App\(triggers=\[YourTrigger\]\)",
        ),
        ({"trigger": ["cron"]}, "unknown kind"),
        ({"kind": "cron"}, "no trigger in"),
        (None, "no trigger in"),
        ([{"trigger": "cron", "expression": "@daily"}], "no trigger in"),
        ({"trigger": "cron", "expression": "* *"}, "2 fields"),
        ({"trigger": "cron", "expresion": "@daily"}, "cron trigger has an expression"),
        ({"trigger": "cron"}, "cron trigger has an expression"),
        ({"trigger": "cron", "expression": None}, "not None"),
        ({"trigger": "cron", "expression": "@daily", "zone": "UTC"}, "no 'cron' trigger can be made"),
        ({"trigger": "every", "interval": "60"}, "interval must be"),
        ({"trigger": "once", "at": "soon"}, "no time in ISO 8601"),
        ({"trigger": "once"}, "at must be a datetime"),
        ({"trigger": "daily", "at": "25:00"}, "no time of a day"),
        ({"trigger": "union", "members": []}, "no triggers"),
        ({"trigger": "union", "members": [{"trigger": "lunar"}]}, "unknown kind"),
    ],
)
def test_SCH_019_what_is_no_trigger_is_refused_by_name(plain: object, says: str) -> None:
    with pytest.raises(InvalidTrigger, match=says):
        TriggerKinds().from_plain(plain)


def test_SCH_019_an_unknown_class_is_refused_by_name() -> None:
    with pytest.raises(InvalidTrigger, match="Doubling is no known kind"):
        TriggerKinds().to_plain(Doubling())
    with pytest.raises(InvalidTrigger, match="Doubling is no known kind"):
        TriggerKinds().to_plain(Every(60) | Doubling())


def test_SCD_012_a_trigger_is_required() -> None:
    with pytest.raises(InvalidTrigger, match="a trigger is needed"):
        TriggerKinds().to_plain(None)  # type: ignore[arg-type]  # what a caller without a type checker writes


def test_own_kinds_are_checked() -> None:
    class Nameless(Doubling):
        kind: ClassVar[str] = ""

    class Taken(Doubling):
        kind: ClassVar[str] = "cron"

    class Loose(Trigger):
        kind: ClassVar[str] = "loose"

        def next_after(self, t: float, /) -> float | None:
            return None

    for wrong, says in ((Nameless, "has no kind"), (Taken, "is taken by Cron"), (int, "no class of triggers")):
        with pytest.raises(InvalidTrigger, match=says):
            TriggerKinds(wrong)  # type: ignore[arg-type]  # one of them is no trigger
    with pytest.raises(InvalidTrigger, match="Loose is no dataclass"):
        TriggerKinds(Loose).to_plain(Loose())
    assert TriggerKinds(Doubling, Doubling).to_plain(Doubling())

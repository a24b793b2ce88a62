"""Cron expressions and daily times: what is read, what is refused, which times they mean."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Any

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import assume, given
from hypothesis import strategies as st

from mainspring.errors import InvalidOption, InvalidTrigger
from mainspring.model.cron import Cron, Daily
from mainspring.model.cron_plan import MACROS

MONDAY_8 = datetime(2026, 11, 23, 8, tzinfo=UTC)


def next_of(trigger: Cron | Daily, after: datetime) -> datetime:
    found = trigger.next_after(after.timestamp())
    assert found is not None
    return datetime.fromtimestamp(found, UTC)


# --- construction -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("* * *", r"3 fields; write 5 .* or 6 with the second first"),
        ("60 * * * *", "bad minute"),
        ("", "0 fields"),
        ("   ", "0 fields"),
        ("* * * * * * *", "7 fields"),
        ("0 24 * * *", "bad hour"),
        ("60 0 0 * * *", "bad second"),
        ("0 0 0 * *", "bad day-of-month"),
        ("0 0 * 13 *", "bad month"),
        ("0 0 * FOO *", "bad month"),
        ("0 0 * * 8", "bad day-of-week"),
        ("0 0 * * MON#6", "bad day-of-week"),
        ("0 0 15W * *", "bad day-of-month"),
        ("0 0 ? * *", "bad day-of-month"),
        ("5-1 * * * *", "bad minute"),
        ("*/0 * * * *", "bad minute"),
        ("1" * 200 + " * * * *", "bad minute"),
        ("1" * 300 + " * * * *", "at most 256 characters"),
        ("@reboot", r"one of @annually, .* use Every"),
        ("@every 5m", "use Every"),
    ],
)
def test_SCH_010_what_is_no_expression_is_refused(expression: str, says: str) -> None:
    with pytest.raises(InvalidTrigger, match=says):
        Cron(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "0 0 30 2 *",
        "0 0 31 2,4,6 *",
        "0 0 31 2 */2",
        "0 0 30 FEB *",
        "*/5 * 31 4 *",
        "0 0 0 30 2 *",
        "0 0 30-31 2 *",
        "0 0 */29 * MON#2",
    ],  # the 1st or 30th, and between 8th and 14th: cronsim looks 50 years for it,
)
def test_SCH_016_a_date_that_never_comes_is_refused(expression: str) -> None:
    with pytest.raises(InvalidTrigger, match=r"never happens: .* check day and month"):
        Cron(expression)


@pytest.mark.parametrize(
    ("expression", "first"),
    [
        ("0 0 29 2 *", "2028-02-29"),
        ("0 0 29 2 */7", "2032-02-29"),  # a star at the beginning: both must match, and that is a Sunday
        ("0 0 30 2 1", "2027-02-01"),  # no star: either may match, and February has Mondays
        ("0 0 * 2 MON#5", "2044-02-29"),
        ("0 0 L 2 *", "2027-02-28"),
        ("0 0 LW * *", "2026-11-30"),
        ("0 0 * * 5L", "2026-11-27"),
        ("0 0 31 * *", "2026-12-31"),
    ],
)
def test_rare_dates_are_found(expression: str, first: str) -> None:
    assert next_of(Cron(expression), MONDAY_8).date().isoformat() == first


def test_the_rarest_date_is_found_across_2100() -> None:
    trigger = Cron("0 0 * 2 MON#5")
    assert next_of(trigger, datetime(2072, 3, 1, tzinfo=UTC)).year == 2112


@pytest.mark.parametrize("expression", [None, 5, b"* * * * *", ["*"]])
def test_an_expression_is_a_text(expression: Any) -> None:
    if expression is None:
        assert Cron(expression) == Cron("* * * * *")
    else:
        with pytest.raises(InvalidTrigger, match="is a text"):
            Cron(expression)


def test_the_error_is_an_invalid_option_and_a_value_error() -> None:
    assert issubclass(InvalidTrigger, InvalidOption)
    assert issubclass(InvalidTrigger, ValueError)


@pytest.mark.parametrize(
    "tz", ["Berlin", "", "../etc/passwd", "/etc/localtime", "Europe", "Europe/Berlin ", "localtime"]
)
def test_SCH_017_an_unknown_zone_is_refused(tz: str) -> None:
    with pytest.raises(InvalidTrigger, match="'Europe/Berlin'"):
        Cron("0 9 * * *", tz=tz)
    with pytest.raises(InvalidTrigger, match="'Europe/Berlin'"):
        Daily(time(9), tz=tz)


def test_SCH_017_the_zone_is_named_and_utc_by_default() -> None:
    assert Cron("0 9 * * *").tz == "UTC"
    assert next_of(Cron("0 9 * * *", tz="Asia/Tokyo"), MONDAY_8) == datetime(2026, 11, 24, 0, tzinfo=UTC)
    with pytest.raises(InvalidTrigger, match="must be the name"):
        Cron("0 9 * * *", tz=UTC)  # type: ignore[arg-type]  # what a caller without a type checker writes


# --- named fields -------------------------------------------------------------------------------------


def test_SCH_011_named_fields() -> None:
    assert Cron(minute=30, hour=14) == Cron("30 14 * * *")
    assert Cron(hour="9-17", minute="*/15", weekday="mon-fri").expression == "*/15 9-17 * * MON-FRI"
    assert Cron(second=5, day="L", month="jan", tz="Asia/Tokyo") == Cron("5 * * L JAN *", "Asia/Tokyo")


def test_SCH_012_no_fields_are_every_minute() -> None:
    assert Cron() == Cron("* * * * *") == Cron(minute="", hour="")
    assert next_of(Cron(), MONDAY_8) == MONDAY_8 + timedelta(minutes=1)


@pytest.mark.parametrize("field", [{"minute": "1 2"}, {"hour": " "}, {"day": True}, {"month": 1.5}])
def test_a_named_field_is_one_field(field: dict[str, Any]) -> None:
    with pytest.raises(InvalidTrigger, match=rf"{next(iter(field))} must be a number or one field"):
        Cron(**field)


def test_an_expression_and_named_fields_are_too_much() -> None:
    with pytest.raises(InvalidTrigger, match="not both"):
        Cron("* * * * *", hour=9)


def test_macros_and_spelling() -> None:
    for macro, expression in MACROS.items():
        assert Cron(macro) == Cron(macro.upper()) == Cron(expression)
    assert Cron("  0  9 * jan\tmon ") == Cron("0 9 * JAN MON")


# --- which times --------------------------------------------------------------------------------------


def test_SCH_014_working_days() -> None:
    assert next_of(Cron("0 9 * * 1-5"), MONDAY_8) == MONDAY_8.replace(hour=9)
    assert next_of(Cron("0 9 * * 1-5"), datetime(2026, 11, 27, 9, tzinfo=UTC)) == datetime(2026, 11, 30, 9, tzinfo=UTC)


def test_the_second_comes_first() -> None:
    assert next_of(Cron("30 * * * * *"), MONDAY_8) == MONDAY_8.replace(second=30)
    assert next_of(Cron("*/20 5 8 * * *"), MONDAY_8) == MONDAY_8.replace(minute=5)


def test_a_slot_is_strictly_later_and_a_whole_second() -> None:
    every_second = Cron("* * * * * *")
    assert [every_second.next_after(t) for t in (10, 10.000001, 10.999999, -0.5)] == [11.0, 11.0, 11.0, 0.0]
    assert every_second.first_at(10) == 10.0
    assert every_second.first_at(10.000001) == 11.0


def test_far_ends_have_no_slot() -> None:
    assert Cron("@daily").next_after(1e15) is None
    assert Cron("@daily").next_after(-1e15) is not None
    assert Cron("@yearly", tz="Pacific/Kiritimati").next_after(2.4999e11) is not None


def test_daily() -> None:
    assert next_of(Daily(time(3, 30, 15), tz="Asia/Kolkata"), MONDAY_8) == datetime(2026, 11, 23, 22, 0, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ("09:00", r"datetime\.time\(9, 30\)"),
        (time(9, tzinfo=timezone.utc), "tz='Europe/Berlin'"),  # noqa: UP017
        (time(9, 0, 0, 5), "parts of a second"),
        (datetime(2026, 1, 1, 9, tzinfo=UTC), r"datetime\.time"),
    ],
)
def test_a_daily_time_is_a_plain_time(at: Any, says: str) -> None:
    with pytest.raises(InvalidTrigger, match=says):
        Daily(at)


# --- values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", [Cron("*/5 9 * * MON", tz="Europe/Berlin"), Daily(time(3), tz="Asia/Tokyo")])
def test_values_compare_print_and_travel(trigger: Cron | Daily) -> None:
    import datetime as dt

    for twin in (pickle.loads(pickle.dumps(trigger)), copy.deepcopy(trigger), copy.copy(trigger)):
        assert twin == trigger
        assert hash(twin) == hash(trigger)
        assert twin.next_after(0) == trigger.next_after(0)
    assert eval(repr(trigger), {"Cron": Cron, "Daily": Daily, "datetime": dt}) == trigger
    assert trigger != type(trigger).from_plain({**trigger.to_plain(), "tz": "UTC"})
    with pytest.raises(AttributeError):
        trigger.tz = "UTC"  # type: ignore[misc]  # frozen: that is the question
    assert not hasattr(trigger, "__dict__")


# --- beside cronsim -----------------------------------------------------------------------------------


def part(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high).map(str)
    span = st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda ab: f"{min(ab)}-{max(ab)}")
    step = st.integers(1, high).map(lambda n: f"*/{n}")
    return st.one_of(st.just("*"), number, span, step, st.lists(number, min_size=1, max_size=3).map(",".join))


EXPRESSIONS = st.tuples(
    st.one_of(st.just(""), part(0, 59)), part(0, 59), part(0, 23), st.one_of(part(1, 31), st.sampled_from(["L", "LW"])),
    part(1, 12), st.one_of(part(0, 7), st.sampled_from(["MON#2", "5L", "SUN"])),
).map(lambda parts: " ".join(parts).strip())  # fmt: skip


@given(EXPRESSIONS, st.datetimes(datetime(1970, 1, 1), datetime(2037, 12, 31)))  # noqa: DTZ001
def test_in_utc_the_times_are_those_of_cronsim(expression: str, begin: datetime) -> None:
    begin = begin.replace(tzinfo=UTC)
    try:
        sim = CronSim(expression, begin)
    except CronSimError:
        with pytest.raises(InvalidTrigger):
            Cron(expression)
        return
    try:
        expected = [next(sim).timestamp() for _ in range(5)]
    except (StopIteration, RuntimeError):
        assume(False)
        raise
    found = [slot.at for slot in Cron(expression).preview(5, after=begin)]
    assert found == expected

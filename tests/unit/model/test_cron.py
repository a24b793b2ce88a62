"""Cron expressions and daily times: what is read, what is refused, which times they mean."""

from __future__ import annotations

import copy
import io
import pickle
import struct
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import assume, given
from hypothesis import strategies as st

from mainspring.errors import InvalidOption, InvalidTrigger
from mainspring.model.cron import Cron, Daily
from mainspring.model.cron_plan import MACROS
from mainspring.model.every import Every

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
        ("60 * * * *", "minute '60': minutes are 0 to 59"),
        ("", "0 fields"),
        ("   ", "0 fields"),
        ("* * * * * * *", "7 fields"),
        ("0 24 * * *", "hour '24': hours are 0 to 23"),
        ("60 0 0 * * *", "second '60'"),
        ("0 0 0 * *", "day '0': days are 1 to 31, L "),
        ("0 0 * 13 *", "month '13': months are 1 to 12, JAN to DEC"),
        ("0 0 * foo *", "'0 0 \\* foo \\*' is no cron expression: month 'foo'"),
        ("0 0 * * 8", "weekday '8': weekdays are 0 to 7 "),
        ("0 0 * * Mon#6", "weekday 'Mon#6'"),
        ("0 0 15W * *", "day '15W': the working day nearest .* LW is the last one"),
        ("0 0 ? * *", r"day '\?': '\?' is not known here; write '\*'"),
        ("0 0 0 ? * ?", r"day '\?'"),
        ("30-10 * * * *", "minute '30-10' runs backwards; write 30-59,0-10$"),
        ("0 1,22-5 * * *", "write 22-23,0-5$"),
        ("0 0 * * 5-1", "write 5-6,0-1$"),
        ("0 0 * * 7-2", "write 0-2$"),
        ("0 0 * * fri-mon", "weekday 'fri-mon' runs backwards; write two ranges, such as FRI-SAT,SUN-MON"),
        ("*/0 * * * *", r"minute '\*/0': a step is 1 or more"),
        ("1" * 200 + " * * * *", "minute '1{200}'"),
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
    with pytest.raises(InvalidTrigger, match="is a text"):
        Cron(expression)
    with pytest.raises(InvalidTrigger, match="is a text"):
        Cron.from_plain({"expression": expression, "tz": "UTC"})


def test_a_forgotten_setting_is_not_every_minute() -> None:
    """No field at all is (SCH-012), but it is said by leaving the expression out."""
    with pytest.raises(InvalidTrigger, match=r"not None; every minute is '\* \* \* \* \*'"):
        Cron(None)  # type: ignore[arg-type]  # what a caller without a type checker writes
    with pytest.raises(InvalidTrigger, match="not both"):
        Cron(None, minute=5)  # type: ignore[arg-type]  # as above
    with pytest.raises(InvalidTrigger, match="0 fields"):
        Cron("")
    with pytest.raises(InvalidTrigger, match="has an expression"):
        Cron.from_plain({"tz": "UTC"})
    assert Cron() == Cron(tz="UTC") == Cron("* * * * *")


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
    for zone in (timezone(timedelta(hours=1)), None, 1):
        wrong: Any = zone
        with pytest.raises(InvalidTrigger, match="must be the name of a time zone such as 'Europe/Berlin', or its"):
            Cron("0 9 * * *", tz=wrong)


def test_a_zone_may_be_a_zone_info_or_utc() -> None:
    for zone in (ZoneInfo("Europe/Berlin"), UTC, timezone.utc, ZoneInfo("UTC")):  # noqa: UP017  # both spellings
        name = "UTC" if zone in {UTC, ZoneInfo("UTC")} else "Europe/Berlin"
        assert Cron("0 9 * * *", zone) == Cron("0 9 * * *", tz=name)
        assert Daily(time(9), zone).to_plain() == {"at": "09:00:00", "tz": name}
    with zone_file() as file, pytest.raises(InvalidTrigger, match="must be the name"):
        Daily(time(9), ZoneInfo.from_file(file))  # it has no name that a store could keep


def zone_file() -> BinaryIO:
    return io.BytesIO(
        b"TZif" + b"\0" * 16 + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lbb", 0, 0, 0) + b"UTC\0"
    )


# --- named fields -------------------------------------------------------------------------------------


def test_SCH_011_named_fields() -> None:
    assert Cron(minute=30, hour=14) == Cron("30 14 * * *")
    assert Cron(hour="9-17", minute="*/15", weekday="mon-fri").expression == "*/15 9-17 * * MON-FRI"
    assert Cron(second=5, minute="*", day="L", month="jan", tz="Asia/Tokyo") == Cron("5 * * L JAN *", "Asia/Tokyo")
    assert Cron(second=5) == Cron("5 * * * * *")


@pytest.mark.parametrize("field", [{"hour": 3}, {"day": "L"}, {"month": 1}, {"weekday": "mon", "minute": ""}])
def test_an_hour_or_more_is_named_with_its_minute(field: dict[str, Any]) -> None:
    with pytest.raises(InvalidTrigger, match=rf"{next(iter(field))}= without minute=: say minute=0, or minute='\*'"):
        Cron(**field)
    assert Cron(**{**field, "minute": "*"}).expression.startswith("* ")


@pytest.mark.parametrize(
    ("trigger", "words", "says"),
    [
        (Cron, {"timezone": "UTC"}, r"Cron has no timezone=…: here it is tz=…"),
        (Cron, {"day_of_week": "mon"}, r"Cron has no day_of_week=…: here it is weekday=…"),
        (Cron, {"start_date": MONDAY_8}, "options of the schedule"),
        (Daily, {"at": time(3), "zone": "UTC"}, r"Daily has no zone=…: here it is tz=…"),
        (Daily, {"hour": 3}, r"Daily\(time\(9, 30\)\)"),
        (Every, {"minutes": 5}, r"Every\(timedelta\(minutes=5\)\)"),
        (Every, {"interval": 5, "tz": "UTC"}, "intervals count real time"),
        (Cron, {"colour": "red"}, "unexpected keyword argument 'colour'"),
    ],
)
def test_words_of_others_are_answered_with_ours(trigger: Any, words: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        trigger(**words)


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

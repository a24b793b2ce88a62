from __future__ import annotations

import datetime as dt
import math
import urllib.error
from collections.abc import Mapping
from email.message import Message
from email.utils import format_datetime
from unittest.mock import Mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mainspring.errors import CircuitOpen, InvalidPolicy
from mainspring.retries import hints, retry_after
from mainspring.retries.backoff import LONGEST_WAIT
from mainspring.retries.hints import LONGEST_ASKED, asked_wait, parse_retry_after

NOVEMBER = "Sun, 06 Nov 1994 08:49:37 GMT"
THEN = 784_111_777.0


class Failed(Exception):
    """An error as the libraries make them: with whatever attributes."""

    def __init__(self, **attributes: object) -> None:
        super().__init__("failed")
        self.__dict__.update(attributes)


class Answer:
    def __init__(self, headers: object) -> None:
        self.headers = headers


class AnyCase(Mapping[str, str]):
    """Headers as httpx, requests and aiohttp have them."""

    def __init__(self, **headers: str) -> None:
        self._headers = {name.lower(): value for name, value in headers.items()}

    def __getitem__(self, name: str) -> str:
        return self._headers[name.lower()]

    def __iter__(self):  # type: ignore[no-untyped-def]  # a test double
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


class Slotted(Exception):
    __slots__ = ("headers",)

    def __init__(self, headers: object) -> None:
        self.headers = headers


class WithProperty(Exception):
    @property
    def retry_after(self) -> float:
        return 3.5


class OnInstancesOnly:
    def __get__(self, owner: object, kind: type) -> float:
        if owner is None:
            raise RuntimeError("no class attribute")
        return 2.0


class WithDescriptor(Exception):
    retry_after = OnInstancesOnly()


class Fragile(Exception):
    @property
    def retry_after(self) -> float:
        raise RuntimeError("not now")

    @property
    def response(self) -> Answer:
        return Answer({"Retry-After": "6"})


def message(**headers: str) -> Message:
    made = Message()
    for name, value in headers.items():
        made[name.replace("_", "-")] = value
    return made


def raised_from(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        pytest.param(Failed(response=Answer({"retry-after": "7"})), 7.0, id="httpx"),
        pytest.param(Failed(response=Answer(AnyCase(**{"Retry-After": "7"})), request=None), 7.0, id="requests"),
        pytest.param(Failed(headers=AnyCase(**{"RETRY-AFTER": "7"}), status=503), 7.0, id="aiohttp"),
        pytest.param(Failed(headers=None, status=503), None, id="aiohttp without headers"),
        pytest.param(
            urllib.error.HTTPError("http://localhost", 503, "busy", message(Retry_After="7"), None), 7.0, id="urllib"
        ),
        pytest.param(urllib.error.HTTPError("http://localhost", 503, "busy", message(), None), None, id="urllib none"),
        pytest.param(Failed(response={"ResponseMetadata": {"HTTPHeaders": {"retry-after": "7"}}}), 7.0, id="botocore"),
        pytest.param(Failed(response={"ResponseMetadata": 3}), None, id="botocore odd"),
        pytest.param(Failed(headers=[(b"content-length", b"0"), (b"Retry-After", b"7")]), 7.0, id="list of bytes"),
        pytest.param(Failed(headers={"Retry-After": 7}), 7.0, id="a number"),
        pytest.param(Failed(retry_after=7), 7.0, id="of its own"),
        pytest.param(Failed(retry_after=dt.timedelta(minutes=1)), 60.0, id="a timedelta of its own"),
        pytest.param(Failed(retry_after=0, headers={"retry-after": "9"}), 0.0, id="its own comes first"),
        pytest.param(Failed(retry_after=-1, headers={"retry-after": "9"}), 9.0, id="its own means nothing"),
        pytest.param(Failed(retry_after=math.nan), None, id="nan"),
        pytest.param(Failed(retry_after=math.inf), LONGEST_ASKED, id="inf"),
        pytest.param(Failed(retry_after=True), None, id="bool"),
        pytest.param(Failed(retry_after="7"), None, id="text of its own"),
        pytest.param(Slotted({"Retry-After": "7"}), 7.0, id="slots"),
        pytest.param(WithProperty(), 3.5, id="a property"),
        pytest.param(WithDescriptor(), 2.0, id="a descriptor"),
        pytest.param(Fragile(), 6.0, id="a property that fails"),
        pytest.param(Failed(response=Mock()), None, id="a mock"),
        pytest.param(Failed(headers=Mock()), None, id="headers of a mock"),
        pytest.param(CircuitOpen(4.0), 4.0, id="our own breaker"),
        pytest.param(OSError("down"), None, id="plain"),
        pytest.param(KeyError(), None, id="empty"),
    ],
)
def test_where_a_wait_is_found(error: BaseException, seconds: float | None) -> None:
    for _ in range(2):  # the second time its class is known
        assert retry_after(error) == seconds


def test_what_it_was_raised_from_is_asked_when_it_says_nothing() -> None:
    told = Failed(retry_after=5)
    assert retry_after(raised_from(OSError(), raised_from(ValueError(), told))) == 5.0
    assert retry_after(raised_from(Failed(retry_after=1), told)) == 1.0
    assert retry_after(raised_from(OSError(), KeyError())) is None


def test_of_a_group_the_longest_wait_counts() -> None:
    leaves = [Failed(retry_after=5), OSError(), ExceptionGroup("inner", [Failed(retry_after=9), Failed(retry_after=2)])]
    assert retry_after(ExceptionGroup("outer", leaves)) == 9.0
    assert retry_after(ExceptionGroup("outer", [OSError()])) is None


def test_circles_and_towers_of_errors_end() -> None:
    one, other = OSError(), ValueError()
    one.__cause__, other.__cause__ = other, one
    assert retry_after(one) is None
    group = ExceptionGroup("g", [one, KeyError()])
    one.__cause__ = group
    assert retry_after(group) is None
    tower: Exception = Failed(retry_after=3)
    for _ in range(5000):
        tower = ExceptionGroup("floor", [tower])
    assert retry_after(tower) == 3.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0), (" 120 ", 120.0), ("0", 0.0), ("1.5", 1.5), ("9" * 5000, LONGEST_WAIT),
        ("", None), (".", None), ("-1", None), ("+1", None), ("1e3", None), ("1_000", None), ("nan", None),
        ("inf", None), ("٣", None), ("soon", None), ("12 minutes", None),
        (NOVEMBER, 10.0), ("Sunday, 06-Nov-94 08:49:37 GMT", 10.0), ("Sun Nov  6 08:49:37 1994", 10.0),
        ("Sun, 06 Nov 1994 09:49:37 +0100", 10.0), ("Sun, 06 Nov 1994 08:49:37 -0000", 10.0),
        ("Sun, 06 Nov 1994 08:49:27 GMT", 0.0), ("Sun, 06 Nov 1993 08:49:37 GMT", 0.0),
        ("Sun, 31 Feb 1994 08:49:37 GMT", None), ("Sun, 06 Nov 99999 08:49:37 GMT", None),
    ],
)  # fmt: skip
def test_the_value_of_the_header(value: str, seconds: float | None) -> None:
    assert parse_retry_after(value, THEN - 10) == seconds


def test_a_date_is_measured_from_the_answers_own_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the other side may be wrong, but it is wrong in both headers."""
    headers = {"Retry-After": NOVEMBER, "Date": "Sun, 06 Nov 1994 08:49:07 GMT"}
    assert retry_after(Failed(headers=headers), now=0.0) == 30.0
    headers["Date"] = "yesterday"
    assert retry_after(Failed(headers=headers), now=THEN - 4) == 4.0
    monkeypatch.setattr("time.time", lambda: THEN - 3)
    assert retry_after(Failed(headers={"retry-after": NOVEMBER})) == 3.0
    assert parse_retry_after(NOVEMBER) == 3.0


def test_a_policys_own_hint_stands_in_place_of_the_built_in_one() -> None:
    error = Failed(retry_after=5, seconds=8)
    assert asked_wait(error) == 5.0
    assert asked_wait(error, lambda error: float(vars(error)["seconds"])) == 8.0
    assert asked_wait(error, lambda error: None) is None
    for nonsense in (math.nan, -3.0, "1", True):
        with pytest.raises(InvalidPolicy, match="seconds, 0 or more, or None; not"):  # for the caller to log
            asked_wait(error, lambda error, said=nonsense: said)  # type: ignore[misc]  # the case
    with pytest.raises(KeyError):
        asked_wait(error, lambda error: float(vars(error)["none"]))


texts = st.text() | st.binary() | st.sampled_from([NOVEMBER, "120", "Retry-After", "date"]) | st.datetimes().map(
    lambda at: format_datetime(at)
)  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | texts | st.timedeltas(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts, inner, max_size=3)
        | st.lists(st.tuples(inner, inner), max_size=2)
        | st.builds(Answer, inner)
    ),
    max_leaves=6,
)
header_values = anything | st.dictionaries(
    st.sampled_from(["Retry-After", "retry-after", "Date", b"retry-after"]), anything
)
errors = st.recursive(
    st.builds(Failed)
    | st.builds(lambda value: Failed(retry_after=value), anything)
    | st.builds(lambda value: Failed(headers=value), header_values)
    | st.builds(lambda value: Failed(response=Answer(value)), header_values)
    | st.builds(lambda value: Failed(response=value), anything),
    lambda inner: (
        st.builds(raised_from, inner, inner)
        | st.lists(inner, min_size=1, max_size=3).map(lambda leaves: BaseExceptionGroup("g", leaves))
    ),
    max_leaves=4,
)


@given(errors)
def test_whatever_hangs_on_an_error_gives_a_wait_or_none(error: BaseException) -> None:
    wait = retry_after(error, now=0.0)
    assert wait is None or 0.0 <= wait <= LONGEST_WAIT


@given(st.text() | texts.filter(lambda value: isinstance(value, str)), st.floats(0, 4e9))
@example("Mon, 1 Jan 0000 00:00:00 GMT", 0.0)
@example("1 Jan 9999 23:59:59 -2359", 0.0)
def test_whatever_the_header_says_gives_a_wait_or_none(value: str, now: float) -> None:
    wait = parse_retry_after(value, now)
    assert wait is None or 0.0 <= wait <= LONGEST_WAIT


def test_classes_that_say_nothing_are_not_kept_for_ever() -> None:
    for index in range(3 * hints._SILENT_KEPT):
        retry_after(type(f"Made{index}", (Exception,), {})())
    assert len(hints._SILENT) <= hints._SILENT_KEPT


@pytest.mark.parametrize(
    "error",
    [
        Failed(retry_after=1e9),
        Failed(retry_after=dt.timedelta(days=2)),
        Failed(headers={"Retry-After": "86401"}),
        Failed(response=Answer({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"})),
        raised_from(OSError(), Failed(headers={"Retry-After": 10**9})),
        ExceptionGroup("two", [Failed(retry_after=3), Failed(retry_after=1e9)]),
    ],
    ids=str,
)
def test_no_server_puts_a_call_to_sleep_for_more_than_a_day(error: BaseException) -> None:
    assert LONGEST_ASKED == 24 * 3600
    assert retry_after(error, now=0.0) == LONGEST_ASKED
    assert asked_wait(error) == LONGEST_ASKED
    assert asked_wait(error, lambda error: 1e9) == 1e9, "what the user's own function says is not cut"


def test_a_day_itself_is_not_cut() -> None:
    assert retry_after(Failed(headers={"Retry-After": "86400"})) == 86_400.0
    assert retry_after(Failed(headers={"Retry-After": "86399"})) == 86_399.0

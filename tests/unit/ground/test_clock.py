"""The system's clock keeps microseconds: what one store keeps is what the others keep (RULES C10)."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from mainspring.clock import FakeClock, SystemClock, seconds
from mainspring.errors import InvalidOption


@pytest.mark.parametrize(
    "nanoseconds", [0, 1_767_225_600_123_456_000, 1_767_225_600_123_456_789, 4_102_444_800_999_999_999]
)
def test_now_is_the_float_nearest_to_whole_microseconds(nanoseconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: nanoseconds)
    now = SystemClock().now()
    assert now == round(now, 6)
    assert round(now * 1_000_000) == nanoseconds // 1000


def test_now_is_now() -> None:
    before = time.time()
    assert before - 1e-5 <= SystemClock().now() <= time.time()


@pytest.mark.parametrize(("duration", "expected"), [(3, 3.0), (-0.5, -0.5), (timedelta(minutes=2), 120.0)])
def test_seconds(duration: float | timedelta, expected: float) -> None:
    assert seconds(duration) == expected
    assert type(seconds(duration)) is float


@pytest.mark.parametrize("given", ["30", "x", b"1", None, True, [1], object()])
def test_a_duration_is_no_text_and_the_error_names_the_option(given: Any) -> None:
    """One place for all options: a text that `float` would take is refused, too."""
    with pytest.raises(InvalidOption, match=r"^grace must be seconds or a timedelta, not "):
        seconds(given, "grace")
    with pytest.raises(InvalidOption, match=r"^a duration must be seconds or a timedelta, not "):
        FakeClock().advance(given)

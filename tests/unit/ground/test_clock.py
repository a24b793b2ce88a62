"""The system's clock keeps microseconds: what one store keeps is what the others keep (RULES C10)."""

from __future__ import annotations

import time

import pytest

from mainspring.clock import SystemClock


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

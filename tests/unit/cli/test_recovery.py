"""How soon a dead worker process is replaced: at once, but never in a hot loop."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mainspring.cli.recovery import LONGEST_WAIT, Recovery


def test_the_first_death_costs_no_wait() -> None:
    assert Recovery().died(1000.0).wait == 0.0


def test_a_death_now_and_then_costs_no_wait() -> None:
    recovery = Recovery()
    for minute in range(20):
        recovery = recovery.died(minute * 60.0)
        assert recovery.wait == 0.0


def test_deaths_at_every_start_are_slowed_down_and_go_on() -> None:
    recovery, at, starts = Recovery(), 0.0, 0
    while at < 600:
        recovery = recovery.died(at)
        at += recovery.wait + 0.2
        starts += 1
    assert 60 < starts < 200


def test_a_good_hour_forgives_everything() -> None:
    recovery = Recovery()
    for _ in range(50):
        recovery = recovery.died(0.0)
    assert recovery.wait == LONGEST_WAIT
    assert recovery.died(3600.0).wait == 0.0


@given(st.lists(st.floats(0, 1e6), max_size=60))
def test_the_wait_is_always_a_wait(gaps: list[float]) -> None:
    recovery, at = Recovery(), 0.0
    for gap in gaps:
        at += gap
        recovery = recovery.died(at)
        assert 0.0 <= recovery.wait <= LONGEST_WAIT

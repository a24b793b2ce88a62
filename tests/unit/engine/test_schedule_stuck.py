"""A schedule whose row somebody holds locked rests for a moment, and holds up no others."""

from __future__ import annotations

import math

from mainspring.engine.stuck import FIRST_REST, FORGOTTEN, LONGEST_REST, Stuck
from mainspring.model.schedule import Fire


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def fire(schedule: str = "held", *, expected: float = 1.0, revision: int = 1) -> Fire:
    return Fire(schedule=schedule, revision=revision, expected=expected, to=expected, next=None, due=None)


def test_once_stale_is_only_too_late() -> None:
    stuck = Stuck(Time())
    stuck.stale(fire())
    assert stuck.resting() == frozenset()
    assert stuck.next == math.inf


def test_one_that_looks_as_before_rests_ever_longer() -> None:
    time = Time()
    stuck = Stuck(time)
    stuck.stale(fire())
    rests: list[float] = []
    for _ in range(8):
        stuck.stale(fire())
        assert stuck.resting() == {"held"}
        rests.append(stuck.next - time.now)
        time.now = stuck.next
        assert stuck.resting() == frozenset()
    assert rests[0] == FIRST_REST
    assert rests == sorted(rests)
    assert rests[-1] == LONGEST_REST


def test_one_that_somebody_has_moved_does_not_rest() -> None:
    stuck = Stuck(Time())
    for expected in (1.0, 2.0, 3.0):
        stuck.stale(fire(expected=expected))
    stuck.stale(fire(expected=3.0, revision=2))
    assert stuck.resting() == frozenset()


def test_one_that_went_on_begins_anew() -> None:
    stuck = Stuck(Time())
    stuck.stale(fire())
    stuck.stale(fire())
    stuck.went_on("held")
    assert stuck.resting() == frozenset()
    stuck.stale(fire())
    assert stuck.resting() == frozenset()


def test_those_that_rest_no_more_are_forgotten() -> None:
    time = Time()
    stuck = Stuck(time)
    for number in range(FORGOTTEN):
        stuck.stale(fire(f"s{number}"))
    time.now = 2 * LONGEST_REST
    stuck.stale(fire("new"))
    stuck.stale(fire("s1"))
    assert stuck.resting() == frozenset(), "s1 was forgotten, and is new again"

"""From where claims and sweeps of PostgreSQL look, and when from the bottom (RULES H4, H5)."""

from __future__ import annotations

import math

from mainspring.model.record import JobRecord
from mainspring.store.base import Lane
from mainspring.store.postgres.claims import LATE, Bounds, Ration, depth, unfinished
from mainspring.store.postgres.floors import Floor, Floors

A, B = Lane("default", "a", "", 100), Lane("default", "b", "", 100)


def job(lane: Lane = A, *, due: float, priority: int = 0, suspect: bool = False) -> JobRecord:
    return JobRecord(
        id=f"{lane.task} {due}",
        task=lane.task,
        state="running",
        priority=priority,
        created=0.0,
        due=due,
        suspect=suspect,
    )


def starts(bounds: Bounds, *lanes: Lane) -> list[tuple[str, int, float]]:
    return [(each.task, each.rank, each.due) for each in bounds.stretches(lanes or (A,), "known")]


def test_H4_the_first_claim_looks_from_the_bottom() -> None:
    bounds = Bounds(1000.0)
    assert bounds.reach(5.0) == "bottom"
    [stretch] = bounds.stretches([A], "bottom")
    assert stretch.due == -math.inf


def test_H4_a_costly_look_is_not_repeated_at_once_even_when_it_failed() -> None:
    """Neither from the bottom nor at priorities that nothing is known of."""
    bounds = Bounds(1000.0)
    bounds.took("bottom", 0.2, 0, now=5.0)
    assert bounds.reach(5.1) == "open"
    bounds.took("open", 0.1, 0, now=5.2)
    assert bounds.reach(5.3) == "known"
    assert starts(bounds) == [("a", 0, 1000.0 - LATE)], "what was added since the worker joined is found"
    assert bounds.reach(7.3) == "open"
    assert bounds.reach(9.1) == "bottom"


def test_H4_what_a_claim_gave_is_no_walk() -> None:
    bounds = Bounds()
    bounds.took("bottom", 0.012, 500, now=5.0)
    bounds.claimed([A], 600, [job(due=1.0)], "bottom", 10.0)
    assert bounds.reach(5.1) == "bottom"


def test_H4_a_late_commit_does_not_pull_a_dry_lane_back_to_the_bottom() -> None:
    bounds = Bounds()
    bounds.claimed([A], 2, [job(due=50.0), job(due=60.0)], "open", 61.0)
    bounds.claimed([A], 2, [job(due=10.0)], "bottom", 62.0)
    assert starts(bounds) == [("a", 0, 60.0)]
    bounds.claimed([A], 2, [job(due=10.0), job(due=11.0)], "bottom", 62.0)
    assert starts(bounds) == [("a", 0, 11.0)], "there may be more just above"


def test_H4_a_suspect_moves_no_bound() -> None:
    bounds = Bounds()
    bounds.claimed([A], 2, [job(due=50.0), job(due=60.0)], "open", 61.0)
    bounds.claimed([A], 1, [job(due=1.0, suspect=True)], "open", 61.0)
    assert starts(bounds) == [("a", 0, 60.0)]


def test_H4_lanes_that_others_drained_are_not_walked_again_and_again() -> None:
    bounds = Bounds(10.0)
    bounds.took("bottom", 0.2, 0, now=5.0)
    bounds.claimed([A, B], 100, [job(A, due=500.0)], "bottom", 1000.0)
    opened = [(each.task, each.rank, each.due) for each in bounds.stretches([A, B], "open")]
    assert ("b", 0, 1000.0 - LATE) in opened
    assert ("a", 0, 1000.0 - LATE) in opened


def test_H5_a_lane_that_was_cut_short_is_asked_again() -> None:
    lanes = [Lane("default", f"t{n}", "", 100) for n in range(20)]
    deep = depth(100, len(lanes))
    assert deep == 20
    given = [job(lanes[3], due=float(n)) for n in range(deep)] + [job(lanes[4], due=1.0)]
    assert unfinished(lanes, given, deep) == [lanes[3]._replace(cap=80)]
    assert unfinished([A], given[:1], depth(100, 1)) == []
    assert unfinished([A._replace(cap=1)], [job(due=1.0)], 0) == [], "no more than its cap"


def test_H4_a_sweep_looks_above_what_it_has_walked_over() -> None:
    floors = Floors()
    assert floors.begin(1.0) == Floor()
    floors.took(Floor(), 0.1, 1.0)
    floors.found(1000.0, 990.0, None)
    assert floors.begin(1.1) == Floor(990.0, 1000.0 - LATE)
    floors.found(1001.0, 2000.0, None)
    assert floors.begin(1.2) == Floor(1001.0 - LATE, 1001.0 - LATE), "what is added later is found"
    assert floors.begin(3.0) == Floor()


def test_a_ration_counts_from_the_end_of_what_was_done() -> None:
    ration = Ration(share=0.1)
    ration.took(0.1, 10.0)
    assert not ration.allows(10.9)
    assert ration.allows(11.0)


def test_H9_bounds_are_void_when_the_clock_has_stepped_back() -> None:
    bounds = Bounds(1000.0)
    bounds.took("bottom", 1.0, 0, now=5.0)
    bounds.claimed([A], 2, [job(due=2000.0)], "bottom", 3000.0)
    bounds.claimed([A], 2, [], "known", 1500.0)
    assert bounds.stepped
    assert bounds.reach(5.0) == "bottom"
    assert starts(bounds) == [("a", 0, -math.inf)]
    bounds.claimed([A], 2, [], "bottom", 1500.1)
    assert not bounds.stepped


def test_H9_a_sweep_looks_from_the_bottom_when_the_clock_has_stepped_back() -> None:
    floors = Floors()
    floors.took(Floor(), 1.0, 1.0)
    floors.found(3000.0, None, None)
    assert floors.begin(1.1) != Floor()
    floors.found(1500.0, None, None)
    assert floors.begin(1.1) == Floor()

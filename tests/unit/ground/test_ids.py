"""Identifiers: they only grow, whatever the clock does, and they are real UUIDv7."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.ids import UuidSource, created_at, new_id

MS = 1_000_000  # nanoseconds
START = 1_767_225_600_000 * MS


def ticking(times: list[int]) -> Callable[[], int]:
    """A clock that shows these times, one for each look."""
    shown = iter(times)
    return lambda: next(shown)


@given(st.lists(st.integers(min_value=0, max_value=2**47 * MS), min_size=2, max_size=50))
def test_ids_only_grow_whatever_the_clock_shows(times: list[int]) -> None:
    make = UuidSource(ticking(times))
    made = [make() for _ in times]
    assert made == sorted(set(made))


@given(st.integers(min_value=0, max_value=2**47 * MS), st.binary(min_size=8, max_size=8))
def test_layout_is_that_of_rfc_9562(time_ns: int, entropy: bytes) -> None:
    text = UuidSource(lambda: time_ns, lambda size: entropy[:size])()
    made = uuid.UUID(text)
    assert str(made) == text
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int & (2**62 - 1) == int.from_bytes(entropy, "big") & (2**62 - 1)
    if time_ns * 4096 // MS > 0:  # the very first tick of 1970 counts as the one after it
        assert made.int >> 80 == time_ns // MS


def test_the_clock_stands_still() -> None:
    make = UuidSource(lambda: START)
    made = [make() for _ in range(10_000)]
    assert made == sorted(set(made))
    # 4,096 ids fit in a millisecond; beyond that the source runs a little ahead of the clock.
    assert created_at(made[-1]) - created_at(made[0]) == pytest.approx(0.002, abs=0.0011)


def test_the_clock_steps_back() -> None:
    make = UuidSource(ticking([START, START - 3_600_000 * MS, START + MS]))
    first, stepped, later = make(), make(), make()
    assert first < stepped < later
    assert created_at(stepped) == created_at(first)


def test_many_threads_share_one_source() -> None:
    make = UuidSource(lambda: START)
    made: list[list[str]] = [[] for _ in range(8)]
    ready = threading.Barrier(len(made))

    def work(mine: list[str]) -> None:
        ready.wait()
        mine.extend(make() for _ in range(500))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == sorted(mine) for mine in made)
    ticks = {text[:18] for mine in made for text in mine}
    assert len(ticks) == 4_000, "two threads were given the same tick: only their random bits differ"


def test_two_sources_do_not_meet() -> None:
    first, second = UuidSource(lambda: START), UuidSource(lambda: START)
    assert not {first() for _ in range(100)} & {second() for _ in range(100)}


def test_created_at_is_the_time_of_making() -> None:
    assert created_at(UuidSource(lambda: START + 5 * MS)()) == START / 1e9 + 0.005


@pytest.mark.parametrize("text", ["", "x", str(uuid.UUID(int=0)), "018f0000-0000-4000-8000-000000000000", "z" * 32])
def test_created_at_refuses_what_is_no_uuid7(text: str) -> None:
    with pytest.raises(ValueError, match=r"UUIDv7|invalid literal"):
        created_at(text)


def test_the_common_source_makes_different_ids() -> None:
    assert len({new_id() for _ in range(1_000)}) == 1_000

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.errors import InvalidPolicy
from mainspring.retries import Backoff, constant, exponential, jittered, linear
from mainspring.retries.backoff import DEFAULT_BACKOFF, LONGEST_WAIT, Jittered, JitterKind, delay_of

draws = st.floats(0, 1, exclude_max=True)
waits = st.floats(0.001, 1000)
indexes = st.integers(0, 2000)


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        pytest.param(exponential(1, cap=30), {0: 1, 1: 2, 3: 8}, id="BKO-001"),
        pytest.param(exponential(), {4: 16, 5: 30}, id="BKO-002"),
        pytest.param(exponential(1, cap=5, factor=10), {0: 1, 1: 5}, id="BKO-003"),
        pytest.param(exponential(1, cap=0), {3: 8, 6: 64}, id="BKO-004"),
        pytest.param(exponential(1, cap=None), {6: 64, 1000: LONGEST_WAIT, 100_000: LONGEST_WAIT}, id="BKO-007"),
        pytest.param(linear(0.1, cap=0.5), {0: 0.1, 4: 0.5, 5: 0.5, 9: 0.5}, id="BKO-010"),
        pytest.param(exponential(0.1), {0: 0.1, 1: 0.2}, id="BKO-013"),
        pytest.param(exponential(0.1, factor=3), {0: 0.1, 1: 0.3, 2: 0.9, 3: 2.7}, id="BKO-014"),
        pytest.param(exponential(0.1, cap=0.05), {0: 0.05, 7: 0.05}, id="BKO-021"),
        pytest.param(linear(0.1, cap=0.05), {0: 0.05, 7: 0.05}, id="BKO-021-linear"),
        pytest.param(constant(timedelta(minutes=1)), {0: 60, 99: 60}, id="constant"),
        pytest.param(constant(0), {0: 0, 99: 0}, id="at once"),
    ],
)
def test_waits(backoff: Backoff, expected: dict[int, float]) -> None:
    assert {index: backoff(index) for index in expected} == pytest.approx(expected)


@given(waits, waits, draws, indexes)
def test_BKO_009_additive_jitter_adds_less_than_its_amount(wait: float, amount: float, draw: float, index: int) -> None:
    delay = jittered(constant(wait), "additive", amount).delay(index, lambda: draw)
    assert wait <= delay <= wait + amount
    assert delay < wait + amount or draw > 0.999  # equal by rounding only


def test_BKO_016_jitter_without_a_backoff_is_refused() -> None:
    with pytest.raises(InvalidPolicy, match="backoff of jittered"):
        jittered()
    with pytest.raises(InvalidPolicy, match="not 3"):
        jittered(3)  # type: ignore[arg-type]  # what it says then


@given(waits, draws)
def test_BKO_017_a_proportional_amount_above_1_counts_as_1(wait: float, draw: float) -> None:
    spread = jittered(constant(wait), "proportional", 10.0)
    assert spread == jittered(constant(wait), "proportional", 1.0)
    assert 0 <= spread.delay(0, lambda: draw) <= 2 * wait


@pytest.mark.parametrize("kind", ["proportional", "additive"])
@given(index=indexes, draw=draws)
def test_BKO_018_jitter_of_0_changes_nothing(kind: JitterKind, index: int, draw: float) -> None:
    assert jittered(exponential(), kind, 0).delay(index, lambda: draw) == exponential()(index)


@pytest.mark.parametrize("kind", ["full", "proportional", "additive"])
@given(cap=waits, index=indexes, draw=draws)
def test_BKO_019_the_cap_is_the_cap(kind: JitterKind, cap: float, index: int, draw: float) -> None:
    for backoff in (exponential(1, cap=cap), linear(1, cap=cap)):
        assert 0 <= jittered(backoff, kind).delay(index, lambda: draw) <= cap
    assert 0 <= jittered(exponential(1, cap=None), kind, cap=cap).delay(index, lambda: draw) <= cap


def test_full_jitter_draws_from_the_whole_wait() -> None:
    spread = jittered(exponential(1, cap=30))
    assert [spread.delay(3, draw) for draw in (lambda: 0.0, lambda: 0.25, lambda: 0.5)] == [0, 2, 4]
    assert spread == DEFAULT_BACKOFF


def test_proportional_jitter_goes_both_ways() -> None:
    spread = jittered(constant(10), "proportional", 0.1)
    assert [spread.delay(0, draw) for draw in (lambda: 0.0, lambda: 0.5)] == [9, 10]


def test_jitter_by_itself_draws_from_the_random_module() -> None:
    spread = jittered(constant(1))
    drawn = {spread(0) for _ in range(50)}
    assert len(drawn) > 40
    assert all(0 <= wait < 1 for wait in drawn)


def test_jitter_of_jitter_uses_the_same_source() -> None:
    spread = jittered(jittered(constant(8)), "proportional", 0.5)
    assert spread.delay(0, lambda: 0.25) == 8 * 0.25 * 0.75


@given(st.sampled_from([exponential(1, cap=None), linear(1), constant(LONGEST_WAIT * 5)]), st.integers(0, 10**6), draws)
def test_no_wait_is_negative_or_endless(backoff: Backoff, index: int, draw: float) -> None:
    for each in (backoff, jittered(backoff), jittered(backoff, "additive", LONGEST_WAIT)):
        assert 0 <= delay_of(each, index, lambda: draw) <= LONGEST_WAIT


@pytest.mark.parametrize(("answer", "wait"), [(-1, 0), (float("nan"), 0), (float("inf"), LONGEST_WAIT), (3, 3), (0, 0)])
def test_a_backoff_of_the_users_own_is_kept_in_bounds(answer: float, wait: float) -> None:
    assert delay_of(lambda index: answer, 0, lambda: 0.5) == wait


@pytest.mark.parametrize(
    ("make", "field"),
    [
        pytest.param(lambda: exponential(factor=1), "factor", id="RET-015"),
        (lambda: exponential(factor=True), "factor"),
        (lambda: exponential(factor=float("inf")), "factor"),
        (lambda: exponential(0), "initial"),
        (lambda: exponential(cap=-1), "cap"),
        (lambda: linear(-1), "initial"),
        (lambda: linear(True), "initial"),
        (lambda: linear(1, cap=float("nan")), "cap"),
        (lambda: constant(-1), "wait"),
        (lambda: constant("1"), "wait"),  # type: ignore[arg-type]  # refused at run time, too
        (lambda: constant(float("inf")), "wait"),
        (lambda: jittered(constant(1), "proportional", -0.1), "amount"),
        (lambda: jittered(constant(1), "full", 1), "amount"),
        (lambda: jittered(constant(1), "funny"), "kind"),  # type: ignore[arg-type]  # refused at run time, too
    ],
)
def test_what_means_nothing_is_refused(make: Callable[[], Backoff], field: str) -> None:
    with pytest.raises(InvalidPolicy, match=field):
        make()


@pytest.mark.parametrize("backoff", [constant(1), linear(1), exponential(), jittered(linear(1, cap=3), "additive", 2)])
def test_backoffs_are_values(backoff: Backoff) -> None:
    assert pickle.loads(pickle.dumps(backoff)) == backoff
    assert copy.copy(backoff) == backoff
    assert len({backoff, copy.deepcopy(backoff)}) == 1
    with pytest.raises(AttributeError, match="immutable"):
        backoff.seconds = 2  # type: ignore[attr-defined]  # the point
    with pytest.raises(AttributeError, match="immutable"):
        del backoff.cap  # type: ignore[attr-defined]  # the point


def test_a_value_is_shown_by_its_fields() -> None:
    assert repr(exponential(1, cap=5)) == "Exponential(initial=1.0, cap=5.0, factor=2.0)"
    assert constant(1) != linear(1)
    assert isinstance(DEFAULT_BACKOFF, Jittered)

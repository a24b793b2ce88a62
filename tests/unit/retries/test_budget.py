from __future__ import annotations

import pickle
import threading
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.errors import InvalidPolicy
from mainspring.retries import Retry, RetryBudget

shares = st.floats(0.001, 1)
bursts = st.integers(1, 20)
sequences = st.lists(st.booleans(), max_size=200)


@given(shares, bursts, sequences)
def test_retries_are_at_most_a_share_of_the_calls_and_the_burst(share: float, burst: int, calls: list[bool]) -> None:
    """And no fewer than that where calls and retries come in turn: only what flows over the full bucket is lost."""
    budget = RetryBudget(share, burst)
    called = retried = 0
    tokens = Fraction(burst)
    for is_call in calls:
        if is_call:
            budget.called()
            called += 1
            tokens = min(tokens + Fraction(share), Fraction(burst))
        else:
            had = budget.spend()
            assert had or tokens < Fraction("1.0001")
            tokens -= had
            retried += had
        assert retried <= burst + Fraction(share) * called
        assert 0 <= budget.left <= burst


def test_it_is_full_at_first_and_never_fuller() -> None:
    budget = RetryBudget(share=1.0, burst=3)
    for _ in range(100):
        budget.called()
    assert [budget.spend() for _ in range(5)] == [True, True, True, False, False]
    assert budget.left == 0.0
    budget.called()
    assert budget.left == 1.0


def test_shares_do_not_add_up_wrongly() -> None:
    """Ten times 0.1 is one retry, not a bit less."""
    budget = RetryBudget(share=0.1, burst=1)
    assert budget.spend()
    for _ in range(10):
        assert not budget.spend()
        budget.called()
    assert budget.spend()


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan"), float("inf"), True, "0.1", None])
def test_a_share_that_means_nothing_is_refused(share: float) -> None:
    with pytest.raises(InvalidPolicy, match="share"):
        RetryBudget(share=share)


@pytest.mark.parametrize("burst", [0, -1, 1.5, True, "10", None])
def test_a_burst_that_means_nothing_is_refused(burst: int) -> None:
    with pytest.raises(InvalidPolicy, match="burst"):
        RetryBudget(burst=burst)


def test_threads_share_one_budget() -> None:
    budget = RetryBudget(share=0.5, burst=10)
    spent: list[int] = []
    together = threading.Barrier(4)

    def work() -> None:
        together.wait(10)
        mine = 0
        for _ in range(500):
            budget.called()
            mine += budget.spend()
        spent.append(mine)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert 2000 * 0.5 <= sum(spent) <= 10 + 2000 * 0.5


def test_it_is_a_live_object_and_says_so() -> None:
    budget = RetryBudget()
    assert repr(budget) == "RetryBudget(share=0.1, burst=10)"
    assert Retry(on=OSError, budget=budget) == Retry(on=OSError, budget=budget)
    assert Retry(on=OSError, budget=budget) != Retry(on=OSError, budget=RetryBudget())
    with pytest.raises(TypeError, match="make one in each process"):
        pickle.dumps(Retry(on=OSError, budget=budget))

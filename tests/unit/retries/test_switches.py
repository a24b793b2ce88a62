from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest

from mainspring.errors import CircuitOpen, InvalidPolicy
from mainspring.retries import (
    TRANSPORT,
    Baseline,
    CircuitBreaker,
    RetriesExhausted,
    Retry,
    RetryBudget,
    Rule,
    WaitHint,
    attempts_of,
    constant,
    retry,
)
from mainspring.retries.failures import Failures, Terms
from mainspring.retries.hooks import Hooks, RetryDetails
from mainspring.retries.switches import is_active, is_testing, set_active, set_testing
from tests.unit.retries.conftest import raising

if TYPE_CHECKING:
    from tests.unit.retries.conftest import Paced, Way

SLOW = Retry(on=OSError, attempts=5, backoff=constant(3600))


# --- off --------------------------------------------------------------------------------------------------


def test_off_means_one_attempt_and_the_error_as_it_is(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mainspring.retries")
    told: list[RetryDetails] = []
    hooks = Hooks(told.append, told.append, told.append)
    set_active(False)
    error = OSError("down")
    for policy in (SLOW, Retry(on=OSError, give_up_after=60), Retry(on=OSError, raise_group=True)):
        with pytest.raises(OSError, match="down") as caught:
            way(raising(error), policy, hooks=hooks)
        assert caught.value is error
    assert not hasattr(error, "__notes__")
    assert attempts_of(error) == ()
    assert told == []
    assert caplog.records == []


def test_on_again(way: Way) -> None:
    set_active(False)
    assert not is_active()
    set_active(True)
    assert is_active()
    assert way(raising(OSError()), SLOW) == 2


def test_it_concerns_a_call_under_way(paced: Paced) -> None:
    def ask() -> None:
        set_active(len(paced.waits) < 2)
        raise OSError

    with pytest.raises(OSError) as caught:
        retry(SLOW)(ask)()
    assert len(paced.waits) == 2
    assert not hasattr(caught.value, "__notes__")


def test_an_open_circuit_lets_nobody_in_all_the_same(way: Way) -> None:
    breaker = CircuitBreaker(failures=1, pause=3600)
    with pytest.raises(OSError):
        way(raising(OSError()), Retry(on=OSError, attempts=1, breaker=breaker))
    set_active(False)
    with pytest.raises(CircuitOpen):
        way(raising(), Retry(on=OSError, breaker=breaker))


def test_a_breaker_hears_of_failures_that_somebody_knows_all_the_same(way: Way) -> None:
    breaker = CircuitBreaker(failures=3, pause=3600)
    baseline = Baseline({TRANSPORT: Retry(on=Exception)})
    set_active(False)
    for error in (OSError(), KeyError(), OSError(), TimeoutError()):
        assert breaker.state == "closed"
        with pytest.raises(type(error)):
            way(raising(error), Retry(on=OSError, breaker=breaker), baseline=baseline)
    assert breaker.state == "open"
    assert breaker.snapshot(0.0).failures == 3, "not of the one that nobody knows"


def test_a_baseline_alone_may_know_the_failure(way: Way) -> None:
    breaker = CircuitBreaker(failures=1, pause=3600)
    set_active(False)
    with pytest.raises(TimeoutError):
        way(
            raising(TimeoutError()),
            Retry(on=KeyError, breaker=breaker),
            baseline=Baseline({TRANSPORT: Retry(on=Exception)}),
        )
    assert breaker.state == "open"


# --- testing ----------------------------------------------------------------------------------------------


def test_testing_waits_for_nothing_and_caps_the_attempts(way: Way, paced: Paced) -> None:
    last = OSError("last")
    with set_testing(True, attempts=3), pytest.raises(OSError, match="last") as caught:
        way(raising(OSError(), OSError(), last), SLOW)
    assert caught.value is last
    assert last.__notes__ == ["gave up after 3 attempts in 0.0 s, attempts capped by set_testing"]
    assert [attempt.wait for attempt in attempts_of(last)] == [0.0, 0.0, None]
    assert paced.waits == []


def test_testing_makes_one_attempt_unless_told_otherwise(way: Way) -> None:
    set_testing(True)
    with pytest.raises(OSError):
        way(raising(OSError()), SLOW)


def test_below_the_cap_a_call_succeeds(way: Way) -> None:
    set_testing(True, attempts=4)
    assert way(raising(OSError(), OSError(), OSError()), SLOW) == 4


def test_a_policy_that_gives_up_earlier_still_does(way: Way) -> None:
    last = OSError("second")
    with set_testing(True, attempts=10), pytest.raises(OSError, match="second"):
        way(raising(OSError(), last), Retry(on=OSError, attempts=2))
    assert last.__notes__ == ["gave up after 2 attempts in 0.0 s"]


def test_the_cap_is_on_all_attempts_whatever_their_rules(way: Way) -> None:
    policy = Retry(Rule(OSError, 3), Rule(KeyError, 3))
    with set_testing(True, attempts=3), pytest.raises(OSError, match="third"):
        way(raising(OSError(), KeyError(), OSError("third")), policy)


def test_an_unlimited_policy_ends(way: Way) -> None:
    with set_testing(True, attempts=100), pytest.raises(OSError):
        way(raising(*[OSError()] * 1000), Retry(on=OSError, attempts=None))


def test_an_unlisted_error_is_raised_unchanged(way: Way) -> None:
    error = KeyError()
    with set_testing(True, attempts=3), pytest.raises(KeyError):
        way(raising(error), SLOW)
    assert not hasattr(error, "__notes__")


def test_a_group_and_hooks_are_those_of_a_real_end(way: Way) -> None:
    told: list[RetryDetails] = []
    policy = Retry(on=OSError, backoff=constant(3600), raise_group=True)
    with set_testing(True, attempts=2), pytest.raises(RetriesExhausted) as caught:
        way(raising(OSError(), OSError()), policy, hooks=Hooks(before_wait=told.append, gave_up=told.append))
    assert len(caught.value.exceptions) == 2
    assert [(details.attempt, details.wait) for details in told] == [(1, 0.0), (2, None)]


def test_nested_contexts_restore_what_was_before(way: Way) -> None:
    def attempts() -> int:
        made: list[int] = []

        def ask() -> int:
            made.append(1)
            raise OSError

        with pytest.raises(OSError):
            way(ask, Retry(on=OSError, attempts=9, backoff=constant(0)))
        return len(made)

    with set_testing(True, attempts=2):
        with set_testing(True, attempts=4):
            with set_testing(False):
                assert not is_testing()
                assert attempts() == 9
            assert attempts() == 4
        assert is_testing()
        assert attempts() == 2
    assert not is_testing()
    assert attempts() == 9


def test_the_context_ends_with_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), set_testing(True):
        raise ZeroDivisionError
    assert not is_testing()


def test_the_two_switches_do_not_undo_each_other() -> None:
    with set_testing(True):
        set_active(False)
    assert not is_active()
    assert not is_testing()
    set_testing(True)
    set_active(True)
    assert is_testing()


@pytest.mark.parametrize("attempts", [0, -1, None, 1.5, True])
def test_a_cap_that_means_nothing_is_refused(attempts: int) -> None:
    with pytest.raises(InvalidPolicy, match=f"^attempts must be a whole number, 1 or more; not {attempts!r}$"):
        set_testing(True, attempts=attempts)
    assert not is_testing()


def test_the_switches_are_those_of_the_process(paced: Paced) -> None:
    with set_testing(True, attempts=3):
        results: list[int] = []
        ask = retry(SLOW)(lambda: results.append(1))
        failing = retry(SLOW)(raising(OSError(), OSError()))
        threads = [threading.Thread(target=ask), threading.Thread(target=lambda: results.append(failing()))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert sorted(results) == [1, 3]


def test_loops_of_mainspring_itself_are_not_concerned() -> None:
    failures = Failures(Terms(SLOW, inner=True))
    set_active(False)
    assert failures.add(OSError(), 0.0) == 3600.0
    set_active(True)
    set_testing(True)
    assert failures.add(OSError(), 0.0) == 3600.0


@pytest.mark.parametrize("hint", [None, lambda error: 3600.0])
def test_a_wait_that_is_not_made_is_not_weighed_against_the_limit(way: Way, hint: WaitHint | None) -> None:
    policy = Retry(on=OSError, attempts=5, backoff=constant(30), give_up_after=10, wait_hint=hint)
    baseline = Baseline({TRANSPORT: Retry(on=Exception, backoff=constant(30), give_up_after=10)})
    with set_testing(True, attempts=3):
        assert way(raising(OSError(), OSError()), policy) == 3
        assert way(raising(TimeoutError(), TimeoutError()), Retry(on=KeyError), baseline=baseline) == 3
        last = OSError("last")
        with pytest.raises(OSError, match="last"):
            way(raising(OSError(), OSError(), last), policy)
    assert last.__notes__ == ["gave up after 3 attempts in 0.0 s, attempts capped by set_testing"]


def test_a_limit_that_has_passed_ends_a_test_too(paced: Paced) -> None:
    def ask() -> None:
        paced.clock.advance(6)
        raise OSError

    with set_testing(True, attempts=9), pytest.raises(OSError) as caught:
        retry(Retry(on=OSError, attempts=9, backoff=constant(30), give_up_after=10))(ask)()
    assert caught.value.__notes__ == ["gave up after 2 attempts in 12.0 s, give_up_after=10"]


def test_the_cap_is_looked_at_before_the_budget_pays(way: Way) -> None:
    budget = RetryBudget(burst=4)
    with set_testing(True, attempts=3), pytest.raises(OSError):
        way(raising(*[OSError()] * 3), Retry(on=OSError, budget=budget))
    assert budget.left == 2, "one for each retry that was made"

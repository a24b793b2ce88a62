"""When a call under way gives up for what is not counted by its own rules: a baseline's limit, an open circuit."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from mainspring.errors import CircuitOpen
from mainspring.retries import (
    TRANSPORT,
    Baseline,
    CircuitBreaker,
    RetriesExhausted,
    Retry,
    RetryBudget,
    attempts_of,
    constant,
    retry,
)
from mainspring.retries.breaker import Snapshot
from mainspring.testing.virtual import run_virtual
from tests.unit.retries.conftest import Told, raising

if TYPE_CHECKING:
    from tests.unit.retries.conftest import Paced, Way

# --- give_up_after of a baseline ------------------------------------------------------------------------


def test_the_note_names_no_limit_that_was_not_the_one(way: Way) -> None:
    baseline = Baseline({TRANSPORT: Retry(on=OSError, backoff=constant(5), give_up_after=3)})
    with pytest.raises(ConnectionResetError) as caught:
        way(raising(ConnectionResetError()), Retry(on=KeyError, give_up_after=60), baseline=baseline)
    assert caught.value.__notes__ == ["gave up after 1 attempt in 0.0 s, give_up_after reached"]


TEN_SECONDS = Baseline({TRANSPORT: Retry(on=Exception, attempts=None, backoff=constant(1), give_up_after=10)})


@pytest.mark.parametrize(("attempt_takes", "attempts"), [(3, 3), (9.5, 1), (60, 1)])
def test_a_limit_of_the_baseline_counts_from_the_start_of_the_call(
    paced: Paced, attempt_takes: float, attempts: int
) -> None:
    def ask() -> None:
        paced.clock.advance(attempt_takes)
        raise TimeoutError

    with pytest.raises(TimeoutError) as caught:
        retry(on=KeyError, baseline=TEN_SECONDS)(ask)()
    made = attempts_of(caught.value)
    assert len(made) == attempts
    assert made[0].seconds == attempt_takes
    assert made[-1].seconds == attempts * (attempt_takes + 1) - 1


def test_it_cuts_no_async_attempt_short() -> None:
    async def ask() -> str:
        await asyncio.sleep(60)
        return "late"

    assert run_virtual(retry(on=KeyError, baseline=TEN_SECONDS)(ask)()) == "late"


def test_an_async_call_is_counted_from_its_start_as_well() -> None:
    async def ask() -> None:
        await asyncio.sleep(60)
        raise TimeoutError

    with pytest.raises(TimeoutError) as caught:
        run_virtual(retry(on=KeyError, baseline=TEN_SECONDS)(ask)())
    assert [(made.number, made.seconds) for made in attempts_of(caught.value)] == [(1, 60.0)]


# --- a circuit that opens during a call -----------------------------------------------------------------


@pytest.mark.parametrize("wait", [0, 1, 29.9])
def test_the_failure_that_opens_the_circuit_is_the_last(
    way: Way, paced: Paced, wait: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is told of a wait for an attempt that would be refused, and none is made."""
    caplog.set_level(logging.INFO, "mainspring.retries")
    told, last = Told(), OSError("second")
    budget = RetryBudget(burst=5)
    policy = Retry(
        on=OSError, backoff=constant(wait), breaker=CircuitBreaker(failures=2, pause=30), budget=budget, attempts=9
    )
    with pytest.raises(OSError, match="second") as caught:
        way(raising(OSError("first"), last), policy, hooks=told.hooks)
    assert caught.value is last
    assert last.__notes__ == [f"gave up after 2 attempts in {wait:.1f} s, circuit open"]
    assert [(moment, details.attempt, details.wait) for moment, details in told.of] == [
        ("before_wait", 1, wait),
        ("gave_up", 2, None),
    ]
    assert [record.getMessage().partition(" failed")[2][:7] for record in caplog.records] == [", again", ""]
    assert budget.left == 4, "one retry was made"
    assert sum(paced.waits) <= wait


def test_a_wait_as_long_as_the_pause_ends_in_a_probe(way: Way) -> None:
    breaker = CircuitBreaker(failures=1, pause=30)
    assert way(raising(OSError(), OSError()), Retry(on=OSError, backoff=constant(30), breaker=breaker)) == 3
    assert breaker.state == "closed"


def test_a_group_is_raised_when_asked_for(way: Way) -> None:
    policy = Retry(on=OSError, backoff=constant(1), raise_group=True, breaker=CircuitBreaker(failures=2))
    with pytest.raises(RetriesExhausted, match=r"gave up after 2 attempts in 1\.0 s, circuit open"):
        way(raising(OSError(), OSError()), policy)


def test_a_call_that_is_refused_at_once_is_not_told_of(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mainspring.retries")
    told, breaker = Told(), CircuitBreaker(failures=1)
    breaker.failed(0.0, 1e9)
    with pytest.raises(CircuitOpen):
        way(raising(), Retry(on=OSError, breaker=breaker), hooks=told.hooks)
    assert told.of == []
    assert caplog.records == []


class Shared:
    """A breaker of the user's own, which opens at the second failure and can say for how long."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def admit(self, now: float, /) -> float:
        self.lines.append("asked")
        return 0.0

    def succeeded(self, admitted: float, now: float, /) -> None:
        raise AssertionError

    def failed(self, admitted: float, now: float, /) -> None:
        self.lines.append("failed")

    def abandoned(self, admitted: float, now: float, /) -> None:
        raise AssertionError

    def snapshot(self, now: float) -> Snapshot:
        shut = self.lines.count("failed") == 2
        return Snapshot(None, "open" if shut else "closed", 0, 1.5 if shut else 0.0)


def test_a_breaker_of_ones_own_may_say_how_long_it_is_shut(way: Way) -> None:
    breaker = Shared()
    with pytest.raises(OSError, match="second"):
        way(raising(OSError(), OSError("second")), Retry(on=OSError, backoff=constant(1), breaker=breaker))
    assert breaker.lines == ["asked", "failed"] * 2

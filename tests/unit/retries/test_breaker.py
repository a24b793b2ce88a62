from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mainspring.errors import CircuitOpen, InvalidPolicy, MainspringError
from mainspring.retries import CircuitBreaker, Retry
from mainspring.retries.breaker import TABLE, CircuitState, Event


def opened(failures: int = 1, *, probes: int = 1) -> CircuitBreaker:
    """One that opened at 0.0 and pauses for 30 s."""
    breaker = CircuitBreaker(failures, 30, probes=probes, name="billing")
    for _ in range(failures):
        breaker.failed(0.0, 0.0)
    assert breaker.state == "open"
    return breaker


def state_of(breaker: CircuitBreaker) -> CircuitState:
    """Asked through a function, because type checkers think that a property stays what it was."""
    return breaker.state


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    breaker = CircuitBreaker(failures=3)
    for answer in (breaker.failed, breaker.failed, breaker.succeeded, breaker.failed, breaker.failed):
        assert breaker.admit(1.0) == 0.0
        answer(1.0, 2.0)
        assert state_of(breaker) == "closed"
    breaker.abandoned(1.0, 2.0)  # neither a failure nor a success
    assert state_of(breaker) == "closed"
    breaker.failed(1.0, 2.0)
    assert state_of(breaker) == "open"


def test_open_it_says_when_to_ask_again() -> None:
    breaker = opened()
    assert [breaker.admit(now) for now in (0.0, 10.0, 29.5)] == [30.0, 20.0, 0.5]
    assert state_of(breaker) == "open"
    assert breaker.admit(30.0) == 0.0
    assert state_of(breaker) == "half_open"


def test_only_probes_go_through_half_open() -> None:
    breaker = opened(probes=2)
    assert [breaker.admit(31.0), breaker.admit(32.0), breaker.admit(33.0)] == [0.0, 0.0, 29.0]
    breaker.succeeded(31.0, 34.0)
    assert breaker.state == "closed"
    assert breaker.admit(34.0) == 0.0


def test_a_failed_probe_opens_it_for_another_pause() -> None:
    breaker = opened(failures=5)
    assert breaker.admit(40.0) == 0.0
    breaker.failed(40.0, 41.0)
    assert (breaker.state, breaker.admit(42.0)) == ("open", 29.0)


def test_after_it_closed_the_row_begins_anew() -> None:
    breaker = opened(failures=2)
    breaker.admit(30.0)
    breaker.succeeded(30.0, 31.0)
    breaker.failed(32.0, 33.0)
    assert breaker.state == "closed"


def test_an_abandoned_probe_gives_its_place_back() -> None:
    breaker = opened()
    assert (breaker.admit(30.0), breaker.admit(31.0)) == (0.0, 29.0)
    breaker.abandoned(30.0, 32.0)
    assert breaker.state == "half_open"
    assert (breaker.admit(33.0), breaker.admit(34.0)) == (0.0, 29.0)


def test_a_probe_that_never_answers_does_not_keep_it_shut() -> None:
    breaker = opened()
    assert (breaker.admit(30.0), breaker.admit(59.0)) == (0.0, 1.0)
    assert (breaker.admit(60.0), breaker.admit(61.0)) == (0.0, 29.0)
    breaker.abandoned(30.0, 62.0)  # its place was taken back already, and is not that of the second one
    assert breaker.admit(63.0) == 27.0
    breaker.succeeded(30.0, 64.0)  # but it may still say that the other side lives
    assert breaker.state == "closed"


@pytest.mark.parametrize("answer", ["succeeded", "failed", "abandoned"])
def test_late_answers_say_nothing(answer: str) -> None:
    """Of attempts that began before it opened: while it is open, half open, and closed again."""
    breaker = opened()
    late: Callable[[float, float], None] = getattr(breaker, answer)
    late(-1.0, 1.0)
    assert (breaker.state, breaker.admit(29.0)) == ("open", 1.0)
    assert breaker.admit(30.0) == 0.0
    late(-1.0, 31.0)
    assert (breaker.state, breaker.admit(32.0)) == ("half_open", 28.0)
    breaker.succeeded(30.0, 33.0)
    late(-1.0, 34.0)
    assert breaker.state == "closed"


def test_a_snapshot_changes_nothing() -> None:
    breaker = opened(failures=2)
    assert breaker.snapshot(10.0) == ("billing", "open", 2, 20.0)
    assert breaker.snapshot(99.0) == ("billing", "open", 2, 0.0)
    assert breaker.state == "open"
    assert CircuitBreaker().snapshot(0.0) == (None, "closed", 0, 0.0)


@pytest.mark.parametrize("wrong", [{"failures": 0}, {"failures": True}, {"pause": 0}, {"pause": -1}, {"probes": 0}])
def test_numbers_that_mean_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidPolicy, match=next(iter(wrong))):
        CircuitBreaker(**wrong)  # type: ignore[arg-type]  # only numbers here


def test_every_event_has_a_row_in_every_state_and_each_row_can_be_reached() -> None:
    for event in get_args(Event):
        for state in get_args(CircuitState):
            rows = [row for row in TABLE if (row.event, row.state) == (event, state)]
            assert [row for row in rows if not row.when] == rows[-1:], (event, state)
    assert all(row.goes is False for row in TABLE if row.event != "asked")


def test_it_is_a_live_object_and_says_so() -> None:
    breaker = CircuitBreaker(name="billing")
    assert repr(breaker) == "CircuitBreaker(failures=5, pause=30, probes=1, name='billing')"
    assert Retry(on=OSError, breaker=breaker) == Retry(on=OSError, breaker=breaker)
    assert Retry(on=OSError, breaker=breaker) != Retry(on=OSError, breaker=CircuitBreaker(name="billing"))
    with pytest.raises(TypeError, match="make one in each process"):
        pickle.dumps(breaker)


def test_circuit_open_says_when_to_come_back() -> None:
    error = CircuitOpen(12.345, "billing")
    assert isinstance(error, MainspringError)
    assert str(error).endswith("'billing' is open after too many failures in a row; ask again in 12.3 s")
    again = pickle.loads(pickle.dumps(error))
    assert (again.retry_after, again.name, str(again)) == (12.345, "billing", str(error))
    assert "the circuit breaker is open" in str(CircuitOpen(1.0))


def test_threads_share_one_breaker() -> None:
    breaker = opened(probes=3)
    together = threading.Barrier(8)
    answers: list[float] = []

    def ask() -> None:
        together.wait(10)
        answers.append(breaker.admit(30.0))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(answers) == [0.0] * 3 + [30.0] * 5


class Circuit(RuleBasedStateMachine):
    """Any calls at any times, against what is promised, said in other words than those of the table."""

    @initialize(failures=st.integers(1, 4), pause=st.integers(1, 20), probes=st.integers(1, 3))
    def begin(self, failures: int, pause: int, probes: int) -> None:
        self.breaker = CircuitBreaker(failures, pause, probes=probes)
        self.now = 0.0
        self.row = 0
        self.opened: float | None = None  # None: it is closed
        self.changed = -1.0
        self.probing = False
        self.out: list[float] = []  # when attempts were admitted that have not answered
        self.probes: list[float] = []  # those of them that are probes

    @rule(seconds=st.integers(1, 12))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        wait = self.breaker.admit(self.now)
        if self.opened is None:
            assert wait == 0.0
        elif not self.probing:
            left = self.opened + self.breaker.pause - self.now
            assert wait == max(left, 0.0)
            if wait == 0.0:
                self.probing, self.changed, self.probes = True, self.now, []
        if wait == 0.0:
            self.out.append(self.now)
            if self.probing:
                self.probes.append(self.now)
        else:
            assert 0.0 < wait <= self.breaker.pause

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0), answer=st.sampled_from(["succeeded", "failed", "abandoned"]))
    def an_attempt_answers(self, which: int, answer: str) -> None:
        admitted = self.out.pop(which % len(self.out))
        getattr(self.breaker, answer)(admitted, self.now)
        if admitted in self.probes:
            self.probes.remove(admitted)
        if admitted < self.changed or answer == "abandoned":
            return
        if self.opened is None:
            self.row = 0 if answer == "succeeded" else self.row + 1
            if self.row == self.breaker.failures:
                self._open()
        elif self.probing and answer == "succeeded":
            self.opened, self.probing, self.row, self.changed, self.probes = None, False, 0, self.now, []
        elif self.probing:
            self._open()

    def _open(self) -> None:
        self.opened, self.probing, self.changed, self.probes = self.now, False, self.now, []

    @invariant()
    def its_state_is_the_one_promised(self) -> None:
        expected = "closed" if self.opened is None else "half_open" if self.probing else "open"
        assert self.breaker.state == expected

    @invariant()
    def no_more_probes_are_out_than_allowed(self) -> None:
        """But for those that have been silent for a pause."""
        young = [admitted for admitted in self.probes if self.now - admitted < self.breaker.pause]
        assert len(young) <= self.breaker.probes


Circuit.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestCircuit = Circuit.TestCase

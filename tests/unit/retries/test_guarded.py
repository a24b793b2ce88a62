"""Policies with a retry budget or a circuit breaker: what the loops ask and tell."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from mainspring.errors import CircuitOpen
from mainspring.retries import (
    Baseline,
    CircuitBreaker,
    RetriesExhausted,
    Retry,
    RetryBudget,
    RetryTimeout,
    attempts_of,
    constant,
    retry,
    retrying,
)
from mainspring.retries.hooks import Hooks, RetryDetails
from mainspring.testing.virtual import run_virtual
from tests.unit.retries.conftest import raising

if TYPE_CHECKING:
    from tests.unit.retries.conftest import Paced, Way


class Ledger:
    """A breaker that never opens, and a budget: both write down what they are asked and told."""

    def __init__(self, *, shut: int | None = None, allowed: int = 1000) -> None:
        self.lines: list[str] = []
        self._open: list[float] = []
        self._shut = shut
        self._allowed = allowed

    def admit(self, now: float, /) -> float:
        if self._shut == 0:
            self.lines.append("refused")
            return 12.5
        if self._shut is not None:
            self._shut -= 1
        self._open.append(now)
        self.lines.append("admitted")
        return 0.0

    def succeeded(self, admitted: float, now: float, /) -> None:
        self._end("succeeded", admitted, now)

    def failed(self, admitted: float, now: float, /) -> None:
        self._end("failed", admitted, now)

    def abandoned(self, admitted: float, now: float, /) -> None:
        self._end("abandoned", admitted, now)

    def called(self) -> None:
        self.lines.append("called")

    def spend(self) -> bool:
        self._allowed -= 1
        self.lines.append("spent" if self._allowed >= 0 else "broke")
        return self._allowed >= 0

    def _end(self, word: str, admitted: float, now: float) -> None:
        self._open.remove(admitted)  # raises for an end that no beginning had
        assert now >= admitted
        self.lines.append(word)

    @property
    def under_way(self) -> int:
        return len(self._open)


def policy_of(ledger: Ledger, *, give_up_after: float | None = None, raise_group: bool = False) -> Retry:
    return Retry(
        on=OSError,
        attempts=3,
        backoff=constant(1),
        budget=ledger,
        breaker=ledger,
        give_up_after=give_up_after,
        raise_group=raise_group,
    )


# --- what is asked and told, in order -----------------------------------------------------------------


@pytest.mark.parametrize("limit", [None, 60])
def test_a_success_after_a_failure(way: Way, limit: float | None) -> None:
    ledger = Ledger()
    assert way(raising(OSError()), policy_of(ledger, give_up_after=limit)) == 2
    assert ledger.lines == ["called", "admitted", "failed", "spent", "admitted", "succeeded"]


def test_a_success_at_once(way: Way) -> None:
    ledger = Ledger()
    assert way(raising(), policy_of(ledger)) == 1
    assert ledger.lines == ["called", "admitted", "succeeded"]


def test_the_last_failure_spends_nothing(way: Way) -> None:
    ledger = Ledger()
    with pytest.raises(OSError):
        way(raising(*[OSError()] * 9), policy_of(ledger))
    assert ledger.lines == ["called", *["admitted", "failed", "spent"] * 2, "admitted", "failed"]


def test_an_error_that_no_rule_matches_says_nothing_about_the_other_side(way: Way) -> None:
    ledger = Ledger()
    with pytest.raises(KeyError):
        way(raising(KeyError()), policy_of(ledger))
    assert ledger.lines == ["called", "admitted", "abandoned"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(), GeneratorExit()])
def test_nor_does_the_end_of_the_program(stop: BaseException, paced: Paced) -> None:
    ledger = Ledger()
    with pytest.raises(type(stop)):
        retry(policy_of(ledger))(raising(OSError(), stop))()
    with pytest.raises(type(stop)):
        for attempt in retrying(policy_of(ledger)):
            with attempt:
                raise stop
    expected = ["called", "admitted", "failed", "spent", "admitted", "abandoned", "called", "admitted", "abandoned"]
    assert ledger.lines == expected


def test_an_error_that_the_baseline_retries_is_a_failure(way: Way) -> None:
    ledger = Ledger()
    baseline = Baseline({}, unknown=Retry(on=Exception, attempts=2, backoff=constant(0)))
    with pytest.raises(KeyError):
        way(raising(KeyError(), KeyError()), policy_of(ledger), baseline=baseline)
    assert ledger.lines == ["called", "admitted", "failed", "spent", "admitted", "failed"]


def test_a_block_that_is_left_early_has_ended_its_attempt(paced: Paced) -> None:
    ledger = Ledger()
    for attempt in retrying(policy_of(ledger)):
        with attempt:
            break
    for _ in retrying(policy_of(ledger)):
        break  # before anything was attempted
    assert ledger.lines == ["called", "admitted", "succeeded", "called"]


def in_a_function(policy: Retry, attempt: Callable[[], Awaitable[None]]) -> Awaitable[None]:
    @retry(policy)
    async def call() -> None:
        await attempt()

    return call()


async def in_a_block(policy: Retry, attempt: Callable[[], Awaitable[None]]) -> None:
    async for each in retrying(policy):
        with each:
            await attempt()


IN_BOTH = pytest.mark.parametrize("run", [in_a_function, in_a_block])
Run = Callable[[Retry, Callable[[], Awaitable[None]]], Awaitable[None]]


def cancelled_after(seconds: float, call: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(call())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run_virtual(main())


@IN_BOTH
def test_cancellation_during_an_attempt_abandons_it(run: Run) -> None:
    ledger = Ledger()
    cancelled_after(5, lambda: run(policy_of(ledger), lambda: asyncio.sleep(60)))
    assert ledger.lines == ["called", "admitted", "abandoned"]


@IN_BOTH
def test_cancellation_during_a_wait_tells_nothing_more(run: Run) -> None:
    ledger = Ledger()

    async def fail() -> None:
        raise OSError

    cancelled_after(0.5, lambda: run(policy_of(ledger), fail))
    assert ledger.lines == ["called", "admitted", "failed", "spent"]


@IN_BOTH
def test_CAN_006_an_attempt_that_was_cut_short_is_a_failure(run: Run) -> None:
    ledger = Ledger()

    async def main() -> None:
        with pytest.raises(RetryTimeout):
            await run(policy_of(ledger, give_up_after=5), lambda: asyncio.sleep(60))

    run_virtual(main())
    assert ledger.lines == ["called", "admitted", "failed"]
    assert ledger.under_way == 0


# --- a budget that is spent ---------------------------------------------------------------------------


def test_without_budget_the_error_is_raised_with_the_reason(way: Way) -> None:
    told: list[RetryDetails] = []
    ledger, last = Ledger(allowed=1), OSError("second")
    with pytest.raises(OSError, match="second") as caught:
        way(raising(OSError(), last), policy_of(ledger), hooks=Hooks(gave_up=told.append))
    assert caught.value is last
    assert last.__notes__ == ["gave up after 2 attempts in 1.0 s, retry budget spent"]
    assert [attempt.number for attempt in attempts_of(last)] == [1, 2]
    assert [details.error for details in told] == [last]
    assert ledger.lines[-2:] == ["failed", "broke"]


def test_without_budget_a_group_is_raised_when_asked_for(way: Way) -> None:
    with pytest.raises(RetriesExhausted, match="retry budget spent"):
        way(raising(OSError()), policy_of(Ledger(allowed=0), raise_group=True))


def test_a_budget_is_shared_by_100_tasks() -> None:
    budget, made = RetryBudget(share=0.1, burst=5), Counter[str]()

    @retry(Retry(on=OSError, attempts=10, backoff=constant(1), budget=budget))
    async def call() -> None:
        made["attempts"] += 1
        await asyncio.sleep(1)
        raise OSError

    async def main() -> None:
        errors = await asyncio.gather(*(call() for _ in range(100)), return_exceptions=True)
        assert all(isinstance(error, OSError) for error in errors)

    run_virtual(main())
    retries = made["attempts"] - 100
    assert retries == 5, "the bucket was full when the calls began, and none put in more than it holds"


def test_a_budget_is_shared_by_16_threads() -> None:
    calls, share, burst = 50, 0.1, 5
    budget = RetryBudget(share=share, burst=burst)
    policy = Retry(on=OSError, attempts=10, backoff=constant(0), budget=budget)
    gate, lock, made = threading.Barrier(16), threading.Lock(), Counter[str]()

    @retry(policy)
    def call() -> None:
        with lock:
            made["attempts"] += 1
        raise OSError

    def work() -> None:
        gate.wait(10)
        for _ in range(calls):
            with pytest.raises(OSError):
                call()

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    retries = made["attempts"] - 16 * calls
    assert burst <= retries <= burst + share * 16 * calls


# --- a circuit that is open -----------------------------------------------------------------------------


def test_an_open_circuit_refuses_the_first_attempt(way: Way) -> None:
    told: list[RetryDetails] = []
    ledger, calls = Ledger(shut=0), list[int]()
    with pytest.raises(CircuitOpen, match=r"12\.5 s") as caught:
        way(lambda: len(calls), policy_of(ledger), hooks=Hooks(told.append, told.append, told.append))
    assert caught.value.retry_after == 12.5
    assert not hasattr(caught.value, "__notes__")
    assert attempts_of(caught.value) == ()
    assert (calls, told) == ([], [])
    assert ledger.lines == ["called", "refused"]


def test_an_open_circuit_ends_the_retries_with_the_last_error(way: Way) -> None:
    told: list[RetryDetails] = []
    ledger, errors = Ledger(shut=2), [OSError("first"), OSError("second")]
    with pytest.raises(OSError, match="second") as caught:
        way(raising(*errors), policy_of(ledger), hooks=Hooks(gave_up=told.append))
    assert caught.value is errors[1]
    assert errors[1].__notes__ == ["gave up after 2 attempts in 2.0 s, circuit open"]
    assert [(failed.error, failed.seconds, failed.wait) for failed in attempts_of(errors[1])] == [
        (errors[0], 0.0, 1.0),
        (errors[1], 1.0, None),
    ]
    assert [details.error for details in told] == [errors[1]]
    assert ledger.lines == ["called", *["admitted", "failed", "spent"] * 2, "refused"]


def test_an_open_circuit_ends_them_with_a_group_when_asked_for(way: Way) -> None:
    errors = [OSError(1), OSError(2)]
    with pytest.raises(RetriesExhausted, match="circuit open") as caught:
        way(raising(*errors), policy_of(Ledger(shut=2), raise_group=True))
    assert caught.value.exceptions == tuple(errors)


def test_a_real_breaker_opens_rests_and_closes(way: Way) -> None:
    breaker = CircuitBreaker(failures=2, pause=0.001, name="billing")
    patient = Retry(on=OSError, attempts=9, backoff=constant(1), breaker=breaker)
    assert way(raising(*[OSError()] * 4), patient) == 5, "each wait is longer than the pause: probes go through"
    assert breaker.state == "closed"


def test_the_error_names_the_breaker(way: Way) -> None:
    policy = Retry(on=OSError, attempts=1, breaker=CircuitBreaker(failures=1, pause=60, name="billing"))
    with pytest.raises(OSError):
        way(raising(OSError()), policy)
    with pytest.raises(CircuitOpen, match="billing") as caught:
        way(raising(), policy)
    assert caught.value.name == "billing"


def test_an_outer_retry_waits_until_the_circuit_lets_it_in(way: Way) -> None:
    """`CircuitOpen` says when to come back, and so is as good as a Retry-After."""
    told: list[RetryDetails] = []
    ledger = Ledger(shut=0)
    inner = retry(policy_of(ledger))(raising())
    with pytest.raises(CircuitOpen):
        way(inner, Retry(on=CircuitOpen, attempts=2, backoff=constant(1)), hooks=Hooks(before_wait=told.append))
    assert [details.wait for details in told] == [12.5]


def test_a_breaker_trips_among_concurrent_calls() -> None:
    breaker, made = CircuitBreaker(failures=5, pause=60), Counter[str]()

    @retry(Retry(on=OSError, attempts=3, backoff=constant(1), breaker=breaker))
    async def call() -> None:
        made["attempts"] += 1
        await asyncio.sleep(1)
        raise OSError

    async def one() -> str:
        try:
            await call()
        except CircuitOpen:
            return "refused"
        except OSError as error:
            return error.__notes__[0].split(", ")[-1]
        return "done"

    async def main() -> tuple[Counter[str], Counter[str], str]:
        early = Counter(await asyncio.gather(*(one() for _ in range(20))))
        late = Counter(await asyncio.gather(*(one() for _ in range(20))))
        return early, late, breaker.state

    early, late, state = run_virtual(main())
    assert early == {"circuit open": 20}, "all were let in together, and none a second time"
    assert late == {"refused": 20}
    assert made["attempts"] == 20
    assert state == "open"


def test_one_probe_among_concurrent_calls_closes_it() -> None:
    breaker, made = CircuitBreaker(failures=1, pause=10), Counter[str]()
    down = True

    @retry(Retry(on=OSError, attempts=1, breaker=breaker))
    async def call() -> str:
        made["attempts"] += 1
        await asyncio.sleep(1)
        if down:
            raise OSError
        return "up"

    async def main() -> list[str | BaseException]:
        nonlocal down
        with pytest.raises(OSError):
            await call()
        down = False
        await asyncio.sleep(10)
        answers = await asyncio.gather(*(call() for _ in range(10)), return_exceptions=True)
        return [*answers, await call()]

    *answers, later = run_virtual(main())
    assert answers[0] == "up"
    assert all(isinstance(answer, CircuitOpen) for answer in answers[1:])
    assert later == "up"
    assert made["attempts"] == 3


def test_a_cancelled_probe_gives_its_place_back() -> None:
    breaker = CircuitBreaker(failures=1, pause=10)
    policy = Retry(on=OSError, attempts=1, breaker=breaker)

    async def main() -> str:
        with pytest.raises(OSError):
            await retry(policy)(asyncio.wait_for)(failing(), None)
        await asyncio.sleep(10)
        probe = asyncio.ensure_future(retry(policy)(asyncio.sleep)(5, "never"))
        await asyncio.sleep(1)
        probe.cancel()
        await asyncio.wait([probe])
        return await retry(policy)(asyncio.sleep)(1, "up")

    async def failing() -> None:
        raise OSError

    assert run_virtual(main()) == "up"
    assert breaker.state == "closed"


def test_a_policy_is_used_from_many_threads_and_every_attempt_ends_once() -> None:
    lock = threading.Lock()

    class Locked(Ledger):
        def admit(self, now: float, /) -> float:
            with lock:
                return super().admit(now)

        def _end(self, word: str, admitted: float, now: float) -> None:
            with lock:
                super()._end(word, admitted, now)

    ledger = Locked()
    policy = Retry(on=OSError, attempts=3, backoff=constant(0), breaker=ledger)

    def work() -> None:
        for _ in range(50):
            assert retry(policy)(raising(OSError()))() == 2

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert Counter(ledger.lines) == {"admitted": 1600, "failed": 800, "succeeded": 800}
    assert ledger.under_way == 0

"""The value `Service`, the failure rate and the health, all without a loop."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import threading
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.errors import InvalidOption
from mainspring.retries.attempt_store import MemoryAttempts
from mainspring.retries.backoff import constant
from mainspring.retries.breaker import CircuitBreaker
from mainspring.retries.budget import RetryBudget
from mainspring.retries.policy import Retry, Rule
from mainspring.service import Health, Restarts, Service
from mainspring.service.counts import Counts
from mainspring.service.restarts import FailureRate
from mainspring.service.running import next_tick


async def work() -> None: ...


# --- Service ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [0, -1, float("inf"), float("nan"), timedelta(0)])
def test_interval_must_be_above_zero(every: float) -> None:
    """RUN-014, S1-21, S1-43: refused at construction, and the message names field and service."""
    with pytest.raises(InvalidOption, match="every of service 'poll'"):
        Service("poll", work, every=every)


@pytest.mark.parametrize("missing", [None, 3, "work"])
def test_work_must_be_given(missing: Any) -> None:
    """RUN-014."""
    with pytest.raises(InvalidOption, match="needs a function or an object with run"):
        Service("poll", missing)


def test_other_misconfiguration_fails_at_construction() -> None:
    """S1-43."""

    async def generator() -> Any:
        yield 1

    with pytest.raises(InvalidOption, match="name"):
        Service("", work)
    with pytest.raises(InvalidOption, match="timeout"):
        Service("a", work, timeout=0)
    with pytest.raises(InvalidOption, match="delay"):
        Service("a", work, delay=-1)
    with pytest.raises(InvalidOption, match="generator"):
        Service("a", generator)
    with pytest.raises(InvalidOption, match="retry"):
        Service("a", work, retry=3)  # type: ignore[arg-type]  # refused at run time as well


def test_durations_may_be_timedeltas() -> None:
    service = Service("a", work, every=timedelta(minutes=1), timeout=timedelta(seconds=2), delay=timedelta(hours=1))
    assert (service.every, service.timeout, service.delay) == (60.0, 2.0, 3600.0)


def test_a_service_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Service("a", work).name = "b"  # type: ignore[misc]  # that is the question


def test_function_or_object_with_run() -> None:
    class Poller:
        async def run(self) -> str:
            return "polled"

    async def once() -> object:
        return await Service("a", Poller()).run()

    assert asyncio.run(once()) == "polled"


class Poll:
    async def run(self) -> None: ...

    async def __call__(self, stop: threading.Event) -> None: ...


async def wants_more(stop: threading.Event) -> None: ...


def wants_two(stop: threading.Event, more: int) -> None: ...


def wants_a_name(*, stop: threading.Event) -> None: ...


@pytest.mark.parametrize(
    ("fn", "says"),
    [
        (
            Poll,
            "object with run.*; make an object of the class",
        ),  # the class in place of an object: it would be made, and nothing run
        (wants_more, "told to stop by CancelledError"),
        (Poll(), "told to stop by CancelledError"),
        (wants_two, "needs stop, more"),
        (wants_a_name, "by position"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused_at_once(fn: Any, says: str) -> None:
    """S1-43."""
    with pytest.raises(InvalidOption, match=says):
        Service("poll", fn)


@pytest.mark.parametrize("name", ["", None, 3, work])
def test_a_service_has_a_name_that_is_text(name: Any) -> None:
    with pytest.raises(InvalidOption, match=r'a name and a function, as in Service\("poll", poll\); the name is'):
        Service(name, work)


@pytest.mark.parametrize("field", ["every", "timeout", "delay"])
@pytest.mark.parametrize("given", ["30", "*/5 * * * *", b"1", True, [1]])
def test_durations_are_numbers_or_timedeltas(field: str, given: Any) -> None:
    """A text that looks like a number is refused as well: nothing else here takes one."""
    with pytest.raises(InvalidOption, match=f"^{field} of service 'poll' must be seconds or a timedelta, not "):
        Service("poll", work, **{field: given})


def test_a_coroutine_in_place_of_the_function_is_closed() -> None:
    coroutine: Any = work()
    with pytest.raises(InvalidOption, match=r"not <coroutine .*; pass the function itself, without calling it"):
        Service("poll", coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (5, r"not 5; how often it runs .* retry=Retry\(on=…, attempts=5\)"),
        ("x.db", r"not 'x.db'; as in attempt_store=SQLiteAttempts\('x.db'\)"),
        (MemoryAttempts, r"as in attempt_store=SQLiteAttempts\('attempts.db'\)"),
        (object(), "as in attempt_store="),
    ],
)
def test_an_attempt_store_is_a_store(given: Any, says: str) -> None:
    """Found at construction rather than by the first run."""
    with pytest.raises(InvalidOption, match=f"attempt_store of service 'poll' is a store .*{says}"):
        Service("poll", work, attempt_store=given)


async def takes(event: object) -> None: ...


async def yields() -> Any:
    yield 1


@pytest.mark.parametrize("field", ["stop", "on_shutdown"])
@pytest.mark.parametrize(
    ("hook", "says"),
    [
        (takes, "but needs event; bind them with functools.partial"),
        (yields, "and is a generator"),
        (Poll, "make an object of the class"),
        (3, "not 3"),
    ],
)
def test_a_hook_that_cannot_be_called_is_refused_at_once(field: str, hook: Any, says: str) -> None:
    """Not found when everything stops."""
    with pytest.raises(InvalidOption, match=f"{field} of service 'poll' must be an async function .*{says}"):
        Service("poll", work, **{field: hook})
    Service("poll", work, stop=partial(takes, 3), on_shutdown=lambda: takes(3))


@pytest.mark.parametrize("options", [{"stop": 3}, {"on_shutdown": "x"}, {"logger": "mine"}])
def test_hooks_and_loggers_are_looked_at(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=f"{next(iter(options))} of service 'poll'"):
        Service("poll", work, **options)


def test_a_policy_for_calls_is_refused() -> None:
    """A budget is a share of calls, a breaker is for what several callers share: a service is one caller."""
    with pytest.raises(InvalidOption, match="@retry"):
        Service("poll", work, retry=Retry(on=OSError, budget=RetryBudget()))
    with pytest.raises(InvalidOption, match="@retry"):
        Service("poll", work, retry=Retry(on=OSError, breaker=CircuitBreaker()))


def test_a_rule_without_a_stable_key_is_refused_when_its_counts_are_kept() -> None:
    """S1-19, CLS-005."""
    nameless = Retry(Rule(OSError), Rule(lambda error: True))
    assert Service("poll", work, retry=nameless).retry is nameless
    with pytest.raises(InvalidOption, match=r"give the rule for .*lambda.* a key="):
        Service("poll", work, retry=nameless, attempt_store=MemoryAttempts())
    named = Retry(Rule(OSError), Rule(lambda error: True, key="anything"))
    assert Service("poll", work, retry=named, attempt_store=MemoryAttempts()).attempt_store is not None


# --- ticks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "passed", "expected"),
    [(0, 0.0, 1), (0, 9.9, 1), (0, 10.0, 1), (0, 10.1, 2), (0, 39.0, 4), (3, 30.0, 4), (3, 29.999999, 4)],
)
def test_next_tick(last: int, passed: float, expected: int) -> None:
    assert next_tick(last, passed, 10.0) == expected


@given(st.integers(0, 1000), st.floats(0, 1e6), st.floats(0.001, 1e4))
def test_ticks_only_go_forward_and_are_never_over(last: int, passed: float, every: float) -> None:
    tick = next_tick(last, passed, every)
    assert tick > last
    assert tick * every >= passed * (1 - 1e-6) - 1e-6
    assert tick == last + 1 or (tick - 1) * every < passed  # nothing is left out that was not missed


# --- Restarts ----------------------------------------------------------------------------------------


def test_what_was_counted_halves_every_half_life() -> None:
    restarts = Restarts(half_life=timedelta(seconds=10))
    rate = FailureRate(8.0, last=100.0)
    assert rate.decayed(100.0, restarts) == 8.0
    assert rate.decayed(110.0, restarts) == 4.0
    assert rate.decayed(130.0, restarts) == 1.0
    assert rate.failed(110.0, restarts) == FailureRate(5.0, 110.0)


def test_time_that_goes_back_does_not_grow_the_rate() -> None:
    rate = FailureRate(8.0, last=100.0)
    assert rate.decayed(50.0, Restarts()) == 8.0
    assert rate.failed(50.0, Restarts()).last == 100.0


@given(st.lists(st.floats(1.0, 1e4), max_size=200))
def test_failures_a_second_apart_are_never_slowed_down(gaps: list[float]) -> None:
    restarts, rate, at = Restarts(), FailureRate(), 0.0
    for gap in gaps:
        at += gap
        rate = rate.failed(at, restarts)
        assert restarts.least_wait(rate) == 0.0


def test_failures_in_quick_succession_are() -> None:
    restarts, rate = Restarts(), FailureRate()
    waits = []
    for n in range(30):
        rate = rate.failed(n * 0.01, restarts)
        waits.append(restarts.least_wait(rate))
    assert waits == [0.0] * 20 + [10.0] * 10


def test_restarts_refuses_zero() -> None:
    with pytest.raises(InvalidOption, match="half_life"):
        Restarts(half_life=0)


@pytest.mark.parametrize(
    ("field", "says"), [("threshold", "a number of failures"), ("half_life", "seconds or a"), ("pause", "seconds or a")]
)
def test_restarts_takes_no_text(field: str, says: str) -> None:
    given: Any = {field: "20"}
    with pytest.raises(InvalidOption, match=f"{field} of Restarts must be {says}.*, not '20'"):
        Restarts(**given)


# --- Counts ------------------------------------------------------------------------------------------


def counts(policy: Retry | None) -> Counts:
    return Counts(Service("a", work, retry=policy), None, Restarts())


async def test_ATT_009_counters_are_cleared_at_the_success() -> None:
    """Not when the next failure is looked at, as in the seed."""
    counted = counts(Retry(on=OSError, attempts=3))
    counted.run_begins(0.0)
    assert await counted.failed(OSError(), 0.0) is not None
    assert counted.counters
    await counted.succeeded()
    assert counted.counters == {}


async def test_ATT_002_after_a_reset_the_whole_budget_is_there() -> None:
    counted = counts(Retry(on=OSError, attempts=2, backoff=lambda index: float(index)))
    assert await counted.failed(OSError(), 0.0) == 0.0
    assert await counted.failed(OSError(), 0.0) is None
    await counted.succeeded()
    assert await counted.failed(OSError(), 0.0) == 0.0


async def test_each_rule_has_its_own_count() -> None:
    """S1-12."""
    counted = counts(Retry(Rule(OSError, attempts=2), Rule(ValueError, attempts=2)))
    assert await counted.failed(OSError(), 0.0) is not None
    assert await counted.failed(ValueError(), 0.0) is not None
    assert await counted.failed(ValueError(), 0.0) is None


async def test_give_up_after_counts_from_the_first_run_and_starts_anew_after_a_success() -> None:
    counted = counts(Retry(on=OSError, attempts=None, backoff=lambda _: 1.0, give_up_after=60))
    counted.run_begins(1000.0)
    assert await counted.failed(OSError(), 1010.0) == 1.0
    await counted.succeeded()
    counted.run_begins(1100.0)
    assert await counted.failed(OSError(), 1110.0) == 1.0
    counted.run_begins(1111.0)
    last = OSError()
    assert await counted.failed(last, 1159.5) is None
    assert "2 failed run(s)" in last.__notes__[0]


async def test_an_error_that_no_rule_matches_is_permanent() -> None:
    """S1-14."""
    assert await counts(Retry(on=OSError)).failed(ValueError(), 0.0) is None
    assert await counts(None).failed(OSError(), 0.0) is None


async def test_an_error_object_that_is_given_up_on_again_and_again_does_not_collect_notes() -> None:
    error = OSError("one and the same")
    for _ in range(3):
        assert await counts(Retry(on=OSError, attempts=1)).failed(error, 0.0) is None
    assert error.__notes__ == ["the service gave up after 1 failed run(s) in 0 s: attempts spent"]


async def test_a_frozen_error_takes_the_note() -> None:
    @dataclasses.dataclass(frozen=True)
    class Frozen(Exception):
        text: str

    error = Frozen("no attributes, please")
    assert await counts(Retry(on=Frozen, attempts=1)).failed(error, 0.0) is None
    assert "gave up after 1 failed run(s)" in error.__notes__[0]


async def test_S1_39_what_the_other_side_asks_for_replaces_the_backoff() -> None:
    """CLS-024: without it the backoff is used."""

    class Busy(Exception):
        retry_after: float | None = None

    told, silent = Busy(), Busy()
    told.retry_after = 7.0
    counted = counts(Retry(on=Busy, attempts=None, backoff=constant(2)))
    assert await counted.failed(told, 0.0) == 7.0
    assert await counted.failed(silent, 0.0) == 2.0


async def test_a_wait_hint_of_the_users_own_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def hint(error: BaseException) -> float | None:
        return 3.0 if error.args else 1 / 0

    counted = counts(Retry(on=OSError, attempts=None, backoff=constant(2), wait_hint=hint))
    assert await counted.failed(OSError("x"), 0.0) == 3.0
    assert await counted.failed(OSError(), 0.0) == 2.0
    assert "its wait_hint failed" in caplog.text


# --- Health ------------------------------------------------------------------------------------------


def test_since_changes_with_the_state_only() -> None:
    up = Health("a", since=1.0).entered("up", 2.0)
    assert (up.since, up.entered("up", 3.0).since, up.entered("waiting", 4.0).since) == (2.0, 2.0, 4.0)


def test_an_error_is_kept_as_text_of_bounded_length() -> None:
    health = Health("a").erred(ValueError("x" * 5000)).restarted()
    assert health.last_error is not None
    assert health.last_error.startswith("ValueError: xxx")
    assert len(health.last_error) == 1000
    assert health.restarts == 1


def test_active() -> None:
    assert [Health("a", state).active for state in ("up", "waiting", "overdue", "ended", "failed", "cancelled")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip

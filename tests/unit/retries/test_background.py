"""`background` with plain functions: a thread for each."""

from __future__ import annotations

import concurrent.futures
import contextvars
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from mainspring.errors import InvalidPolicy, RetriesExhausted, RetryDefinitionError
from mainspring.retries import (
    BackgroundThread,
    CircuitBreaker,
    CircuitOpen,
    Retry,
    RetryBudget,
    attempts_of,
    background,
    constant,
)
from mainspring.retries.background_calls import calls
from mainspring.retries.hooks import Hooks
from mainspring.retries.switches import set_testing
from tests.unit.retries.background_scene import NOW, PATIENT, Failing, Gate, logged, until


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Whatever a test has started has ended."""
    yield
    until(lambda: calls.pending(None) == [])


# --- attempts ---------------------------------------------------------------------------------------


def test_RET_026_fails_twice_then_succeeds() -> None:
    fn = Failing(OSError(), OSError())
    handle = background(fn, NOW)
    assert handle.result(10) == 3
    assert (fn.calls, handle.attempts, handle.done, handle.exception()) == (3, 3, True, None)


def test_RET_030_on_error_is_told_of_every_failure_the_last_included() -> None:
    errors = [OSError(1), OSError(2), OSError(3)]
    told: list[Exception] = []
    handle = background(Failing(*errors), Retry(on=OSError, attempts=3, backoff=constant(0)), on_error=told.append)
    assert handle.exception(10) is errors[2]
    assert told == errors
    assert len(attempts_of(errors[2])) == 3


def test_on_error_is_told_of_an_error_that_is_not_retried() -> None:
    told: list[Exception] = []
    handle = background(Failing(ValueError("no")), NOW, on_error=told.append)
    with pytest.raises(ValueError, match="no"):
        handle.result(10)
    assert [str(error) for error in told] == ["no"]


def test_on_error_is_told_once_where_the_driver_raises_a_group() -> None:
    told: list[Exception] = []
    policy = Retry(on=OSError, attempts=2, backoff=constant(0), raise_group=True)
    handle = background(Failing(OSError(1), OSError(2)), policy, on_error=told.append)
    assert isinstance(handle.exception(10), RetriesExhausted)
    assert [error.args for error in told] == [(1,), (2,)]


def test_a_failing_on_error_is_logged_and_hurts_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(error: Exception) -> None:
        raise KeyError("from on_error")

    assert background(Failing(OSError()), NOW, on_error=broken, name="save").result(10) == 2
    assert logged(caplog) == ["on_error of background call save failed"]


def test_RET_032_start_returns_before_the_first_attempt_ends() -> None:
    gate = Gate()
    handle = background(gate)
    assert gate.begun.wait(10)
    assert (handle.done, handle.attempts) == (False, 1)
    gate.let.set()
    assert handle.result(10) == "through"


def test_no_policy_is_one_attempt() -> None:
    fn = Failing(OSError())
    error = background(fn).exception(10)
    assert isinstance(error, OSError)
    assert (fn.calls, attempts_of(error), getattr(error, "__notes__", [])) == (1, (), [])


def test_hooks_budget_and_switches_are_those_of_retry() -> None:
    waits: list[tuple[str, int]] = []
    hooks = Hooks(before_wait=lambda details: waits.append((details.name, details.attempt)))
    spent = Retry(on=OSError, backoff=constant(0), budget=RetryBudget(share=0.1, burst=1))
    handle = background(Failing(*[OSError()] * 5), spent, hooks=hooks, name="save")
    assert isinstance(handle.exception(10), OSError)
    assert (handle.attempts, waits) == (2, [("save", 1)])
    with set_testing(True, attempts=3):
        handle = background(Failing(*[OSError()] * 5), PATIENT)
        assert isinstance(handle.exception(10), OSError)
        assert handle.attempts == 3


def test_an_open_circuit_lets_no_attempt_begin() -> None:
    breaker = CircuitBreaker(failures=1, pause=3600)
    policy = Retry(on=OSError, attempts=1, breaker=breaker)
    told: list[Exception] = []
    assert isinstance(background(Failing(OSError()), policy).exception(10), OSError)
    handle = background(Failing(), policy, on_error=told.append)
    assert isinstance(handle.exception(10), CircuitOpen)
    assert (handle.attempts, told) == (0, [])


def test_S2_09_every_start_is_a_new_run() -> None:
    fn = Failing()
    assert [background(fn).result(10) for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), BaseExceptionGroup("x", [SystemExit()])]
)
def test_RET_034_whatever_is_raised_is_in_the_handle(error: BaseException) -> None:
    told: list[Exception] = []
    handle = background(Failing(error), NOW, on_error=told.append)
    assert handle.exception(10) is error
    assert (told, handle.attempts) == ([], 1)
    with pytest.raises(type(error)):
        handle.result()


def test_the_thread_has_the_context_variables_of_the_caller() -> None:
    variable = contextvars.ContextVar[str]("variable", default="nothing")
    variable.set("the caller's")
    assert background(variable.get).result(10) == "the caller's"


def test_the_thread_is_a_daemon_and_has_the_name_of_the_call() -> None:
    def look() -> tuple[str, bool]:
        return threading.current_thread().name, threading.current_thread().daemon

    handle = background(look)
    assert handle.result(10) == (handle.name, True)
    assert handle.name.endswith("<locals>.look")
    assert background(functools.partial(look)).name == handle.name
    assert background(look, name="other").result(10) == ("other", True)
    assert background(Failing()).name == "Failing"
    until(lambda: calls.pending(None) == [])


def test_a_handle_says_how_it_stands() -> None:
    gate = Gate()
    handle = background(gate, name="gate")
    assert gate.begun.wait(10)
    assert repr(handle) == "<BackgroundThread gate pending, attempts=1>"
    gate.let.set()
    handle.result(10)
    assert repr(handle) == "<BackgroundThread gate done, attempts=1>"


# --- waiting ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, 0.01, timedelta(milliseconds=5), -1])
def test_waiting_has_a_time_limit(timeout: float | timedelta) -> None:
    gate = Gate()
    handle = background(gate, name="gate")
    with pytest.raises(TimeoutError, match="background call gate has not ended within"):
        handle.result(timeout)
    with pytest.raises(TimeoutError):
        handle.exception(timeout)
    gate.let.set()
    assert handle.result(10) == "through"


def test_many_threads_read_one_handle() -> None:
    gate = Gate(OSError("down"))
    handle = background(gate)
    with ThreadPoolExecutor(8) as pool:
        reading = [pool.submit(handle.exception, 10) for _ in range(8)]
        raising = [pool.submit(handle.result, 10) for _ in range(8)]
        gate.let.set()
        assert {id(reader.result()) for reader in reading} == {id(gate.error)}
        assert {id(reader.exception()) for reader in raising} == {id(gate.error)}


def test_reading_often_does_not_make_the_traceback_longer() -> None:
    handle = background(Failing(OSError("down")))
    lengths = set()
    for _ in range(3):
        with pytest.raises(OSError, match="down") as caught:
            handle.result(10)
        lengths.add(len(caught.traceback))
    assert len(lengths) == 1


# --- cancelling -------------------------------------------------------------------------------------


def test_cancel_ends_a_wait_at_once() -> None:
    failed = threading.Event()
    handle = background(Failing(OSError()), PATIENT, on_error=lambda _: failed.set())
    assert failed.wait(10)
    assert handle.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        handle.result(10)
    with pytest.raises(concurrent.futures.CancelledError):
        handle.exception(10)
    assert (handle.done, handle.attempts, handle.cancel()) == (True, 1, False)


@pytest.mark.parametrize("error", [None, OSError("down"), ValueError("no")])
def test_CAN_009_an_attempt_under_way_runs_to_its_end_and_its_value_is_dropped(error: Exception | None) -> None:
    gate = Gate(error)
    told: list[Exception] = []
    handle = background(gate, NOW, on_error=told.append)
    assert gate.begun.wait(10)
    assert handle.cancel()
    assert handle.cancel(), "twice is the same"
    assert not handle.done, "the handle tells that the work goes on"
    with pytest.raises(TimeoutError):
        handle.result(0.01)
    gate.let.set()
    with pytest.raises(concurrent.futures.CancelledError, match="was cancelled"):
        handle.result(10)
    assert handle.attempts == 1
    assert told == ([] if error is None else [error])


def test_cancel_after_the_end_changes_nothing() -> None:
    handle = background(Failing())
    assert handle.result(10) == 1
    assert not handle.cancel()
    assert handle.result() == 1


def test_no_policy_can_retry_a_cancellation(caplog: pytest.LogCaptureFixture) -> None:
    """Not even one for everything, of which `concurrent.futures.CancelledError` is a part."""
    failed = threading.Event()
    policy = Retry(on=Exception, attempts=None, backoff=constant(3600))
    handle = background(Failing(OSError()), policy, on_error=lambda _: failed.set())
    assert failed.wait(10)
    handle.cancel()
    assert handle._call.ended.wait(10)
    assert handle.attempts == 1
    del handle
    assert logged(caplog) == [], "who cancelled knows"


# --- what is refused --------------------------------------------------------------------------------


def generator() -> Iterator[int]:
    yield 1


async def fetch() -> None: ...


def needs(one: int) -> int:
    return one


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (None, "not callable"),  # S2-04
        (generator, "generator"),
        (needs, r"without arguments \(missing a required argument: 'one'\): give them with functools.partial"),
        (staticmethod(generator), "staticmethod"),
    ],
)
def test_what_cannot_run_is_refused_at_once(fn: Callable[[], object], said: str) -> None:
    with pytest.raises(RetryDefinitionError, match=said):
        background(fn)


def test_a_coroutine_is_refused_and_closed() -> None:
    with pytest.raises(RetryDefinitionError, match="the function itself"):
        background(fetch())  # type: ignore[call-overload]  # the mistake is the question


def test_async_functions_need_a_loop() -> None:
    with pytest.raises(RetryDefinitionError, match="fetch is async, and no event loop runs here"):
        background(fetch)


def test_a_thread_does_not_run_the_coroutine_that_a_lambda_returns() -> None:
    handle: object = background(lambda: fetch(), name="fetch")  # for a type checker it is a task
    assert isinstance(handle, BackgroundThread)
    with pytest.raises(RetryDefinitionError, match="fetch returned a coroutine, which no thread runs"):
        handle.result(10)


def test_options_that_mean_nothing_are_refused() -> None:
    async def told(error: Exception) -> None: ...

    with pytest.raises(RetryDefinitionError, match="on_error must be a plain function"):
        background(Failing(), on_error=told)
    with pytest.raises(RetryDefinitionError, match="takes a Retry after the function"):
        background(Failing(), 5)  # type: ignore[call-overload]  # the mistake is the question
    with pytest.raises(InvalidPolicy, match="wait_at_exit must be above 0"):
        background(Failing(), wait_at_exit=0)


def test_a_function_that_does_not_tell_its_arguments_is_tried() -> None:
    tell_nothing: Callable[[], object] = dict  # has no signature
    assert background(tell_nothing).result(10) == {}

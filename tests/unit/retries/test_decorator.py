from __future__ import annotations

import functools
import gc
import inspect
import pickle
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from mainspring.errors import InvalidPolicy, MainspringError
from mainspring.retries import (
    FailedAttempt,
    RetriesExhausted,
    Retry,
    RetryDefinitionError,
    Rule,
    attempts_of,
    constant,
    exponential,
    retry,
)
from mainspring.retries.attempts import KEPT

if TYPE_CHECKING:
    from tests.unit.retries.conftest import Paced


def failing(*errors: BaseException) -> Callable[[], int]:
    """A function that raises these, one at each call, and then returns the number of its calls."""
    calls = 0

    def call() -> int:
        nonlocal calls
        calls += 1
        if calls <= len(errors):
            raise errors[calls - 1]
        return calls

    return call


STEADY = Retry(on=OSError, backoff=constant(1))


def test_RET_003_fails_twice_then_succeeds(paced: Paced) -> None:
    assert retry(STEADY)(failing(OSError(), OSError()))() == 3
    assert paced.waits == [1, 1]


def test_RET_026_backoff_grows(paced: Paced) -> None:
    assert retry(on=OSError, backoff=exponential(1))(failing(*[OSError()] * 4))() == 5
    assert paced.waits == [1, 2, 4, 8]


def test_the_default_backoff_has_full_jitter(paced: Paced) -> None:
    assert retry(on=OSError)(failing(*[OSError()] * 3))() == 4
    assert paced.waits == [0.5, 1, 2]


def test_RET_004_one_attempt(paced: Paced) -> None:
    last = OSError("down")
    with pytest.raises(OSError, match="down") as caught:
        retry(on=OSError, attempts=1)(failing(last))()
    assert caught.value is last
    assert last.__notes__ == ["gave up after 1 attempt in 0.0 s"]


def test_RET_005_giving_up_raises_the_last_error_itself(paced: Paced) -> None:
    """RET-035, ATT-008: attempts are numbered from 1, and each one is told of."""
    errors = [OSError(number) for number in range(6)]
    with pytest.raises(OSError, match="4") as caught:
        retry(on=OSError, attempts=5, backoff=exponential(1))(failing(*errors))()
    assert caught.value is errors[4]
    assert caught.value.__notes__ == ["gave up after 5 attempts in 15.0 s"]
    assert caught.value.__context__ is None
    assert attempts_of(caught.value) == (
        FailedAttempt(1, errors[0], 0.0, 1.0),
        FailedAttempt(2, errors[1], 1.0, 2.0),
        FailedAttempt(3, errors[2], 3.0, 4.0),
        FailedAttempt(4, errors[3], 7.0, 8.0),
        FailedAttempt(5, errors[4], 15.0, None),
    )


def test_RET_009_another_error_is_raised_unchanged(paced: Paced) -> None:
    error = KeyError("x")
    with pytest.raises(KeyError) as caught:
        retry(STEADY)(failing(OSError(), error))()
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    assert attempts_of(error) == ()
    assert error.__context__ is None
    assert paced.waits == [1]


def test_RET_010_only_what_is_listed(paced: Paced) -> None:
    with pytest.raises(ValueError, match="x"):
        retry(on=(KeyError, OSError))(failing(ValueError("x")))()
    assert paced.waits == []


@pytest.mark.parametrize("not_callable", [None, 3, "text"])
def test_RET_013_what_is_no_function_is_refused_at_once(not_callable: object) -> None:
    with pytest.raises(RetryDefinitionError, match="not callable") as caught:
        retry(on=OSError)(not_callable)  # type: ignore[arg-type]  # refused at run time, too
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, MainspringError)


class Generating:
    def __call__(self) -> Iterator[int]:
        yield 1


def generate() -> Iterator[int]:
    yield 1


async def generate_async() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("fn", [generate, generate_async, Generating(), functools.partial(generate)])
def test_generators_are_refused(fn: Callable[[], object]) -> None:
    with pytest.raises(RetryDefinitionError, match="is a generator"):
        retry(on=OSError)(fn)


@pytest.mark.parametrize("wrap", [staticmethod, classmethod])
def test_the_decorator_goes_under_the_others(wrap: type) -> None:
    with pytest.raises(RetryDefinitionError, match=f"under @{wrap.__name__}"):
        retry(on=OSError)(wrap(generate))


def test_retry_without_saying_which_errors_is_refused() -> None:
    """RET-011: retrying everything must be asked for."""
    with pytest.raises(RetryDefinitionError, match=r"@retry\(on=OSError\)"):
        retry(generate)  # type: ignore[call-overload]  # the mistake in question
    with pytest.raises(InvalidPolicy, match="on is missing"):
        retry()  # type: ignore[call-overload]  # the mistake in question
    with pytest.raises(InvalidPolicy, match="not both"):
        retry(STEADY, attempts=2)  # type: ignore[call-overload]  # the mistake in question


def test_rules_count_apart(paced: Paced) -> None:
    policy = Retry(Rule(OSError, 3, constant(1)), Rule(KeyError, 2, constant(5)))
    with pytest.raises(KeyError, match="second") as caught:
        retry(policy)(failing(OSError(), KeyError("first"), OSError(), KeyError("second")))()
    assert paced.waits == [1, 5, 1]
    assert caught.value.__notes__ == ["gave up after 4 attempts in 7.0 s"]


def test_unlimited_goes_on_and_does_not_grow(paced: Paced) -> None:
    """CLS-010, CLS-026: and only the newest failures are remembered."""
    policy = Retry(Rule(OSError, None, constant(0)), Rule(KeyError, 1))
    with pytest.raises(KeyError) as caught:
        retry(policy)(failing(*[OSError()] * 1000, KeyError()))()
    told = attempts_of(caught.value)
    assert [attempt.number for attempt in told] == list(range(1002 - KEPT, 1002))


def test_give_up_after_stops_before_the_wait_that_would_reach_it(paced: Paced) -> None:
    last = OSError()
    with pytest.raises(OSError) as caught:  # compared below
        retry(on=OSError, attempts=None, backoff=constant(4), give_up_after=10)(failing(*[OSError()] * 2, last))()
    assert caught.value is last
    assert paced.waits == [4, 4]
    assert last.__notes__ == ["gave up after 3 attempts in 8.0 s, give_up_after=10: the next wait of 4 s would pass it"]


def test_CAN_006_a_long_attempt_uses_up_the_limit(paced: Paced) -> None:
    def slow() -> None:
        paced.clock.advance(2)
        raise OSError("slow")

    with pytest.raises(OSError, match="slow") as caught:
        retry(on=OSError, give_up_after=1)(slow)()
    assert caught.value.__notes__ == ["gave up after 1 attempt in 2.0 s, give_up_after=1"]


def test_CAN_007_a_long_attempt_that_succeeds_counts(paced: Paced) -> None:
    def slow() -> str:
        paced.clock.advance(2)
        return "done"

    assert retry(on=OSError, give_up_after=1)(slow)() == "done"


def test_raise_group(paced: Paced) -> None:
    errors = [OSError(number) for number in range(3)]
    with pytest.raises(RetriesExhausted) as caught:
        retry(Retry(on=OSError, attempts=3, backoff=constant(1), raise_group=True))(failing(*errors))()
    assert caught.value.exceptions == tuple(errors)
    assert caught.value.message == "gave up after 3 attempts in 2.0 s"
    assert caught.value.__cause__ is errors[2]
    assert [attempt.error for attempt in attempts_of(caught.value)] == errors
    with pytest.raises(KeyError):  # one that is not to be retried stays as it is
        retry(Retry(on=OSError, raise_group=True))(failing(KeyError()))()


def test_a_wait_of_0_does_not_sleep(paced: Paced) -> None:
    assert retry(on=OSError, backoff=constant(0))(failing(OSError(), OSError()))() == 3
    assert paced.waits == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_what_is_no_error_is_never_retried(stop: BaseException, paced: Paced) -> None:
    with pytest.raises(type(stop)) as caught:
        retry(on=lambda error: True)(failing(stop))()
    assert caught.value is stop
    assert paced.waits == []


@pytest.mark.parametrize("policy", [STEADY, Retry(on=OSError, give_up_after=60)])
def test_the_function_keeps_its_face(policy: Retry) -> None:
    @retry(policy)
    def load(path: str, *, times: int = 2) -> str:
        """Loads."""
        return path * times

    assert load("a", times=3) == "aaa"
    assert load.__name__ == "load"
    assert load.__doc__ == "Loads."
    assert list(inspect.signature(load).parameters) == ["path", "times"]


def test_methods_and_objects_and_one_off_calls(paced: Paced) -> None:
    class Client:
        tries = 0

        @retry(STEADY)
        def ask(self, word: str) -> str:
            self.tries += 1
            if self.tries < 3:
                raise OSError
            return word * self.tries

        def __call__(self) -> int:
            return self.tries

    client = Client()
    assert client.ask("x") == "xxx"
    assert retry(STEADY)(client)() == 3
    assert retry(STEADY)(int)("7") == 7


def test_keywords_may_have_any_name(paced: Paced) -> None:
    """The driver's own parameters must not collide with the user's."""
    tries = 0

    @retry(STEADY)
    def call(**kwargs: int) -> dict[str, int]:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise OSError
        return kwargs

    words = dict.fromkeys(["fn", "failures", "wait", "ends", "policy", "self", "args", "kwargs"], 1)
    assert call(**words) == words


def test_RET_023_concurrent_calls_share_nothing(paced: Paced) -> None:
    """100 calls of one decorated function at once: each has its own attempts."""
    tries: dict[int, int] = {}
    gate = threading.Barrier(20)

    @retry(on=OSError, attempts=3, backoff=constant(0))
    def call(number: int) -> int:
        tries[number] = tries.get(number, 0) + 1
        if tries[number] < 3:
            raise OSError
        return number

    def work(first: int) -> None:
        gate.wait(10)
        for number in range(first, first + 5):
            assert call(number) == number

    threads = [threading.Thread(target=work, args=(first * 5,)) for first in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert tries == dict.fromkeys(range(100), 3)


def test_an_error_that_is_used_again_keeps_one_note(paced: Paced) -> None:
    error = OSError("always the same")
    fetch = retry(on=OSError, attempts=2, backoff=constant(1))(failing(*[error] * 100))
    for _ in range(3):
        with pytest.raises(OSError, match="same"):
            fetch()
    assert error.__notes__ == ["gave up after 2 attempts in 1.0 s"]


def test_nested_retries_leave_a_note_each(paced: Paced) -> None:
    inner = retry(on=OSError, attempts=2, backoff=constant(1))(failing(*[OSError("x")] * 4))
    with pytest.raises(OSError, match="x") as caught:
        retry(on=OSError, attempts=2, backoff=constant(10))(inner)()
    assert caught.value.__notes__ == ["gave up after 2 attempts in 1.0 s", "gave up after 2 attempts in 11.0 s"]


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


def test_a_frozen_error_is_noted_too(paced: Paced) -> None:
    with pytest.raises(Frozen) as caught:
        retry(on=Frozen, attempts=2)(failing(Frozen(1), Frozen(2)))()
    assert caught.value.__notes__ == ["gave up after 2 attempts in 0.5 s"]
    assert len(attempts_of(caught.value)) == 2


class Slotted(Exception):
    __slots__ = ("code",)


class Annotated(Exception):
    """One that keeps something else where notes belong."""

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["__notes__"] = "mine"


class Guarded(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError(name)


@pytest.mark.parametrize("kind", [Slotted, Annotated, Guarded])
def test_errors_of_any_make_are_noted(paced: Paced, kind: type[Exception]) -> None:
    first, last = kind(), kind()
    with pytest.raises(kind) as caught:
        retry(on=kind, attempts=2, backoff=constant(1))(failing(first, last))()
    assert caught.value is last
    assert last.__notes__ == ["gave up after 2 attempts in 1.0 s"]
    assert attempts_of(last) == (FailedAttempt(1, first, 0.0, 1.0), FailedAttempt(2, last, 1.0, None))


def test_a_predicate_that_fails_is_not_hidden(paced: Paced) -> None:
    def broken(error: BaseException) -> bool:
        raise ZeroDivisionError

    error = OSError()
    with pytest.raises(ZeroDivisionError) as caught:
        retry(on=broken)(failing(error))()
    assert caught.value.__context__ is error


def test_an_error_that_was_given_up_on_can_be_pickled(paced: Paced) -> None:
    """Even when an earlier one cannot."""

    class Unpicklable(OSError):
        pass

    with pytest.raises(OSError, match="last") as caught:
        retry(on=OSError, attempts=2, backoff=constant(1))(failing(Unpicklable(), OSError("last")))()
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.__notes__ == ["gave up after 2 attempts in 1.0 s"]
    assert attempts_of(again) == (FailedAttempt(2, again, 1.0, None),)


class Big:
    pass


@pytest.mark.parametrize("limit", [None, 60])
@pytest.mark.parametrize("succeeds", [True, False])
def test_nothing_keeps_the_frames_alive(paced: Paced, limit: float | None, succeeds: bool) -> None:
    """No cycle through tracebacks: what a failed attempt held is freed without the garbage collector."""
    held: list[weakref.ref[Big]] = []
    told = 0

    @retry(on=OSError, attempts=3, give_up_after=limit, backoff=constant(1))
    def call() -> None:
        big = Big()
        held.append(weakref.ref(big))
        if len(held) < 3 or not succeeds:
            raise OSError

    gc.collect()
    gc.disable()
    try:
        try:
            call()
        except OSError as error:
            told = len(attempts_of(error))
        assert (len(held), told) == (3, 0 if succeeds else 3)
        assert [big() for big in held] == [None] * 3
    finally:
        gc.enable()

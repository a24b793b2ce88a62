from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import time
import weakref
from collections.abc import Awaitable, Callable

import pytest

from mainspring.retries import (
    FailedAttempt,
    RetriesExhausted,
    Retry,
    RetryTimeout,
    attempts_of,
    constant,
    exponential,
    retry,
)
from mainspring.testing.virtual import run_virtual

STEADY = Retry(on=OSError, backoff=constant(1))


def failing(*errors: BaseException, took: float = 0.0) -> Callable[[], Awaitable[int]]:
    calls = 0

    async def call() -> int:
        nonlocal calls
        calls += 1
        number = calls
        await asyncio.sleep(took)
        if number <= len(errors):
            raise errors[number - 1]
        return number

    return call


def timed(call: Callable[[], Awaitable[object]]) -> tuple[object, float]:
    """What it returned or raised, and the virtual seconds that it took."""

    async def main() -> tuple[object, float]:
        started = asyncio.get_running_loop().time()
        try:
            result: object = await call()
        except BaseException as error:
            result = error
        return result, asyncio.get_running_loop().time() - started

    return run_virtual(main())


def test_RET_003_fails_twice_then_succeeds() -> None:
    assert timed(retry(STEADY)(failing(OSError(), OSError()))) == (3, 2.0)


def test_RET_005_giving_up_raises_the_last_error_itself() -> None:
    errors = [OSError(number) for number in range(9)]
    last, took = timed(retry(on=OSError, attempts=4, backoff=exponential(1))(failing(*errors, took=10)))
    assert last is errors[3]
    assert took == 47.0
    assert errors[3].__notes__ == ["gave up after 4 attempts in 37.0 s"]  # from the first failure: no limit, no clock
    assert [attempt.seconds for attempt in attempts_of(errors[3])] == [0, 11, 23, 37]
    assert errors[3].__context__ is None


def test_with_a_limit_times_run_from_the_start() -> None:
    errors = [OSError(number) for number in range(9)]
    retried = retry(on=OSError, attempts=2, backoff=constant(1), give_up_after=60)(failing(*errors, took=10))
    assert timed(retried) == (errors[1], 21.0)
    assert attempts_of(errors[1]) == (FailedAttempt(1, errors[0], 10.0, 1.0), FailedAttempt(2, errors[1], 21.0, None))


def test_RET_009_another_error_is_raised_unchanged() -> None:
    error = KeyError("x")
    assert timed(retry(STEADY)(failing(OSError(), error))) == (error, 1.0)
    assert not hasattr(error, "__notes__")


def test_give_up_after_stops_before_the_wait() -> None:
    errors = [OSError(number) for number in range(9)]
    result = timed(retry(on=OSError, attempts=None, backoff=constant(4), give_up_after=10)(failing(*errors)))
    assert result == (errors[2], 8.0)
    assert errors[2].__notes__ == [
        "gave up after 3 attempts in 8.0 s, give_up_after=10: the next wait of 4 s would pass it"
    ]


def test_CAN_006_an_attempt_under_way_is_cut_short() -> None:
    first = OSError("first")
    calls = 0

    @retry(on=OSError, backoff=constant(1), give_up_after=10)
    async def fetch() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise first
        await asyncio.sleep(3600)

    error, took = timed(fetch)
    assert isinstance(error, RetryTimeout)
    assert isinstance(error, TimeoutError)
    assert took == 10.0
    assert error.__cause__ is first
    assert str(error) == "give_up_after=10 passed during attempt 2, after 10.0 s"
    assert [(attempt.error, attempt.seconds) for attempt in attempts_of(error)] == [(first, 0.0), (error, 10.0)]


def test_CAN_007_the_first_attempt_is_cut_short_too() -> None:
    error, took = timed(retry(on=OSError, give_up_after=1)(failing(took=2)))
    assert isinstance(error, RetryTimeout)
    assert took == 1.0
    assert isinstance(error.__cause__, asyncio.CancelledError)


def test_an_attempt_that_fails_when_it_is_cut_short_raises_its_own_error() -> None:
    @retry(on=OSError, give_up_after=1)
    async def fetch() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise OSError("on the way out") from None

    error, took = timed(fetch)
    assert isinstance(error, OSError)
    assert error.__notes__ == ["gave up after 1 attempt in 1.0 s, give_up_after=1"]
    assert took == 1.0


def test_an_attempt_that_finishes_although_it_is_cut_short_counts() -> None:
    @retry(on=OSError, give_up_after=1)
    async def fetch() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "saved"
        return "never"

    async def main() -> str:
        result = await fetch()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(100)
        return result

    assert run_virtual(main()) == "saved"


@pytest.mark.parametrize("limit", [None, 60])
def test_raise_group(limit: float | None) -> None:
    errors = [OSError(number) for number in range(3)]
    policy = Retry(on=OSError, attempts=3, backoff=constant(1), raise_group=True, give_up_after=limit)
    group, _ = timed(retry(policy)(failing(*errors)))
    assert isinstance(group, RetriesExhausted)
    assert group.exceptions == tuple(errors)


def test_raise_group_when_the_last_attempt_is_cut_short() -> None:
    first = OSError()
    calls = failing(first)

    async def fetch() -> None:
        await calls()
        await asyncio.sleep(3600)

    group, took = timed(retry(Retry(on=OSError, backoff=constant(1), raise_group=True, give_up_after=5))(fetch))
    assert isinstance(group, RetriesExhausted)
    assert took == 5.0
    assert group.exceptions[0] is first
    assert isinstance(group.exceptions[1], RetryTimeout)
    assert len(attempts_of(group)) == 2


# --- cancellation ---------------------------------------------------------------------------------


async def cancel_after(seconds: float, call: Callable[[], Awaitable[object]]) -> asyncio.Task[object]:
    async def main() -> object:
        return await call()

    task = asyncio.create_task(main())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.wait([task])
    return task


@pytest.mark.parametrize("limit", [None, 60])
def test_CAN_002_cancellation_during_an_attempt_is_never_retried(limit: float | None) -> None:
    calls = 0

    @retry(on=lambda error: True, give_up_after=limit)
    async def fetch() -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(30)

    assert run_virtual(cancel_after(3, fetch)).cancelled()
    assert calls == 1


@pytest.mark.parametrize("limit", [None, 60])
@pytest.mark.parametrize("failures", [0, 1])
@pytest.mark.parametrize("wait", [0, 1])
def test_CAN_001_an_error_in_place_of_the_cancellation_does_not_hide_it(
    limit: float | None, failures: int, wait: float
) -> None:
    """CAN-003."""
    calls = 0

    @retry(on=OSError, backoff=constant(wait), give_up_after=limit)
    async def fetch() -> None:
        nonlocal calls
        calls += 1
        if calls <= failures:
            raise OSError("ordinary")
        try:
            await asyncio.sleep(30)
        finally:
            raise OSError("connection lost while closing")

    assert run_virtual(cancel_after(3, fetch)).cancelled()
    assert calls == failures + 1


def test_CAN_008_a_task_cancelled_before_it_starts_runs_nothing() -> None:
    calls = 0

    @retry(STEADY)
    async def fetch() -> None:
        nonlocal calls
        calls += 1

    async def main() -> bool:
        async def start() -> None:
            await fetch()

        task = asyncio.create_task(start())
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run_virtual(main())
    assert calls == 0


def test_CAN_008_a_cancellation_that_is_due_ends_the_call_at_its_first_await() -> None:
    """A task that asked for its own cancellation is cancelled where it next waits, and nothing is retried."""
    calls: list[str] = []

    @retry(on=lambda error: True, backoff=constant(1))
    async def fetch() -> None:
        calls.append("begun")
        await asyncio.sleep(0)
        calls.append("went on")

    async def main() -> bool:
        async def start() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await fetch()

        task = asyncio.create_task(start())
        await asyncio.wait([task])
        return task.cancelled()

    assert run_virtual(main())
    assert calls == ["begun"]


@pytest.mark.parametrize("limit", [None, 60])
def test_CAN_003_a_cancellation_between_two_attempts_ends_the_wait(limit: float | None) -> None:
    calls = 0

    @retry(on=OSError, backoff=constant(1), give_up_after=limit)
    async def fetch() -> None:
        nonlocal calls
        calls += 1
        task = asyncio.current_task()
        assert task is not None
        task.cancel()  # as a signal handler might, while the attempt is on its way out
        raise OSError

    async def main() -> tuple[bool, float]:
        task = asyncio.create_task(fetch())
        await asyncio.wait([task])
        return task.cancelled(), asyncio.get_running_loop().time()

    assert run_virtual(main()) == (True, 0.0)
    assert calls == 1


def test_nested_retries_in_one_task() -> None:
    """The inner one gives up twice; each leaves its note, and the limit of the outer one cuts through both."""
    inner = retry(on=OSError, attempts=2, backoff=constant(1))(failing(*[OSError("x")] * 9, took=1))
    error, took = timed(retry(on=OSError, attempts=2, backoff=constant(10))(inner))
    assert isinstance(error, OSError)
    assert took == 16.0
    assert error.__notes__ == ["gave up after 2 attempts in 2.0 s", "gave up after 2 attempts in 13.0 s"]
    endless = retry(on=OSError, attempts=None, backoff=constant(1))(failing(*[OSError("x")] * 999, took=1))
    error, took = timed(retry(on=OSError, give_up_after=60)(endless))
    assert isinstance(error, RetryTimeout)
    assert took == 60.0


@pytest.mark.parametrize("limit", [None, 86_400])
def test_CAN_013_a_wait_ends_at_once(limit: float | None) -> None:
    async def main() -> float:
        fetch = retry(on=OSError, backoff=constant(3600), give_up_after=limit)(failing(*[OSError()] * 9))
        assert (await cancel_after(5, fetch)).cancelled()
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 5.0


def test_cleaning_up_after_a_cancellation_may_be_retried() -> None:
    saved: list[int] = []

    async def main() -> None:
        save = retry(STEADY)(failing(OSError(), OSError()))
        try:
            await asyncio.sleep(30)
        finally:
            saved.append(await save())

    task = run_virtual(cancel_after(3, main))
    assert task.cancelled()
    assert saved == [3]


def test_an_outer_timeout_is_not_taken_for_ours() -> None:
    async def main() -> str:
        fetch = retry(on=OSError, give_up_after=60)(failing(took=3600))
        try:
            async with asyncio.timeout(5):
                await fetch()
        except TimeoutError as error:
            return type(error).__name__
        return "none"

    assert run_virtual(main()) == "TimeoutError"


def test_a_timeout_inside_an_attempt_is_an_ordinary_error() -> None:
    calls = 0

    @retry(on=TimeoutError, attempts=3, backoff=constant(1))
    async def fetch() -> str:
        nonlocal calls
        calls += 1
        async with asyncio.timeout(5):
            await asyncio.sleep(3600 if calls < 3 else 0)
        return "done"

    assert timed(fetch) == ("done", 12.0)


# --- what counts as async ------------------------------------------------------------------------------


class Client:
    def __init__(self) -> None:
        self.calls = failing(OSError(), OSError())

    async def __call__(self) -> int:
        return await self.calls()

    @retry(STEADY)
    async def ask(self, extra: int) -> int:
        return await self.calls() + extra


@pytest.mark.parametrize(
    "make",
    [
        lambda: retry(STEADY)(failing(OSError(), OSError())),
        lambda: retry(STEADY)(Client()),
        lambda: retry(STEADY)(functools.partial(failing(OSError(), OSError()))),
        lambda: functools.partial(Client().ask, 0),
    ],
    ids=["function", "object", "partial", "method"],
)
def test_async_callables(make: Callable[[], Callable[[], Awaitable[int]]]) -> None:
    assert timed(make()) == (3, 2.0)


@pytest.mark.parametrize("limit", [None, 60])
def test_the_function_stays_a_coroutine_function(limit: float | None) -> None:
    @retry(on=OSError, give_up_after=limit)
    async def fetch(url: str) -> bytes:
        """Fetches."""
        return url.encode()

    assert inspect.iscoroutinefunction(fetch)
    assert fetch.__doc__ == "Fetches."
    assert timed(lambda: fetch("a")) == (b"a", 0.0)


def test_RET_023_concurrent_calls_share_nothing() -> None:
    async def main() -> list[int]:
        return await asyncio.gather(*(retry(STEADY)(failing(OSError(), OSError()))() for _ in range(100)))

    assert run_virtual(main()) == [3] * 100


def test_no_real_time_passes() -> None:
    started = time.monotonic()
    assert timed(retry(on=OSError, backoff=constant(3600))(failing(OSError()))) == (2, 3600.0)
    assert time.monotonic() - started < 60


def test_a_cancellation_at_the_very_moment_of_the_limit_is_not_swallowed() -> None:
    async def work() -> None:
        await retry(on=OSError, give_up_after=5)(failing(took=3600))()

    async def main() -> str:
        task = asyncio.create_task(work())
        asyncio.get_running_loop().call_at(5, task.cancel)
        await asyncio.wait([task])
        return "cancelled" if task.cancelled() else repr(task.exception())

    assert run_virtual(main()) == "cancelled"


class Big:
    pass


@pytest.mark.parametrize("limit", [None, 60])
@pytest.mark.parametrize("succeeds", [True, False])
def test_nothing_keeps_the_frames_alive(limit: float | None, succeeds: bool) -> None:
    """No cycle through tracebacks: what a failed attempt held is freed without the garbage collector."""
    held: list[weakref.ref[Big]] = []

    @retry(on=OSError, attempts=3, give_up_after=limit, backoff=constant(1))
    async def call() -> None:
        big = Big()
        held.append(weakref.ref(big))
        if len(held) < 3 or not succeeds:
            raise OSError

    async def main() -> list[Big | None]:
        try:
            await call()
        except OSError:
            pass
        return [big() for big in held]

    gc.collect()
    gc.disable()
    try:
        assert run_virtual(main()) == [None] * 3
    finally:
        gc.enable()

"""`background` with async functions: a task for each, in virtual time."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
from collections.abc import AsyncIterator

import pytest

from mainspring.errors import RetryDefinitionError, RetryTimeout, WrongLoop
from mainspring.retries import (
    TRANSPORT,
    BackgroundTask,
    Baseline,
    Retry,
    attempts_of,
    background,
    background_done,
    constant,
)
from tests.unit.retries.background_scene import PATIENT, STEADY, failing, logged, run, slow

# --- attempts ---------------------------------------------------------------------------------------


def test_RET_026_fails_twice_then_succeeds() -> None:
    async def main() -> None:
        handle = background(failing(OSError(), OSError()), STEADY)
        assert (handle.done, handle.attempts) == (False, 0)  # RET-032
        assert await handle.result() == 3
        assert await handle.exception() is None
        assert (handle.done, handle.attempts, asyncio.get_running_loop().time()) == (True, 3, 5)

    run(main())


def test_RET_030_on_error_is_told_of_every_failure_the_last_included() -> None:
    async def main() -> None:
        errors = [OSError(1), OSError(2), OSError(3)]
        told: list[Exception] = []
        policy = Retry(on=OSError, attempts=3, backoff=constant(1))
        handle = background(failing(*errors), policy, on_error=told.append)
        assert await handle.exception() is errors[2]
        assert told == errors
        assert len(attempts_of(errors[2])) == 3

    run(main())


def test_on_error_is_told_of_an_attempt_that_was_cut_short() -> None:
    """The function sees a cancellation; that it took too long is the driver's own error."""

    async def main() -> None:
        told: list[Exception] = []
        policy = Retry(on=OSError, give_up_after=10)
        handle = background(functools.partial(asyncio.sleep, 3600), policy, on_error=told.append)
        error = await handle.exception()
        assert isinstance(error, RetryTimeout)
        assert told == [error]
        assert asyncio.get_running_loop().time() == 10

    run(main())


def test_no_policy_is_one_attempt() -> None:
    async def main() -> None:
        handle = background(failing(OSError("down")))
        with pytest.raises(OSError, match="down"):
            await handle.result()
        assert handle.attempts == 1

    run(main())


def test_the_task_has_the_name_of_the_call_and_the_context_of_the_caller() -> None:
    variable = contextvars.ContextVar[str]("variable", default="nothing")

    async def look() -> tuple[str, str]:
        task = asyncio.current_task()
        assert task is not None
        return task.get_name(), variable.get()

    async def main() -> None:
        variable.set("the caller's")
        handle = background(functools.partial(look))
        assert await handle.result() == (handle.name, "the caller's")
        assert handle.name.endswith("<locals>.look")
        assert repr(background(look, name="other")) == "<BackgroundTask other pending, attempts=0>"

    run(main())


def test_objects_with_an_async_call_are_tasks() -> None:
    class Saver:
        async def __call__(self) -> str:
            return "saved"

    async def main() -> None:
        handle = background(Saver())
        assert isinstance(handle, BackgroundTask)
        assert (await handle.result(), handle.name) == ("saved", Saver.__qualname__)

    run(main())


def test_an_async_generator_is_refused() -> None:
    async def generate() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(RetryDefinitionError, match="generator"):
        background(generate)


def test_wait_at_exit_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(RetryDefinitionError, match="background_done"):
            background(failing(), wait_at_exit=3)

    run(main())


def test_the_baseline_may_retry_where_there_is_no_policy() -> None:
    async def main() -> None:
        baseline = Baseline({TRANSPORT: Retry(on=Exception, backoff=constant(7))})
        handle = background(failing(ConnectionResetError(), ValueError("mine")), baseline=baseline)
        assert isinstance(await handle.exception(), ValueError)
        assert (handle.attempts, asyncio.get_running_loop().time()) == (2, 9)

    run(main())


# --- waiting ----------------------------------------------------------------------------------------


def test_waiting_has_a_time_limit() -> None:
    async def main() -> None:
        handle = background(functools.partial(slow, "value", 100), name="sleep")
        for _ in range(2):
            with pytest.raises(TimeoutError, match=r"background call sleep has not ended within 10\.0 s"):
                await handle.result(10)
        with pytest.raises(TimeoutError):
            await handle.exception(10)
        assert asyncio.get_running_loop().time() == 30
        assert await handle.result(100) == "value"

    run(main())


def test_cancelling_who_waits_does_not_cancel_the_work() -> None:
    async def main() -> None:
        handle = background(functools.partial(slow, "value", 100))
        readers = [asyncio.create_task(handle.result()) for _ in range(3)]
        await asyncio.sleep(1)
        readers[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await readers[0]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await handle.result()
        assert not handle.done
        assert await asyncio.gather(*readers[1:]) == ["value", "value"]

    run(main())


def test_another_loop_is_told_to_stay_away_until_it_is_done() -> None:
    async def read(handle: BackgroundTask[str]) -> str:
        return await handle.result()

    async def main() -> None:
        handle = background(functools.partial(slow, "value", 100))
        with pytest.raises(WrongLoop, match="belongs to another event loop"):
            await asyncio.to_thread(asyncio.run, read(handle))
        await handle.result()
        assert await asyncio.to_thread(asyncio.run, read(handle)) == "value"

    run(main())


def test_the_reader_need_not_let_the_loop_go_round() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        handle = background(failing(OSError()))
        loop.call_later(1, loop.create_task, read_at_once(handle))
        await background_done()

    async def read_at_once(handle: BackgroundTask[int]) -> None:
        assert handle.done
        assert isinstance(await handle.exception(), OSError)

    run(main())


# --- cancelling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0.5, 30])
def test_cancel_ends_an_attempt_as_well_as_a_wait(after: float, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        handle = background(failing(OSError()), PATIENT)
        await asyncio.sleep(after)
        assert handle.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handle.result()
        with pytest.raises(asyncio.CancelledError):
            await handle.exception()
        assert (handle.done, handle.attempts, handle.cancel()) == (True, 1, False)
        assert asyncio.get_running_loop().time() == after

    run(main())
    gc.collect()
    assert logged(caplog) == []


def test_cancel_before_the_first_attempt(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        handle = background(failing())
        assert handle.cancel()
        await background_done()
        assert (handle.done, handle.attempts) == (True, 0)

    run(main())
    assert logged(caplog) == [], "who cancelled knows, without reading"


def test_cancel_from_another_thread() -> None:
    async def main() -> None:
        handle = background(functools.partial(asyncio.sleep, 3600))
        assert await asyncio.to_thread(handle.cancel)
        with pytest.raises(asyncio.CancelledError):
            await handle.result()
        assert asyncio.get_running_loop().time() == 0

    run(main())


def test_work_that_refuses_its_cancellation_keeps_its_value() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "nearly done"
        return "done"

    async def main() -> None:
        handle = background(stubborn)
        await asyncio.sleep(1)
        assert handle.cancel()
        assert await handle.result() == "nearly done"

    run(main())

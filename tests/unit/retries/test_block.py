from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from mainspring.errors import InvalidPolicy
from mainspring.retries import (
    RetriesExhausted,
    Retry,
    RetryDefinitionError,
    RetryTimeout,
    attempts_of,
    constant,
    retrying,
)
from mainspring.testing.virtual import run_virtual

if TYPE_CHECKING:
    from tests.unit.retries.conftest import Paced

STEADY = Retry(on=OSError, attempts=3, backoff=constant(1))


def test_RET_003_fails_twice_then_succeeds(paced: Paced) -> None:
    numbers = []
    for attempt in retrying(STEADY):
        with attempt:
            numbers.append(attempt.number)
            if attempt.number < 3:
                raise OSError
    assert numbers == [1, 2, 3]
    assert paced.waits == [1, 1]


def test_RET_005_giving_up_raises_the_last_error_itself(paced: Paced) -> None:
    with pytest.raises(OSError, match="3") as caught:
        for attempt in retrying(on=OSError, attempts=3, backoff=constant(2)):
            with attempt:
                raise OSError(attempt.number)
    assert caught.value.__notes__ == ["gave up after 3 attempts in 4.0 s"]
    assert [str(failed.error) for failed in attempts_of(caught.value)] == ["1", "2", "3"]


def test_RET_009_another_error_is_raised_unchanged(paced: Paced) -> None:
    error = KeyError()
    with pytest.raises(KeyError) as caught:
        for attempt in retrying(STEADY):
            with attempt:
                raise error
    assert caught.value is error
    assert not hasattr(error, "__notes__")


def test_give_up_after(paced: Paced) -> None:
    with pytest.raises(OSError, match="2") as caught:
        for attempt in retrying(on=OSError, backoff=constant(4), give_up_after=10):
            with attempt:
                paced.clock.advance(1)
                raise OSError(attempt.number)
    assert caught.value.__notes__ == [
        "gave up after 2 attempts in 6.0 s, give_up_after=10: the next wait of 4 s would pass it"
    ]


def test_raise_group(paced: Paced) -> None:
    with pytest.raises(RetriesExhausted) as caught:
        for attempt in retrying(Retry(on=OSError, attempts=2, raise_group=True)):
            with attempt:
                raise OSError(attempt.number)
    assert len(caught.value.exceptions) == 2


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(), GeneratorExit()])
def test_what_is_no_error_is_never_retried(stop: BaseException, paced: Paced) -> None:
    runs = 0
    with pytest.raises(type(stop)):
        for attempt in retrying(on=lambda error: True):
            with attempt:
                runs += 1
                raise stop
    assert runs == 1


def test_return_inside_the_block(paced: Paced) -> None:
    def load() -> int:
        for attempt in retrying(STEADY):
            with attempt:
                if attempt.number == 1:
                    raise OSError
                return attempt.number
        return 0

    assert load() == 2


def test_a_block_may_be_used_again(paced: Paced) -> None:
    """RET-023: each loop has its own attempts, also when many threads share the block."""
    block = retrying(on=OSError, attempts=2, backoff=constant(0))
    results: list[int] = []

    def work() -> None:
        for attempt in block:
            with attempt:
                if attempt.number == 1:
                    raise OSError
                results.append(attempt.number)

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == [2] * 20


def test_a_loop_without_with_is_refused() -> None:
    with pytest.raises(RetryDefinitionError, match="with attempt"):
        for _ in retrying(STEADY):
            pass

    async def main() -> None:
        async for _ in retrying(STEADY):
            pass

    with pytest.raises(RetryDefinitionError, match="with attempt"):
        run_virtual(main())


def test_saying_nothing_is_refused() -> None:
    with pytest.raises(InvalidPolicy, match="on is missing"):
        retrying()  # type: ignore[call-overload]  # the mistake in question


# --- async for ----------------------------------------------------------------------------------------


async def time_of_loop() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("limit", [None, 60])
def test_async_for(limit: float | None) -> None:
    async def main() -> tuple[int, float]:
        async for attempt in retrying(on=OSError, backoff=constant(5), give_up_after=limit):
            with attempt:
                await asyncio.sleep(1)
                if attempt.number < 3:
                    raise OSError
                return attempt.number, await time_of_loop()
        return 0, 0.0

    assert run_virtual(main()) == (3, 13.0)


def test_async_for_ends_after_success() -> None:
    async def main() -> int:
        runs = 0
        async for attempt in retrying(STEADY):
            with attempt:
                runs += 1
        return runs

    assert run_virtual(main()) == 1


def test_async_for_gives_up() -> None:
    async def main() -> None:
        async for attempt in retrying(STEADY):
            with attempt:
                raise OSError(attempt.number)

    with pytest.raises(OSError, match="3") as caught:
        run_virtual(main())
    assert caught.value.__notes__ == ["gave up after 3 attempts in 2.0 s"]


def test_CAN_006_an_attempt_under_way_is_cut_short() -> None:
    first = OSError("first")

    async def main() -> float:
        with pytest.raises(RetryTimeout, match="during attempt 2") as caught:
            async for attempt in retrying(on=OSError, backoff=constant(1), give_up_after=10):
                with attempt:
                    if attempt.number == 1:
                        raise first
                    await asyncio.sleep(3600)
        assert caught.value.__cause__ is first
        assert len(attempts_of(caught.value)) == 2
        return await time_of_loop()

    assert run_virtual(main()) == 10.0


def test_after_success_the_limit_is_gone() -> None:
    async def main() -> float:
        async for attempt in retrying(on=OSError, give_up_after=10):
            with attempt:
                await asyncio.sleep(1)
        await asyncio.sleep(100)
        return await time_of_loop()

    assert run_virtual(main()) == 101.0


@pytest.mark.parametrize("limit", [None, 60])
def test_CAN_001_cancellation_is_never_retried(limit: float | None) -> None:
    runs = 0

    async def work() -> None:
        nonlocal runs
        async for attempt in retrying(on=OSError, backoff=constant(1), give_up_after=limit):
            with attempt:
                runs += 1
                try:
                    await asyncio.sleep(30)
                finally:
                    raise OSError("lost while closing")

    async def main() -> bool:
        task = asyncio.create_task(work())
        await asyncio.sleep(3)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return task.cancelled()

    assert run_virtual(main())
    assert runs == 1

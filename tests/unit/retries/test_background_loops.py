"""How background tasks end: failures that nobody reads, and the end of their loop."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import weakref
from collections.abc import Callable, Coroutine

import pytest

from mainspring.errors import RetryDefinitionError, WrongLoop
from mainspring.retries import (
    BackgroundTask,
    background,
    background_done,
)
from mainspring.retries.background_calls import calls
from tests.unit.retries.background_scene import STEADY, failing, logged, run, slow

# --- nobody keeps the handle ------------------------------------------------------------------------


def test_a_task_that_nobody_refers_to_runs_to_its_end() -> None:
    """asyncio keeps weak references only: such a task may vanish with the garbage."""
    ended: list[str] = []

    class Lonely:
        """Waits for a future that only its own task refers to."""

        async def __call__(self) -> None:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waker.append(weakref.ref(future))
            await future
            ended.append("ended")

    waker: list[weakref.ref[asyncio.Future[None]]] = []

    async def main() -> None:
        background(Lonely())
        await asyncio.sleep(1)
        gc.collect()
        future = waker[0]()
        assert future is not None
        future.set_result(None)
        del future
        await background_done()

    run(main())
    assert ended == ["ended"]


def test_an_unread_failure_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("unread")

    async def main() -> None:
        background(failing(error), name="alone")
        await background_done()
        await asyncio.sleep(1)
        said = "background call alone failed in attempt 1, and nobody has read its result"
        assert logged(caplog) == [said], "without the collector's help"

    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()
    calls.end()
    gc.collect()
    assert len(caplog.records) == 1, "asyncio itself has nothing to add"
    assert (caplog.records[0].name, caplog.records[0].levelno) == ("mainspring.retries", logging.ERROR)
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[1] is error


def test_a_handle_that_is_kept_is_told_of_at_the_end_of_the_program(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> BackgroundTask[int]:
        handle = background(failing(ValueError()), name="kept")
        await background_done()
        return handle

    handle = run(main())
    assert logged(caplog) == []
    calls.end()
    del handle
    assert len(logged(caplog)) == 1


@pytest.mark.parametrize("read", [BackgroundTask.result, BackgroundTask.exception])
def test_a_failure_that_was_read_is_not_logged(
    caplog: pytest.LogCaptureFixture, read: Callable[[BackgroundTask[int]], Coroutine[object, object, object]]
) -> None:
    async def main() -> None:
        handle = background(failing(ValueError()))
        await asyncio.gather(read(handle), return_exceptions=True)

    run(main())
    calls.end()
    gc.collect()
    assert caplog.records == []


def test_nothing_is_kept_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("mainspring.retries"), "disabled", True)  # a record would hold the error

    class Big:
        async def fail(self) -> None:
            raise OSError("down")

    async def main() -> None:
        for read in (True, False):
            big = Big()
            gone = weakref.ref(big)
            handle = background(big.fail, STEADY)
            await background_done()
            if read:
                with pytest.raises(OSError, match="down"):
                    await handle.result()
            del big, handle
            await asyncio.sleep(1)
            assert gone() is None

    gc.collect()
    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()


# --- the end of the loop ----------------------------------------------------------------------------


def test_background_done_waits_for_all_even_for_those_that_begin_meanwhile() -> None:
    ended: list[int] = []

    async def nested(depth: int) -> None:
        await asyncio.sleep(10)
        if depth:
            background(functools.partial(nested, depth - 1))
        ended.append(depth)

    async def main() -> None:
        background(functools.partial(nested, 2))
        assert await background_done() == ()
        assert ended == [2, 1, 0]
        assert await background_done() == (), "there is nothing left to wait for"
        assert asyncio.get_running_loop().time() == 30

    run(main())


def test_background_done_has_a_time_limit_and_says_what_is_left() -> None:
    async def main() -> None:
        for seconds in (1, 20, 30):
            background(functools.partial(asyncio.sleep, seconds), name=f"sleep {seconds}")
        left = await background_done(timeout=10)
        assert sorted(handle.name for handle in left) == ["sleep 20", "sleep 30"]
        assert asyncio.get_running_loop().time() == 10
        for handle in left:
            assert handle.cancel()
        assert await background_done(timeout=1) == ()

    run(main())


def test_background_done_does_not_wait_for_who_calls_it() -> None:
    async def main() -> None:
        handle = background(background_done)
        other = background(functools.partial(asyncio.sleep, 5))
        assert await handle.result() == ()
        assert other.done

    run(main())


def test_background_done_does_not_wait_for_other_loops() -> None:
    async def main() -> None:
        background(functools.partial(asyncio.sleep, 5))
        await asyncio.to_thread(asyncio.run, background_done())
        assert asyncio.get_running_loop().time() == 0
        await background_done()

    run(main())


def test_a_failure_does_not_come_out_of_background_done(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        handle = background(failing(ValueError("mine")))
        assert await background_done() == ()
        assert isinstance(await handle.exception(), ValueError)

    run(main())
    assert caplog.records == []


def test_work_that_ends_with_its_loop_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        background(functools.partial(asyncio.sleep, 100), name="lost")
        await asyncio.sleep(1)

    run(main())
    assert logged(caplog) == [
        "background call lost was cancelled in attempt 1, not by its handle: await background_done() in main"
    ]


def test_a_loop_that_is_closed_under_a_task_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    """Closed by hand: asyncio's own end would have cancelled the task."""
    loop = asyncio.new_event_loop()

    async def start() -> BackgroundTask[None]:
        return background(functools.partial(asyncio.sleep, 100), name="lost")

    handle = loop.run_until_complete(start())
    loop.close()
    assert (handle.done, handle.cancel()) == (False, False)
    with pytest.raises(WrongLoop):
        run(handle.result())
    gone = weakref.ref(loop)
    del loop

    async def other() -> None:
        background(functools.partial(asyncio.sleep, 0))
        await background_done()

    run(other())
    del handle
    gc.collect()
    assert gone() is None
    assert [record.name for record in caplog.records] == ["asyncio"], "it was destroyed, says asyncio"


def test_a_task_that_is_pending_at_the_end_of_the_program_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()

    async def start() -> BackgroundTask[None]:
        return background(functools.partial(asyncio.sleep, 100), name="lost")

    handle = loop.run_until_complete(start())
    calls.end()
    said = "background call lost is pending in attempt 1, and the program ends"
    assert logged(caplog) == [said + "; await background_done() before its loop ends"]
    handle.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(handle.result())
    loop.close()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_an_exit_comes_out_of_the_loop_as_from_any_task(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        background(failing(error))
        await asyncio.sleep(100)

    with pytest.raises(type(error)) as caught:
        run(main())
    assert caught.value is error
    gc.collect()
    assert caplog.records == []


def test_tasks_start_from_a_thread_only_where_a_loop_runs() -> None:
    async def main() -> None:
        with pytest.raises(RetryDefinitionError, match="no event loop runs here"):
            await asyncio.to_thread(background, failing())
        handle = await asyncio.to_thread(asyncio.run, elsewhere())
        assert await handle.result() == "value"

    async def elsewhere() -> BackgroundTask[str]:
        handle = background(functools.partial(slow, "value", 0))
        await background_done()
        return handle

    run(main())

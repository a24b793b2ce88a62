"""The supervisor: failures, cancellation, signals."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from mainspring.clock import FakeClock
from mainspring.errors import SupervisorError
from mainspring.retries.backoff import constant
from mainspring.retries.policy import Retry
from mainspring.service import Service, Supervisor
from mainspring.testing.virtual import run_virtual
from tests.unit.service.doubles import Log, failing, forever, now, states

# --- failures ----------------------------------------------------------------------------------------


def test_S1_29_a_permanent_error_stops_all_and_is_raised() -> None:
    log = Log()
    error = OSError("gone")

    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("a", log.until_cancelled("a"), on_shutdown=log.hook("a")))
            sup.add(Service("bad", failing(error, after=3)))
            try:
                await asyncio.sleep(1000)
            finally:
                log.append(f"block left at {now():g}")

    with pytest.raises(OSError, match="gone") as caught:
        run_virtual(main())
    assert caught.value is error
    assert "raised by service 'bad'" in error.__notes__
    assert error.__context__ is None  # not the interruption of the block
    assert log[0] == "block left at 3"
    assert log[1:] == ["a stopped", "a hook"]


def test_wait_raises_it_in_other_tasks_too() -> None:
    async def main() -> None:
        error = OSError("gone")
        async with Supervisor() as sup:
            sup.add(Service("bad", failing(error, after=1)))
            waiting = asyncio.create_task(sup.wait())
            try:
                await forever()
            finally:
                with pytest.raises(OSError, match="gone"):
                    await waiting

    with pytest.raises(OSError, match="gone"):
        run_virtual(main())


def test_the_interruption_of_the_block_leaves_no_trace_of_a_cancellation() -> None:
    async def main() -> None:
        with pytest.raises(OSError, match="gone"):
            async with Supervisor() as sup:
                sup.add(Service("bad", failing(OSError("gone"))))
                await forever()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        async with asyncio.timeout(1):
            await asyncio.sleep(0.5)

    run_virtual(main())


def test_several_failures_first_raised_others_noted() -> None:
    async def fails_while_stopping() -> None:
        try:
            await forever()
        finally:
            raise ValueError("while stopping")

    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("b", fails_while_stopping))
            sup.add(Service("a", failing(OSError("first"), after=1)))
            await forever()

    with pytest.raises(OSError, match="first") as caught:
        run_virtual(main())
    assert "service 'b' failed as well: ValueError('while stopping')" in "".join(caught.value.__notes__)


def test_isolate_ends_only_the_failed_service(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with Supervisor(on_failure="isolate") as sup:
            sup.add(Service("good", lambda: asyncio.sleep(10)))
            sup.add(Service("bad", failing(OSError("gone"))))
            await sup.wait()
            assert now() == 10
        assert states(sup) == {"good": "ended", "bad": "failed"}
        assert sup.health()[0].last_error == "OSError: gone"

    run_virtual(main())
    assert "'bad' has failed for good" in caplog.text


def test_an_error_of_the_block_stays_and_stops_the_services() -> None:
    log = Log()

    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("a", log.until_cancelled("a")))
            await asyncio.sleep(1)
            raise KeyError("block")

    with pytest.raises(KeyError, match="block"):
        run_virtual(main())
    assert log == ["a stopped"]


def test_an_error_of_the_block_gets_the_failure_as_a_note() -> None:
    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("bad", failing(OSError("gone"))))
            try:
                await forever()
            finally:
                raise KeyError("block")

    with pytest.raises(KeyError) as caught:
        run_virtual(main())
    assert "service 'bad' failed: OSError('gone')" in caught.value.__notes__[0]


# --- cancellation ------------------------------------------------------------------------------------


def cancelled_after(delay: float, main: Callable[[], Awaitable[None]]) -> None:
    """Run it as a task, cancel that from outside, and let what it raises pass."""

    async def outer() -> None:
        async def inner() -> None:
            await main()

        task = asyncio.create_task(inner())
        await asyncio.sleep(delay)
        task.cancel()
        await task

    run_virtual(outer())


def test_S1_33_cancellation_propagates_and_the_record_says_cancelled() -> None:
    """CAN-031."""
    sup = Supervisor()

    async def main() -> None:
        async with sup:
            sup.add(Service("a", forever))
            sup.add(Service("b", forever, every=5))
            sup.add(Service("c", forever, delay=100))
            await sup.wait()

    with pytest.raises(asyncio.CancelledError):
        cancelled_after(10, main)
    assert states(sup) == {"a": "cancelled", "b": "cancelled", "c": "cancelled"}


def test_RUN_006_cancelled_and_failed_keeps_the_failure() -> None:
    async def fails_while_stopping() -> None:
        try:
            await forever()
        finally:
            raise OSError("kept")

    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("a", fails_while_stopping))
            await forever()

    with pytest.raises(OSError, match="kept") as caught:
        cancelled_after(10, main)
    assert "the supervisor was cancelled, too" in "".join(caught.value.__notes__)


def test_a_second_cancellation_ends_the_grace() -> None:
    log = Log()
    clock = FakeClock()

    async def main() -> None:
        async with Supervisor(grace=1000) as sup:
            sup.add(Service("a", log.until_cancelled("a", unwinding=1), stop=log.hook("a")))
            await forever()

    async def outer() -> None:
        task = asyncio.create_task(main())
        await asyncio.sleep(10)
        task.cancel()
        await asyncio.sleep(10)
        assert log == ["a hook"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(outer(), clock)
    assert log == ["a hook", "a stopped"]
    assert clock.monotonic() == 21


def test_a_timeout_around_the_block_works() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60), Supervisor() as sup:
                sup.add(Service("a", forever))
                await sup.wait()
        assert now() == 60

    run_virtual(main())


def test_supervisors_nest() -> None:
    log = Log()

    async def inner() -> None:
        async with Supervisor() as sup:
            sup.add(Service("x", log.until_cancelled("x")))
            sup.add(Service("y", log.until_cancelled("y")))
            await sup.wait()

    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("before", log.until_cancelled("before")))
            sup.add(Service("nested", inner))
            await asyncio.sleep(1)

    run_virtual(main())
    assert log == ["y stopped", "x stopped", "before stopped"]


def test_a_nested_supervisor_is_restarted_as_a_whole() -> None:
    begun: list[float] = []

    async def inner() -> None:
        async with Supervisor() as sup:
            begun.append(now())
            sup.add(Service("x", failing(OSError(), after=1)))
            await sup.wait()

    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("nested", inner, retry=Retry(on=OSError, attempts=3, backoff=constant(1))))
            await sup.wait()

    with pytest.raises(OSError):
        run_virtual(main())
    assert begun == [0.0, 2.0, 4.0]


# --- signals -----------------------------------------------------------------------------------------


def send(each: signal.Signals, after: float) -> None:
    asyncio.get_running_loop().call_later(after, os.kill, os.getpid(), each)


@pytest.mark.parametrize("each", [signal.SIGINT, signal.SIGTERM])
def test_S1_32_a_signal_stops_all_and_the_old_handlers_come_back(each: signal.Signals) -> None:
    log = Log()

    async def main() -> None:
        before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
        async with Supervisor() as sup:
            sup.add(Service("a", log.until_cancelled("a"), on_shutdown=log.hook("a")))
            send(each, after=5)
            assert await sup.run_until_signal() is each
            assert log == ["a stopped", "a hook"]
            with pytest.raises(SupervisorError):
                sup.add(Service("late", forever))
        assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
        assert now() == 5

    run_virtual(main())


def test_a_second_signal_means_now() -> None:
    log = Log()

    async def main() -> None:
        async with Supervisor(grace=1000) as sup:
            sup.add(Service("a", log.until_cancelled("a"), stop=log.hook("a")))
            send(signal.SIGTERM, after=5)
            send(signal.SIGTERM, after=15)
            assert await sup.run_until_signal() is signal.SIGTERM
        assert now() == 15

    run_virtual(main())
    assert log == ["a hook", "a stopped"]


def test_run_until_signal_returns_when_all_have_ended() -> None:
    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("a", lambda: asyncio.sleep(3)))
            assert await sup.run_until_signal() is None
            assert now() == 3

    run_virtual(main())


def test_a_failure_comes_out_of_run_until_signal() -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("a", failing(OSError("gone"), after=1)))
            await sup.run_until_signal()

    with pytest.raises(OSError, match="gone"):
        run_virtual(main())
    assert signal.getsignal(signal.SIGTERM) is before


def test_signals_outside_the_main_thread_are_refused() -> None:
    async def main() -> None:
        async with Supervisor() as sup:
            await sup.run_until_signal()

    async def outer() -> None:
        with pytest.raises(SupervisorError, match="main thread"):
            await asyncio.to_thread(lambda: run_virtual(main()))

    run_virtual(outer())

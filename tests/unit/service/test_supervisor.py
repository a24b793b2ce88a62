"""The supervisor: adding services, stopping them in order, shutdown hooks."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from mainspring.errors import InvalidOption, SupervisorError
from mainspring.retries.backoff import constant
from mainspring.retries.policy import Retry
from mainspring.service import Service, Supervisor
from mainspring.testing.virtual import run_virtual
from tests.unit.service.doubles import Log, forever, now, states

# --- adding and ending -------------------------------------------------------------------------------


def test_RUN_001_two_one_shots_succeed() -> None:
    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("a", lambda: asyncio.sleep(1)))
            sup.add(Service("b", lambda: asyncio.sleep(2)))
            await sup.wait()
            assert now() == 2
        assert states(sup) == {"a": "ended", "b": "ended"}

    run_virtual(main())


def test_RUN_016_no_services_returns_at_once() -> None:
    async def main() -> None:
        async with Supervisor() as sup:
            await sup.wait()
        assert sup.health() == ()

    run_virtual(main())


def test_adding_while_running_starts_at_once() -> None:
    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("a", forever))
            await asyncio.sleep(10)
            sup.add(Service("b", forever))
            await asyncio.sleep(0)
            assert states(sup) == {"a": "up", "b": "up"}

    run_virtual(main())


def test_S1_30_the_same_name_twice_is_an_error() -> None:
    async def main() -> None:
        service = Service("a", forever)
        async with Supervisor() as sup:
            sup.add(service)
            with pytest.raises(InvalidOption, match="'a' was added already"):
                sup.add(service)
            with pytest.raises(InvalidOption):
                sup.add(Service("a", lambda: asyncio.sleep(0)))

    run_virtual(main())


def test_RUN_020_adding_to_a_closed_supervisor_is_an_error() -> None:
    async def main() -> None:
        sup = Supervisor()
        async with sup:
            pass
        with pytest.raises(SupervisorError, match="'late'"):
            sup.add(Service("late", forever))

    run_virtual(main())


def test_RUN_020_adding_while_it_stops_is_an_error() -> None:
    told: list[str] = []

    async def main() -> None:
        async def adds() -> None:
            try:
                await forever()
            finally:
                with pytest.raises(SupervisorError, match="'late'"):
                    sup.add(Service("late", forever))
                told.append("refused")

        async with Supervisor() as sup:
            sup.add(Service("a", adds))
            await asyncio.sleep(1)
        assert states(sup) == {"a": "cancelled"}

    run_virtual(main())
    assert told == ["refused"]


def test_what_was_added_before_starts_at_each_entry() -> None:
    begun: list[str] = []

    def counted(name: str) -> Service:
        async def work() -> None:
            begun.append(f"{name} at {now():g}")

        return Service(name, work)

    async def main() -> None:
        sup = Supervisor()
        sup.add(counted("a"))
        sup.add(counted("b"))
        with pytest.raises(InvalidOption, match="'a' was added already"):
            sup.add(counted("a"))
        assert sup.health() == ()
        with pytest.raises(SupervisorError, match="never entered"):
            await sup.wait()
        await sup.run()
        await asyncio.sleep(5)
        async with sup:
            sup.add(counted("c"))
            with pytest.raises(InvalidOption, match="'b' was added already"):
                sup.add(counted("b"))
            await sup.wait()
        await asyncio.sleep(5)
        await sup.run()  # c belonged to that block

    run_virtual(main())
    assert begun == ["a at 0", "b at 0", "a at 5", "b at 5", "c at 5", "a at 10", "b at 10"]


def test_RUN_021_it_can_be_entered_again_but_not_twice_at_once() -> None:
    async def main() -> None:
        sup = Supervisor()
        for _ in range(2):
            async with sup:
                sup.add(Service("a", forever))
                with pytest.raises(SupervisorError, match="running already"):
                    await sup.__aenter__()
                await asyncio.sleep(1)
            assert states(sup) == {"a": "cancelled"}

    run_virtual(main())


@pytest.mark.parametrize("options", [{"grace": -1}, {"on_failure": "ignore"}])
def test_S1_43_misconfiguration_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidOption):
        Supervisor(**options)  # type: ignore[arg-type]  # that is the question


# --- stopping ----------------------------------------------------------------------------------------


def test_leaving_the_block_stops_the_last_added_first_each_to_its_end() -> None:
    log = Log()

    async def main() -> None:
        async with Supervisor() as sup:
            for name, unwinding in (("a", 0.0), ("b", 5.0), ("c", 1.0)):
                sup.add(Service(name, log.until_cancelled(name, unwinding)))
            await asyncio.sleep(1)
        assert now() == 1 + 5 + 1
        assert sup.overdue == ()

    run_virtual(main())
    assert log == ["c stopped", "b stopped", "a stopped"]


def test_RUN_003_shutdown_hooks_are_called_last_added_first_after_all_have_ended() -> None:
    """S1-31."""
    log = Log()

    async def main() -> None:
        async with Supervisor() as sup:
            for name in "abc":
                sup.add(Service(name, log.until_cancelled(name), on_shutdown=log.hook(name)))
            await asyncio.sleep(0)

    run_virtual(main())
    assert log == ["c stopped", "b stopped", "a stopped", "c hook", "b hook", "a hook"]


def test_a_hook_that_fails_is_logged_and_the_next_one_runs(caplog: pytest.LogCaptureFixture) -> None:
    """S1-31."""
    log = Log()

    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("a", forever, on_shutdown=log.hook("a")))
            sup.add(Service("b", forever, on_shutdown=log.hook("b", error=OSError("broken"))))

    run_virtual(main())
    assert log == ["b hook", "a hook"]
    assert "shutdown hook of service 'b' failed" in caplog.text


def test_a_hook_that_hangs_takes_the_grace_and_no_more() -> None:
    """What comes after it gets as far as it can without waiting."""
    log = Log()

    async def main() -> None:
        async with Supervisor(grace=7) as sup:
            sup.add(Service("a", forever, on_shutdown=log.hook("a")))
            sup.add(Service("b", forever, on_shutdown=forever))
        assert now() == 7

    run_virtual(main())
    assert log == ["a hook"]


def test_a_hook_that_raises_a_cancellation_of_its_own_does_not_end_the_stop(caplog: pytest.LogCaptureFixture) -> None:
    log = Log()

    async def stray() -> None:
        raise asyncio.CancelledError

    async def main() -> None:
        sup = Supervisor()
        async with sup:
            sup.add(Service("a", forever, on_shutdown=log.hook("a")))
            sup.add(Service("b", forever, on_shutdown=stray))
        async with sup:
            pass

    run_virtual(main())
    assert log == ["a hook"]
    assert "shutdown hook of service 'b' was cancelled" in caplog.text


def test_RUN_007_hooks_share_one_grace_and_are_detached_from_cancellation() -> None:
    log = Log()

    async def main() -> None:
        async with Supervisor(grace=30) as sup:
            sup.add(Service("a", forever, on_shutdown=log.hook("a", lasting=1)))
            sup.add(Service("b", forever, on_shutdown=log.hook("b", lasting=20)))
            sup.add(Service("c", forever, on_shutdown=log.hook("c", lasting=9.5)))
            await forever()

    async def outer() -> None:
        task = asyncio.create_task(main())
        await asyncio.sleep(100)
        task.cancel()
        await asyncio.sleep(5)
        task.cancel()  # once more, in the middle of the first hook
        with pytest.raises(asyncio.CancelledError):
            await task
        assert now() == 130

    run_virtual(outer())
    assert log == ["c hook", "c hook done", "b hook", "b hook done", "a hook"]


def test_RUN_017_a_stop_hook_lets_the_service_finish_within_the_grace() -> None:
    log = Log()

    async def main() -> None:
        enough = asyncio.Event()

        async def worker() -> None:
            await enough.wait()
            await asyncio.sleep(4)
            log.append("finished")

        async def stop() -> None:
            enough.set()

        async with Supervisor(grace=5) as sup:
            sup.add(Service("worker", worker, stop=stop))
            await asyncio.sleep(1)
        assert (now(), states(sup)) == (5, {"worker": "ended"})

    run_virtual(main())
    assert log == ["finished"]


def test_after_the_grace_the_service_is_cancelled() -> None:
    log = Log()

    async def main() -> None:
        async with Supervisor(grace=5) as sup:
            sup.add(Service("worker", log.until_cancelled("worker", unwinding=1), stop=log.hook("worker")))
            await asyncio.sleep(1)
        assert (now(), states(sup)) == (7, {"worker": "cancelled"})
        assert sup.overdue == ()

    run_virtual(main())
    assert log == ["worker hook", "worker stopped"]


def test_a_stop_hook_that_fails_or_hangs_does_not_hurt(caplog: pytest.LogCaptureFixture) -> None:
    log = Log()

    async def main() -> None:
        async with Supervisor(grace=5) as sup:
            sup.add(Service("a", log.until_cancelled("a"), stop=log.hook("a", error=OSError())))
            sup.add(Service("b", log.until_cancelled("b"), stop=log.hook("b", lasting=1e6)))
            await asyncio.sleep(0)
        assert now() == 5

    run_virtual(main())
    assert log == ["b hook", "b stopped", "a stopped"]  # the grace was over before a was asked


def test_an_interval_service_with_a_stop_hook_finishes_its_tick_and_ends() -> None:
    log = Log()

    async def tick() -> None:
        await asyncio.sleep(3)
        log.append("ticked")

    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("during", tick, every=10, stop=log.hook("during")))
            await asyncio.sleep(1)
        assert (now(), states(sup)) == (3, {"during": "ended"})
        async with sup:
            sup.add(Service("between", tick, every=10, stop=log.hook("between")))
            await asyncio.sleep(5)
        assert (now(), states(sup)) == (8, {"between": "ended"})

    run_virtual(main())
    assert log == ["during hook", "ticked", "ticked", "between hook"]


def test_services_that_do_not_stop_in_time_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    log = Log()
    release = asyncio.Event()

    async def deaf() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                log.append("deaf")

    async def main() -> None:
        async with Supervisor(grace=30) as sup:
            sup.add(Service("good", log.until_cancelled("good", unwinding=1), on_shutdown=log.hook("good")))
            sup.add(Service("bad", deaf, every=1))
            await asyncio.sleep(0)
        assert sup.overdue == ("bad",)
        assert now() == 35  # the grace, and five seconds to clean up for all that were cancelled after it
        assert states(sup) == {"good": "cancelled", "bad": "overdue"}
        release.set()
        await asyncio.sleep(5)
        assert states(sup)["bad"] == "ended"  # no further tick although it swallowed the cancellation

    run_virtual(main())
    assert log == ["deaf", "good stopped", "good hook"]
    assert "'bad' was cancelled and has not stopped" in caplog.text


def test_no_grace_cancels_all_at_once_and_lets_them_clean_up() -> None:
    log = Log()

    async def main() -> None:
        async with Supervisor(grace=0) as sup:
            for name in "ab":
                sup.add(Service(name, log.until_cancelled(name, unwinding=2), stop=log.hook(name)))
            await asyncio.sleep(0)
        assert now() == 2

    run_virtual(main())
    assert sorted(log) == ["a stopped", "b stopped"]


def test_one_service_can_be_stopped_by_name_and_added_again() -> None:
    log = Log()

    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("a", log.until_cancelled("a"), on_shutdown=log.hook("a")))
            sup.add(Service("b", log.until_cancelled("b")))
            await asyncio.sleep(1)
            await sup.stop("a")
            assert log == ["a stopped", "a hook"]
            assert states(sup) == {"a": "cancelled", "b": "up"}
            sup.add(Service("a", log.until_cancelled("new a")))
            await asyncio.sleep(1)
            with pytest.raises(InvalidOption, match="no service named 'c'"):
                await sup.stop("c")

    run_virtual(main())
    assert log == ["a stopped", "a hook", "new a stopped", "b stopped"]


def test_a_service_cannot_stop_itself() -> None:
    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("a", lambda: sup.stop("a")))
            await sup.wait()

    with pytest.raises(InvalidOption, match="ends by returning"):
        run_virtual(main())


def test_a_thousand_services() -> None:
    """Started, ticking, stopped in order; half of them fail now and then."""
    runs = 0
    stopped: list[int] = []

    def numbered(number: int) -> Service:
        async def work() -> None:
            nonlocal runs
            runs += 1
            if number % 2 and runs % 3 == 0:
                raise OSError(number)

        async def shut_down() -> None:
            stopped.append(number)

        retry = Retry(on=OSError, attempts=None, backoff=constant(0.5))
        return Service(f"s{number:03}", work, every=1, retry=retry, on_shutdown=shut_down)

    async def main() -> None:
        sup = Supervisor()
        for number in range(1000):
            sup.add(numbered(number))
        async with sup:
            await asyncio.sleep(9.9)
            assert {each.state for each in sup.health()} <= {"up", "waiting"}
        assert len(sup.health()) == 1000
        assert sup.overdue == ()

    run_virtual(main())
    assert runs >= 10_000
    assert stopped == list(reversed(range(1000)))


def test_a_thousand_one_shots_are_waited_for_without_looking_at_all_of_them_each_time() -> None:
    async def main() -> None:
        sup = Supervisor()
        for number in range(1000):
            sup.add(Service(str(number), partial(asyncio.sleep, number / 1000)))
        waits = 0
        real = asyncio.wait

        async def counted(*given: Any, **options: Any) -> Any:
            nonlocal waits
            waits += 1
            return await real(*given, **options)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(asyncio, "wait", counted)
            await sup.run()
        assert waits < 10

    run_virtual(main())

"""Sync services: each run in a thread of its own, never two beside each other."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable
from functools import partial

import pytest

from mainspring.errors import AttemptTimeout, InvalidOption
from mainspring.retries.backoff import constant
from mainspring.retries.policy import Retry
from mainspring.service import Service, Supervisor, stopping
from mainspring.service.service import required
from mainspring.service.threads import InThread
from mainspring.testing.virtual import VirtualLoop, run_virtual
from tests.unit.service.doubles import Log, forever, now, states

LONG = 20.0  # real seconds, after which a test has failed rather than hang


class Deaf:
    """A sync function that does not listen to its stop event; it returns when it is released."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.release = threading.Event()
        self.stops: list[threading.Event] = []
        self.at_once = 0
        self.most_at_once = 0
        self.fails: Exception | None = None

    def __call__(self, stop: threading.Event) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.stops.append(stop)
        self.begun.release()
        assert self.release.wait(LONG)
        self.at_once -= 1
        if self.fails is not None:
            raise self.fails

    @property
    def runs(self) -> int:
        return len(self.stops)


async def has_begun(deaf: Deaf) -> None:
    assert await asyncio.to_thread(deaf.begun.acquire, timeout=LONG)


async def until(true: Callable[[], bool]) -> None:
    """Let the loop turn until something is so; what it waits for comes from another thread."""
    async with asyncio.timeout(LONG):
        while not true():
            await asyncio.sleep(0)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """In real time: a service that was cancelled is waited for only a moment."""
    monkeypatch.setattr(stopping, "UNWIND", 0.02)


# --- runs --------------------------------------------------------------------------------------------


def test_a_sync_function_runs_in_a_thread_with_the_callers_contextvars() -> None:
    told: list[tuple[str, str]] = []
    variable = contextvars.ContextVar("variable", default="")

    def work() -> None:
        told.append((threading.current_thread().name, variable.get()))

    async def main() -> None:
        variable.set("taken along")
        sup = Supervisor()
        sup.add(Service("poll", work))
        await sup.run()
        assert states(sup) == {"poll": "ended"}

    run_virtual(main())
    assert told == [("service:poll", "taken along")]


def test_a_sync_interval_service_ticks_on_its_grid() -> None:
    """S1-21. In virtual time, which stands still while the thread is at work."""
    ticks: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with Supervisor() as sup:
            sup.add(Service("tick", lambda: ticks.append(loop.time()), every=10))
            await asyncio.sleep(35)

    run_virtual(main())
    assert ticks == [0.0, 10.0, 20.0, 30.0]


def test_a_sync_service_is_retried_by_its_policy_and_keeps_its_error() -> None:
    errors = [OSError("first"), OSError("second")]
    begun: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def work() -> None:
            begun.append(loop.time())
            raise errors[len(begun) - 1]

        sup = Supervisor()
        sup.add(Service("bad", work, retry=Retry(on=OSError, attempts=2, backoff=constant(3))))
        with pytest.raises(OSError, match="second") as caught:
            await sup.run()
        assert caught.value is errors[1]
        (health,) = sup.health()
        assert (health.state, health.restarts, health.last_error) == ("failed", 1, "OSError: second")

    run_virtual(main())
    assert begun == [0.0, 3.0]


class Poller:
    def __init__(self, log: Log) -> None:
        self.log = log

    def run(self, stop: threading.Event) -> None:
        self.log.append(f"run, stop is {stop.is_set()}")


class Called:
    def __init__(self, log: Log) -> None:
        self.log = log

    def __call__(self) -> None:
        self.log.append("called")


def test_objects_partials_and_what_returns_a_coroutine() -> None:
    log = Log()

    async def later() -> None:
        log.append(f"on the loop {asyncio.get_running_loop().time():g}")

    def with_argument(word: str, stop: threading.Event) -> None:
        log.append(f"{word} {type(stop).__name__}")

    async def main() -> None:
        for service in (
            Service("object", Poller(log)),
            Service("callable", Called(log)),
            Service("partial", partial(with_argument, "given")),
            Service("async partial", partial(asyncio.sleep, 0)),
            Service("returns a coroutine", lambda: later()),
            Service("in C", [].clear),
            Service("default", lambda stop=None: log.append(f"default {stop}")),
        ):
            sup = Supervisor()
            sup.add(service)
            await sup.run()
            assert states(sup) == {service.name: "ended"}

    with pytest.raises(InvalidOption, match="object with run"):
        Service("a class", dict)
    run_virtual(main())
    assert log == ["run, stop is False", "called", "given Event", "on the loop 0", "default None"]


def test_the_parameters_of_a_function_in_c_may_be_unknown() -> None:
    assert required({}.update) == ()


@pytest.mark.parametrize("error", [StopIteration("x"), KeyboardInterrupt("x")])
def test_errors_that_a_future_does_not_take_come_out_as_an_error_of_the_service(error: BaseException) -> None:
    def work() -> None:
        raise error

    async def main() -> None:
        sup = Supervisor()
        sup.add(Service("odd", work))
        with pytest.raises(RuntimeError) as caught:
            await sup.run()
        assert caught.value.__cause__ is error
        assert states(sup) == {"odd": "failed"}

    run_virtual(main())


def test_a_thread_that_cannot_be_started_is_an_error_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []

    def start(thread: threading.Thread) -> None:
        begun.append(1)
        if len(begun) == 1:
            raise RuntimeError("can't start new thread")
        real(thread)

    real = threading.Thread.start

    async def main() -> None:
        sup = Supervisor()
        sup.add(Service("a", lambda: None, retry=Retry(on=RuntimeError, backoff=constant(5))))
        monkeypatch.setattr(threading.Thread, "start", start)
        await sup.run()
        monkeypatch.undo()
        assert (now(), states(sup)) == (5, {"a": "ended"})

    run_virtual(main())


def test_Service_run_is_one_run() -> None:
    assert run_virtual(in_a_coroutine(Service("a", lambda: 7))) == 7


async def in_a_coroutine(service: Service) -> object:
    return await service.run()


# --- stopping ----------------------------------------------------------------------------------------


async def test_the_stop_event_is_set_and_the_thread_waited_for() -> None:
    log, begun = Log(), threading.Event()

    def work(stop: threading.Event) -> None:
        begun.set()
        assert stop.wait(LONG)
        log.append("thread returned")

    async with Supervisor() as sup:
        sup.add(Service("a", work, on_shutdown=log.hook("a")))
        assert await asyncio.to_thread(begun.wait, LONG)
        assert states(sup) == {"a": "up"}
    assert log == ["thread returned", "a hook"]
    assert states(sup) == {"a": "cancelled"}
    assert not sup.overdue


async def test_with_a_stop_hook_it_is_asked_and_ends_by_itself() -> None:
    """The event is set then, too: a thread cannot be cancelled, so asking is all there is."""
    log, begun = Log(), threading.Event()

    def work(stop: threading.Event) -> None:
        begun.set()
        assert stop.wait(LONG)

    async with Supervisor() as sup:
        sup.add(Service("a", work, stop=log.hook("a")))
        assert await asyncio.to_thread(begun.wait, LONG)
    assert log == ["a hook"]
    assert states(sup) == {"a": "ended"}


async def test_an_error_while_it_stops_is_kept() -> None:
    begun = threading.Event()

    def work(stop: threading.Event) -> None:
        begun.set()
        assert stop.wait(LONG)
        raise OSError("while stopping")

    with pytest.raises(OSError, match="while stopping"):
        async with Supervisor() as sup:
            sup.add(Service("a", work))
            assert await asyncio.to_thread(begun.wait, LONG)


async def test_what_is_returned_by_a_run_that_was_cancelled_is_not_awaited() -> None:
    """And no warning of a coroutine that nobody awaited."""
    begun = threading.Event()

    def work(stop: threading.Event) -> object:
        begun.set()
        assert stop.wait(LONG)
        return forever()

    async with Supervisor() as sup:
        sup.add(Service("a", work))
        assert await asyncio.to_thread(begun.wait, LONG)
    assert states(sup) == {"a": "cancelled"}


async def test_a_thread_that_ignores_the_stop_is_overdue_and_left_behind(
    hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    deaf = Deaf()
    async with Supervisor(grace=0) as sup:
        sup.add(Service("left", deaf))
        await has_begun(deaf)
    assert sup.overdue == ("left",)
    assert states(sup) == {"left": "overdue"}  # it does go on
    assert "'left' was cancelled and has not stopped in time" in caplog.text
    assert deaf.stops[0].is_set()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "service:left"]
    deaf.release.set()
    (thread,) = [each for each in threading.enumerate() if each.name == "service:left"]
    assert thread.daemon  # it keeps no interpreter alive
    await asyncio.to_thread(thread.join, LONG)
    assert states(sup) == {"left": "cancelled"}


async def test_a_new_run_waits_for_a_thread_that_was_left_behind(hasty: None) -> None:
    """Serial by nature (API.md D25), also over two entries of a supervisor."""
    deaf = Deaf()
    sup = Supervisor(grace=0)
    sup.add(Service("deaf", deaf))
    async with sup:
        await has_begun(deaf)
    assert list(sup.overdue) == ["deaf"]
    async with sup:
        await asyncio.sleep(0.01)
        assert deaf.runs == 1
    assert states(sup) == {"deaf": "cancelled"}  # it did not get as far as its first run
    assert not sup.overdue
    async with sup:
        await asyncio.sleep(0.01)
        assert deaf.runs == 1
        assert states(sup) == {"deaf": "waiting"}
        deaf.release.set()
        await has_begun(deaf)
        await sup.wait()
    assert (deaf.runs, deaf.most_at_once) == (2, 1)
    assert states(sup) == {"deaf": "ended"}
    assert not sup.overdue


async def test_the_name_of_a_service_is_not_free_while_its_thread_goes_on(hasty: None) -> None:
    deaf = Deaf()
    async with Supervisor(grace=0) as sup:
        sup.add(Service("a", deaf))
        await has_begun(deaf)
        await sup.stop("a")
        with pytest.raises(InvalidOption, match="'a' was added already"):
            sup.add(Service("a", deaf))
        deaf.release.set()
        await until(
            lambda: deaf.at_once == 0 and not [each for each in threading.enumerate() if "service:" in each.name]
        )
        sup.add(Service("a", deaf))
        await sup.wait()
    assert (deaf.runs, deaf.most_at_once) == (2, 1)


def test_the_end_of_the_loop_in_the_middle_of_a_stop_ends_it_now(hasty: None) -> None:
    """`asyncio.run` cancels every task, that of the stop as well: it begins anew, and does not wait for the thread."""
    deaf, log = Deaf(), Log()
    sup = Supervisor(grace=3600)

    async def supervise() -> None:
        async with sup:
            sup.add(Service("deaf", deaf, on_shutdown=log.hook("deaf")))
            await has_begun(deaf)

    async def main() -> None:
        running = asyncio.create_task(supervise())
        await until(lambda: bool(deaf.stops) and deaf.stops[0].is_set())
        assert not running.done()

    asyncio.run(main())
    assert list(sup.overdue) == ["deaf"]
    assert log == ["deaf hook"]
    assert deaf.at_once == 1
    deaf.release.set()


# --- timeout -----------------------------------------------------------------------------------------


def run_by_hand(main: Callable[[VirtualLoop], object]) -> None:
    """In virtual time that moves only when the test says so, over threads that are at work."""

    async def outer() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        running = main(loop)
        assert asyncio.iscoroutine(running)
        await running

    run_virtual(outer(), autojump=False)


def test_CAN_018_a_timeout_asks_the_thread_to_return_and_waits_for_it(caplog: pytest.LogCaptureFixture) -> None:
    """D25: no second run beside it, however long it takes; then it counts as a timeout, whatever it returned."""
    deaf = Deaf()

    async def main(loop: VirtualLoop) -> None:
        retry = Retry(on=TimeoutError, attempts=None, backoff=constant(1))
        async with Supervisor(clock=loop.clock) as sup:
            sup.add(Service("slow", deaf, timeout=2, retry=retry, every=10))
            await has_begun(deaf)
            await loop.advance(1.9, wait_outside=False)
            assert not deaf.stops[0].is_set()
            assert not sup.overdue
            await loop.advance(0.2, wait_outside=False)
            assert deaf.stops[0].is_set()
            assert list(sup.overdue) == ["slow"]
            await loop.advance(3600, wait_outside=False)
            (health,) = sup.health()
            assert (health.state, health.restarts, health.active) == ("overdue", 0, True)
            assert health.since == pytest.approx(loop.clock.now() - 3600.1, abs=1e-3)  # when its timeout was over
            assert health.last_error == "AttemptTimeout: service 'slow' ran longer than its timeout of 2 s"
            assert deaf.runs == 1
            deaf.release.set()
            await until(lambda: states(sup) == {"slow": "waiting"})
            assert not sup.overdue
            assert sup.health()[0].active
            deaf.release.clear()
            await loop.advance(1, wait_outside=False)
            await has_begun(deaf)
            assert sup.health()[0].restarts == 1
            assert not deaf.stops[1].is_set()
            deaf.release.set()
            await until(lambda: deaf.at_once == 0)

    run_by_hand(main)
    assert deaf.most_at_once == 1
    warnings = [each.getMessage() for each in caplog.records if "overdue" in each.getMessage()]
    assert len(warnings) == 1  # once a run, not once a second


@pytest.mark.parametrize("fails", [None, ConnectionError("closed under it")])
def test_CAN_012_after_its_timeout_a_thread_has_timed_out_however_it_ends(fails: Exception | None) -> None:
    deaf = Deaf()
    deaf.fails = fails

    async def main(loop: VirtualLoop) -> None:
        with pytest.raises(AttemptTimeout, match="of 2 s") as caught:
            async with Supervisor() as sup:
                sup.add(Service("slow", deaf, timeout=2))
                await has_begun(deaf)
                await loop.advance(3, wait_outside=False)
                deaf.release.set()
                await sup.wait()
        assert (caught.value.__cause__ is fails) == (fails is not None)

    run_by_hand(main)


def test_a_thread_in_time_has_no_timer_left(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("quick", lambda: None, timeout=2, every=100))
            await asyncio.sleep(50)

    caplog.set_level(logging.INFO)
    run_virtual(main())
    assert caplog.records == []


def test_stopped_while_it_is_overdue_and_returns(caplog: pytest.LogCaptureFixture) -> None:
    deaf = Deaf()

    async def main(loop: VirtualLoop) -> None:
        async with Supervisor() as sup:
            sup.add(Service("slow", deaf, timeout=2, retry=Retry(on=TimeoutError, backoff=constant(1))))
            await has_begun(deaf)
            await loop.advance(3, wait_outside=False)
            loop.call_soon(deaf.release.set)
        assert states(sup) == {"slow": "cancelled"}
        assert not sup.overdue

    run_by_hand(main)
    assert deaf.runs == 1


async def test_a_thread_that_ends_when_the_loop_is_gone_hurts_nobody() -> None:
    """It is left behind, and the loop is closed: nobody is told, and nothing is logged."""
    deaf = Deaf()
    thread = InThread("deaf", deaf, takes_stop=True)

    def in_another_loop() -> None:
        async def main() -> None:
            running = asyncio.create_task(thread.run())
            await has_begun(deaf)
            thread.leave_behind()
            with pytest.raises(asyncio.CancelledError):
                await running

        asyncio.run(main())

    await asyncio.to_thread(in_another_loop)
    assert thread.goes_on
    deaf.release.set()
    await thread.over()
    assert not thread.goes_on

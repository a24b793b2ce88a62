"""A supervisor as a service of another one: restarted as a whole, stopped in order, seen in the health."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mainspring.clock import FakeClock
from mainspring.errors import InvalidOption, SupervisorError
from mainspring.retries.backoff import constant
from mainspring.retries.policy import Retry
from mainspring.service import OnFailure, Service, Supervisor, stopping
from mainspring.testing.virtual import run_virtual
from tests.unit.service.doubles import Log, failing, forever, now, states


def test_a_supervisor_is_no_service_of_its_own() -> None:
    itself = Supervisor()
    with pytest.raises(InvalidOption, match="'nested' is this supervisor itself"):
        itself.add(Service("nested", itself))


def test_it_runs_what_was_added_before_and_is_stopped_in_its_place() -> None:
    log = Log()

    async def main() -> None:
        inner = Supervisor()
        for name in "xy":
            inner.add(Service(name, log.until_cancelled(name), on_shutdown=log.hook(name)))
        async with Supervisor() as sup:
            sup.add(Service("before", log.until_cancelled("before")))
            sup.add(Service("nested", inner, on_shutdown=log.hook("nested")))
            sup.add(Service("after", log.until_cancelled("after")))
            await asyncio.sleep(1)
        assert states(sup)["nested"] == "cancelled"

    run_virtual(main())
    assert log == ["after stopped", "y stopped", "x stopped", "y hook", "x hook", "before stopped", "nested hook"]


def test_the_health_of_those_below_is_there_by_their_path() -> None:
    """Nested and sync ones, too: name, state, restarts, last error, since."""
    clock = FakeClock(5000.0)

    async def main() -> None:
        lowest = Supervisor(clock=clock)
        lowest.add(Service("sync", lambda: None))
        inner = Supervisor(clock=clock, on_failure="isolate")
        inner.add(Service("lowest", lowest))
        inner.add(Service("up", forever))
        inner.add(Service("bad", failing(OSError("gone"), after=2)))
        outer = Supervisor(clock=clock)
        outer.add(Service("inner", inner))
        async with outer:
            assert [each.name for each in outer.health()] == ["inner"]
            await asyncio.sleep(10)
            assert [(each.name, each.state, each.since, each.last_error) for each in outer.health()] == [
                ("inner", "up", 5000.0, None),
                ("inner/bad", "failed", 5002.0, "OSError: gone"),
                ("inner/lowest", "ended", 5000.0, None),
                ("inner/lowest/sync", "ended", 5000.0, None),
                ("inner/up", "up", 5000.0, None),
            ]
        assert outer.health()[-1].state == "cancelled"

    run_virtual(main(), clock)


def test_it_has_ended_when_all_of_its_services_have() -> None:
    async def main() -> None:
        inner = Supervisor()
        inner.add(Service("a", lambda: asyncio.sleep(3)))
        outer = Supervisor()
        outer.add(Service("inner", inner))
        outer.add(Service("empty", Supervisor()))
        await outer.run()
        assert now() == 3
        assert states(outer) == {"empty": "ended", "inner": "ended", "inner/a": "ended"}

    run_virtual(main())


def test_a_failure_for_good_below_restarts_it_as_a_whole_then_fails_above() -> None:
    """stop_all: its other services begin anew as well."""
    begun: list[str] = []
    error = OSError("always the same object")

    async def good() -> None:
        begun.append(f"good at {now():g}")
        await forever()

    async def main() -> None:
        inner = Supervisor()
        inner.add(Service("good", good))
        inner.add(Service("bad", failing(error, after=1)))
        outer = Supervisor()
        outer.add(Service("inner", inner, retry=Retry(on=OSError, attempts=3, backoff=constant(1))))
        outer.add(Service("other", forever))
        with pytest.raises(OSError, match="always the same") as caught:
            await outer.run()
        assert caught.value is error
        assert states(outer) == {
            "inner": "failed", "inner/bad": "failed", "inner/good": "cancelled", "other": "cancelled",
        }  # fmt: skip
        assert outer.health()[0].restarts == 2

    run_virtual(main())
    assert begun == ["good at 0", "good at 2", "good at 4"]
    assert error.__notes__ == [  # once each, although it went up three times
        "raised by service 'bad'",
        "the service gave up after 3 failed run(s) in 5 s: attempts spent",
        "raised by service 'inner'",
    ]


@pytest.mark.parametrize(("inner_mode", "state"), [("stop_all", "failed"), ("isolate", "ended")])
def test_a_failure_for_good_below_and_isolate_above(inner_mode: OnFailure, state: str) -> None:
    """Under isolate below, only the health tells of it: the supervisor itself has ended well."""

    async def main() -> None:
        inner = Supervisor(on_failure=inner_mode)
        inner.add(Service("bad", failing(OSError("gone"), after=1)))
        outer = Supervisor(on_failure="isolate")
        outer.add(Service("inner", inner))
        outer.add(Service("other", lambda: asyncio.sleep(10)))
        await outer.run()
        assert now() == 10
        assert states(outer) == {"inner": state, "inner/bad": "failed", "other": "ended"}

    run_virtual(main())


def test_the_same_supervisor_cannot_run_in_two_places() -> None:
    async def main() -> None:
        inner = Supervisor()
        inner.add(Service("a", forever))
        outer = Supervisor()
        outer.add(Service("one", inner))
        outer.add(Service("two", inner))
        with pytest.raises(SupervisorError, match="running already"):
            await outer.run()

    run_virtual(main())


def test_when_the_grace_above_is_over_it_is_over_below() -> None:
    log = Log()

    async def main() -> None:
        inner = Supervisor(grace=1000)
        inner.add(Service("x", log.until_cancelled("x", unwinding=2), stop=log.hook("x")))
        async with Supervisor(grace=7) as sup:
            sup.add(Service("inner", inner))
            await asyncio.sleep(0.1)
        assert now() == pytest.approx(0.1 + 7 + 2)
        assert sup.overdue == ()

    run_virtual(main())
    assert log == ["x hook", "x stopped"]


def test_hurry_before_and_after_changes_nothing() -> None:
    async def main() -> None:
        sup = Supervisor(grace=1)
        sup.hurry()
        sup.add(Service("a", forever))
        async with sup:
            await asyncio.sleep(1)
        sup.hurry()
        assert states(sup) == {"a": "cancelled"}

    run_virtual(main())


def test_what_is_overdue_below_is_told_above_and_hooks_below_have_their_time() -> None:
    """Those below end first; else the one above would give up on a stop that goes well."""
    log = Log()
    release = asyncio.Event()

    async def deaf() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                pass

    async def main() -> None:
        lowest = Supervisor(grace=10)
        lowest.add(Service("deaf", deaf, on_shutdown=log.hook("deaf", lasting=9)))
        inner = Supervisor(grace=10)
        inner.add(Service("lowest", lowest))
        async with Supervisor(grace=3) as sup:
            sup.add(Service("inner", inner))
            await asyncio.sleep(0)
        assert now() == 3 + stopping.UNWIND + 9
        assert sup.overdue == ("inner/lowest/deaf",)
        assert states(sup) == {"inner": "cancelled", "inner/lowest": "cancelled", "inner/lowest/deaf": "overdue"}
        release.set()
        await asyncio.sleep(0.1)
        assert states(sup)["inner/lowest/deaf"] == "ended"

    run_virtual(main())
    assert log == ["deaf hook", "deaf hook done"]


async def test_a_restart_as_a_whole_waits_for_a_thread_that_was_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "UNWIND", 0.02)
    begun, release = threading.Semaphore(0), threading.Event()
    at_once: list[int] = []
    runs: list[int] = []

    def deaf(stop: threading.Event) -> None:
        at_once.append(1)
        runs.append(len(at_once))
        begun.release()
        assert release.wait(20)
        at_once.pop()

    async def fails_once() -> None:
        assert await asyncio.to_thread(begun.acquire, timeout=20)
        if len(runs) == 1:
            raise OSError("once")

    inner = Supervisor(grace=0)
    inner.add(Service("deaf", deaf))
    inner.add(Service("fails", fails_once))
    outer = Supervisor()
    outer.add(Service("inner", inner, retry=Retry(on=OSError, backoff=constant(0))))
    async with outer:
        async with asyncio.timeout(20):
            while states(inner).get("deaf") != "waiting":
                await asyncio.sleep(0.001)
        assert runs == [1]
        release.set()
        await outer.wait()
    assert runs == [1, 1]
    assert states(outer) == {"inner": "ended", "inner/deaf": "ended", "inner/fails": "ended"}

"""One service under a supervisor: runs, ticks, backoff, timeout, budgets."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise

import pytest

from mainspring.clock import FakeClock
from mainspring.errors import AttemptTimeout
from mainspring.retries.backoff import constant
from mainspring.retries.classify import TRANSPORT, Baseline
from mainspring.retries.policy import Retry
from mainspring.service import Restarts, Service, Supervisor
from mainspring.testing.virtual import run_virtual


def now() -> float:
    return asyncio.get_running_loop().time()


class Scripted:
    """Fails or returns as told, then goes on with the last word; remembers when it ran."""

    def __init__(self, *script: BaseException | float) -> None:
        self.script = list(script)
        self.runs: list[float] = []

    async def run(self) -> None:
        self.runs.append(now())
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, BaseException):
            raise step
        await asyncio.sleep(step)


def supervised(*services: Service, lasting: float | None = None, supervisor: Supervisor | None = None) -> Supervisor:
    """Run services under a supervisor until all have ended, or for some virtual seconds."""
    sup = supervisor or Supervisor()

    async def main() -> None:
        async with sup:
            for service in services:
                sup.add(service)
            if lasting is None:
                await sup.wait()
            else:
                await asyncio.sleep(lasting)

    run_virtual(main())
    return sup


def test_a_one_shot_runs_once_and_has_ended() -> None:
    """S1-20, S1-28."""
    work = Scripted(5.0)
    sup = supervised(Service("once", work))
    assert work.runs == [0.0]
    assert [(health.name, health.state, health.restarts) for health in sup.health()] == [("once", "ended", 0)]


def test_an_interval_service_runs_at_once_then_at_each_tick() -> None:
    """S1-21: on a grid, whatever a run takes."""
    work = Scripted(1.0, 3.0, 0.0)
    supervised(Service("tick", work, every=10), lasting=35)
    assert work.runs == [0.0, 10.0, 20.0, 30.0]


def test_missed_ticks_are_not_made_up() -> None:
    """S1-21: serial by nature; a run over 25 s loses the ticks at 10 and 20."""
    work = Scripted(25.0, 10.0, 0.0)
    supervised(Service("slow", work, every=10), lasting=55)
    assert work.runs == [0.0, 30.0, 40.0, 50.0]


def test_RUN_013_an_interval_service_carries_on_after_a_failure() -> None:
    """S1-23: it runs again at once after the backoff, and its ticks start from there."""
    work = Scripted(0.0, OSError("once"), 0.0)
    retry = Retry(on=OSError, attempts=3, backoff=constant(2))
    sup = supervised(Service("poll", work, every=10, retry=retry), lasting=35)
    assert work.runs == [0.0, 10.0, 12.0, 22.0, 32.0]
    (health,) = sup.health()
    assert (health.restarts, health.last_error, health.state) == (1, "OSError: once", "cancelled")


def test_ATT_005_success_between_failures_resets_the_budget() -> None:
    """S1-22."""
    pattern: list[BaseException | float] = [OSError(), 0.0]
    work = Scripted(*pattern * 50, 0.0)
    retry = Retry(on=OSError, attempts=2, backoff=constant(0.5))
    supervised(Service("poll", work, every=1, retry=retry), lasting=80)
    assert len(work.runs) > 100


def test_ATT_008_a_one_shot_never_gets_its_budget_back() -> None:
    """S1-20: two retries, so three runs; the error itself is raised."""
    error = OSError("always")
    work = Scripted(error)
    with pytest.raises(OSError, match="always") as caught:
        supervised(Service("once", work, retry=Retry(on=OSError, attempts=3, backoff=constant(1))))
    assert caught.value is error
    assert work.runs == [0.0, 1.0, 2.0]
    assert "3 failed run(s)" in "".join(error.__notes__)


def test_ATT_011_two_services_with_one_policy_count_apart() -> None:
    retry = Retry(on=OSError, attempts=3, backoff=constant(1))
    failing, fine = Scripted(OSError("same")), Scripted(0.0)
    with pytest.raises(OSError, match="same"):
        supervised(Service("bad", failing, retry=retry), Service("good", fine, every=0.1, retry=retry))
    assert len(failing.runs) == 3
    assert len(fine.runs) > 10


def test_without_a_policy_any_error_is_permanent() -> None:
    """S1-14."""
    work = Scripted(OSError("first"))
    with pytest.raises(OSError, match="first"):
        supervised(Service("once", work))
    assert len(work.runs) == 1


def test_S1_34_the_baseline_is_asked_after_the_services_own_rules() -> None:
    baseline = Baseline({TRANSPORT: Retry(on=Exception, attempts=3, backoff=constant(1))})
    work = Scripted(ConnectionResetError(), ConnectionResetError(), 0.0)
    supervised(Service("once", work), supervisor=Supervisor(baseline=baseline))
    assert work.runs == [0.0, 1.0, 2.0]
    with pytest.raises(ValueError, match="unknown"):
        supervised(Service("once", Scripted(ValueError("unknown"))), supervisor=Supervisor(baseline=baseline))


def test_S1_36_a_degraded_retry_is_logged_as_an_error_each_time(caplog: pytest.LogCaptureFixture) -> None:
    baseline = Baseline(unknown=Retry(on=Exception, attempts=5, backoff=constant(1)))
    work = Scripted(ValueError(), ValueError(), 0.0)
    supervised(Service("odd", work), supervisor=Supervisor(baseline=baseline))
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.ERROR]


def test_CAN_010_waiting_in_the_initial_delay_then_stopped() -> None:
    """The work was never called; the record says cancelled (the seed says success)."""
    work = Scripted(0.0)
    sup = supervised(Service("late", work, delay=3600), lasting=60)
    assert work.runs == []
    assert sup.health()[0].state == "cancelled"


def test_CAN_012_timeout_without_rules_fails_with_a_timeout_error() -> None:
    """S1-25."""
    with pytest.raises(AttemptTimeout, match=r"0\.02 s"):
        supervised(Service("slow", Scripted(60.0), timeout=0.02))


def test_timeout_is_for_each_run_and_can_be_retried() -> None:
    work = Scripted(60.0, 1.0)
    supervised(Service("slow", work, timeout=2, retry=Retry(on=TimeoutError, backoff=constant(5))))
    assert work.runs == [0.0, 7.0]


def test_a_timeout_error_of_its_own_is_not_ours() -> None:
    error = TimeoutError("from inside")
    with pytest.raises(TimeoutError) as caught:
        supervised(Service("a", Scripted(error), timeout=5))
    assert caught.value is error


def test_CAN_013_a_backoff_of_an_hour_ends_at_once_when_stopped() -> None:
    clock = FakeClock()
    work = Scripted(OSError())

    async def main() -> None:
        async with Supervisor(clock=clock) as sup:
            sup.add(Service("a", work, retry=Retry(on=OSError, backoff=constant(3600))))
            await asyncio.sleep(10)
            assert sup.health()[0].state == "waiting"
        assert sup.health()[0].state == "cancelled"

    run_virtual(main(), clock)
    assert clock.monotonic() == 10.0


def test_CAN_014_the_delay_is_applied_once_only() -> None:
    """S1-24."""
    work = Scripted(OSError(), OSError(), 0.0)
    supervised(Service("a", work, delay=50, retry=Retry(on=OSError, backoff=constant(1))))
    assert work.runs == [50.0, 51.0, 52.0]


def test_quick_failures_are_slowed_down_whatever_the_policy_says() -> None:
    """SCD-048."""
    work = Scripted(OSError())
    retry = Retry(on=OSError, attempts=None, backoff=constant(0.001))
    supervised(
        Service("hot", work, retry=retry), lasting=100, supervisor=Supervisor(restarts=Restarts(threshold=5, pause=30))
    )
    gaps = [later - earlier for earlier, later in pairwise(work.runs)]
    assert len(work.runs) < 25  # not 100,000: bursts of five or six, half a minute apart
    assert sum(gap > 29.9 for gap in gaps) == 3


def test_a_stray_cancellation_from_inside_is_an_error_not_a_silent_end() -> None:
    async def stray() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    with pytest.raises(RuntimeError, match="nobody had cancelled"):
        supervised(Service("odd", stray))


def test_health_tells_the_time_of_the_clock() -> None:
    clock = FakeClock(5000.0)

    async def main() -> None:
        async with Supervisor(clock=clock) as sup:
            sup.add(Service("b", Scripted(60.0), delay=10))
            sup.add(Service("a", Scripted(60.0)))
            await asyncio.sleep(1)
            assert [(each.name, each.state, each.since) for each in sup.health()] == [
                ("a", "up", 5000.0),
                ("b", "waiting", 5000.0),
            ]
            await asyncio.sleep(20)
            assert sup.health()[1].since == 5010.0

    run_virtual(main(), clock)


def test_a_run_on_the_loop_that_cleans_up_after_its_timeout_is_up() -> None:
    """Overdue is what nobody can cancel, or what has not ended when it was stopped."""

    async def cleans_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(10)

    async def main() -> None:
        sup = Supervisor()
        async with sup:
            sup.add(Service("on the loop", cleans_up, timeout=2))
            sup.add(Service("handed to the loop", lambda: cleans_up(), timeout=2))
            await asyncio.sleep(5)
            assert [each.state for each in sup.health()] == ["up", "up"]
            assert sup.overdue == ()

    run_virtual(main())

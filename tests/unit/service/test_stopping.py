"""Stopping services: what must reach them, reaches them."""

from __future__ import annotations

import asyncio

import pytest

from mainspring.clock import SystemClock
from mainspring.service.restarts import Restarts
from mainspring.service.running import Life
from mainspring.service.service import Service
from mainspring.service.stopping import Entry, Grace, stop_services
from mainspring.service.supervisor import Supervisor
from mainspring.testing.virtual import run_virtual
from tests.unit.service.doubles import now


async def test_a_time_limit_that_fires_at_that_moment_does_not_swallow_the_stop() -> None:
    """Its own cancellation is under way already; without ours it becomes a TimeoutError, and the service goes on."""
    limits: list[asyncio.Timeout] = []

    async def waits_with_limits() -> None:
        while True:
            try:
                async with asyncio.timeout(None) as limit:
                    limits.append(limit)
                    await asyncio.Event().wait()
            except TimeoutError:
                pass

    loop = asyncio.get_running_loop()
    life = Life(Service("waits", waits_with_limits), SystemClock(), Restarts())
    entry = Entry(life, asyncio.create_task(life.run()))
    await asyncio.sleep(0)
    limits[0].reschedule(loop.time())  # fires in the next turn of the loop
    await asyncio.sleep(0)
    assert entry.task.cancelling() == 1
    assert await stop_services([entry], Grace(5.0, loop.create_future())) == []
    assert entry.task.cancelled()
    assert len(limits) == 1


async def test_a_service_is_cancelled_once_only() -> None:
    """A second cancellation would break into its cleaning up."""
    cleaned_up: list[bool] = []

    async def cleans_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cleaned_up.append(True)

    loop = asyncio.get_running_loop()
    life = Life(Service("cleans", cleans_up), SystemClock(), Restarts())
    entry = Entry(life, asyncio.create_task(life.run()))
    await asyncio.sleep(0)
    hurry = loop.create_future()
    loop.call_later(0.005, hurry.set_result, None)  # the grace ends in the middle of it: everybody is cancelled again
    assert await stop_services([entry], Grace(5.0, hurry)) == []
    assert cleaned_up == [True]


def test_hooks_that_are_not_async_have_done_their_work_when_they_return(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    async def main() -> float:
        ended = asyncio.Event()

        async def work() -> None:
            await ended.wait()

        def stop() -> None:
            told.append("stop")
            ended.set()

        async with Supervisor(grace=60) as sup:
            sup.add(Service("a", work, stop=stop, on_shutdown=lambda: told.append("shutdown")))  # type: ignore[arg-type, return-value]  # not what the types ask for
            began = now()
        return now() - began

    assert run_virtual(main()) == 0.0
    assert told == ["stop", "shutdown"]
    assert caplog.records == []

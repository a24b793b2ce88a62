"""Stopping services: what must reach them, reaches them."""

from __future__ import annotations

import asyncio

from mainspring.clock import SystemClock
from mainspring.service.restarts import Restarts
from mainspring.service.running import Life
from mainspring.service.service import Service
from mainspring.service.stopping import Entry, Grace, stop_services


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

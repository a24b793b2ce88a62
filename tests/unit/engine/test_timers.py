from __future__ import annotations

import asyncio

from mainspring.engine.timers import Timers
from tests.unit.engine.workshop import virtual


@virtual
async def test_timers_ring_in_the_order_of_their_times() -> None:
    loop = asyncio.get_running_loop()
    timers = Timers(loop)
    rang: list[tuple[str, float]] = []
    began = loop.time()
    for name, after in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        timers.add(after, lambda name=name: rang.append((name, round(loop.time() - began, 3))))  # type: ignore[misc]
    await asyncio.sleep(10)
    assert rang == [("a", 1.0), ("b", 2.0), ("c", 3.0)]
    assert len(timers) == 0


@virtual
async def test_a_cancelled_timer_does_not_ring() -> None:
    timers = Timers(asyncio.get_running_loop())
    rang: list[int] = []
    number = timers.add(1.0, lambda: rang.append(1))
    timers.add(2.0, lambda: rang.append(2))
    timers.cancel(number)
    assert len(timers) == 1
    await asyncio.sleep(10)
    assert rang == [2]


@virtual
async def test_many_cancelled_timers_do_not_stay_in_memory() -> None:
    timers = Timers(asyncio.get_running_loop())
    for _ in range(10_000):
        timers.cancel(timers.add(1e6, lambda: None))
    assert len(timers) == 0
    assert len(timers._heap) < 200
    timers.close()


@virtual
async def test_closed_timers_do_not_ring() -> None:
    timers = Timers(asyncio.get_running_loop())
    rang: list[int] = []
    timers.add(1.0, lambda: rang.append(1))
    timers.close()
    await asyncio.sleep(10)
    assert rang == []

"""Flows that come to a halt and go on later: nothing of them is lost meanwhile, however long it takes."""

from __future__ import annotations

import asyncio

import pytest

from mainspring import App, chain, group
from mainspring.model.record import NewJob, Settlement
from mainspring.store.base import Claim, Filter, Lane, Store, Worker
from mainspring.store.memory import MemoryStore
from mainspring.store.sqlite import SqliteStore
from mainspring.testing.virtual import VirtualLoop, run_virtual

DAY = 86_400.0
LONG = 1500


def new_store(kind: str, loop: VirtualLoop) -> Store:
    return MemoryStore(clock=loop.clock) if kind == "memory" else SqliteStore("", clock=loop.clock)


@pytest.mark.parametrize("kept", [DAY, 30 * DAY], ids=["as-by-default", "cancelled-kept"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_M8_a_flow_goes_on_whole_when_its_dead_step_is_replayed_days_later(kind: str, kept: float) -> None:
    """As long as the dead step can be replayed, the results before it and the jobs behind it are kept."""

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        store = new_store(kind, loop)
        app = App(store=store, clock=loop.clock)
        broken = True

        @app.task(name="count")
        async def count(number: int) -> int:
            if number == 3 and broken:
                raise ValueError("down over the weekend")
            return number

        @app.task(name="total")
        async def total(numbers: list[int]) -> int:
            return sum(numbers)

        retention = {"completed": DAY, "cancelled": kept, "expired": DAY, "dead": 30 * DAY}
        async with app:
            async with app.running(retention=retention):
                job = await app.enqueue(chain(group(*(count.bind(number) for number in (1, 2, 3))), total))
                await asyncio.sleep(10)
            await asyncio.sleep(2.5 * DAY)
            broken = False
            async with app.running(retention=retention):
                await asyncio.sleep(150)  # it has pruned by now
                dead = (await store.find(Filter(states=("dead",)))).jobs
                assert await store.replay([each.id for each in dead]) == ["replayed"]
                assert await job.result(timeout=60) == 6

    run_virtual(scene())


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_the_first_of_very_many_chained_jobs_can_be_replayed(kind: str) -> None:
    """What is behind a replayed job is gone through without recursion: a memory store takes nothing back."""

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        store = new_store(kind, loop)
        await store.open()
        await store.join(Worker("w"))
        ids = [f"{number:05}" for number in range(LONG)]
        await store.add([NewJob(id=each, task="t", waits_on=before) for before, each in zip([None, *ids], ids)])  # noqa: B905
        (first,) = (await store.claim(Claim("w", 1, [Lane("default", "t", "", 1)], 1))).jobs
        await store.settle([Settlement(job=first.id, lease=first.lease, kind="dead")])
        assert await store.replay([first.id]) == ["replayed"]
        assert {(each.state, each.number) for each in await store.counts()} == {("ready", 1), ("waiting", LONG - 1)}
        await store.close()

    run_virtual(scene())

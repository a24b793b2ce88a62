"""What a single job costs when there is nothing else to do: one claim, and no look for lanes that nobody told of."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mainspring.engine.limits import Wish
from mainspring.model.record import JobRecord
from mainspring.store.base import Features, Lane
from mainspring.store.memory import MemoryStore
from tests.unit.engine.workshop import Lossy, virtual, workshop


def job(number: int, *, suspect: bool = False, task: str = "t") -> JobRecord:
    return JobRecord(id=f"{number}", task=task, state="running", created=0.0, due=0.0, suspect=suspect)


def test_a_store_that_gives_less_than_it_may_has_no_more() -> None:
    wish = Wish([Lane("default", "t", "", 2), Lane("default", "u", "", 5)], 5, False)
    assert not wish.may_leave([job(1)])
    assert wish.may_leave([job(1), job(2)])
    assert not wish.may_leave([job(1, task="u"), job(2, task="u")])
    assert wish.may_leave([job(number, task="u") for number in range(5)])
    assert wish.may_leave([job(1, suspect=True)])


@pytest.mark.parametrize("wake", ["direct", "poll"])
def test_a_job_of_this_process_costs_one_claim(wake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its store says that there is news, and its process says so again when the answer has come."""
    features = Features(name="memory", wake=wake, survives="nothing", shared=False)
    monkeypatch.setattr(MemoryStore, "features", property(lambda _self: features))

    @virtual
    async def scene() -> None:
        started = asyncio.Event()

        async def work() -> None:
            started.set()

        async with workshop() as shop:
            shop.task(work)
            async with shop.worker(poll=3600.0, lease_time=3600.0) as worker:
                await asyncio.sleep(10)
                before = calls(shop.store)
                await shop.add()
                if wake == "poll":
                    await asyncio.sleep(0.001)  # until others have seen it
                worker.notice("default", "t")
                await started.wait()
                await asyncio.sleep(10)
                after = calls(shop.store)
        assert {verb: after[verb] - before[verb] for verb in after} == {"claim": 1, "lanes": 0, "settle": 1}

    scene()


@virtual
async def test_a_queue_that_the_store_was_not_asked_about_is_told_by_the_notice() -> None:
    """Lanes are learned while the store is being waited for, and it tells of the older ones only."""
    started = asyncio.Event()

    async def work() -> None:
        started.set()

    async with workshop() as shop:
        shop.task(work)
        async with shop.worker(poll=3600.0) as worker:
            await asyncio.sleep(1)
            shop.store._hint = lambda: None  # type: ignore[method-assign]  # a store that says nothing by itself
            await shop.add(queue="new")
            worker.notice("new", "t")
            async with asyncio.timeout(1):
                await started.wait()


def calls(store: Lossy) -> dict[str, int]:
    return {verb: sum(each.startswith(f"{verb}:") for each in store.calls) for verb in ("claim", "lanes", "settle")}

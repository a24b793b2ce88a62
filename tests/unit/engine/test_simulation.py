"""Three workers, tasks of all kinds, a store that fails before and after its work, and a worker that is taken for
dead while it lives: whatever the seed, every job completes and nothing is left running.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mainspring.codec import encode
from mainspring.errors import Snooze, StoreUnavailable
from mainspring.ids import new_id
from mainspring.model.record import NewJob
from mainspring.retries.backoff import constant
from mainspring.retries.policy import Retry
from mainspring.store.memory import MemoryStore
from tests.unit.engine.workshop import Lossy, Workshop, virtual, workshop

JOBS = 120
POLICY = Retry(on=(OSError, TimeoutError), attempts=5, backoff=constant(0.2))


def make_unreliable(store: Lossy, chance: random.Random) -> None:
    """Some calls never arrive, some answers are late, some are lost."""
    answer_of = store._lossy

    async def unreliable(verb: str, call: Callable[[], Coroutine[Any, Any, Any]]) -> object:
        if chance.random() < 0.05:
            raise StoreUnavailable("never arrived")
        answer = await answer_of(verb, call)
        if chance.random() < 0.3:
            await asyncio.sleep(chance.random() * 0.05)
        if chance.random() < 0.1:
            raise StoreUnavailable("the answer was lost")
        return answer

    store._lossy = unreliable  # type: ignore[method-assign, assignment]


def give_tasks(shop: Workshop, chance: random.Random, runs: Counter[int]) -> None:
    async def work(n: int) -> int:
        runs[n] += 1
        match n % 8:
            case 1:
                await asyncio.sleep(chance.random())
            case 2 if runs[n] < 3:
                raise OSError
            case 3 if runs[n] < 2:
                raise Snooze(0.5)
            case 4:
                await asyncio.sleep(chance.random() * 5)
            case 5 if runs[n] < 2:
                await asyncio.sleep(100)  # past its timeout
        return n

    def in_thread(n: int) -> int:
        runs[n] += 1
        return n

    shop.task(work, "work", retry=POLICY, timeout=20.0)
    shop.task(work, "limited", retry=POLICY, timeout=20.0, concurrency=2)
    shop.task(in_thread, "in thread", mode="sync")


async def add(shop: Workshop, chance: random.Random, n: int) -> str:
    new = NewJob(
        id=new_id(),
        task=chance.choice(("work", "work", "limited", "in thread")),
        payload=encode({"n": n}),
        queue=chance.choice(("default", "b")),
        priority=chance.randint(0, 2),
    )
    await MemoryStore.add(shop.store, [new])
    return new.id


@pytest.mark.parametrize("seed", [2, 3, 5, 8])
def test_every_job_completes_whatever_happens(seed: int) -> None:
    @virtual
    async def run() -> None:
        chance = random.Random(seed)
        runs: Counter[int] = Counter()
        async with workshop() as shop:
            make_unreliable(shop.store, chance)
            give_tasks(shop, chance, runs)
            jobs = [await add(shop, chance, n) for n in range(JOBS)]
            workers = [shop.worker(concurrency=size, lease_time=5.0, grace=2.0) for size in (3, 10, 50)]

            async def live(number: int) -> None:
                async with workers[number]:
                    if number == 0:
                        await asyncio.sleep(chance.random() * 10)
                    else:
                        await shop.ended(*jobs, within=3000)

            async def bury_alive() -> None:
                await asyncio.sleep(chance.random() * 10)
                await MemoryStore.leave(shop.store, workers[2].id, died=True)

            await asyncio.gather(live(0), live(1), live(2), bury_alive())
            records = [await shop.job(job) for job in jobs]
            assert [record for record in records if record.state != "completed"] == []
            assert [record.result for record in records] == [str(n).encode() for n in range(JOBS)]
            assert {count.state for count in await shop.store.counts()} == {"completed"}
            assert all(runs[n] >= 1 for n in range(JOBS))

    run()

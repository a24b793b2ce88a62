"""A store that fails for a while in one verb, whatever the error, before or after the effect: all work is done once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from mainspring.engine.worker import Worker
from mainspring.errors import StoreFull, StoreUnavailable, StoreUnsuitable
from mainspring.testing.virtual import run_virtual
from tests.unit.engine.workshop import Workshop, workshop

JOBS = 30
VERBS = ("claim", "settle", "beat", "sweep", "held", "lanes", "prune", "wait")
ERRORS = (StoreUnavailable, StoreFull, StoreUnsuitable, RuntimeError)


class Outage:
    """Makes one verb of a store fail while `on`: before it does anything, or after it has done all."""

    def __init__(self, store: object, verb: str, error: type[Exception], *, done: bool) -> None:
        self.on = False
        self.failed = 0
        real = getattr(store, verb)

        async def failing(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0.001)
            self.failed += self.on
            if self.on and not done:
                raise error("for a while")
            answer = await real(*args, **kwargs)
            await asyncio.sleep(0.001)
            if self.on:
                raise error("the answer is lost")
            return answer

        setattr(store, verb, failing)


async def worked(shop: Workshop, worker: Worker, outage: Outage, length: float) -> list[str]:
    """Jobs of several kinds are added, and the outage comes in their midst; returns when all should be over."""
    jobs: list[str] = []
    for number in range(JOBS):
        jobs.append(await shop.add(arguments={"number": number}, delay=float(number % 7 == 0)))
        await asyncio.sleep(0.05)
        outage.on = outage.on or number == JOBS // 3
    await asyncio.sleep(length)
    outage.on = False
    await asyncio.sleep(200.0)
    return jobs


@pytest.mark.parametrize("done", [False, True], ids=["not-done", "done"])
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("verb", VERBS)
def test_C3_after_an_outage_everything_has_run_once(verb: str, error: type[Exception], done: bool) -> None:
    """An outage is longer than the lease time; no lease, settlement or buffered job is left in the worker's memory."""

    async def scene() -> None:
        runs: Counter[int] = Counter()
        async with workshop() as shop:

            async def work(number: int) -> int:
                runs[number] += 1
                await asyncio.sleep(0.2 * (number % 3))
                return number

            shop.task(work)
            outage = Outage(shop.store, verb, error, done=done)
            async with shop.worker(grace=5.0, concurrency=5, lease_time=15.0) as worker:
                jobs = await worked(shop, worker, outage, 60.0)
                states = Counter([(await shop.job(each)).state for each in jobs])
                parts = worker._parts
                assert parts is not None
                assert outage.failed < 5_000, "it asks without a pause"
                if verb == "settle" and error is RuntimeError and not done:
                    # Taken for a fault of the settlement itself (RULES C10): its job ends, one way or the other.
                    assert set(states) <= {"completed", "dead"}
                else:
                    assert states == {"completed": JOBS}
                    assert set(runs.values()) == {1}
                assert (len(parts._mine), len(parts._buffer), len(parts._settler)) == (0, 0, 0)

    run_virtual(scene())

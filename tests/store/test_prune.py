"""What pruning must keep: a flow that failed can be replayed as long as the job that failed is there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from mainspring.clock import FakeClock
from mainspring.model.record import NewGroup, NewJob, Settlement
from mainspring.store.base import Claim, Filter, Lane, Store, Worker
from mainspring.store.memory import MemoryStore
from mainspring.store.sqlite import SqliteStore

DAY: Final = 86400.0
RETENTION: Final = {"completed": DAY, "cancelled": DAY, "expired": DAY, "dead": 30 * DAY}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    store = MemoryStore(clock=clock) if request.param == "memory" else SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    await store.join(Worker("w"))
    yield store
    await store.close()


async def run(store: Store, number: int, *, fails: Sequence[str] = ()) -> None:
    """Claim all that is ready, and end it."""
    claimed = await store.claim(Claim("w", number, [Lane("default", "t", "", 100)], 100))
    await store.settle(
        [
            Settlement(job=job.id, lease=job.lease, kind="dead" if job.id in fails else "complete")
            for job in claimed.jobs
        ]
    )


async def prune(store: Store, retention: dict[str, float] = RETENTION) -> None:
    while await store.prune(retention, 2):
        pass


async def states(store: Store) -> dict[str, str]:
    return {job.id: job.state for job in (await store.find(Filter())).jobs}


async def test_a_dead_step_can_be_replayed_with_what_follows_it(store: Store, clock: FakeClock) -> None:
    """The follower is cancelled at once, and was pruned after a day: the replayed step went nowhere."""
    steps = [NewJob(id="a", task="t", root="c"), NewJob(id="b", task="t", root="c", waits_on="a")]
    await store.add([*steps, NewJob(id="c", task="t", waits_on="b")])
    await run(store, 1)
    await run(store, 2, fails=["b"])
    clock.advance(5 * DAY)
    await prune(store)
    assert await states(store) == {"a": "completed", "b": "dead", "c": "cancelled"}
    assert await store.replay(["b"]) == ["replayed"]
    await run(store, 3)
    await run(store, 4)
    assert await states(store) == {"a": "completed", "b": "completed", "c": "completed"}
    clock.advance(2 * DAY)
    await prune(store)
    assert await states(store) == {}


async def group_of_three(store: Store) -> None:
    members = [NewJob(id=each, task="t", root="z", group="g") for each in "abc"]
    await store.add([*members, NewJob(id="z", task="t", waits_on="g")], [NewGroup(id="g", size=3)])
    await run(store, 1, fails=["b"])
    assert (await states(store))["z"] == "cancelled"


@pytest.mark.parametrize("cancelled", [DAY, 30 * DAY])
async def test_a_replayed_group_still_has_all_its_members(store: Store, clock: FakeClock, cancelled: float) -> None:
    """Else its follower would be given a part of the results, and be content with it."""
    await group_of_three(store)
    clock.advance(5 * DAY)
    await prune(store, {**RETENTION, "cancelled": cancelled})
    assert await states(store) == {"a": "completed", "b": "dead", "c": "completed", "z": "cancelled"}
    assert await store.replay(["b"]) == ["replayed"]
    await run(store, 2)
    await run(store, 3)
    assert set((await states(store)).values()) == {"completed"}


async def test_a_failed_flow_goes_with_the_job_that_failed(store: Store, clock: FakeClock) -> None:
    await group_of_three(store)
    await store.add([NewJob(id="y", task="t", waits_on="z")])
    clock.advance(31 * DAY)
    for _ in range(4):  # one stage of the flow after the other
        await prune(store)
    assert await states(store) == {}
    assert await store.groups(["g"]) == [None]


async def test_a_flow_whose_failed_job_was_deleted_goes(store: Store, clock: FakeClock) -> None:
    await group_of_three(store)
    await store.delete(["b"])
    clock.advance(2 * DAY)
    for _ in range(3):
        await prune(store)
    assert await states(store) == {}


async def test_H9_an_end_in_the_future_stops_no_pruning(store: Store, clock: FakeClock) -> None:
    """The clock was far ahead when it ended; what ended afterwards, by the right time, is pruned all the same."""
    await store.add([NewJob(id="a", task="t")])
    clock.step(365 * DAY)
    await run(store, 1)
    clock.step(-365 * DAY)
    await store.add([NewJob(id="b", task="t")])
    await run(store, 2)
    clock.advance(2 * DAY)
    await prune(store)
    assert await states(store) == {"a": "completed"}

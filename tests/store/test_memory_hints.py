"""The memory store wakes who waits when a job has become ready, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from mainspring.clock import FakeClock
from mainspring.model.record import JobRecord, NewGroup, NewJob, Settlement
from mainspring.store.base import Claim, Lane, Worker
from mainspring.store.memory import MemoryStore

WORKER = Worker("w", lease_time=60.0)


def new(identifier: str, **options: Any) -> NewJob:
    return NewJob(id=identifier, task="t", **options)


class Scene:
    """A store with a worker that holds job "a"."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)
        self.number = 0

    async def claim(self) -> list[JobRecord]:
        self.number += 1
        lanes = (Lane("default", "t", "", 100),)
        return list((await self.store.claim(Claim("w", self.number, lanes, 100))).jobs)

    async def settle(self, kind: Any, **fields: Any) -> None:
        (answer,) = await self.store.settle([Settlement(job="a", lease=1, kind=kind, **fields)])
        assert answer == "accepted"

    async def wakes(self, verb: Callable[[], Awaitable[object]]) -> bool:
        waiting = asyncio.create_task(self.store.wait(["default"], 60.0))
        await asyncio.sleep(0)
        await verb()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        woken = waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return woken


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    await scene.store.open()
    await scene.store.join(WORKER)
    await scene.store.add([new("a")])
    assert [job.id for job in await scene.claim()] == ["a"]
    yield scene
    await scene.store.close()


async def test_an_end_that_makes_nothing_ready_wakes_nobody(scene: Scene) -> None:
    assert not await scene.wakes(lambda: scene.settle("complete"))


async def test_H7_an_add_wakes(scene: Scene) -> None:
    assert await scene.wakes(lambda: scene.store.add([new("b")]))


async def test_an_add_for_later_wakes_nobody(scene: Scene) -> None:
    assert not await scene.wakes(lambda: scene.store.add([new("b", delay=60.0)]))


async def test_a_released_job_wakes(scene: Scene) -> None:
    assert await scene.wakes(lambda: scene.settle("release"))
    assert [job.id for job in await scene.claim()] == ["a"]


async def test_a_retry_wakes_when_it_is_swept(scene: Scene) -> None:
    """The worker whose job it was sweeps as soon as it is due, at once when it need not wait."""
    assert not await scene.wakes(lambda: scene.settle("retry", after=0.0))
    assert await scene.wakes(lambda: scene.store.sweep("w"))
    assert [job.id for job in await scene.claim()] == ["a"]


async def test_a_job_that_had_to_wait_for_another_wakes_when_that_has_ended(scene: Scene) -> None:
    assert not await scene.wakes(lambda: scene.store.add([new("b", waits_on="a")]))
    assert await scene.wakes(lambda: scene.settle("complete"))


async def test_a_job_behind_a_group_wakes_when_its_last_member_has_ended(scene: Scene) -> None:
    group = NewGroup(id="g", size=1)
    await scene.store.add([new("m", group="g"), new("b", waits_on="g")], [group])
    assert [job.id for job in await scene.claim()] == ["m"]
    last = Settlement(job="m", lease=1, kind="complete")
    assert await scene.wakes(lambda: scene.store.settle([last]))


async def test_a_follow_up_wakes(scene: Scene) -> None:
    assert await scene.wakes(lambda: scene.settle("complete", follow_ups=(new("b"),)))


async def test_what_a_sweep_promotes_wakes(scene: Scene) -> None:
    await scene.store.add([new("b", delay=60.0)])
    scene.clock.advance(61)
    assert await scene.wakes(lambda: scene.store.sweep("w"))


async def test_what_a_worker_that_leaves_held_wakes(scene: Scene) -> None:
    assert await scene.wakes(lambda: scene.store.leave("w"))


async def test_a_replay_and_a_rescheduling_wake(scene: Scene) -> None:
    await scene.settle("complete")
    assert await scene.wakes(lambda: scene.store.replay(["a"], force=True))
    await scene.store.add([new("b", delay=60.0)])
    assert await scene.wakes(lambda: scene.store.reschedule(["b"], scene.clock.now()))


async def test_a_queue_that_is_resumed_wakes_and_one_that_is_paused_does_not(scene: Scene) -> None:
    assert not await scene.wakes(lambda: scene.store.pause("default"))
    assert await scene.wakes(lambda: scene.store.resume("default"))


async def test_a_look_wakes_nobody(scene: Scene) -> None:
    await scene.store.add([new("b")])
    assert not await scene.wakes(lambda: scene.store.counts())

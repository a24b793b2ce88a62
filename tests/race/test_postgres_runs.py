"""PostgreSQL: the ledger of runs while jobs end, are replayed and pruned at that very moment (RULES H13, C10)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from time import monotonic

import pytest
from msgspec.structs import replace

from mainspring.store.base import SchedulePut
from mainspring.testing.contract.scheduling import DAY, NIGHTLY, ScheduleDriver
from tests.race.postgres_scene import PATIENCE, TOGETHER, Scene, scene_on
from tests.race.schedule_steps import due, raw_runs
from tests.servers.fixtures import fresh_schema
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def schema_url(postgres_server: Postgres) -> Iterator[str]:
    with fresh_schema(postgres_server) as schema:
        yield postgres_server.url(schema)


@pytest.fixture
async def scene(schema_url: str) -> AsyncIterator[Scene]:
    async with scene_on(schema_url) as scene:
        yield scene


@pytest.fixture
def d(scene: Scene) -> ScheduleDriver:
    """Puts and fires through process a."""
    return ScheduleDriver(scene.harness)


async def test_C10_a_fire_waits_for_no_job(scene: Scene, d: ScheduleDriver) -> None:
    """Somebody's transaction has the running job in hand for minutes, as one does that ends it."""
    await d.put()
    await d.fire()
    [job] = await d.jobs_of()
    fire = await due(d)
    async with scene.locked(job.id):
        began = monotonic()
        assert await asyncio.wait_for(scene.two.fire([fire]), PATIENCE) == ["skipped"]
        assert monotonic() - began < 1.5  # a wait for the lock would be 2 s


async def test_C10_a_job_ends_while_its_schedule_fires(scene: Scene, d: ScheduleDriver) -> None:
    await d.put(overlap="allow")
    await d.fire()
    [job] = await d.jobs_of()
    fire = await due(d)
    scene.a.look_closely()
    halt = scene.a.halt("commit")
    firing = asyncio.create_task(scene.one.fire([fire]))
    await halt.reached()
    assert await asyncio.wait_for(scene.two.cancel([job.id]), PATIENCE) == ["cancelled"]
    halt.go()
    assert await firing == ["fired"]
    assert [run.state for run in await d.runs()] == ["cancelled", "ready"]


@pytest.mark.parametrize("at", ["schedules.take", "schedules.standings", TOGETHER, "commit"])
async def test_H13_a_run_that_is_replayed_while_its_end_is_written_down_is_open(
    scene: Scene, d: ScheduleDriver, at: str
) -> None:
    await d.put()
    await d.ran("dead")
    [job] = await d.jobs_of()
    fire = await due(d)
    scene.b.look_closely()
    halt = scene.b.halt(at)
    firing = asyncio.create_task(scene.two.fire([fire]))
    await halt.reached()
    replaying = asyncio.create_task(scene.one.replay([job.id]))
    if at == "schedules.take":
        assert await replaying == ["replayed"]
    else:
        await scene.blocked()
    halt.go()
    assert await replaying == ["replayed"]
    assert await firing == ["skipped" if at == "schedules.take" else "fired"]
    first = (await raw_runs(scene))[0]
    assert first.open, "the ledger says that it has ended, but it goes on"


async def test_H13_a_fire_that_comes_second_sees_that_a_run_was_replayed(scene: Scene, d: ScheduleDriver) -> None:
    await d.put()
    await d.ran("dead")
    [job] = await d.jobs_of()
    fire = await due(d)
    scene.a.look_closely()
    halt = scene.a.halt("commit")
    replaying = asyncio.create_task(scene.one.replay([job.id]))
    await halt.reached()
    scene.b.look_closely()
    firing = asyncio.create_task(scene.two.fire([fire]))
    await scene.blocked()
    halt.go()
    assert await replaying == ["replayed"]
    assert await firing == ["skipped"]


@pytest.mark.parametrize("at", ["schedules.these_runs", "schedules.standings", "schedules.change_runs", "commit"])
async def test_H13_a_run_that_is_replayed_while_it_is_pruned_is_open(scene: Scene, d: ScheduleDriver, at: str) -> None:
    await d.put()
    await d.ran("dead")
    [job] = await d.jobs_of()
    scene.b.look_closely()
    halt = scene.b.halt(at)
    pruning = asyncio.create_task(scene.two.prune_runs())
    await halt.reached()
    replaying = asyncio.create_task(scene.one.replay([job.id]))
    if at == "schedules.these_runs":
        assert await replaying == ["replayed"]
    else:
        await scene.blocked()
    halt.go()
    assert await replaying == ["replayed"]
    await pruning
    assert (await raw_runs(scene))[0].open


async def test_C10_a_prune_waits_for_nobody(scene: Scene, d: ScheduleDriver) -> None:
    """What a fire has in hand is left to the next prune."""
    await d.put(keep=1)
    await d.put("other", keep=1)
    for name in (NIGHTLY, "other"):
        await d.ran(identifier=name)
        await d.ran(identifier=name)
    scene.a.look_closely()
    halt = scene.a.halt("commit")
    firing = asyncio.create_task(scene.one.fire([await due(d)]))
    await halt.reached()
    await asyncio.wait_for(scene.two.prune_runs(), PATIENCE)
    halt.go()
    assert await firing == ["fired"]
    await scene.two.prune_runs()
    assert [run.number for run in await d.runs()] == [3]
    assert [(run.number, run.state) for run in await raw_runs(scene) if run.schedule == "other"] == [(2, "completed")]


async def test_C10_a_fire_while_old_runs_are_removed(scene: Scene, d: ScheduleDriver) -> None:
    """Both want to remove the same."""
    await d.put(keep=10)
    for _ in range(5):
        await d.ran()
    await d.change(keep=2)
    fire = await due(d)
    scene.a.look_closely()
    halt = scene.a.halt(TOGETHER)
    firing = asyncio.create_task(scene.one.fire([fire]))
    await halt.reached()
    assert await scene.two.prune_runs() == 3
    halt.go()
    assert await firing == ["fired"]
    assert [run.number for run in await d.runs()] == [5, 6]


async def test_H13_a_dropped_schedule_is_not_removed_under_who_puts_it_again(scene: Scene, d: ScheduleDriver) -> None:
    """Its watermark may be forgotten after a day, but not between the look and the put."""
    await d.put()
    await d.ran()
    await scene.one.drop_schedules([NIGHTLY])
    d.clock.advance(DAY + 1)
    stored = await d.stored()
    again = replace(stored, dropped=None, revision=stored.revision + 1)
    scene.b.look_closely()
    halt = scene.b.halt("schedules.put")
    putting = asyncio.create_task(scene.two.put_schedules([SchedulePut(again, stored)]))
    await halt.reached()
    assert await scene.one.prune_runs() == 1
    halt.go()
    assert await putting == ["conflict"]

"""PostgreSQL: the usual fire, a look without locks and one statement, and what comes between the two (RULES H13, C3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from msgspec.structs import replace

from mainspring.errors import StoreUnavailable
from mainspring.ids import new_id
from mainspring.model.record import NewJob
from mainspring.model.schedule import BY_REQUEST, Fire, SlotJob
from mainspring.store.base import RunNow, SchedulePut
from mainspring.testing.contract.scheduling import NIGHTLY, ScheduleDriver
from tests.race.postgres_scene import LOOK, PATIENCE, TOGETHER, Halt, Scene, scene_on
from tests.race.schedule_steps import due, raw_runs, slots_of
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


async def before_it_writes(scene: Scene, *fires: Fire) -> tuple[asyncio.Task[list[str]], Halt]:
    """Process b has looked and decided, and is about to write."""
    halt = scene.b.halt(TOGETHER)
    firing = asyncio.ensure_future(fire_by_b(scene, fires))
    await halt.reached()
    return firing, halt


async def fire_by_b(scene: Scene, fires: tuple[Fire, ...]) -> list[str]:
    return [str(each) for each in await scene.two.fire(fires)]


# --- what it costs


async def test_the_usual_fire_is_two_statements(scene: Scene, d: ScheduleDriver) -> None:
    await d.put(overlap="allow")
    await d.put("skips")
    await d.ran()
    await d.ran(identifier="skips")
    fires = [await due(d), await due(d, "skips")]
    scene.b.said.clear()
    assert await scene.two.fire(fires) == ["fired", "fired"]
    assert scene.b.said == [LOOK, TOGETHER]


async def test_what_is_not_usual_does_not_hold_up_what_is(scene: Scene, d: ScheduleDriver) -> None:
    """A key, a large payload, a run that has to wait for another one: each is fired, with locks."""
    large = b'"' + b"x" * 5000 + b'"'
    await d.put("keyed", template=NewJob(id="", task="work", unique="k"))
    await d.put("large", template=NewJob(id="", task="work", payload=large))
    await d.put("queued", overlap="queue")
    await d.put("usual")
    await d.fire("queued")
    names = ("keyed", "usual", "large", "queued")
    fires = [await due(d, name) for name in names]
    halt = scene.b.halt("schedules.take")
    firing = asyncio.create_task(scene.two.fire(fires))
    await halt.reached()
    assert [len(await slots_of(d, name)) for name in names] == [0, 1, 0, 1]
    halt.go()
    assert await firing == ["fired"] * 4
    assert [len(await slots_of(d, name)) for name in names] == [1, 1, 1, 2]
    [job] = await d.jobs_of("large")
    assert job.payload == large


# --- between the look and the write


@pytest.mark.parametrize(("what", "answer"), [("change", "stale"), ("pause", "paused"), ("drop", "unknown")])
async def test_H13_what_people_change_after_the_look_counts(
    scene: Scene, d: ScheduleDriver, what: str, answer: str
) -> None:
    await d.put()
    await d.put("beside")
    firing, halt = await before_it_writes(scene, await due(d), await due(d, "beside"))
    match what:
        case "change":
            await d.change(keep=7)
        case "pause":
            await d.pause()
        case _:
            assert await scene.one.drop_schedules([NIGHTLY]) == [True]
    halt.go()
    assert await firing == [answer, "fired"]
    assert await slots_of(d) == []
    assert await raw_jobs(scene, NIGHTLY) == 0
    assert len(await slots_of(d, "beside")) == 1


@pytest.mark.parametrize("closely", [False, True])
async def test_H13_of_two_who_have_looked_one_fires(scene: Scene, d: ScheduleDriver, closely: bool) -> None:
    """The other one's jobs, groups and runs are left out with its schedule."""
    await d.put(overlap="queue")
    first, second = await due(d), await due(d)
    firing, halt = await before_it_writes(scene, second)
    if closely:
        scene.a.look_closely()
    assert await scene.one.fire([first]) == ["fired"]
    halt.go()
    assert await firing == ["stale"]
    assert [job.id for job in await d.jobs_of()] == [first.slots[0].job]
    groups = await scene.plain.fetch(f"SELECT id::text FROM {scene.table('groups')}")
    assert [each[0] for each in groups] == [first.slots[0].group]
    assert [run.number for run in await raw_runs(scene)] == [1]


async def test_C3_the_same_fire_is_sent_again_after_the_look(scene: Scene, d: ScheduleDriver) -> None:
    await d.put()
    fire = await due(d)
    firing, halt = await before_it_writes(scene, fire)
    assert await scene.one.fire([fire]) == ["fired"]
    halt.go()
    assert await firing == ["fired"]
    assert len(await slots_of(d)) == await raw_jobs(scene, NIGHTLY) == 1


async def test_C3_an_answer_that_is_lost(scene: Scene, d: ScheduleDriver) -> None:
    """Asked again there is nothing to write: the look has seen its job already, or asks for it, without a lock."""
    await d.put()
    fire = await due(d)
    scene.a.lose()
    with pytest.raises(StoreUnavailable):
        await scene.one.fire([fire])
    scene.b.said.clear()
    assert await scene.two.fire([fire]) == ["fired"]
    assert scene.b.said == [LOOK]
    await d.end_last("complete")
    await scene.one.prune_runs()
    scene.b.said.clear()
    assert await scene.two.fire([fire]) == ["fired"]
    assert scene.b.said == [LOOK, "schedules.standings"]
    assert len(await slots_of(d)) == 1


@pytest.mark.parametrize(("overlap", "answer"), [("allow", "fired"), ("skip", "skipped"), ("queue", "fired")])
async def test_H13_a_person_asks_for_a_run_after_the_look(
    scene: Scene, d: ScheduleDriver, overlap: str, answer: str
) -> None:
    """Its number is taken, and its run goes on: this is decided again."""
    await d.put(overlap=overlap)  # type: ignore[arg-type]  # one of three
    firing, halt = await before_it_writes(scene, await due(d))
    assert await scene.one.trigger([RunNow(NIGHTLY, d.slot_job(0.0))]) == ["fired"]
    halt.go()
    assert await firing == [answer]
    kinds = [(run.number, run.kind) for run in await d.runs()]
    assert kinds == [(1, "trigger"), (2, "slot" if answer == "fired" else "skipped")]
    waiting = [job for job in await d.jobs_of() if job.state == "waiting"]
    assert len(waiting) == (overlap == "queue")


async def test_H13_a_run_that_is_replayed_after_the_look_is_open(scene: Scene, d: ScheduleDriver) -> None:
    """As if the replay had come after the fire: the end that was seen is not written over it."""
    await d.put()
    await d.ran("dead")
    [job] = await d.jobs_of()
    firing, halt = await before_it_writes(scene, await due(d))
    assert await scene.one.replay([job.id]) == ["replayed"]
    halt.go()
    assert await firing == ["fired"]
    assert [run.open for run in await raw_runs(scene)] == [True, True]
    assert [run.state for run in await d.runs()] == ["ready", "ready"]


async def test_H13_a_run_that_is_replayed_and_has_ended_again_after_the_look(scene: Scene, d: ScheduleDriver) -> None:
    """Its second end is the one that is written, by the next fire."""
    await d.put()
    await d.ran("dead")
    [job] = await d.jobs_of()
    firing, halt = await before_it_writes(scene, await due(d))
    assert await scene.one.replay([job.id]) == ["replayed"]
    assert await scene.one.cancel([job.id]) == ["cancelled"]
    halt.go()
    assert await firing == ["fired"]
    assert (await raw_runs(scene))[0].open
    await d.fire()
    assert (await raw_runs(scene))[0].state == "cancelled"


async def test_H13_a_replay_that_is_not_committed_holds_up_no_fire(scene: Scene, d: ScheduleDriver) -> None:
    """The fire comes first; the run is in the hands of the replay, and stays open."""
    await d.put()
    await d.ran("dead")
    [job] = await d.jobs_of()
    fire = await due(d)
    halt = scene.a.halt("commit")
    replaying = asyncio.create_task(scene.one.replay([job.id]))
    await halt.reached()
    assert await asyncio.wait_for(scene.two.fire([fire]), PATIENCE) == ["fired"]
    halt.go()
    assert await replaying == ["replayed"]
    assert [run.open for run in await raw_runs(scene)] == [True, True]


async def test_H13_an_end_is_written_down_by_a_prune_after_the_look(scene: Scene, d: ScheduleDriver) -> None:
    await d.put()
    await d.ran("dead")
    firing, halt = await before_it_writes(scene, await due(d))
    await scene.one.prune_runs()
    halt.go()
    assert await firing == ["fired"]
    assert [run.state for run in await raw_runs(scene)] == ["dead", None]


async def test_C10_old_runs_are_removed_by_a_prune_after_the_look(scene: Scene, d: ScheduleDriver) -> None:
    """Both want to remove the same; the run whose end was seen is not kept, and goes at once."""
    await d.put(keep=10)
    for _ in range(5):
        await d.ran()
    await d.change(keep=1)
    firing, halt = await before_it_writes(scene, await due(d))
    assert await scene.one.prune_runs() == 4
    halt.go()
    assert await firing == ["fired"]
    assert [run.number for run in await raw_runs(scene)] == [6]


# --- while it writes


async def test_H13_who_fires_while_another_writes_is_stale_and_waits_for_nobody(
    scene: Scene, d: ScheduleDriver
) -> None:
    """The statement is stopped halfway by a job of its id in an open transaction, and has moved the schedule by then."""
    await d.put()
    first, second = await due(d), await due(d)
    stored = await d.stored()
    async with scene.plain.transaction():
        await scene.one.add_within(scene.plain, [NewJob(id=first.slots[0].job, task="work")])
        firing = asyncio.create_task(scene.one.fire([first]))
        await scene.blocked()
        assert await asyncio.wait_for(scene.two.fire([second]), PATIENCE) == ["stale"]
        after = replace(stored, paused=BY_REQUEST, revision=2)
        pausing = asyncio.create_task(scene.two.put_schedules([SchedulePut(after, stored)]))
        dropping = asyncio.create_task(scene.two.trigger([RunNow(NIGHTLY, d.slot_job(0.0))]))
        await scene.blocked(3)
        await scene.plain.execute(f"DELETE FROM {scene.table('jobs')}")
    assert await firing == ["fired"]
    assert (await pausing, await dropping) == (["conflict"], ["skipped"])
    assert await slots_of(d) == [first.slots[0].slot]


async def test_C10_a_job_of_the_same_id_is_there(scene: Scene, d: ScheduleDriver) -> None:
    """Whoever has made it: the fire is not carried out by halves, and adds no second one."""
    await d.put()
    fire = await due(d)
    await scene.one.add([NewJob(id=fire.slots[0].job, task="other")])
    assert await scene.two.fire([fire]) == ["fired"]
    assert await scene.rows_of(fire.slots[0].job) == 1
    assert (await d.stored()).fired_to == fire.to


async def test_C3_two_fires_of_one_schedule_in_a_batch(scene: Scene, d: ScheduleDriver) -> None:
    await d.put()
    fire = await due(d)
    other = replace(fire, slots=(SlotJob(fire.slots[0].slot, new_id(), new_id()),))
    assert await scene.two.fire([fire, other]) == ["fired", "stale"]
    assert len(await slots_of(d)) == 1


async def raw_jobs(scene: Scene, schedule: str) -> int:
    """Live jobs of a schedule, whoever knows of them."""
    rows = await scene.plain.fetch(f"SELECT FROM {scene.table('jobs')} WHERE schedule = $1", schedule)
    return len(rows)

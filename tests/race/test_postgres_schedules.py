"""PostgreSQL: who fires whose schedule, and what waits for whom (RULES H13, C3, C10). No slot twice, no deadlock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from time import monotonic

import pytest
from msgspec.structs import replace

from mainspring.errors import StoreUnavailable
from mainspring.ids import new_id
from mainspring.model.record import NewJob
from mainspring.model.schedule import BY_REQUEST, Fire, ScheduleRecord, SlotJob
from mainspring.store.base import RunNow, SchedulePut
from mainspring.store.postgres.store import PostgresStore
from mainspring.testing.contract.scheduling import DAY, NIGHTLY, ScheduleDriver
from tests.race.postgres_scene import PATIENCE, Scene, scene_on
from tests.race.schedule_steps import due, slots_of
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


# --- fire against fire


async def test_H13_of_two_fires_at_once_the_second_is_stale_and_waits_for_nobody(
    scene: Scene, d: ScheduleDriver
) -> None:
    await d.put()
    first, second = await due(d), await due(d)
    scene.a.look_closely()
    halt = scene.a.halt("commit")
    firing = asyncio.create_task(scene.one.fire([first]))
    await halt.reached()
    assert await asyncio.wait_for(scene.two.fire([second]), PATIENCE) == ["stale"]
    halt.go()
    assert await firing == ["fired"]
    assert await slots_of(d) == [first.slots[0].slot]


async def test_H13_who_comes_late_finds_the_slot_fired(scene: Scene, d: ScheduleDriver) -> None:
    await d.put()
    first, second = await due(d), await due(d)
    scene.a.look_closely()
    halt = scene.a.halt("schedules.take")
    firing = asyncio.create_task(scene.one.fire([first]))
    await halt.reached()
    assert await scene.two.fire([second]) == ["fired"]
    halt.go()
    assert await firing == ["stale"]
    assert len(await slots_of(d)) == 1


async def test_H13_two_batches_in_opposite_orders_fire_each_slot_once(scene: Scene, d: ScheduleDriver) -> None:
    names = [f"s{number:02}" for number in range(20)]
    for name in names:
        await d.put(name)
    batches = [[await due(d, name) for name in names], [await due(d, name) for name in reversed(names)]]
    for process in (scene.a, scene.b):
        process.look_closely()
    halts = [scene.a.halt("schedules.take"), scene.b.halt("schedules.take")]
    firing = [
        asyncio.create_task(store.fire(batch)) for store, batch in zip((scene.one, scene.two), batches, strict=True)
    ]
    for halt in halts:
        await halt.reached()
    for halt in halts:
        halt.go()
    answers = [answer for each in await asyncio.gather(*firing) for answer in each]
    assert sorted(answers) == ["fired"] * 20 + ["stale"] * 20
    for name in names:
        assert len(await slots_of(d, name)) == 1


async def test_C3_a_fire_whose_answer_is_lost_is_fired_when_it_is_sent_again(scene: Scene, d: ScheduleDriver) -> None:
    await d.put()
    fire = await due(d)
    scene.a.lose()
    with pytest.raises(StoreUnavailable):
        await scene.one.fire([fire])
    assert await scene.two.fire([fire]) == ["fired"]
    assert len(await slots_of(d)) == 1


async def test_C3_the_repeat_comes_while_the_first_is_not_committed(scene: Scene, d: ScheduleDriver) -> None:
    await d.put()
    fire = await due(d)
    scene.a.look_closely()
    halt = scene.a.halt("commit")
    firing = asyncio.create_task(scene.one.fire([fire]))
    await halt.reached()
    assert await scene.two.fire([fire]) == ["stale"]
    halt.go()
    await firing
    assert await scene.two.fire([fire]) == ["fired"]
    assert len(await slots_of(d)) == 1


# --- put and pause against fire


@pytest.mark.parametrize("what", ["change", "pause"])
async def test_H13_a_put_that_comes_second_sees_that_it_was_fired(scene: Scene, d: ScheduleDriver, what: str) -> None:
    """It waits for the fire, is refused, and is decided again on what is there: the slot is not fired again."""
    await d.put()
    stored = await d.stored()
    fire = await due(d)
    scene.a.look_closely()
    halt = scene.a.halt("commit")
    firing = asyncio.create_task(scene.one.fire([fire]))
    await halt.reached()
    after = d.changed(stored, keep=7) if what == "change" else replace(stored, paused=BY_REQUEST, revision=2)
    putting = asyncio.create_task(scene.two.put_schedules([SchedulePut(after, stored)]))
    await scene.blocked()
    halt.go()
    assert await firing == ["fired"]
    assert await putting == ["conflict"]
    stored = await d.stored()
    assert stored.fired_to == fire.to
    assert stored.revision == 1


@pytest.mark.parametrize(("what", "answer"), [("change", "stale"), ("pause", "paused"), ("drop", "unknown")])
async def test_H13_a_fire_that_comes_second_sees_what_people_changed(
    scene: Scene, d: ScheduleDriver, what: str, answer: str
) -> None:
    await d.put()
    fire = await due(d)
    scene.b.look_closely()
    halt = scene.b.halt("schedules.take")
    firing = asyncio.create_task(scene.two.fire([fire]))
    await halt.reached()
    match what:
        case "change":
            await d.change(keep=7)
        case "pause":
            await d.pause()
        case _:
            assert await scene.one.drop_schedules([NIGHTLY]) == [True]
    halt.go()
    assert await firing == [answer]
    assert await slots_of(d) == []


async def test_H13_a_trigger_that_is_replaced_while_it_fires_never_fires_the_slot_again(
    scene: Scene, d: ScheduleDriver
) -> None:
    """Again and again, each beginning with a look: one of the two is refused, whoever was first."""
    await d.put(overlap="allow")
    fired, put = 0, 0
    for _ in range(20):
        fire, stored = await due(d), await d.stored()
        after = d.changed(stored, keep=100 + put)
        answers, [answer] = await asyncio.gather(
            scene.one.fire([fire]), scene.two.put_schedules([SchedulePut(after, stored)])
        )
        assert (answers == ["fired"]) != (answer == "put"), (answers, answer)
        fired, put = fired + (answers == ["fired"]), put + (answer == "put")
    assert len(await slots_of(d)) == fired
    stored = await d.stored()
    assert (stored.runs, stored.number, stored.revision) == (fired, fired, put + 1)


# --- put against put


async def test_C10_two_who_put_the_same_at_once_do_not_deadlock(scene: Scene, d: ScheduleDriver) -> None:
    """New ones and changed ones, in opposite orders: of each, one is put."""
    old = [await d.put(f"a{number:03}") for number in range(50)]
    puts = [SchedulePut(d.changed(record, keep=3), record) for record in old]
    puts += [SchedulePut(d.record(f"b{number:03}"), None) for number in range(50)]
    other = [SchedulePut(replace(each.record, declared_by="other"), each.stored) for each in reversed(puts)]
    one, two = await asyncio.gather(scene.one.put_schedules(puts), scene.two.put_schedules(other))
    assert {tuple(sorted(pair)) for pair in zip(one, reversed(two), strict=True)} == {("conflict", "put")}


async def test_C10_a_new_one_that_is_put_in_an_open_transaction_is_waited_for(scene: Scene, d: ScheduleDriver) -> None:
    await d.put("first")
    table = scene.table("schedules")
    async with scene.plain.transaction():
        await scene.plain.execute(f"UPDATE {table} SET id = 'second' WHERE id = 'first'")
        putting = asyncio.create_task(scene.two.put_schedules([SchedulePut(d.record("second"), None)]))
        await scene.blocked()
    assert await putting == ["conflict"]


# --- drop against fire


async def test_H13_a_drop_waits_for_the_fire_and_its_job_stays(scene: Scene, d: ScheduleDriver) -> None:
    await d.put()
    fire = await due(d)
    scene.a.look_closely()
    halt = scene.a.halt("commit")
    firing = asyncio.create_task(scene.one.fire([fire]))
    await halt.reached()
    dropping = asyncio.create_task(scene.two.drop_schedules([NIGHTLY]))
    await scene.blocked()
    halt.go()
    assert await firing == ["fired"]
    assert await dropping == [True]
    stored = await d.stored()
    assert stored.fired_to == fire.to
    assert stored.dropped is not None
    assert len(await d.jobs_of()) == 1


async def test_H13_a_fire_while_it_is_dropped_is_stale_and_then_unknown(scene: Scene, d: ScheduleDriver) -> None:
    await d.put()
    fire = await due(d)
    scene.a.look_closely()
    halt = scene.a.halt("commit")
    dropping = asyncio.create_task(scene.one.drop_schedules([NIGHTLY]))
    await halt.reached()
    assert await scene.two.fire([fire]) == ["stale"]
    halt.go()
    assert await dropping == [True]
    assert await scene.two.fire([fire]) == ["unknown"]
    assert await slots_of(d) == []


# --- trigger against fire


@pytest.mark.parametrize(("overlap", "answer"), [("skip", "skipped"), ("allow", "fired"), ("queue", "fired")])
async def test_H13_a_person_who_asks_for_a_run_waits_for_the_fire(
    scene: Scene, d: ScheduleDriver, overlap: str, answer: str
) -> None:
    await d.put(overlap=overlap)  # type: ignore[arg-type]  # one of three
    fire = await due(d)
    scene.a.look_closely()
    halt = scene.a.halt("commit")
    firing = asyncio.create_task(scene.one.fire([fire]))
    await halt.reached()
    asking = asyncio.create_task(scene.two.trigger([RunNow(NIGHTLY, d.slot_job(0.0))]))
    await scene.blocked()
    halt.go()
    assert await firing == ["fired"]
    assert await asking == [answer]
    assert [run.number for run in await d.runs()] == [1, 2][: 1 + (answer == "fired")]


async def test_H13_a_fire_while_a_person_asks_for_a_run_is_stale_and_then_goes(scene: Scene, d: ScheduleDriver) -> None:
    await d.put(overlap="allow")
    fire = await due(d)
    scene.a.look_closely()
    halt = scene.a.halt("commit")
    asking = asyncio.create_task(scene.one.trigger([RunNow(NIGHTLY, d.slot_job(0.0))]))
    await halt.reached()
    assert await scene.two.fire([fire]) == ["stale"]
    halt.go()
    assert await asking == ["fired"]
    assert await scene.two.fire([fire]) == ["fired"]
    assert [run.kind for run in await d.runs()] == ["trigger", "slot"]


async def test_C3_a_run_that_is_asked_for_twice_at_once_is_one(scene: Scene, d: ScheduleDriver) -> None:
    await d.put(overlap="allow")
    asked = RunNow(NIGHTLY, d.slot_job(0.0))
    scene.a.look_closely()
    halt = scene.a.halt("commit")
    asking = asyncio.create_task(scene.one.trigger([asked]))
    await halt.reached()
    again = asyncio.create_task(scene.two.trigger([asked]))
    await scene.blocked()
    halt.go()
    assert [await asking, await again] == [["fired"], ["fired"]]
    assert len(await d.jobs_of()) == len(await d.runs()) == 1


async def test_C3_a_put_on_an_old_read_does_not_take_a_number_back(scene: Scene, d: ScheduleDriver) -> None:
    """A run that a person asks for moves only the number."""
    await d.put(overlap="allow")
    stored = await d.stored()
    scene.b.look_closely()
    halt = scene.b.halt("schedules.put")
    putting = asyncio.create_task(scene.two.put_schedules([SchedulePut(d.changed(stored, keep=9), stored)]))
    await halt.reached()
    assert await d.trigger() == "fired"
    halt.go()
    assert await putting == ["conflict"]
    assert await d.trigger() == "fired"
    assert [run.number for run in await d.runs()] == [1, 2]


async def test_H13_a_put_on_an_old_read_does_not_take_the_watermark_back(scene: Scene, d: ScheduleDriver) -> None:
    """A slot that is left out like the one before gets no number of its own."""
    await d.put()
    assert [await d.fire() for _ in range(2)] == ["fired", "skipped"]
    stored = await d.stored()
    scene.b.look_closely()
    halt = scene.b.halt("schedules.put")
    putting = asyncio.create_task(scene.two.put_schedules([SchedulePut(d.changed(stored, keep=9), stored)]))
    await halt.reached()
    assert await d.fire() == "skipped"
    halt.go()
    assert await putting == ["conflict"]
    assert (await d.stored()).fired_to == stored.fired_to + 60


# --- keys


async def test_C10_a_key_in_an_open_transaction_holds_up_its_own_schedule_alone(
    scene: Scene, d: ScheduleDriver
) -> None:
    await d.put("plain")
    await d.put("keyed", template=NewJob(id="", task="work", unique="k"))
    fires = [await due(d, "plain"), await due(d, "keyed")]
    async with scene.plain.transaction():
        await scene.one.add_within(scene.plain, [NewJob(id=new_id(), task="work", unique="k")])
        began = monotonic()
        assert await scene.two.fire(fires) == ["fired", "stale"]
        assert monotonic() - began < 2
    assert await scene.two.fire(fires) == ["fired", "skipped"]
    assert (await d.stored("keyed")).skipped == 1


# --- everything at once


async def test_H13_no_slot_twice_whatever_happens_at_once(scene: Scene, d: ScheduleDriver) -> None:
    """Two processes fire, trigger, change, pause and prune the same few schedules as fast as they can."""
    names = ["a", "b", "c"]
    for name in names:
        await d.put(name, overlap="allow", keep=10_000)
    d.clock.advance(DAY)
    fired = dict.fromkeys(names, 0)
    stores = (scene.one, scene.two, scene.one, scene.two)
    await asyncio.gather(*(storm(store, names, fired, random.Random(seed)) for seed, store in enumerate(stores)))
    for name in names:
        slots = await slots_of(d, name)
        assert len(slots) == fired[name] > 0
        runs = await d.runs(name)
        assert [run.number for run in runs] == list(range(1, len(runs) + 1))
        stored = await d.stored(name)
        assert (stored.runs, stored.number, stored.fired_to) == (
            len(slots),
            len(runs),
            max(each or 0 for each in slots),
        )


async def storm(store: PostgresStore, names: list[str], fired: dict[str, int], chance: random.Random) -> None:
    """One of several who do what they like."""
    for _ in range(60):
        records = {each.id: each for each in (await store.get_schedules(names)).schedules}
        match chance.choice(["fire", "fire", "fire", "trigger", "put", "prune", "end"]):
            case "fire":
                fires = [next_slot(records[name]) for name in chance.sample(names, 3)]
                for fire, answer in zip(fires, await store.fire(fires), strict=True):
                    fired[fire.schedule] += answer == "fired"
            case "trigger":
                slot = SlotJob(0.0, new_id(), new_id())
                assert await store.trigger([RunNow(chance.choice(names), slot)]) == ["fired"]
            case "put":
                record = records[chance.choice(names)]
                paused = "" if record.paused else BY_REQUEST
                after = replace(record, paused=paused, revision=record.revision + 1)
                await store.put_schedules([SchedulePut(after, record)])
            case "end":
                jobs = [run.job for run in await store.runs(chance.choice(names)) if run.open and run.job is not None]
                await store.cancel(jobs[:5])
            case _:
                await store.prune_runs()


def next_slot(record: ScheduleRecord) -> Fire:
    assert record.due is not None
    return Fire(
        schedule=record.id,
        revision=record.revision,
        expected=record.due,
        slots=(SlotJob(record.due, new_id(), new_id()),),
        to=record.due,
        next=record.due + 60,
        due=record.due + 60,
    )

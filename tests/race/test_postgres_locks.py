"""PostgreSQL: who takes whose job, what waits for whom, and what happens at that very moment (RULES C1, C4, C10, H2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from time import monotonic

import asyncpg
import pytest

from mainspring.errors import EncodingError, KeyBusy
from mainspring.ids import new_id
from mainspring.model.record import Failure, JobRecord, NewJob, Settlement
from mainspring.store.base import Beat, Started, Worker
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.store import PostgresStore
from tests.race.postgres_scene import PATIENCE, Scene, scene_on
from tests.servers.fixtures import fresh_schema
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.postgres
LARGE = b'"' + b"x" * 5000 + b'"'


@pytest.fixture(scope="module")
def schema_url(postgres_server: Postgres) -> Iterator[str]:
    with fresh_schema(postgres_server) as schema:
        yield postgres_server.url(schema)


@pytest.fixture
async def scene(schema_url: str) -> AsyncIterator[Scene]:
    async with scene_on(schema_url) as scene:
        yield scene


def ends(job: JobRecord) -> Settlement:
    return Settlement(job=job.id, lease=job.lease, kind="complete")


def marked(job: JobRecord) -> Settlement:
    """The same by a transaction, and not by the one statement."""
    return Settlement(job=job.id, lease=job.lease, kind="complete", reason="marked")


async def silent_worker(scene: Scene, number: int = 1) -> list[JobRecord]:
    """Jobs of a worker that another one will take for dead."""
    await scene.joined("w", "other")
    jobs = await scene.run(number)
    await scene.lapse("w")
    return jobs


@pytest.mark.parametrize("how", [ends, marked])
async def test_C3_a_finish_that_comes_before_the_rescue_wins(scene: Scene, how: object) -> None:
    [job] = await silent_worker(scene)
    halt = scene.b.halt("loads.running")
    sweeping = asyncio.create_task(scene.two.sweep("other"))
    await halt.reached()
    assert await scene.one.settle([how(job)]) == ["accepted"]  # type: ignore[operator]  # one of the two
    halt.go()
    assert (await sweeping).rescued == 0
    assert (await scene.get(job.id)).state == "completed"
    assert await scene.rows_of(job.id) == 1


@pytest.mark.parametrize("how", [ends, marked])
async def test_C3_a_finish_that_comes_after_the_rescue_is_stale(scene: Scene, how: object) -> None:
    """It waits for the rescue, and then sees that the lease has gone."""
    [job] = await silent_worker(scene)
    halt = scene.b.halt("commit")
    sweeping = asyncio.create_task(scene.two.sweep("other"))
    await halt.reached()
    settling = asyncio.create_task(scene.settle(scene.one, how(job)))  # type: ignore[operator]  # one of the two
    await scene.blocked()
    halt.go()
    assert (await sweeping).rescued == 1
    assert await settling == ["stale"]
    [again] = await scene.claim("other")
    assert again.lease == job.lease + 1
    assert await scene.one.settle([ends(job)]) == ["stale"]
    assert await scene.one.settle([ends(again)]) == ["accepted"]
    assert [each.ending for each in await scene.one.attempts(job.id)] == ["rescued", "completed"]


async def test_C3_a_rescue_does_not_wait_for_a_finish_and_takes_nothing_from_it(scene: Scene) -> None:
    first, second = await silent_worker(scene, 2)
    halt = scene.a.halt("commit")
    settling = asyncio.create_task(scene.one.settle([marked(first)]))
    await halt.reached()
    swept = await scene.two.sweep("other")
    assert swept.rescued == 1
    halt.go()
    assert await settling == ["accepted"]
    assert (await scene.get(second.id)).state == "ready"
    assert (await scene.get(first.id)).state == "completed"


async def test_C2_what_a_rescue_had_to_leave_is_a_stray_and_is_taken_later(scene: Scene) -> None:
    """Somebody's transaction had the job in hand; its worker has gone from the list by then."""
    [job] = await silent_worker(scene)
    async with scene.locked(job.id):
        assert (await scene.one.sweep("other")).rescued == 0
        assert [each.worker.id for each in await scene.one.workers()] == ["other"]
    assert (await scene.two.sweep("other")).rescued == 1
    assert (await scene.get(job.id)).state == "ready"


async def test_C1_two_sweeps_at_once_rescue_each_job_once(scene: Scene) -> None:
    jobs = await silent_worker(scene, 5)
    halts = [scene.a.halt("loads.running"), scene.b.halt("loads.running")]
    sweeping = [asyncio.create_task(store.sweep("other")) for store in (scene.one, scene.two)]
    for halt in halts:
        await halt.reached()
    for halt in halts:
        halt.go()
    assert sum(swept.rescued for swept in await asyncio.gather(*sweeping)) == 5
    for job in jobs:
        assert len(await scene.one.attempts(job.id)) == 1


async def test_C1_two_sweeps_at_once_promote_each_job_once(scene: Scene) -> None:
    ids = await scene.add(20, delay=5.0)
    scene.clock.advance(6)
    halt = scene.a.halt("commit")
    one = asyncio.create_task(scene.one.sweep("x", 10))
    await halt.reached()
    two = await scene.two.sweep("y", 10)
    halt.go()
    assert ((await one).promoted, two.promoted) == (10, 10)
    assert {job.id for job in await scene.claim()} == set(ids)


async def test_C1_nobody_is_rescued_after_an_outage(scene: Scene) -> None:
    """All were away for an hour; who comes back first judges nobody before a whole lease time has passed."""
    await scene.joined("w", "other", lease_time=30.0)
    [job] = await scene.run()
    scene.clock.advance(3600)
    assert (await scene.two.sweep("other")).rescued == 0
    for _ in range(3):
        await scene.beat("other")
        assert (await scene.two.sweep("other")).rescued == 0
        scene.clock.advance(9)
    await scene.beat("w", "other")
    scene.clock.advance(9)
    await scene.beat("w", "other")
    assert (await scene.two.sweep("other")).rescued == 0
    assert (await scene.get(job.id)).state == "running"


@pytest.mark.parametrize("step", [3600.0, -3600.0])
async def test_C1_a_step_of_the_servers_clock_rescues_nobody(scene: Scene, step: float) -> None:
    await scene.joined("w", "other")
    [job] = await scene.run()
    for _ in range(5):
        scene.clock.advance(9)
        await scene.beat("w", "other")
    scene.clock.step(step)
    for _ in range(5):
        assert (await scene.two.sweep("other")).rescued == 0
        await scene.beat("other", "w")
        scene.clock.advance(9)
    assert (await scene.get(job.id)).state == "running"


async def test_C8_a_beat_waits_for_nobody(scene: Scene) -> None:
    """It tells what has started; a job of these is in the hands of somebody's transaction. The lease must not suffer."""
    await scene.joined("w")
    held, free = await scene.run(2)
    scene.clock.advance(1)
    async with scene.locked(held.id):
        began = monotonic()
        told = [Started(job.id, job.lease, 1.0) for job in (held, free)]
        reply = await asyncio.wait_for(scene.one.beat(Beat("w", started=told)), PATIENCE)
        assert reply.known
        assert monotonic() - began < 5
    assert (await scene.get(held.id)).started is None
    assert (await scene.get(free.id)).started is not None


@pytest.mark.parametrize("kind", ["retry", "snooze", "release", "complete", "dead"])
async def test_C4_a_cancel_that_comes_first_beats_every_settlement_that_is_no_end(scene: Scene, kind: str) -> None:
    [job] = await scene.run()
    halt = scene.a.halt("commit")
    cancelling = asyncio.create_task(scene.one.cancel([job.id]))
    await halt.reached()
    settling = asyncio.create_task(
        scene.two.settle([Settlement(job=job.id, lease=job.lease, kind=kind, after=5.0)])  # type: ignore[arg-type]
    )
    await scene.blocked()
    halt.go()
    assert await cancelling == ["requested"]
    assert await settling == ["accepted"]
    ended = {"complete": "completed", "dead": "dead"}
    assert (await scene.get(job.id)).state == ended.get(kind, "cancelled")


async def test_C4_a_cancel_that_comes_second_finds_what_became_of_the_job(scene: Scene) -> None:
    [job] = await scene.run()
    halt = scene.a.halt("commit")
    settling = asyncio.create_task(scene.one.settle([Settlement(job=job.id, lease=job.lease, kind="retry", after=5.0)]))
    await halt.reached()
    cancelling = asyncio.create_task(scene.two.cancel([job.id]))
    await scene.blocked()
    halt.go()
    assert await settling == ["accepted"]
    assert await cancelling == ["cancelled"]


async def test_C4_a_cancel_beats_the_rescue(scene: Scene) -> None:
    [job] = await silent_worker(scene)
    halt = scene.a.halt("commit")
    cancelling = asyncio.create_task(scene.one.cancel([job.id]))
    await halt.reached()
    assert (await scene.two.sweep("other")).rescued == 0
    halt.go()
    assert await cancelling == ["requested"]
    await scene.two.sweep("other")
    assert (await scene.get(job.id)).state == "cancelled"


# --- keys


async def test_C10_a_key_in_an_open_transaction_is_busy_for_its_callers_alone(scene: Scene) -> None:
    async with scene.plain.transaction():
        await scene.one.add_within(scene.plain, [NewJob(id=new_id(), task="work", unique="k")])
        with pytest.raises(KeyBusy) as busy:
            await scene.two.add([NewJob(id=new_id(), task="work", unique="k")])
        assert busy.value.keys == ("k",)
        began = monotonic()
        other = NewJob(id=new_id(), task="work", unique="free")
        assert await scene.two.add([other]) == [(other.id, True)]
        assert monotonic() - began < 2
    late = NewJob(id=new_id(), task="work", unique="k")
    assert (await scene.two.add([late]))[0].created is False


async def test_C10_keys_in_opposite_orders_end_in_no_error(scene: Scene) -> None:
    """Each has guarded one and wants the other."""
    one, two = [[NewJob(id=new_id(), task="work", unique=key) for key in keys] for keys in ("ab", "ba")]
    halts = [scene.a.halt("loads.keys"), scene.b.halt("loads.keys")]
    adding = [asyncio.create_task(scene.one.add(one)), asyncio.create_task(scene.two.add(two))]
    await asyncio.wait([asyncio.create_task(halt.reached()) for halt in halts], return_when="FIRST_COMPLETED")
    for halt in halts:
        halt.go()
    first, second = await asyncio.gather(*adding)
    assert [each.id for each in first] == [each.id for each in reversed(second)]
    assert {each.created for each in first} != {each.created for each in second}


async def test_H12_a_key_whose_holder_ends_at_that_moment_is_taken_or_held_but_never_lost(scene: Scene) -> None:
    [holder] = await scene.run(unique="k")
    halt = scene.a.halt("commit")
    ending = asyncio.create_task(scene.one.settle([ends(holder)]))
    await halt.reached()
    new = NewJob(id=new_id(), task="work", unique="k")
    [held] = await scene.two.add([new])
    assert held == (holder.id, False)
    halt.go()
    await ending
    assert await scene.two.add([new]) == [(new.id, True)]
    assert (await scene.two.add([NewJob(id=new_id(), task="work", unique="k")]))[0] == (new.id, False)


async def test_H12_of_a_replay_and_an_add_one_gets_the_key(scene: Scene) -> None:
    [job] = await scene.run(unique="k")
    await scene.one.settle([Settlement(job=job.id, lease=job.lease, kind="dead")])
    halt = scene.a.halt("flush.take_keys")
    replaying = asyncio.create_task(scene.one.replay([job.id]))
    await halt.reached()
    new = NewJob(id=new_id(), task="work", unique="k")
    adding = asyncio.create_task(scene.two.add([new]))
    await asyncio.sleep(0)
    halt.go()
    assert await replaying == ["replayed"]
    assert await adding == [(job.id, False)]


async def test_H12_a_follow_up_with_a_busy_key_holds_up_no_other_settlement(scene: Scene) -> None:
    first, second = await scene.run(2)
    async with scene.plain.transaction():
        await scene.one.add_within(scene.plain, [NewJob(id=new_id(), task="work", unique="k")])
        follow_up = NewJob(id=new_id(), task="next", unique="k")
        blocked = Settlement(job=first.id, lease=first.lease, kind="complete", follow_ups=(follow_up,))
        with pytest.raises(KeyBusy):
            await scene.two.settle([blocked, marked(second)])
        assert (await scene.get(first.id)).state == "running"
        assert (await scene.get(second.id)).state == "completed"
    assert await scene.two.settle([blocked, marked(second)]) == ["accepted", "accepted"]


# --- what the server or the driver refuses


@pytest.mark.parametrize("bad", [{"tags": ("a\0b",)}, {"queue": "q\0"}, {"task": "\ud800"}, {"priority": 2**40}])
async def test_C10_one_bad_row_of_many_is_an_error_about_data_and_adds_nothing(
    scene: Scene, bad: dict[str, object]
) -> None:
    """An error that says so is what lets the batch be split; taken for an outage it would be repeated for ever."""
    jobs = [NewJob(id=new_id(), task="work") for _ in range(1000)]
    jobs[500] = NewJob(**{"id": new_id(), "task": "work"} | bad)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(EncodingError):
        await scene.one.add(jobs)
    assert await scene.claim() == []


async def test_C10_a_settlement_that_cannot_be_stored_is_an_error_about_data(scene: Scene) -> None:
    jobs = await scene.run(3)
    bad = Settlement(job=jobs[1].id, lease=jobs[1].lease, kind="dead", error=Failure(type="E", message="a\0b"))
    with pytest.raises(EncodingError):
        await scene.one.settle([marked(jobs[0]), bad, marked(jobs[2])])
    assert [(await scene.get(job.id)).state for job in jobs] == ["running"] * 3


@pytest.mark.parametrize("worker", ["w\0", "\ud800"])
async def test_C10_a_worker_that_cannot_be_named_is_told_so(scene: Scene, worker: str) -> None:
    with pytest.raises(EncodingError):
        await scene.one.join(Worker(worker))
    with pytest.raises(EncodingError):
        await scene.claim(worker)


@pytest.mark.parametrize(
    "strange", ["no id", "", "01A2008D-7400-7000-8000-00000000000A", "01a2008d74007000800000000000000a"]
)
async def test_H11_the_id_of_nothing_is_unknown_to_every_verb(scene: Scene, strange: str) -> None:
    store = scene.one
    assert await store.get([strange]) == [None]
    assert await store.cancel([strange]) == ["unknown"]
    assert await store.replay([strange]) == ["unknown"]
    assert await store.reschedule([strange], 5.0) == ["unknown"]
    assert await store.delete([strange]) == ["unknown"]
    assert await store.settle([Settlement(job=strange, lease=1, kind="dead")]) == ["unknown"]
    with pytest.raises(EncodingError):
        await store.add([NewJob(id=strange, task="work")])


# --- large values, and where they lie


async def test_H11_large_values_stay_with_their_job_wherever_it_goes(scene: Scene) -> None:
    await scene.joined("w", "other")
    [job] = await scene.run(payload=LARGE)
    assert job.payload == LARGE
    await scene.one.settle([Settlement(job=job.id, lease=job.lease, kind="retry")])
    await scene.one.sweep("other")
    [again] = await scene.claim()
    assert again.payload == LARGE
    await scene.lapse("w")
    assert (await scene.two.sweep("other")).rescued == 1
    await scene.one.join(Worker("w"))
    [third] = await scene.claim()
    await scene.one.settle([Settlement(job=job.id, lease=third.lease, kind="complete", result=LARGE)])
    ended = await scene.get(job.id)
    assert (ended.payload, ended.result) == (LARGE, LARGE)
    assert await scene.one.replay([job.id], force=True) == ["replayed"]
    assert (await scene.get(job.id)).result is None
    [last] = await scene.claim()
    await scene.one.settle([Settlement(job=job.id, lease=last.lease, kind="complete", result=b"1")])
    ended = await scene.get(job.id)
    assert (ended.payload, ended.result) == (LARGE, b"1")
    await scene.one.delete([job.id])
    assert await scene.plain.fetchval(f"SELECT count(*) FROM {scene.table('blobs')}") == 0


# --- days


async def test_H11_a_day_that_was_dropped_meanwhile_loses_no_end(scene: Scene) -> None:
    """The process still knows the day. The end that finds it gone looks again, and goes where it can."""
    plain, linked = await scene.run(2)
    table = await scene.plain.fetchval(f"SELECT tableoid::regclass::text FROM {scene.table('jobs_done')} LIMIT 1")
    assert table is None
    days = await scene.plain.fetch(
        "SELECT c.oid::regclass::text AS day FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = $1::text::regclass",
        scene.table("jobs_done"),
    )
    for each in days:
        await scene.plain.execute(f"ALTER TABLE {scene.table('jobs_done')} DETACH PARTITION {each['day']}")
    try:
        assert await scene.one.settle([ends(plain)]) == ["accepted"]
        assert await scene.two.settle([marked(linked)]) == ["accepted"]
        for job in (plain, linked):
            assert (await scene.get(job.id)).state == "completed"
            assert await scene.rows_of(job.id) == 1
    finally:
        for each in days:
            await scene.plain.execute(f"DROP TABLE {each['day']}")
        await scene.one._transact.make_days()  # for the tests that follow


# --- the server's own settings


async def test_H11_another_isolation_as_the_default_changes_nothing(scene: Scene) -> None:
    """A person may have set it for the database; every look would then see the state of the first."""
    [job] = await scene.run()
    halt = scene.b.halt("loads.jobs")
    harness = scene.harness

    async def strict(connection: asyncpg.Connection[asyncpg.Record]) -> None:
        await harness.tell_the_time(connection)
        await connection.execute("SET default_transaction_isolation = 'repeatable read'")

    store = PostgresStore(Place.parse(harness.place.dsn + f"?schema={harness.place.schema}"), before=strict)
    await store.open()
    try:
        del halt
        commit = scene.a.halt("commit")
        ending = asyncio.create_task(scene.one.settle([marked(job)]))
        await commit.reached()
        cancelling = asyncio.create_task(store.cancel([job.id]))
        await scene.blocked()
        commit.go()
        await ending
        assert await cancelling == ["ended"]
    finally:
        await store.close()

"""PostgreSQL: answers that are lost, sent twice, or come late (RULES C2, C3), forced and not hoped for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from mainspring.errors import StoreUnavailable
from mainspring.ids import new_id
from mainspring.model.record import NewGroup, NewJob, Settlement
from mainspring.store.base import Claim
from tests.race.postgres_scene import LANES, Scene, scene_on
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


@pytest.mark.parametrize("keyed", [False, True])
async def test_C3_a_repeat_of_an_add_does_not_run_a_job_again_that_ended_meanwhile(scene: Scene, keyed: bool) -> None:
    """The repeat has looked, and not inserted yet; there the first send commits, and its job runs and ends."""
    new = NewJob(id=new_id(), task="work", unique="k" if keyed else None, unique_for=0.0 if keyed else None)
    scene.one._unclear.add(new.id)  # as after an answer that did not come
    halt = scene.a.halt("flush.insert")
    repeat = asyncio.create_task(scene.one.add([new]))
    await halt.reached()
    first = NewJob(id=new.id, task="work")  # without the key: that is in the hands of the repeat
    await scene.two.add([first])
    [job] = await scene.claim(store=scene.two)
    assert await scene.two.settle([Settlement(job=job.id, lease=job.lease, kind="complete")]) == ["accepted"]
    halt.go()
    assert await repeat == [(new.id, False)]
    assert await scene.rows_of(new.id) == 1
    assert (await scene.get(new.id)).state == "completed"


async def test_C3_the_same_id_at_the_same_time_is_one_job(scene: Scene) -> None:
    """Both have looked before either wrote."""
    group = new_id()
    jobs = [NewJob(id=new_id(), task="work", group=group), NewJob(id=new_id(), task="work", waits_on=group)]
    halts = [scene.a.halt("flush.put_groups"), scene.b.halt("flush.put_groups")]
    adding = [asyncio.create_task(store.add(jobs, [NewGroup(id=group, size=1)])) for store in (scene.one, scene.two)]
    for halt in halts:
        await halt.reached()
    for halt in halts:
        halt.go()
    answers = await asyncio.gather(*adding)
    assert sorted(answer[0].created for answer in answers) == [False, True]
    [found] = await scene.one.groups([group])
    assert found is not None
    assert found.remaining == 1


async def test_C3_an_add_whose_answer_is_lost_may_be_repeated_at_any_time(scene: Scene) -> None:
    new = NewJob(id=new_id(), task="work")
    for _ in range(2):
        scene.a.lose()
        with pytest.raises(StoreUnavailable):
            await scene.one.add([new])
    [job] = await scene.claim()
    assert await scene.one.add([new]) == [(new.id, False)]
    await scene.one.settle([Settlement(job=job.id, lease=job.lease, kind="complete")])
    for store in (scene.one, scene.two):
        assert await store.add([new]) == [(new.id, False)]
    assert await scene.rows_of(new.id) == 1


@pytest.mark.parametrize("kind", ["complete", "retry", "dead"])
async def test_C3_a_settlement_whose_answer_is_lost_is_accepted_again(scene: Scene, kind: str) -> None:
    [job] = await scene.run()
    settlement = Settlement(job=job.id, lease=job.lease, kind=kind)  # type: ignore[arg-type]  # one of these
    scene.a.lose()
    with pytest.raises(StoreUnavailable):
        await scene.one.settle([settlement])
    assert await scene.one.settle([settlement]) == ["accepted"]
    assert (await scene.get(job.id)).settled == job.lease


async def test_C3_two_sends_of_one_settlement_at_the_same_time(scene: Scene) -> None:
    """The first has locked the job and not committed; the second waits, and hears that it was done."""
    [job] = await scene.run()
    follow_up = NewJob(id=new_id(), task="next")
    settlement = Settlement(job=job.id, lease=job.lease, kind="complete", follow_ups=(follow_up,))
    halt = scene.a.halt("commit")
    first = asyncio.create_task(scene.one.settle([settlement]))
    await halt.reached()
    second = asyncio.create_task(scene.two.settle([settlement]))
    await scene.blocked()
    halt.go()
    assert [await first, await second] == [["accepted"], ["accepted"]]
    assert await scene.rows_of(follow_up.id) == 1


async def test_C3_each_of_two_leases_in_one_batch_gets_its_own_answer(scene: Scene) -> None:
    """A worker that was taken for dead may have both to send: what it began then, and what it was given again."""
    [old] = await scene.run()
    await scene.one.settle([Settlement(job=old.id, lease=old.lease, kind="release")])
    await scene.one.settle([Settlement(job=job.id, lease=job.lease, kind="release") for job in await scene.claim()])
    [new] = await scene.claim()
    batch = [Settlement(job=old.id, lease=each.lease, kind="complete", ran=1.0) for each in (old, new, new)]
    assert await scene.one.settle(batch) == ["stale", "accepted", "accepted"]
    assert (await scene.get(old.id)).settled == new.lease


async def test_C3_the_first_of_two_settlements_of_one_lease_counts(scene: Scene) -> None:
    [job] = await scene.run()
    batch = [
        Settlement(job=job.id, lease=job.lease, kind="dead"),
        Settlement(job=job.id, lease=job.lease, kind="complete"),
    ]
    assert await scene.one.settle(batch) == ["accepted", "accepted"]
    assert (await scene.get(job.id)).state == "dead"


async def test_C2_a_claim_whose_answer_is_lost_gives_the_same_jobs_again(scene: Scene) -> None:
    await scene.add(3)
    claim = Claim("w", 7, LANES, 2)
    scene.a.lose()
    with pytest.raises(StoreUnavailable):
        await scene.one.claim(claim)
    again = (await scene.one.claim(claim._replace(repeat=True))).jobs
    assert len(again) == 2
    assert sorted((job.id, job.lease) for job in again) == await scene.two.held("w")
    assert len(await scene.claim("other", store=scene.two)) == 1


@pytest.mark.parametrize("verb", ["cancel", "replay", "reschedule", "delete"])
async def test_C3_what_people_do_may_be_repeated(scene: Scene, verb: str) -> None:
    [job] = await scene.run(priority=3)
    if verb in ("replay", "delete"):
        await scene.one.settle([Settlement(job=job.id, lease=job.lease, kind="dead")])
    if verb == "reschedule":
        await scene.one.settle([Settlement(job=job.id, lease=job.lease, kind="retry", after=60)])
    arguments = [scene.clock.now() + 9] if verb == "reschedule" else []
    before = await scene.get(job.id)
    scene.a.lose()
    with pytest.raises(StoreUnavailable):
        await getattr(scene.one, verb)([job.id], *arguments)
    await getattr(scene.one, verb)([job.id], *arguments)
    after = (await scene.one.get([job.id]))[0]
    assert after != before
    assert await scene.rows_of(job.id) == (0 if verb == "delete" else 1)
    if verb == "replay":
        assert after is not None
        assert after.state == "ready"
        assert len(await scene.one.attempts(job.id)) == 1

"""PostgreSQL: several who claim at once, and the bounds that move with what was claimed (RULES C6, H4, H5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from mainspring.ids import new_id
from mainspring.model.record import JobRecord, NewJob, Settlement
from mainspring.store.base import Claim, Lane
from mainspring.store.postgres import jobs as verbs
from mainspring.store.postgres.claims import LONGEST, PRIORITIES, Bounds, Ration
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


class Time:
    """Stands still until it is told otherwise: what is not looked at now is not looked at."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(verbs, "time", time)
    return time


async def test_H4_two_who_claim_at_once_share_the_jobs(scene: Scene) -> None:
    ids = await scene.add(200)
    given = await asyncio.gather(
        *(scene.claim(f"w{n}", 25, store) for n, store in enumerate([scene.one, scene.two] * 8))
    )
    got = [job.id for jobs in given for job in jobs]
    assert len(got) == len(set(got)), "no job is given twice"
    left = await scene.claim("last")
    assert {*got, *(job.id for job in left)} == set(ids), "and none is lost"


async def test_H4_what_another_claim_had_in_hand_and_let_go_is_found(scene: Scene) -> None:
    """A claim that is rolled back lies below the bound of the others by then."""
    first, *others = await scene.add(20)
    async with scene.locked(first):
        assert [job.id for job in await scene.claim(limit=19)] == others
    assert [job.id for job in await scene.claim(limit=19)] == [first]


async def test_H4_what_was_committed_late_is_found_within_a_second(scene: Scene, time: Time) -> None:
    """There is always more above the bound than is asked for, so that nobody comes back short."""
    late = NewJob(id=new_id(), task="work")
    async with scene.plain.transaction():
        await scene.one.add_within(scene.plain, [late])
        scene.clock.advance(1)
        await scene.add(20)
        assert len(await scene.claim(limit=5)) == 5
    assert late.id not in {job.id for job in await scene.claim(limit=5)}, "the bound is in use"
    time.now += 1.0
    assert [job.id for job in await scene.claim(limit=1)] == [late.id]


async def test_H4_what_was_committed_late_is_found_at_once_by_who_has_nothing_to_do(scene: Scene, time: Time) -> None:
    late = NewJob(id=new_id(), task="work")
    async with scene.plain.transaction():
        await scene.one.add_within(scene.plain, [late])
        scene.clock.advance(1)
        await scene.add(2)
        assert len(await scene.claim(limit=5)) == 2
    assert [job.id for job in await scene.claim(limit=5)] == [late.id]


async def test_H4_a_stall_of_the_server_does_not_hide_jobs_for_minutes(scene: Scene, time: Time) -> None:
    """A look from the bottom that waited for something else is no reason to look no more."""
    await scene.add(1)
    slow = scene.a.halt("jobs.claim")
    claiming = asyncio.create_task(scene.claim(limit=5))
    await slow.reached()
    time.now += 10.0
    slow.go()
    assert len(await claiming) == 1
    late = NewJob(id=new_id(), task="work")
    async with scene.plain.transaction():
        await scene.one.add_within(scene.plain, [late])
        scene.clock.advance(1)
        await scene.add(1)
        assert len(await scene.claim(limit=5)) == 1
    time.now += LONGEST
    assert [job.id for job in await scene.claim(limit=5)] == [late.id]


async def test_H4_a_claim_that_meets_expired_jobs_does_not_take_the_rest_for_dead(scene: Scene, time: Time) -> None:
    """They took the place of what is ready; and each look costs so much that the next one may not be made."""
    await scene.add(3, priority=5, expires_in=60.0)
    [good] = await scene.add(1)
    scene.clock.advance(60)
    slow = scene.a.halt("jobs.claim")
    claiming = asyncio.create_task(scene.claim(limit=1))
    await slow.reached()
    time.now += 1.0
    slow.go()
    assert [job.id for job in await claiming] == [good]


async def test_H4_who_would_get_nothing_looks_at_all_priorities(scene: Scene, time: Time) -> None:
    """Although the looks before have cost so much that no other may be made now."""
    await scene.add(10)
    for _ in range(3):
        slow = scene.a.halt("jobs.claim")
        claiming = asyncio.create_task(scene.claim(limit=2))
        await slow.reached()
        time.now += 1.0
        slow.go()
        assert len(await claiming) == 2
    assert len(await scene.claim(limit=4)) == 4
    [other] = await scene.add(1, priority=3)
    assert [job.id for job in await scene.claim(limit=5)] == [other]


@pytest.mark.parametrize("priority", [1, -1])
async def test_H4_other_priorities_arrive_while_the_bound_moves(scene: Scene, time: Time, priority: int) -> None:
    """Above and below: a higher one is first, a lower one comes when it is its turn."""
    await scene.add(10)
    assert len(await scene.claim(limit=5)) == 5
    [other] = await scene.add(1, priority=priority)
    got = [job.id for job in await scene.claim(limit=3)]
    assert (got[0] == other) is (priority > 0)
    rest = [job.id for job in await scene.claim(limit=5)]
    assert other in got + rest


async def test_H4_a_clock_that_steps_back_hides_nothing(scene: Scene, time: Time) -> None:
    await scene.add(10)
    assert len(await scene.claim(limit=5)) == 5
    scene.clock.step(-3600)
    earlier = await scene.add(3)
    time.now += 1.0
    assert [job.id for job in await scene.claim(limit=3)] == earlier
    assert len(await scene.claim(limit=10)) == 5


async def test_H4_many_lanes_and_many_priorities_lose_nothing(scene: Scene, time: Time) -> None:
    queues = [f"q{n}" for n in range(30)]
    jobs = [
        NewJob(id=new_id(), task="work", queue=queue, priority=priority)
        for queue in queues
        for priority in range(-10, 11)
    ]
    await scene.one.add(jobs)
    lanes = [Lane(queue, "work", "", 1000) for queue in queues]
    got: list[JobRecord] = []
    for number in range(200):
        claimed = (await scene.one.claim(Claim("w", 1000 + number, lanes, 7))).jobs
        got += claimed
        if not claimed:
            break
    assert sorted(job.id for job in got) == sorted(job.id for job in jobs)


async def test_H5_caps_hold_for_each_claim_and_paused_queues_give_nothing(scene: Scene) -> None:
    ids = await scene.add(10)
    capped = [Lane("default", "work", "", 2)]
    given = await asyncio.gather(
        *(store.claim(Claim(f"w{n}", 1, capped, 9)) for n, store in enumerate([scene.one, scene.two]))
    )
    assert [len(claimed.jobs) for claimed in given] == [2, 2]
    await scene.two.pause("default")
    assert (await scene.one.claim(Claim("w0", 2, LANES, 9))).jobs == []
    await scene.two.resume("default")
    assert len((await scene.one.claim(Claim("w0", 3, LANES, 9))).jobs) == len(ids) - 4


async def test_C6_of_two_who_claim_at_once_each_gets_another_suspect(scene: Scene) -> None:
    await scene.joined("dying", "other")
    jobs = await scene.run(3, "dying")
    await scene.lapse("dying")
    assert (await scene.one.sweep("other")).rescued == 3
    one, two = await asyncio.gather(scene.claim("x", store=scene.one), scene.claim("y", store=scene.two))
    assert (len(one), len(two)) == (1, 1)
    assert one[0].id != two[0].id
    assert await scene.claim("x", store=scene.one) == [], "it holds one already"
    assert {job.id for job in jobs} > {one[0].id, two[0].id}


async def test_C3_a_claim_against_a_cancel_of_the_same_job(scene: Scene) -> None:
    """Who cancels has locked it: it is not handed out, neither then nor later."""
    [job, other] = await scene.add(2)
    halt = scene.a.halt("commit")
    cancelling = asyncio.create_task(scene.one.cancel([job]))
    await halt.reached()
    assert [each.id for each in await scene.claim(store=scene.two)] == [other]
    halt.go()
    assert await cancelling == ["cancelled"]
    assert await scene.claim(store=scene.two) == []


async def test_C10_an_expired_job_in_the_hands_of_somebody_stops_no_claim(scene: Scene) -> None:
    [late] = await scene.add(1, expires_in=5.0)
    ids = await scene.add(3)
    scene.clock.advance(6)
    async with scene.locked(late):
        assert {job.id for job in await scene.claim()} == set(ids)
    assert await scene.claim() == []
    assert (await scene.get(late)).state == "expired"


async def test_H11_a_release_and_a_claim_lose_nothing(scene: Scene) -> None:
    """What is handed back becomes due anew, and lies above every bound."""
    await scene.add(30)
    done: set[str] = set()
    for _ in range(30):
        jobs = await scene.claim(limit=4)
        back, ended = jobs[:2], jobs[2:]
        done |= {job.id for job in ended}
        await scene.one.settle(
            [Settlement(job=job.id, lease=job.lease, kind="release") for job in back]
            + [Settlement(job=job.id, lease=job.lease, kind="complete") for job in ended]
        )
        scene.clock.advance(0.001)
        if len(done) == 30:
            break
        if not ended and jobs:
            await scene.one.settle([Settlement(job=job.id, lease=job.lease + 1, kind="complete") for job in back])
            break
    assert len(done) >= 28


def test_H4_a_look_that_took_long_is_rationed_but_not_for_ever() -> None:
    ration = Ration()
    ration.took(0.1, 100.0)
    assert not ration.allows(101.9)
    assert ration.allows(102.0)
    ration.took(60.0, 200.0)
    assert not ration.allows(200.0 + LONGEST - 0.1)
    assert ration.allows(200.0 + LONGEST)


def test_H4_the_number_of_bounds_has_a_bound() -> None:
    """Each is a look into the index for every claim."""
    bounds, lane = Bounds(), Lane("default", "work", "", 10)
    for priority in range(10 * PRIORITIES):
        job = JobRecord(id="x", task="work", state="running", priority=priority, created=0.0, due=1.0)
        bounds.claimed([lane], 1, [job], "open", 0.0)
        assert len(bounds.stretches([lane], "open")) <= PRIORITIES + 1

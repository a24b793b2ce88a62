"""Pruning in PostgreSQL: job by job, by stretches, by the day; and the tallies, which are added up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from msgspec.structs import replace

from mainspring.model.record import Failure, NewGroup, NewJob, Settlement
from mainspring.store.base import Beat, Claim, Lane
from mainspring.store.postgres import prune, tallies
from mainspring.store.postgres.days import day_of, table_of
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.pool import Pool
from mainspring.store.postgres.store import PostgresStore
from mainspring.testing.contract.scheduling import ScheduleDriver
from mainspring.testing.contract.states import HOUR, Driver
from tests.contract.test_postgres import PostgresHarness
from tests.servers.fixtures import fresh_schema
from tests.servers.postgres import Postgres

DAY = 24 * HOUR
RETENTION = {"completed": DAY, "cancelled": DAY, "expired": DAY, "dead": 30 * DAY}
BELONGINGS = ("attempts", "progress", "blobs", "unique_keys", "groups")


@pytest.fixture(scope="module")
def url(postgres_server: Postgres) -> Iterator[str]:
    with fresh_schema(postgres_server) as schema:
        yield postgres_server.url(schema)


@pytest.fixture
async def d(url: str) -> AsyncIterator[Driver]:
    harness = PostgresHarness(url)
    await harness.prepare()
    await harness.store._transact.make_days()
    driver = Driver(harness)
    await driver.join("w")
    yield driver
    await harness.store.close()


@pytest.fixture(params=["small days", "large days"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every rule holds whatever the way in which jobs go."""
    if request.param == "large days":
        monkeypatch.setattr(prune, "LARGE", 0)
        monkeypatch.setattr(prune, "SORTED_AT_ONCE", 2)
    return str(request.param)


def store_of(d: Driver) -> PostgresStore:
    store = d.harness.store
    assert isinstance(store, PostgresStore)
    return store


async def fetch(d: Driver, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    store = store_of(d)
    return [tuple(row) for row in await store._pool.fetch(sql.replace("{}", store._place.quoted), *parameters)]


async def run(d: Driver, number: int, *, fails: Sequence[str] = ()) -> None:
    """Claim all that is ready, and end it."""
    claimed = await d.harness.store.claim(Claim("w", number, [Lane("default", "t", "", 100)], 100))
    await d.harness.store.settle(
        [
            Settlement(job=job.id, lease=job.lease, kind="dead" if job.id in fails else "complete")
            for job in claimed.jobs
        ]
    )


async def prune_all(d: Driver, retention: dict[str, float] = RETENTION) -> int:
    removed = 0
    while number := await d.harness.store.prune(retention, 2):
        removed += number
    return removed


async def exact(d: Driver) -> bool:
    """Whether the tallies are what a count over all ended jobs says."""
    rows = await fetch(
        d,
        "SELECT queue, task, version, state, sum(number) FROM ("
        " SELECT queue, task, version, state, number FROM {}.tallies"
        " UNION ALL SELECT queue, task, version, state, -count(*) FROM {}.jobs_done GROUP BY 1, 2, 3, 4"
        " UNION ALL SELECT queue, task, version, state, -count(*) FROM {}.jobs_kept GROUP BY 1, 2, 3, 4) AS t"
        " GROUP BY 1, 2, 3, 4 HAVING sum(number) <> 0",
    )
    return rows == []


async def test_a_dead_step_can_be_replayed_with_what_follows_it(d: Driver, size: str) -> None:
    a, b, c = (d.new().id for _ in range(3))
    steps = [NewJob(id=a, task="t", root=c), NewJob(id=b, task="t", root=c, waits_on=a)]
    await d.harness.store.add([*steps, NewJob(id=c, task="t", waits_on=b)])
    await run(d, 1)
    await run(d, 2, fails=[b])
    d.clock.advance(5 * DAY)
    await prune_all(d)
    assert await d.states(a, b, c) == ["completed", "dead", "cancelled"]
    assert await d.harness.store.replay([b]) == ["replayed"]
    await run(d, 3)
    await run(d, 4)
    assert await d.states(a, b, c) == ["completed"] * 3
    d.clock.advance(2 * DAY)
    await prune_all(d)
    assert await d.harness.store.get([a, b, c]) == [None] * 3
    assert await exact(d)


async def group_of_three(d: Driver) -> tuple[list[str], str]:
    """Three members, of which the second fails, and what waits on them."""
    members, follower, group = [d.new().id for _ in range(3)], d.new().id, d.new().id
    jobs = [NewJob(id=each, task="t", root=follower, group=group) for each in members]
    await d.harness.store.add([*jobs, NewJob(id=follower, task="t", waits_on=group)], [NewGroup(id=group, size=3)])
    await run(d, 1, fails=[members[1]])
    assert await d.states(follower) == ["cancelled"]
    return [*members, follower], group


@pytest.mark.parametrize("cancelled", [DAY, 30 * DAY])
async def test_M8_a_replayed_group_still_has_all_its_members(d: Driver, size: str, cancelled: float) -> None:
    jobs, _ = await group_of_three(d)
    d.clock.advance(5 * DAY)
    await prune_all(d, {**RETENTION, "cancelled": cancelled})
    assert await d.states(*jobs) == ["completed", "dead", "completed", "cancelled"]
    assert await d.harness.store.replay([jobs[1]]) == ["replayed"]
    await run(d, 2)
    await run(d, 3)
    assert await d.states(*jobs) == ["completed"] * 4


async def test_a_failed_flow_goes_with_the_job_that_failed(d: Driver, size: str) -> None:
    jobs, group = await group_of_three(d)
    last = await d.add("t", waits_on=jobs[-1])
    assert await d.states(last) == ["cancelled"]
    d.clock.advance(31 * DAY)
    for _ in range(4):  # one stage of the flow after the other
        await prune_all(d)
    assert await d.harness.store.get([*jobs, last]) == [None] * 5
    assert await d.harness.store.groups([group]) == [None]
    assert await exact(d)


async def test_a_flow_whose_failed_job_was_deleted_goes(d: Driver, size: str) -> None:
    jobs, _ = await group_of_three(d)
    await d.harness.store.delete([jobs[1]])
    d.clock.advance(3 * DAY)
    for _ in range(3):
        await prune_all(d)
    assert await d.harness.store.get(jobs) == [None] * 4


async def test_H9_an_end_in_the_future_stops_no_pruning(d: Driver) -> None:
    """The clock was far ahead when it ended; what ended afterwards, by the right time, is pruned all the same."""
    a = await d.add("t")
    d.clock.step(365 * DAY)
    await run(d, 1)
    d.clock.step(-365 * DAY)
    b = await d.add("t")
    await run(d, 2)
    d.clock.advance(3 * DAY)
    await prune_all(d)
    assert [job is None for job in await d.harness.store.get([a, b])] == [False, True]


async def test_a_root_that_is_no_id_spares_nothing_and_stops_nothing(d: Driver, size: str) -> None:
    """RULES C10: one odd job must not stop the pruning of all."""
    odd = [await d.add("t", root=root) for root in ("", "x", "0190", "'; --")]
    await run(d, 1)
    d.clock.advance(5 * DAY)
    assert await prune_all(d) == len(odd)


async def test_everything_that_belongs_to_a_job_goes_with_it(d: Driver, size: str) -> None:
    large = b'"' + b"x" * 5000 + b'"'
    stays = await d.start(await d.add("stays", payload=large))
    other = await d.add("delayed", payload=large, unique="other", unique_for=1000 * DAY)
    members, group = await group_of_three(d)
    for kind in ("complete", "expired"):
        job = await d.start(await d.add(payload=large, unique=f"k {kind}", unique_for=1000 * DAY))
        await d.harness.store.beat(Beat("w1", progress=[(job.id, b"1"), (stays.id, b"2")]))
        await d.settle(job, "retry", result=None)
        await d.sweep()
        await d.end(job.id, kind, result=large if kind == "complete" else None)
    d.clock.advance(3 * DAY)
    await d.end(other)
    d.clock.advance(DAY - HOUR)
    await d.harness.store.delete([members[1]])
    for _ in range(3):
        await prune_all(d)
    left = {name: await fetch(d, f"SELECT count(*) FROM {{}}.{name}") for name in BELONGINGS}
    assert left == {
        "attempts": [(0,)], "progress": [(1,)], "blobs": [(2,)], "unique_keys": [(1,)], "groups": [(0,)]
    }  # fmt: skip
    assert await d.harness.store.groups([group]) == [None]
    assert (await d.job(stays.id)).payload == (await d.job(other)).payload == large
    assert await exact(d)


async def test_H11c_a_large_day_goes_as_a_whole_and_what_is_kept_longer_moves(
    d: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "LARGE", 0)
    monkeypatch.setattr(prune, "SORTED_AT_ONCE", 7)
    day = table_of(day_of(d.clock.now()))
    completed = [await d.add("t") for _ in range(40)]
    await run(d, 1)
    dead = (await d.bring("dead")).id
    slow = await d.add("slow")
    d.clock.advance(DAY + HOUR)
    await d.end(slow)
    assert await fetch(d, f"SELECT count(*) FROM {{}}.{day}") == [(42,)]
    assert await d.harness.store.prune(RETENTION, 1000) == 0, "they are over, but their day is not"
    assert None not in await d.harness.store.get(completed)
    assert await d.harness.store.prune({"completed": HOUR / 2}, 1000) == 40, "a short retention does not wait"
    assert await d.harness.store.prune({"completed": HOUR / 2}, 1000) == 0
    d.clock.advance(DAY)
    assert await d.harness.store.prune(RETENTION, 1000) == 0
    rows = await fetch(d, "SELECT to_regclass($1)::text", f"{store_of(d)._place.quoted}.{day}")
    assert rows == [(None,)], "nothing was left in it to be removed, and it has gone"
    assert await d.states(dead, slow) == ["dead", "completed"]
    assert await fetch(d, "SELECT count(*) FROM {}.jobs_kept") == [(2,)]
    assert await exact(d)


async def test_H11c_a_day_counts_what_went_with_it(d: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "LARGE", 0)
    jobs = [await d.add("t") for _ in range(20)]
    await run(d, 1, fails=jobs[:3])
    d.clock.advance(2 * DAY + 2 * HOUR)
    assert await d.harness.store.prune(RETENTION, 5) == 17
    assert [job is None for job in await d.harness.store.get(jobs)] == [False] * 3 + [True] * 17
    assert [(each.state, each.number) for each in await d.harness.store.counts()] == [("dead", 3)]
    assert await d.harness.store.replay(jobs[:1]) == ["replayed"], "from where it was moved to"


async def test_who_does_not_own_the_tables_prunes_job_by_job(
    d: Driver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only an owner may drop a day; what is over goes all the same."""
    monkeypatch.setattr(prune, "LARGE", 0)
    jobs = [await d.add("t") for _ in range(20)]
    await run(d, 1, fails=jobs[:3])
    d.clock.advance(2 * DAY + 2 * HOUR)
    owned = store_of(d)._place
    role = f"{owned.schema}_pruner"
    place = Place.parse(owned.dsn.replace("//postgres@", f"//{role}@") + f"?schema={owned.schema}")
    await fetch(d, f"CREATE ROLE {role} LOGIN")
    try:
        await fetch(d, f"GRANT USAGE ON SCHEMA {{}} TO {role}")
        await fetch(d, f"GRANT ALL ON ALL TABLES IN SCHEMA {{}} TO {role}")
        assert isinstance(d.harness, PostgresHarness)
        pool = Pool(place, before=d.harness.tell_the_time)
        await pool.open()
        pruner = prune.Pruner(pool, place)
        removed = [await pruner.prune(RETENTION, 10) for _ in range(4)]
        await pool.close()
    finally:
        await fetch(d, f"DROP OWNED BY {role}")
        await fetch(d, f"DROP ROLE {role}")
    assert removed == [10, 7, 0, 0]
    assert [job is None for job in await d.harness.store.get(jobs)] == [False] * 3 + [True] * 17
    assert await exact(d)
    assert [record.levelname for record in caplog.records].count("WARNING") == 1, "it is said once"


async def test_what_is_removed_while_a_day_is_sorted_out_counts(d: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "SORTED_AT_ONCE", 2)
    jobs = [(await d.bring("completed", unique=f"k{n}", unique_for=1000 * DAY)).id for n in range(5)]
    jobs += [(await d.bring("completed")).id for _ in range(3)]
    d.clock.advance(5 * DAY)
    assert await prune_all(d) == 8
    assert await fetch(d, "SELECT count(*) FROM {}.unique_keys") == [(0,)]
    assert await d.harness.store.get(jobs) == [None] * 8
    assert await exact(d)


async def test_a_day_waits_as_long_as_its_completed_jobs_are_kept(d: Driver) -> None:
    day = table_of(day_of(d.clock.now()))
    await d.bring("completed")
    d.clock.advance(20 * DAY)
    for retention in ({}, {"dead": DAY}, {"completed": 30 * DAY}):
        assert await d.harness.store.prune(retention) == 0
        assert await fetch(d, f"SELECT count(*) FROM {{}}.{day}") == [(1,)]
    assert await fetch(d, "SELECT count(*) FROM {}.jobs_kept") == [(0,)]


async def test_M5_a_call_reads_a_stretch_of_a_large_day_and_the_next_goes_on(
    d: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in (("LARGE", 0), ("STRETCH", 1), ("STRETCHES", 2)):
        monkeypatch.setattr(prune, name, number)
    await d.harness.store.add([d.new("t", metadata=b'"' + b"x" * 300 + b'"') for _ in range(200)])
    for number in (1, 2):
        await run(d, number)
    d.clock.advance(HOUR)
    young = await d.add("t")
    await run(d, 3)
    removed = [await d.harness.store.prune({"completed": HOUR / 2}, 1000) for _ in range(12)]
    assert sum(removed) == 200
    assert max(removed) < 100, "a stretch has room for some of them only"
    assert await d.states(young) == ["completed"]
    assert await exact(d)


async def test_two_who_prune_remove_each_job_once(d: Driver, url: str) -> None:
    await d.harness.store.add([d.new("t") for _ in range(90)])
    await run(d, 1)
    d.clock.advance(HOUR)
    harness = d.harness
    assert isinstance(harness, PostgresHarness)
    other = harness.new()
    await other.open()
    try:
        removed = 0
        while number := sum(
            await asyncio.gather(*(each.prune({"completed": 60.0}, 20) for each in (harness.store, other)))
        ):
            removed += number
    finally:
        await other.close()
    assert removed == 90
    assert await exact(d)


async def test_H2_prune_does_not_wait_for_what_somebody_has_in_hand(d: Driver) -> None:
    jobs = [(await d.bring("completed")).id for _ in range(3)]
    d.clock.advance(HOUR)
    pool: Pool = store_of(d)._pool
    async with pool.transaction() as connection:
        sql = f"SELECT id FROM {store_of(d)._place.quoted}.jobs_done WHERE id = $1 FOR UPDATE"
        assert await connection.fetch(sql, jobs[0])
        assert await d.harness.store.prune({"completed": 60.0}) == 2
    assert await d.harness.store.prune({"completed": 60.0}) == 1


async def test_M5_tallies_are_added_up_and_stay_the_same(d: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("WORTHWHILE", 5), ("AT_ONCE", 10)):
        monkeypatch.setattr(tallies, name, number)
    store = store_of(d)
    for _ in range(60):
        await d.end(await d.add("t"))
    await store.delete([(await d.bring("dead")).id])
    before = await store.counts()
    assert [(each.task, each.number) for each in before] == [("t", 60)]
    assert (await fetch(d, "SELECT count(*) FROM {}.tallies")) == [(62,)]
    gone = await asyncio.gather(*(tallies.fold(store._pool, store._place) for _ in range(3)))
    left = (await fetch(d, "SELECT count(*) FROM {}.tallies"))[0][0]
    assert isinstance(left, int)
    assert sum(gone) == 62 - left
    assert left < 20
    assert await store.counts() == before
    assert await exact(d)
    monkeypatch.setattr(tallies, "WORTHWHILE", 100)
    assert await tallies.fold(store._pool, store._place) == 0, "so few cost less to read than to write anew"


async def test_how_a_run_ended_is_written_down_when_its_job_goes(d: Driver, size: str) -> None:
    """RULES H13: also with its whole day, and of each of many that go at once; those that go on stay as they are."""
    names = [f"s{number}" for number in range(5)]
    schedules = ScheduleDriver(d.harness)
    for each in names:
        await schedules.put(each, template=NewJob(id="", task="t"), overlap="allow")
        assert await schedules.fire(each) == "fired"
    going_on = (await schedules.runs("s4"))[0].job
    plain = await d.add("t")
    claimed = await d.harness.store.claim(Claim("w", 1, [Lane("default", "t", "", 100)], 100))
    ended = [job for job in claimed.jobs if job.id != going_on]
    error = Failure(type="Broken", message="no paper", traceback="…")
    settlements = [Settlement(job=job.id, lease=job.lease, kind="complete", ran=0.5) for job in ended]
    settlements[0] = replace(settlements[0], kind="dead", error=error)
    await d.harness.store.settle(settlements)
    before = {each: await schedules.runs(each) for each in names}
    d.clock.advance(3 * DAY)
    assert await prune_all(d, {"completed": DAY, "dead": DAY}) == 5
    assert (await d.harness.store.get([plain]))[0] is None
    assert {each: await schedules.runs(each) for each in names} == before
    assert sorted(run.state or "" for runs in before.values() for run in runs) == ["completed"] * 3 + [
        "dead",
        "running",
    ]
    assert await fetch(d, "SELECT count(*) FROM {}.schedule_runs WHERE ended IS NULL") == [(1,)]
    assert await exact(d)

"""What the reads of PostgreSQL do beyond the contract: three tables as one, bounded looks, ceilings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import chain

import pytest

from mainspring.model.record import JobRecord, NewJob
from mainspring.model.states import STATES, State
from mainspring.store.base import Count, Filter
from mainspring.store.postgres import reads, walks
from mainspring.store.postgres.store import PostgresStore
from mainspring.testing.contract.states import Driver, lane
from tests.contract.test_postgres import PostgresHarness
from tests.servers.fixtures import fresh_schema
from tests.servers.postgres import Postgres

HOUR = 3600.0


@pytest.fixture(scope="module")
def url(postgres_server: Postgres) -> Iterator[str]:
    with fresh_schema(postgres_server) as schema:
        yield postgres_server.url(schema)


@pytest.fixture
async def d(url: str) -> AsyncIterator[Driver]:
    """Jobs that end go to their day: this store knows the days of its clock."""
    harness = PostgresHarness(url)
    await harness.prepare()
    await harness.store._transact.make_days()
    reads.prepared.cache_clear()
    yield Driver(harness)
    await harness.store.close()


def store_of(d: Driver) -> PostgresStore:
    store = d.harness.store
    assert isinstance(store, PostgresStore)
    return store


async def pages(d: Driver, wanted: Filter, limit: int, *, newest: bool = False) -> list[list[str]]:
    """The ids on every page."""
    found: list[list[str]] = []
    cursor = None
    while True:
        page = await d.harness.store.find(wanted, cursor=cursor, limit=limit, newest=newest)
        found.append([job.id for job in page.jobs])
        cursor = page.cursor
        if cursor is None:
            return found
        assert len(found) < 100


async def mixed(d: Driver) -> list[str]:
    """Jobs in every state, in all three tables."""
    jobs = [(await d.bring("completed", tags=("x",))).id]
    d.clock.advance(3 * 24 * HOUR)  # from here on its day is not written any more: the next lands in jobs_kept
    late = await d.add("t", tags=("x",))
    d.clock.advance(9 * 24 * HOUR)
    await store_of(d)._transact.make_days()
    await d.end(late)
    jobs.append(late)
    made = [await d.bring(state, tags=("x", state), correlation="c", queue="q") for state in STATES * 3]
    return [*jobs, *(job.id for job in made)]


async def tables(d: Driver) -> dict[str, int]:
    """How many jobs there are where."""
    store = store_of(d)
    names = ("jobs", "jobs_done", "jobs_kept")
    sql = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM \"{store._place.schema}\".{name}" for name in names)
    rows = await store._pool.fetch(sql)
    return {row[0]: row[1] for row in rows}


async def test_H11_what_has_ended_is_found_in_its_day_and_elsewhere(d: Driver) -> None:
    jobs = await mixed(d)
    assert all((await tables(d)).values()), "each table is used"
    assert [job and job.id for job in await d.harness.store.get(jobs)] == jobs
    for identifier in jobs:
        assert (await d.harness.store.get([identifier]))[0] == await d.job(identifier)
    tagged = [job.id for job in (await d.harness.store.find(Filter(tags=("x",)))).jobs]
    assert tagged == sorted(jobs)


@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize(
    "wanted",
    [
        Filter(),
        Filter(tags=("x",)),
        Filter(tags=("x",), states=("completed", "dead")),
        Filter(states=("ready",), queue="q"),
        Filter(states=("running", "scheduled")),
        Filter(states=("ready", "waiting", "dead")),
        Filter(states=("dead", "cancelled")),
        Filter(states=("completed",)),
        Filter(correlation="c"),
        Filter(correlation="c", states=("expired", "running"), queue="q"),
        Filter(queue="nowhere"),
    ],
)
async def test_M5_pages_have_no_gap_and_no_overlap_whatever_is_walked(
    d: Driver, monkeypatch: pytest.MonkeyPatch, wanted: Filter, newest: bool
) -> None:
    jobs = [job for job in await d.harness.store.get(await mixed(d)) if job is not None]
    jobs += [job for job in (await d.harness.store.find(Filter(), limit=1000)).jobs if job not in jobs]
    fitting = sorted(job.id for job in jobs if fits(job, wanted))
    for scan in (1, 2, 5, 1000):  # looks so narrow that several are needed, and what is gathered is gathered
        for name in ("OPTIMISTIC", "WIDEST"):
            monkeypatch.setattr(reads, name, scan)
        for limit in (1, 3, 100):
            found = list(chain.from_iterable(await pages(d, wanted, limit, newest=newest)))
            assert found == sorted(fitting, reverse=newest), (scan, limit)
    monkeypatch.setattr(reads, "FEW", 1)
    reads.prepared.cache_clear()
    assert sorted(chain.from_iterable(await pages(d, wanted, 3, newest=newest))) == fitting, "too many to be gathered"


def fits(job: JobRecord, wanted: Filter) -> bool:
    """The filter, said once more."""
    return (
        (not wanted.states or job.state in wanted.states)
        and set(wanted.tags) <= set(job.tags)
        and wanted.queue in {None, job.queue}
        and wanted.correlation in {None, job.correlation}
    )


async def test_M5_find_stops_after_its_limit_and_says_where(d: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("SCANNED", 10), ("OPTIMISTIC", 4), ("WIDEST", 3)):
        monkeypatch.setattr(reads, name, number)
    news = [d.new("t", queue="rare" if number == 25 else "default") for number in range(30)]
    await d.harness.store.add(news)
    for newest, empty in ((False, 2), (True, 0)):
        found = await pages(d, Filter(queue="rare"), 2, newest=newest)
        assert found.index([news[25].id]) == empty
        assert len(found) == 3 + (found[-1] == []), "ten are looked at for each page"
        assert list(chain.from_iterable(found)) == [news[25].id]


async def test_H11a_get_sees_a_job_that_moves(d: Driver) -> None:
    """It ends and is replayed again and again; there is no moment at which nobody sees it."""
    identifier = await d.add("t")
    store = d.harness.store
    looks = 0

    async def look() -> None:
        nonlocal looks
        while True:
            assert await store.get([identifier]) != [None]
            assert len((await store.find(Filter(task="t"))).jobs) == 1
            looks += 1

    watching = [asyncio.create_task(look()) for _ in range(2)]
    for _ in range(30):
        [job] = await d.claim(lane("t"))
        await d.settle(job, "complete")
        assert await store.replay([identifier], force=True) == ["replayed"]
    for task in watching:
        assert not task.done(), task.exception()
        task.cancel()
    assert looks > 5


async def test_H11f_large_payloads_and_results_are_read_from_where_they_lie(d: Driver) -> None:
    large = b'{"a":"' + b"x" * 5000 + b'"}'
    identifier = await d.add("t", payload=large)
    await d.end(identifier, result=large)
    job = await d.job(identifier)
    assert (job.payload, job.result) == (large, large)
    assert (await d.harness.store.find(Filter(task="t"))).jobs == [job]
    assert await d.harness.store.get([identifier, identifier]) == [job, job]


async def test_what_is_no_id_is_the_id_of_nothing(d: Driver) -> None:
    store = d.harness.store
    real = await d.add()
    for odd in ("", "x", "0" * 36, real.upper(), "{" + real + "}", "é", real + "\n"):
        assert await store.get([odd, real]) == [None, await d.job(real)]
        assert await store.get([odd]) == [None]
        assert await store.attempts(odd) == []
        assert await store.groups([odd]) == [None]
        assert await store.progress(odd) is None
        assert await store.find(Filter(), cursor=odd) == ([], None)
        assert (await store.find(Filter(parent=odd, group=odd, schedule=odd))).jobs == []


async def test_H15_an_attempt_that_ends_between_two_looks_is_told_once(
    d: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = d.harness.store
    job = await d.start(await d.add())
    get = store.get

    async def get_and_then_it_ends(ids: list[str]) -> list[object]:
        found = await get(ids)
        monkeypatch.setattr(store, "get", get)
        await d.settle(job, "retry", after=5.0)
        return list(found)

    monkeypatch.setattr(store, "get", get_and_then_it_ends)
    assert [each.ending for each in await store.attempts(job.id)] == ["retried"]


async def test_M5_counts_stop_at_a_ceiling_and_say_so(d: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("COUNTED", 4), ("READY", 6), ("LEAST", 2)):
        monkeypatch.setattr(reads, name, number)
    reads.prepared.cache_clear()
    news = [d.new(task) for task in ("a", "a", "b", "b", "b", "c")]
    news += [d.new("later", delay=5.0) for _ in range(3)]
    await d.harness.store.add(news)
    for _ in range(9):
        await d.bring("expired")
    numbers = {each.task: each for each in await d.harness.store.counts() if each.state != "expired"}
    assert numbers == {
        "a": Count("default", "a", "", "ready", 2, exact=False),
        "b": Count("default", "b", "", "ready", 2, exact=False),
        "c": Count("default", "c", "", "ready", 1),
        "later": Count("default", "later", "", "scheduled", 3),
    }
    assert sum(each.number for each in await d.harness.store.counts() if each.state == "expired") == 9
    await d.harness.store.add([d.new("later", delay=5.0)])
    assert Count("default", "later", "", "scheduled", 4, exact=False) in await d.harness.store.counts()


async def test_lanes_are_those_with_ready_jobs_suspect_or_not(d: Driver) -> None:
    store = d.harness.store
    assert await store.lanes() == []
    await d.suspects(2, "s")
    await store.add(
        [d.new("a"), d.new("a"), d.new("a", version="2"), d.new("a", queue="q"), d.new("later", delay=HOUR)]
    )
    await d.start(await d.add("running"))
    assert sorted(each[:3] for each in await store.lanes()) == [
        ("default", "a", ""),
        ("default", "a", "2"),
        ("default", "s", ""),
        ("q", "a", ""),
    ]


async def test_a_number_of_jobs_more_than_a_batch_is_got_at_once(d: Driver) -> None:
    news = [NewJob(id=d.new().id, task="t") for _ in range(1500)]
    await d.harness.store.add(news)
    found = await d.harness.store.get([new.id for new in news])
    assert [job and job.id for job in found] == [new.id for new in news]


def test_only_the_tables_that_can_hold_a_state_are_walked() -> None:
    def walked(*states: State) -> set[str]:
        return {walk.table for group in walks.walks(Filter(states=states)) for walk in group}

    assert walked("ready", "running") == {"jobs"}
    assert walked("dead") == walked("completed", "expired") == {"jobs_done", "jobs_kept"}
    assert walked() == walked("waiting", "cancelled") == {"jobs", "jobs_done", "jobs_kept"}

"""The days of `jobs_done`: made ahead, told to those who end jobs, dropped without stopping anybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta

import pytest

from mainspring.model.states import SettleKind
from mainspring.store.postgres import prune
from mainspring.store.postgres.days import (
    AHEAD,
    Day,
    Days,
    all_days,
    closed,
    covered,
    day_of,
    ensure_days,
    first_id,
    missing,
    start_of,
    table_of,
)
from mainspring.store.postgres.pool import Pool
from mainspring.store.postgres.store import PostgresStore
from mainspring.testing.contract.states import HOUR, Driver
from tests.contract.test_postgres import PostgresHarness

DAY = 24 * HOUR
TODAY = date(2026, 1, 1)


def days(*numbers: int) -> list[date]:
    """Days counted from today."""
    return [TODAY + timedelta(days=number) for number in numbers]


def test_a_day_is_a_range_of_ids() -> None:
    low, high = first_id(TODAY), first_id(TODAY + timedelta(days=1))
    assert int(high.replace("-", "")[:12], 16) - int(low.replace("-", "")[:12], 16) == 86_400_000
    assert low.endswith("-0000-0000-000000000000")
    assert day_of(start_of(TODAY)) == day_of(start_of(TODAY) + DAY - 0.001) == TODAY
    assert table_of(TODAY) == "jobs_done_20260101"


def test_H11c_the_days_that_are_told_have_no_gap() -> None:
    yesterday, today, tomorrow = (first_id(day) for day in days(-1, 0, 1))
    assert covered(days(-1, 0), TODAY) == Days(yesterday, tomorrow)
    assert covered(days(0), TODAY) == Days(today, tomorrow)
    assert covered(days(-9, -2, -1, 0, 1, 2, 4, 5), TODAY) == Days(yesterday, first_id(*days(3)))
    assert covered(days(-1, 1), TODAY) == Days.none(), "after a long pause, before upkeep has made today"
    low, high = Days.none()
    assert not low <= first_id(TODAY) < high


def test_H11e_days_are_made_a_week_ahead() -> None:
    assert missing([], TODAY) == days(*range(-1, AHEAD + 1))
    assert missing(days(*range(-3, AHEAD)), TODAY) == days(AHEAD)


def test_a_day_is_closed_when_everybody_knows_that_it_is_too_old() -> None:
    day = Day(TODAY, 0)
    ends = start_of(TODAY + timedelta(days=1))
    assert not closed(day, ends + DAY - 1)
    assert not closed(day, ends + DAY + 60), "somebody may not have looked since midnight"
    assert closed(day, ends + DAY + 2 * HOUR)


@pytest.fixture
async def d(postgres_url: str) -> AsyncIterator[Driver]:
    harness = PostgresHarness(postgres_url)
    await harness.prepare()
    yield Driver(harness)
    await harness.store.close()


def store_of(d: Driver) -> PostgresStore:
    store = d.harness.store
    assert isinstance(store, PostgresStore)
    return store


def parts(d: Driver) -> tuple[Pool, str]:
    """The store's pool, and its schema's name as it is written in SQL."""
    store = store_of(d)
    return store._pool, store._place.quoted


async def make(d: Driver) -> Days:
    store = store_of(d)
    await store._transact.make_days()
    found: Days = store._transact.days
    return found


async def attached(d: Driver) -> list[date]:
    store = store_of(d)
    async with store._pool.use() as connection:
        found, _ = await all_days(connection, store._place)
    return [day.date for day in found if day.attached and not day.leaving]


async def ended_in(d: Driver, table: str) -> set[str]:
    pool, schema = parts(d)
    return {row[0] for row in await pool.fetch(f"SELECT id FROM {schema}.{table}")}


async def test_H11c_a_job_ends_in_the_day_of_its_id_and_others_elsewhere(d: Driver) -> None:
    told = await make(d)
    today = day_of(d.clock.now())
    assert told == Days(first_id(today - timedelta(days=1)), first_id(today + timedelta(days=AHEAD + 1)))
    now = (await d.bring("completed")).id
    dead = (await d.bring("dead")).id
    waited = await d.add()
    d.clock.advance(2 * DAY)
    await make(d)
    await d.end(waited)
    assert await ended_in(d, table_of(today)) == {now, dead}
    assert await ended_in(d, "jobs_kept") == {waited}
    assert told.low < waited < told.high, "it had a day, which takes no more"


async def test_a_settlement_that_has_not_heard_of_the_days_since_is_written_all_the_same(d: Driver) -> None:
    await make(d)
    told = store_of(d)._transact.days
    identifiers = [await d.add("t") for _ in range(4)]
    d.clock.advance(4 * DAY)
    await d.harness.store.prune({})
    assert day_of(d.clock.now() - 4 * DAY) not in await attached(d), "an old day without jobs goes"
    ends: tuple[tuple[SettleKind, str], ...] = (("complete", identifiers[0]), ("dead", identifiers[1]))
    for kind, identifier in ends:
        store_of(d)._transact.days = told
        await d.end(identifier, kind)
    assert await ended_in(d, "jobs_kept") == {*identifiers[:2]}
    assert await ended_in(d, "jobs_done") == set()


async def test_days_are_made_once_by_many_at_a_time(d: Driver) -> None:
    pool, _ = parts(d)
    place = store_of(d)._place

    async def one() -> Days:
        async with pool.use() as connection:
            return await ensure_days(connection, place)

    assert len(set(await asyncio.gather(*(one() for _ in range(6))))) == 1


async def test_H11e_days_are_made_while_others_read_and_write_and_nobody_waits(d: Driver) -> None:
    pool, schema = parts(d)
    await make(d)
    done = (await d.bring("completed")).id
    d.clock.advance(3 * DAY)
    async with pool.transaction() as connection:
        assert await connection.fetchval(f"SELECT count(*) FROM {schema}.jobs_done") == 1
        await connection.execute(f"UPDATE {schema}.jobs_done SET reason = 'x' WHERE id = $1", done)
        async with asyncio.timeout(5):
            told = await make(d)
            await d.bring("completed")
    assert told.low <= first_id(day_of(d.clock.now())) < told.high


async def test_H11d_dropping_a_day_stops_nobody_and_is_tried_again(d: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of another day is in a transaction; a DROP would wait, and every settlement behind it."""
    monkeypatch.setattr(prune, "DETACHING", 0.2)
    pool, schema = parts(d)
    await make(d)
    first = day_of(d.clock.now())
    d.clock.advance(4 * DAY)
    await make(d)
    old = [day for day in await attached(d) if day < first + timedelta(days=2)]
    assert old
    async with pool.transaction() as connection:
        await connection.fetch(f"SELECT count(*) FROM {schema}.jobs_done")
        pruning = asyncio.create_task(d.harness.store.prune({}))
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            for _ in range(5):
                job = await d.bring("completed")
                assert await d.harness.store.get([job.id]) == [job]
            assert await pruning == 0
    left = await attached(d)
    for _ in range(3):
        assert await d.harness.store.prune({}) == 0
    assert not set(old) & set(await attached(d)), f"{left} when there was a reader"
    tables = await pool.fetch(
        "SELECT relname::text FROM pg_class WHERE relname = ANY($1::text[]) AND relnamespace = to_regnamespace($2)",
        [table_of(day) for day in old],
        schema,
    )
    assert tables == [], "detached, and dropped"


async def test_a_day_that_was_detached_and_not_dropped_loses_nothing(d: Driver) -> None:
    """Its process was killed between the two. What must be kept by now is kept, the rest is gone and counted."""
    pool, schema = parts(d)
    await make(d)
    completed, dead = await d.bring("completed"), await d.bring("dead")
    day = day_of(d.clock.now())
    d.clock.advance(5 * DAY)
    await make(d)
    await pool.fetch(f"ALTER TABLE {schema}.jobs_done DETACH PARTITION {schema}.{table_of(day)}")
    assert await d.harness.store.get([completed.id, dead.id]) == [None, None]
    assert await d.harness.store.prune({"completed": DAY, "dead": 30 * DAY}) == 1
    assert await d.harness.store.get([completed.id, dead.id]) == [None, dead]
    assert [(each.state, each.number) for each in await d.harness.store.counts()] == [("dead", 1)]

"""PostgreSQL: a verb about a few jobs reads a few rows, whatever the server believes about its tables."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from mainspring.ids import new_id
from mainspring.model.record import NewGroup, NewJob, Settlement
from mainspring.store.base import Beat, Claim, Lane, Started, Worker
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.store import PostgresStore

pytestmark = pytest.mark.postgres

OTHERS = 10_000
"""Rows of each state that have nothing to do with it."""

FEW = 60
"""Rows that are read for each job of a verb, all in all."""

FILL = """
    INSERT INTO {schema}.jobs (id, created, due, priority, state, queue, task, version, worker, lease, waits_on, group_id)
    SELECT gen_random_uuid(), now(), now() + interval '1 day', 0, s.state, 'other', 'work', '',
        CASE WHEN s.state = 'running' THEN 'busy' END, 1,
        CASE WHEN s.state = 'waiting' THEN gen_random_uuid()::text END,
        CASE WHEN s.state = 'waiting' THEN gen_random_uuid()::text END
    FROM generate_series(1, $1) AS n, unnest(ARRAY['ready', 'running', 'scheduled', 'waiting']) AS s (state);
    """
FILL_ENDED = """
    INSERT INTO {schema}.jobs_kept (id, created, due, priority, state, queue, task, version, lease, finished, waits_on)
    SELECT gen_random_uuid(), now(), now(), 0, 'cancelled', 'other', 'work', '', 1, now(), gen_random_uuid()::text
    FROM generate_series(1, $1) AS n;
    """
FORGET = "; ".join(
    f"ALTER TABLE {{schema}}.{table} SET (autovacuum_enabled = false); ANALYZE {{schema}}.{table}"
    for table in ("jobs", "jobs_kept", "attempts", "blobs", "progress", "unique_keys", "groups")
)
READ = """
    SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint
    FROM pg_stat_user_tables WHERE schemaname = $1 AND relname ~ '^(jobs|attempts|blobs|progress|unique_keys|groups)'
    """


class Counted:
    """A schema full of others' jobs, and how many rows were read in it."""

    def __init__(self, place: Place, plain: asyncpg.Connection[asyncpg.Record]) -> None:
        self.place = place
        self.plain = plain
        self.store = PostgresStore(place)

    async def fill(self, *, known: bool) -> None:
        """`known`: the server has counted; else it takes the tables for empty."""
        schema = self.place.quoted
        await self.plain.execute(FORGET.replace("{schema}", schema))
        await self.plain.execute(FILL.replace("{schema}", schema), OTHERS)
        await self.plain.execute(FILL_ENDED.replace("{schema}", schema), OTHERS)
        if known:
            await self.plain.execute(f"ANALYZE {schema}.jobs, {schema}.jobs_kept")

    async def read(self) -> int:
        """So far; what a session has read is known when it has ended."""
        await self.store.close()
        await self.plain.execute("SELECT pg_stat_force_next_flush()")
        await self.plain.execute("SELECT pg_stat_clear_snapshot()")
        rows = await self.plain.fetchval(READ, self.place.schema)
        self.store = PostgresStore(self.place)
        await self.store.open()
        assert isinstance(rows, int)
        return rows


@pytest.fixture
async def counted(postgres_url: str) -> AsyncIterator[Counted]:
    place = Place.parse(postgres_url)
    plain = await asyncpg.connect(place.dsn)
    counted = Counted(place, plain)
    await counted.store.open()
    yield counted
    await counted.store.close()
    await plain.close(timeout=5)


@pytest.mark.parametrize("known", [True, False], ids=["counted", "never-counted"])
async def test_H5_what_a_verb_reads_depends_on_its_own_jobs_alone(counted: Counted, known: bool) -> None:
    """A flow from its begin to its end by all ways, among 40,000 live and 10,000 ended jobs of others."""
    await counted.fill(known=known)
    before = await counted.read()
    store, lanes, number = counted.store, [Lane("default", "work", "", 100)], 10
    await store.join(Worker("w"))
    group = new_id()
    members = [NewJob(id=new_id(), task="work", group=group, unique=f"k{n}") for n in range(number)]
    behind = [NewJob(id=new_id(), task="next", waits_on=each.id) for each in members]
    last = NewJob(id=new_id(), task="last", waits_on=group)
    plain = [NewJob(id=new_id(), task="work") for _ in range(number)]
    await store.add([*members, *behind, last], [NewGroup(id=group, size=number)])
    await store.add(plain)
    jobs = (await store.claim(Claim("w", 1, lanes, 100))).jobs
    assert len(jobs) == 2 * number
    await store.beat(Beat("w", started=[Started(job.id, job.lease, 0.0) for job in jobs]))
    await store.held("w")
    kinds = {job.id: "complete" if job.group is None else "dead" for job in jobs}
    await store.settle([Settlement(job=job.id, lease=job.lease, kind=kinds[job.id]) for job in jobs])  # type: ignore[arg-type]  # one of two
    assert await store.replay([each.id for each in members]) == ["replayed"] * number
    assert await store.cancel([each.id for each in members]) == ["cancelled"] * number
    assert await store.delete([each.id for each in members]) == ["changed"] * number
    await store.get([each.id for each in (*members, *behind, *plain)])
    await store.sweep("w")
    await store.leave("w")
    read = await counted.read() - before
    assert 0 < read < 4 * number * FEW, f"{read} rows"

"""PostgreSQL: a verb about a few jobs reads a few rows, whatever the server believes about its tables."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from mainspring.ids import new_id
from mainspring.model.record import NewGroup, NewJob, Settlement
from mainspring.model.schedule import Definition, Fire, Overlap, ScheduleRecord, SlotJob
from mainspring.store.base import Beat, Claim, Lane, RunNow, SchedulePut, Started, Worker
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
FILL_SCHEDULES = """
    INSERT INTO {schema}.schedules (id, next, due, fired_to, begin_at, created, changed, dropped, revision, number, runs,
        missed, skipped, keep, keep_for, paused, declared_by, definition)
    SELECT 'other-' || n, now() + interval '1 day', now() + interval '1 day', now(), now(), now(), now(),
        CASE WHEN n % 10 = 1 THEN now() END, 1, 10, 10, 0, 0, 100, NULL, CASE WHEN n % 10 = 2 THEN 'by request' ELSE '' END,
        CASE WHEN n % 2 = 0 THEN 'others' ELSE '' END, '{"trigger":"","template":{"id":"","task":"t"}}'
    FROM generate_series(1, $1) AS n;
    """
FILL_RUNS = """
    INSERT INTO {schema}.schedule_runs (schedule, number, fired, ended, job, count, attempts, kind, state, error)
    SELECT 'other-' || n, number, now(), CASE WHEN number < 10 THEN now() END, gen_random_uuid(), 1, 0, 'slot', NULL, ''
    FROM generate_series(1, $1) AS n, generate_series(1, 10) AS number;
    """
FORGET = "; ".join(
    f"ALTER TABLE {{schema}}.{table} SET (autovacuum_enabled = false); ANALYZE {{schema}}.{table}"
    for table in (
        "jobs",
        "jobs_kept",
        "attempts",
        "blobs",
        "progress",
        "unique_keys",
        "groups",
        "schedules",
        "schedule_runs",
    )
)
READ = """
    SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint
    FROM pg_stat_user_tables WHERE schemaname = $1 AND relname ~ '^(jobs|attempts|blobs|progress|unique_keys|groups|schedule)'
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
        await self.plain.execute(FILL_SCHEDULES.replace("{schema}", schema), OTHERS)
        await self.plain.execute(FILL_RUNS.replace("{schema}", schema), OTHERS)
        if known:
            await self.plain.execute(
                f"ANALYZE {schema}.jobs, {schema}.jobs_kept, {schema}.schedules, {schema}.schedule_runs"
            )

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


@pytest.mark.parametrize("known", [True, False], ids=["counted", "never-counted"])
async def test_H5_what_a_fire_reads_depends_on_its_own_schedule_alone(counted: Counted, known: bool) -> None:
    """From the put to the removal, among 10,000 schedules of others with 100,000 runs, a tenth of them open."""
    await counted.fill(known=known)
    before = await counted.read()
    store, number = counted.store, 10
    now = (await store.get_schedules([])).now
    overlaps: list[Overlap] = ["skip", "allow", "queue"]
    records = [
        ScheduleRecord(
            id=f"mine-{n}",
            definition=Definition(
                trigger=b"{}", template=NewJob(id="", task="work"), overlap=overlaps[n % 3], stop_after=3, keep=2
            ),
            declared_by="me",
            begin=now,
            next=now,
            due=now,
            created=now,
            changed=now,
        )
        for n in range(number)
    ]
    names = [each.id for each in records]
    assert await store.put_schedules([SchedulePut(each, None) for each in records]) == ["put"] * number
    for step in range(1, 5):
        seen = (await store.due_schedules()).schedules
        assert len(seen) == number
        await store.fire([next_fire(each.schedule, now + step / 1e6) for each in seen])
    await store.trigger([RunNow(name, SlotJob(0.0, new_id(), new_id())) for name in names])
    runs = [run for name in names for run in await store.runs(name)]
    jobs = [run.job for run in runs if run.open and run.job is not None]
    assert set(await store.cancel(jobs)) == {"cancelled"}
    assert set(await store.replay(jobs)) == {"replayed"}
    assert len((await store.list_schedules(declared_by=["me"])).schedules) == number
    records = (await store.get_schedules(names)).schedules
    assert await store.put_schedules([SchedulePut(each, each) for each in records]) == ["put"] * number
    assert await store.drop_schedules(names) == [True] * number
    read = await counted.read() - before
    assert 0 < read < 10 * number * FEW, f"{read} rows"


def next_fire(record: ScheduleRecord, following: float) -> Fire:
    assert record.due is not None
    return Fire(
        schedule=record.id,
        revision=record.revision,
        expected=record.due,
        slots=(SlotJob(record.due, new_id(), new_id()),),
        to=record.due,
        next=following,
        due=following,
    )

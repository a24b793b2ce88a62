"""What each verb reads with a million jobs in the tables: an index, and no more of it than it must.

Every statement of a verb is taken down as it is sent, and run again in a transaction that is rolled back: once with
EXPLAIN, which names the indexes; once as prepared and planned for all parameters alike, as the server does with what
comes often, while it counts the rows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Literal, NamedTuple

import asyncpg
import pytest

from mainspring.model.record import Settlement
from mainspring.store.base import Beat, Claim, Filter, Lane, Worker
from mainspring.store.postgres.days import PREFIX
from mainspring.store.postgres.place import Connection, Place
from mainspring.store.postgres.store import PostgresStore
from tests.servers.fixtures import fresh_schema
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.slow

READY, SMALL, ENDED = 1_000_000, 1000, 1_000_000
HOUR = 3600.0

_ID = "(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000' || {kind} || lpad(to_hex(g), 12, '0'))::uuid"
_LIVE = f"""
INSERT INTO {{schema}}.jobs (id, created, due, expires, priority, state, queue, task, version, payload, worker, waits_on,
    parent, correlation, schedule, group_id, lease, claimed)
SELECT {_ID.format(kind="'8000'")}, at, at, CASE WHEN g % 5000 = 7 THEN at + interval '1 day' END, 0, state, queue, task,
    '', '{{}}', CASE WHEN state = 'running' THEN 'w' END,
    CASE WHEN state = 'waiting' THEN '019b7600-0000-7000-8000-000000000001' END, CASE WHEN g % 5000 = 3 THEN 'p' END,
    CASE WHEN g % 5000 = 4 THEN 'c' END, CASE WHEN g % 5000 = 5 THEN 's' END, CASE WHEN g % 5000 = 6 THEN 'g' END, 0, NULL
FROM (
    SELECT g, clock_timestamp() - ($3::integer - g) * interval '5 ms' AS at, $1::text AS state, 'default' AS queue,
        $2::text AS task
    FROM generate_series(1, $3::integer) AS g
) AS n
"""
_ENDED = f"""
INSERT INTO {{schema}}.jobs_done (id, created, due, priority, state, queue, task, version, payload, worker, lease, settled,
    claimed, finished, tags, parent, correlation, schedule, group_id)
SELECT {_ID.format(kind="'9000'")}, at, at, 0, CASE WHEN g % 1000 = 0 THEN 'dead' ELSE 'completed' END,
    CASE WHEN g % 1000 = 1 THEN 'rare' ELSE 'default' END, CASE WHEN g % 1000 = 2 THEN 'seldom' ELSE 'often' END, '',
    '{{}}', 'w', 1, 1, at, at, CASE WHEN g % 1000 = 3 THEN ARRAY['seldom'] WHEN g % 10 = 4 THEN ARRAY['often'] END,
    CASE WHEN g % 1000 = 5 THEN 'p' END, CASE WHEN g % 1000 = 6 THEN 'c' END, CASE WHEN g % 1000 = 7 THEN 's' END,
    CASE WHEN g % 1000 = 8 THEN 'g' END
FROM (SELECT g, clock_timestamp() - ({ENDED} - g) * interval '5 ms' AS at FROM generate_series(1, {ENDED}) AS g) AS n
"""


@pytest.fixture(scope="module")
def url(postgres_server: Postgres) -> Iterator[str]:
    with fresh_schema(postgres_server) as schema:
        url = postgres_server.url(schema)
        asyncio.run(make(url))
        yield url


async def make(url: str) -> None:
    store = PostgresStore(Place.parse(url))
    await store.open()
    await store.join(Worker("w", lease_time=HOUR))
    async with store._pool.use(timed=False) as connection:
        await seed(connection, store._place.quoted)
    await store.close()


async def seed(connection: Connection, schema: str) -> None:
    """In this order of time: a large lane that is ready, a small one, some of every other state."""
    for state, task, number in (
        ("ready", "large", READY),
        ("ready", "small", SMALL),
        ("running", "small", 500),
        ("scheduled", "small", 2000),
        ("waiting", "small", 500),
    ):
        await connection.execute(_LIVE.replace("{schema}", schema), state, task, number)
    await connection.execute(_ENDED.replace("{schema}", schema))
    await connection.execute(f"INSERT INTO {schema}.tallies VALUES ('default', 'often', '', 'completed', {ENDED})")
    for table in ("jobs", "jobs_done"):
        await connection.execute(f"VACUUM ANALYZE {schema}.{table}")


class Sent(NamedTuple):
    """A statement, and its parameters."""

    text: str
    parameters: tuple[object, ...]


class Cost(NamedTuple):
    """Indexes that were used; tables that were walked; rows of jobs that were read, with either way of planning."""

    indexes: set[str]
    walked: set[str]
    rows: int
    planned_once: int
    blocks: int


class Watch:
    """Takes down what a store sends, and runs it again."""

    def __init__(self, store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = store
        self.sent: list[Sent] = []
        for name in ("fetch", "fetchrow", "fetchval", "execute"):
            monkeypatch.setattr(asyncpg.connection.Connection, name, self._noting(name))

    def _noting(self, name: str) -> Callable[..., Awaitable[object]]:
        real = getattr(asyncpg.connection.Connection, name)

        async def noting(connection: Connection, text: str, *parameters: object, **options: object) -> object:
            self.sent.append(Sent(text, parameters))
            return await real(connection, text, *parameters, **options)

        return noting

    async def cost(self, verb: Callable[[], Awaitable[object]]) -> Cost:
        """What this verb costs, when it is called again: what it wrote is there."""
        return await self.cost_of(await self.statements(verb))

    async def statements(self, verb: Callable[[], Awaitable[object]]) -> list[Sent]:
        """What this verb sends."""
        self.sent.clear()
        await verb()
        return [each for each in self.sent if each.text.lstrip().startswith(("SELECT", "WITH"))]

    async def cost_of(self, sent: list[Sent]) -> Cost:
        """What these statements cost; what they write is not kept."""
        async with self.store._pool.use(timed=False) as connection:
            plans = await self._explained(connection, sent)
            rows = [await self._counted(connection, sent, mode) for mode in ("custom", "generic")]
        nodes = [node for plan in plans for node in within(plan["Plan"]) if node["Actual Loops"]]
        return Cost(
            indexes={node["Index Name"] for node in nodes if "Index Name" in node},
            walked={node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan" and about_jobs(node)},
            rows=rows[0],
            planned_once=rows[1],
            blocks=sum(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] for plan in plans),
        )

    async def _explained(self, connection: Connection, sent: list[Sent]) -> list[dict[str, Any]]:
        """The plans for these very parameters."""
        plans: list[dict[str, Any]] = []
        rolled_back = connection.transaction()
        await rolled_back.start()
        for each in sent:
            if each.text.lstrip().startswith("SELECT set_config"):
                await connection.fetch(each.text, *each.parameters)
            else:
                explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {each.text}"
                plans += json.loads(await connection.fetchval(explain, *each.parameters))
        await rolled_back.rollback()
        return plans

    async def planned(self, connection: Connection, sent: Sent) -> list[dict[str, Any]]:
        """The plan for all parameters alike, which is what the server keeps."""
        given = ", ".join("NULL" for _ in sent.parameters)  # a plan that is kept does not look at them
        await connection.execute(f"PREPARE planned AS {sent.text}")
        try:
            text = f"EXPLAIN (FORMAT JSON) EXECUTE planned{f' ({given})' if given else ''}"
            plans: list[dict[str, Any]] = json.loads(await connection.fetchval(text))
        finally:
            await connection.execute("DEALLOCATE planned")
        return plans

    async def _counted(self, connection: Connection, sent: list[Sent], mode: str) -> int:
        """Rows of jobs, live and ended, that are read when plans are made for the parameters, or for all alike."""
        rolled_back = connection.transaction()
        await rolled_back.start()
        await connection.execute(f"SET LOCAL plan_cache_mode = force_{mode}_plan")
        before = await self._read_so_far(connection)
        for each in sent:
            await connection.fetch(each.text, *each.parameters)
        after = await self._read_so_far(connection)
        await rolled_back.rollback()
        return after - before

    async def _read_so_far(self, connection: Connection) -> int:
        text = (
            "SELECT sum(seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_xact_user_tables"
            " WHERE schemaname = $1 AND relname ^@ 'jobs'"
        )
        return int(await connection.fetchval(text, self.store._place.schema) or 0)


def within(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A step of a plan and those below it."""
    yield node
    for below in node.get("Plans", ()):
        yield from within(below)


def about_jobs(node: dict[str, Any]) -> bool:
    """Whether this step reads one of the tables of jobs."""
    name = node.get("Relation Name", "")
    return name in {"jobs", "jobs_kept"} or name.startswith(PREFIX)


@pytest.fixture
async def watch(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watch]:
    store = PostgresStore(Place.parse(url + "&notify=off"))
    await store.open()
    yield Watch(store, monkeypatch)
    await store.close()


def frugal(cost: Cost, rows: int, *indexes: str) -> None:
    """It used these indexes (the ends of their names, in each day), walked no table and read no more rows."""
    for index in indexes:
        assert any(each.endswith(index) for each in cost.indexes), (index, cost)
    assert not cost.walked, cost
    assert cost.rows <= rows, cost
    assert cost.planned_once <= rows, cost


def claim(number: int, *tasks: str, limit: int = 100) -> Claim:
    return Claim("w", number, [Lane("default", task, "", limit) for task in tasks], limit)


async def test_H5_a_claim_costs_the_same_with_a_thousand_and_a_million_ready_jobs(watch: Watch) -> None:
    """Of the small lane the large one is also the million that nobody asks for."""
    await watch.store.claim(claim(1, "small", "large"))
    small = await watch.cost(lambda: watch.store.claim(claim(2, "small")))
    large = await watch.cost(lambda: watch.store.claim(claim(3, "large")))
    both = await watch.cost(lambda: watch.store.claim(claim(4, "small", "large", *(f"none {n}" for n in range(20)))))
    for cost in (small, large, both):
        frugal(cost, 1500, "jobs_ready")
    assert large.rows <= small.rows * 1.2
    assert large.blocks <= small.blocks * 1.5
    assert both.blocks <= small.blocks * 3


@pytest.mark.parametrize("kind", ["complete", "dead"])
async def test_a_settlement_reads_its_own_jobs(watch: Watch, kind: Literal["complete", "dead"]) -> None:
    """What was sent for some jobs is looked at with the ids of others, that are running."""
    some = (await watch.store.claim(claim(5, "large", limit=100))).jobs
    ends = [Settlement(job=job.id, lease=job.lease, kind=kind) for job in some]
    sent = await watch.statements(lambda: watch.store.settle(ends))
    others = (await watch.store.claim(claim(6, "large", limit=100))).jobs
    assert {job.lease for job in [*some, *others]} == {1}
    ids = dict(zip(sorted(job.id for job in some), sorted(job.id for job in others), strict=True))
    cost = await watch.cost_of([Sent(each.text, tuple(swapped(each.parameters, ids))) for each in sent])
    frugal(cost, 700, "jobs_pkey")
    assert cost.rows >= 100
    await watch.store.settle([Settlement(job=job.id, lease=job.lease, kind="complete") for job in others])


def swapped(parameters: tuple[object, ...], ids: dict[str, str]) -> Iterator[object]:
    """The parameters, with other ids in lists of ids."""
    for each in parameters:
        if isinstance(each, list | tuple) and each and each[0] in ids:
            yield [ids[identifier] for identifier in each]
        else:
            yield each


async def test_a_sweep_reads_what_is_due_and_no_more(watch: Watch) -> None:
    await watch.store.sweep("w")
    cost = await watch.cost(lambda: watch.store.sweep("w", 100))
    frugal(cost, 3000, "jobs_scheduled", "jobs_expires")


async def test_a_beat_reads_the_jobs_of_its_worker(watch: Watch) -> None:
    frugal(await watch.cost(lambda: watch.store.beat(Beat("w"))), 100, "jobs_cancelling")


async def test_get_looks_into_one_day(watch: Watch) -> None:
    live = (await watch.store.find(Filter(states=("ready",)), limit=5)).jobs
    done = (await watch.store.find(Filter(states=("completed",)), limit=5, newest=True)).jobs
    cost = await watch.cost(lambda: watch.store.get([done[0].id]))
    frugal(cost, 1, "pkey")
    assert len({index for index in cost.indexes if index.startswith(PREFIX)}) == 1
    frugal(await watch.cost(lambda: watch.store.get([job.id for job in [*live, *done]])), 10, "jobs_pkey")


@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize(
    ("wanted", "rows", "indexes"),
    [
        (Filter(), 700, ["jobs_pkey"]),
        (Filter(states=("ready",)), 700, ["jobs_pkey"]),
        (Filter(states=("ready",), queue="default", task="small"), 20_000, []),
        (Filter(states=("running",)), 20_000, []),
        (Filter(states=("scheduled",)), 20_000, []),
        (Filter(states=("ready",), task="none", queue="none"), 5_000, ["jobs_ready"]),
        (Filter(states=("running",), queue="none"), 10_000, ["jobs_running"]),
        (Filter(states=("scheduled",), queue="none"), 15_000, ["jobs_scheduled"]),
        (Filter(states=("waiting",)), 500, ["jobs_waiting"]),
        (Filter(states=("completed",)), 700, ["pkey"]),
        (Filter(states=("dead",)), 500, ["state_id_idx"]),
        (Filter(states=("dead", "expired")), 700, ["state_id_idx"]),
        (Filter(states=("completed",), task="seldom"), 700, ["task_id_idx"]),
        (Filter(states=("completed",), task="often"), 1500, ["task_id_idx"]),
        (Filter(states=("completed", "dead"), task="never"), 700, []),
        (Filter(task="often"), 220_000, ["task_id_idx"]),
        (Filter(tags=("often",), states=("completed",)), 5_000, ["pkey"]),
        (Filter(tags=("seldom",), states=("completed",)), 20_000, ["tags_idx"]),
        (Filter(tags=("never",), states=("completed",)), 5_000, ["pkey"]),
        (Filter(parent="p"), 700, ["jobs_parent", "parent_id_idx"]),
        (Filter(correlation="c"), 700, ["jobs_correlation", "correlation_id_idx"]),
        (Filter(schedule="s"), 700, ["jobs_schedule", "schedule_id_idx"]),
        (Filter(group="g"), 700, ["jobs_group", "group_id_id_idx"]),
        (Filter(parent="none"), 10, []),
        (Filter(queue="rare", states=("completed",)), 110_000, ["pkey"]),
        (Filter(queue="none"), 110_000, ["pkey"]),
        (Filter(created_from=0.0), 700, ["pkey"]),
    ],
)
async def test_M5_find_keeps_to_an_index(
    watch: Watch, wanted: Filter, rows: int, indexes: list[str], newest: bool
) -> None:
    frugal(await watch.cost(lambda: watch.store.find(wanted, newest=newest)), rows, *indexes)


async def test_M5_find_for_what_is_not_there_looks_at_a_hundred_thousand_and_goes_on(watch: Watch) -> None:
    page = await watch.store.find(Filter(queue="none"))
    assert page.jobs == []
    assert page.cursor is not None
    next_page = await watch.store.find(Filter(queue="none"), cursor=page.cursor)
    assert next_page.cursor is not None
    assert next_page.cursor > page.cursor


async def test_lanes_cost_as_much_as_there_are_lanes(watch: Watch) -> None:
    lanes = await watch.store.lanes()
    assert [each.task for each in lanes] == ["large", "small"]
    frugal(await watch.cost(watch.store.lanes), 50, "jobs_ready")


async def test_M5_counts_stop_at_a_ceiling(watch: Watch) -> None:
    [large] = [each for each in await watch.store.counts() if each.task == "large" and each.state == "ready"]
    assert (large.number, large.exact) == (100_000, False)
    cost = await watch.cost(watch.store.counts)
    assert cost.rows <= 120_000, cost
    assert cost.planned_once <= 120_000, cost


async def test_H11_pruning_what_is_not_over_reads_next_to_nothing(watch: Watch) -> None:
    retention = {"completed": 24 * HOUR, "dead": 720 * HOUR}
    await watch.store.prune(retention)
    frugal(await watch.cost(lambda: watch.store.prune(retention)), 100)


async def test_H11_a_batch_of_a_large_day_reads_a_bounded_stretch(watch: Watch) -> None:
    assert await watch.store.prune({"completed": HOUR / 2}) == 1000
    cost = await watch.cost(lambda: watch.store.prune({"completed": HOUR / 2}))
    assert cost.rows <= 30_000, cost
    assert cost.planned_once <= 30_000, cost

"""PostgreSQL with millions of ended jobs: drains and reads stay as fast, and pruning stops nobody (RULES H11, M5).

MAINSPRING_SOAK_RETAINED ended jobs lie there: one part in 50 in `jobs_kept`, a fifth in a day that is over, the others
in yesterday and today. MAINSPRING_SOAK_JOBS is the size of a drain.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from statistics import median

import pytest

from mainspring.ids import new_id
from mainspring.model.record import NewJob, Settlement
from mainspring.store.base import Claim, Lane, Worker
from mainspring.store.postgres.days import first_id, of_day, table_of
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.store import PostgresStore
from tests.servers.fixtures import or_skip
from tests.servers.postgres import PostgresServer
from tests.soak.postgres_ground import SCHEMA, Ground, drained, given, ground, show
from tests.soak.postgres_worker import Side

pytestmark = [pytest.mark.soak, pytest.mark.postgres]

RETAINED = given("RETAINED", 5_000_000)
JOBS = given("JOBS", 100_000)
ROUNDS = given("ROUNDS", 5)
READS = 2000
OLD = 4  # days ago
HOUR = 3600.0

AS_FAST = 0.90  # of a drain where nothing is retained
READ_IN = 0.002  # seconds, for 99 of 100 reads
SETTLED_IN = 1.0  # seconds, for every settlement while there is pruning
PRUNED_IN = 5.0  # seconds, for every call: one second of sorting out, two of waiting for readers, and the drop

# Ids as they are made: milliseconds, version and variant, and a number instead of what is random.
SEED = """
INSERT INTO {schema}.{table} (id, created, due, claimed, begun, priority, lease, settled, attempt, claim, state, queue,
    task, version, worker, payload, finished)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000' || '8000' || lpad(to_hex(g), 12, '0'))::uuid,
    at, at, at, at, 0, 1, 1, 1, g / 200, CASE WHEN g %% 10000 = 0 THEN 'dead' ELSE 'completed' END, 'default', 'soak.noop',
    '', 'gone', '{{"at":1767225600.0}}', at + interval '20 ms'
FROM (
    SELECT g, to_timestamp(%s) + g * (to_timestamp(%s) - to_timestamp(%s)) / %s AS at FROM generate_series(0, %s) AS g
) AS n
"""
TALLY = """
INSERT INTO {schema}.tallies SELECT queue, task, version, state, count(*) FROM {schema}.jobs_done GROUP BY 1, 2, 3, 4
UNION ALL
SELECT queue, task, version, state, count(*) FROM {schema}.jobs_kept GROUP BY 1, 2, 3, 4
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with or_skip(), PostgresServer(durable=True) as server:
        yield server


@pytest.fixture(scope="module")
def retained(server: PostgresServer) -> Iterator[Ground]:
    """A database with all these ended jobs."""
    with ground(server, "retained") as place:
        asyncio.run(Side(place.url).fill(0))
        seed(place)
        yield place


@pytest.fixture
async def store(retained: Ground) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(Place.parse(retained.url))
    await store.open()
    yield store
    await store.close()


def seed(place: Ground) -> None:
    """The oldest day first."""
    now = time.time()
    today = datetime.now(UTC).date()
    midnight = datetime.combine(today, datetime.min.time(), UTC).timestamp()
    old = midnight - OLD * 24 * HOUR
    sql = Place.parse(place.url).sql("days")
    for name in ("make", "attach"):
        place.run(of_day(sql[name], today - timedelta(days=OLD)))
    kept, over = RETAINED // 50, RETAINED // 5
    began = time.monotonic()
    insert(place, "jobs_kept", old - 24 * HOUR, old - 1, kept)
    insert(place, "jobs_done", old + 1, old + 24 * HOUR - 1, over)
    insert(place, "jobs_done", midnight - 24 * HOUR + 1, now - 60, RETAINED - kept - over)
    place.run(TALLY.format(schema=SCHEMA))
    place.run(f"VACUUM ANALYZE {SCHEMA}.jobs_done, {SCHEMA}.jobs_kept")
    place.run("CHECKPOINT")
    size = place.ask("SELECT pg_database_size(current_database())")[0] / 1e6
    show("seeded", ("ended jobs", "MB", "seconds"), [(RETAINED, round(size), round(time.monotonic() - began))])


def insert(place: Ground, table: str, since: float, until: float, number: int) -> None:
    place.ask(SEED.format(schema=SCHEMA, table=table) + "RETURNING 1", since, until, since, number, number - 1)


# In this order: pruning comes last.


async def test_a_drain_is_as_fast_with_millions_of_ended_jobs(server: PostgresServer, retained: Ground) -> None:
    rates: dict[str, list[int]] = {"fresh": [], "retained": []}
    for number in range(ROUNDS):
        with ground(server, f"fresh_{number}") as fresh:
            rates["fresh"].append(await drain(fresh))
        rates["retained"].append(await drain(retained))
    show(
        "drains, jobs/s", ("where", "median", "each"), [(name, int(median(each)), each) for name, each in rates.items()]
    )
    assert median(rates["retained"]) >= AS_FAST * median(rates["fresh"])


async def drain(place: Ground) -> int:
    await Side(place.url).fill(JOBS)
    return round(await asyncio.to_thread(drained, place, JOBS))


async def test_a_read_by_id_takes_two_milliseconds_at_most(retained: Ground, store: PostgresStore) -> None:
    rows = await store._pool.fetch(
        f"SELECT id FROM {SCHEMA}.jobs_done TABLESAMPLE SYSTEM (2) ORDER BY random() LIMIT {READS}"
    )
    ids = [row[0] for row in rows]
    took: list[float] = []
    for each in ids:
        began = time.perf_counter()
        [job] = await store.get([each])
        took.append(time.perf_counter() - began)
        assert job is not None
    took.sort()
    shown = [f"{took[int(len(took) * part)] * 1e3:.2f}" for part in (0.5, 0.9, 0.99, 0.999)]
    show("get, ms", ("reads", "p50", "p90", "p99", "p99.9"), [(len(took), *shown)])
    assert len(took) >= 0.9 * min(READS, RETAINED // 100)
    assert took[int(len(took) * 0.99)] <= READ_IN


@pytest.mark.parametrize("hours", [24, 1])
async def test_H11_pruning_stops_nobody(retained: Ground, store: PostgresStore, hours: int) -> None:
    """A day that is over goes as a whole; what has a short retention goes job by job."""
    retention = {"completed": hours * HOUR, "dead": 30 * 24 * HOUR}
    settling = asyncio.create_task(settle_until_cancelled(retained))
    try:
        calls, removed = await prune_all(store, retention)
    finally:
        settling.cancel()
        settled = (await asyncio.gather(settling, return_exceptions=True))[0]
    assert isinstance(settled, list), settled
    heads = ("retention h", "calls", "removed", "longest call s", "settled", "longest settle s", "p99")
    line = (hours, len(calls), removed, round(max(calls), 2), len(settled), *(round(each, 3) for each in ends(settled)))
    show("pruning", heads, [line])
    assert max(calls) <= PRUNED_IN
    assert ends(settled)[0] <= SETTLED_IN
    assert removed >= (RETAINED // 5) * 0.99
    if hours == 24:
        day = table_of(datetime.now(UTC).date() - timedelta(days=OLD))
        assert retained.ask("SELECT to_regclass(%s)", f"{SCHEMA}.{day}") == (None,), "its table is gone"
        (dead,) = retained.ask(
            f"SELECT count(*) FROM {SCHEMA}.jobs_kept WHERE id >= %s AND state = 'dead'",
            first_id(datetime.now(UTC).date() - timedelta(days=OLD)),
        )
        assert dead == (RETAINED // 5 + 9999) // 10_000, "what is kept longer has moved"


async def prune_all(store: PostgresStore, retention: dict[str, float]) -> tuple[list[float], int]:
    """Like a worker: call after call, as long as there is much; three that find nothing end it."""
    calls: list[float] = []
    removed = idle = 0
    ends_at = time.monotonic() + given("PRUNE_SECONDS", 300)
    while idle < 3 and time.monotonic() < ends_at:
        began = time.monotonic()
        number = await store.prune(retention, 1000)
        calls.append(time.monotonic() - began)
        removed += number
        idle = 0 if number else idle + 1
    return calls, removed


async def settle_until_cancelled(place: Ground) -> list[float]:
    """Seconds that each settlement of fifty jobs took."""
    store = PostgresStore(Place.parse(place.url))
    await store.open()
    worker = Worker(new_id(), lease_time=60.0)
    await store.join(worker)
    took: list[float] = []
    number = 0
    try:
        while True:
            number += 1
            await store.add([NewJob(id=new_id(), task="soak.noop") for _ in range(50)])
            jobs = (await store.claim(Claim(worker.id, number, [Lane("default", "soak.noop", "", 50)], 50))).jobs
            began = time.monotonic()
            answers = await store.settle([Settlement(job=job.id, lease=job.lease, kind="complete") for job in jobs])
            took.append(time.monotonic() - began)
            assert set(answers) == {"accepted"}
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        return took
    finally:
        await store.close()


def ends(took: list[float]) -> tuple[float, float]:
    """The longest, and that of 99 in 100."""
    return max(took), sorted(took)[int(len(took) * 0.99)]

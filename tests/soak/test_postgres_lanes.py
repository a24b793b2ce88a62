"""What a claim of 200 costs on PostgreSQL with 1, 10 and 100 lanes and a deep backlog (RULES H5, H12).

The backlog lies in all lanes alike, or in the last of them alone. MAINSPRING_SOAK_BACKLOG ready jobs lie there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import pytest

from mainspring.ids import new_id
from mainspring.model.record import Settlement
from mainspring.store.base import Claim, Lane, Worker
from mainspring.store.postgres.claims import Bounds, depth
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.store import PostgresStore
from tests.servers.fixtures import or_skip
from tests.servers.postgres import PostgresServer
from tests.soak.postgres_ground import SCHEMA, Ground, given, ground, show
from tests.soak.postgres_worker import Side

pytestmark = [pytest.mark.soak, pytest.mark.postgres]

BACKLOG = given("BACKLOG", 100_000)
LIMIT = 200
CLAIMS = 100
SANE = 0.25  # seconds that half of the claims may take, on whatever machine

SEED = """
INSERT INTO {schema}.jobs (id, created, due, priority, state, queue, task, version, payload)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000' || '8000' || lpad(to_hex(g), 12, '0'))::uuid,
    at, at, 0, 'ready', 'default', 'task ' || lpad((CASE WHEN %s THEN %s - 1 ELSE g %% %s END)::text, 3, '0'), '', '{{}}'
FROM (SELECT g, clock_timestamp() - (%s - g) * interval '1 ms' AS at FROM generate_series(1, %s) AS g) AS n
"""


class Cost(NamedTuple):
    """Of one scene. `locked`: rows that a claim locks; `blocks`: that it reads."""

    lanes: int
    backlog: str
    given: float
    p50_ms: float
    p95_ms: float
    us_per_job: float
    locked: int
    blocks: int


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with or_skip(), PostgresServer(durable=True) as server:
        yield server


async def test_H5_claims_over_many_lanes(server: PostgresServer) -> None:
    costs: list[Cost] = []
    for lanes in (1, 10, 100):
        for skewed in (False, True) if lanes > 1 else (False,):
            with ground(server, f"lanes_{lanes}_{skewed}".lower()) as place:
                costs.append(await measured(place, lanes, skewed=skewed))
    show(f"a claim of {LIMIT} from {BACKLOG:,} ready jobs", Cost._fields, costs)
    for cost in costs:
        assert cost.given == LIMIT, "a deep backlog fills every claim, wherever it lies"
        assert cost.p50_ms <= SANE * 1000
        assert cost.locked <= 4 * LIMIT + 8 * cost.lanes


async def measured(place: Ground, lanes: int, *, skewed: bool) -> Cost:
    """The cost of claims, settled in between so that they go on; and what the server says of one."""
    await Side(place.url).fill(0)
    place.ask(SEED.format(schema=SCHEMA) + "RETURNING 1", skewed, lanes, lanes, BACKLOG, BACKLOG)
    place.run(f"VACUUM ANALYZE {SCHEMA}.jobs")
    store = PostgresStore(Place.parse(place.url))
    await store.open()
    worker = Worker(new_id(), lease_time=600.0)
    await store.join(worker)
    wanted = [Lane("default", f"task {n:03}", "", LIMIT) for n in range(lanes)]
    took: list[float] = []
    given_jobs: list[int] = []
    for number in range(CLAIMS):
        began = time.perf_counter()
        jobs = (await store.claim(Claim(worker.id, number, wanted, LIMIT, suspects=1))).jobs
        took.append(time.perf_counter() - began)
        given_jobs.append(len(jobs))
        await store.settle([Settlement(job=job.id, lease=job.lease, kind="complete") for job in jobs])
    locked, blocks = await explained(store, worker.id, wanted)
    await store.close()
    took.sort()
    return Cost(
        lanes,
        "in the last" if skewed else "in all",
        sum(given_jobs) / CLAIMS,
        round(took[CLAIMS // 2] * 1e3, 2),
        round(took[CLAIMS * 95 // 100] * 1e3, 2),
        round(sum(took) / max(sum(given_jobs), 1) * 1e6, 1),
        locked,
        blocks,
    )


async def explained(store: PostgresStore, worker: str, lanes: Sequence[Lane]) -> tuple[int, int]:
    """Rows that the statement of one claim locks, and blocks that it reads; what it does is rolled back."""
    stretches = store._bounds.get(worker, Bounds()).stretches(lanes, "open")
    columns = list(zip(*stretches, strict=True)) if stretches else list(repeat((), 8))
    async with store._pool.use() as connection:
        rolled_back = connection.transaction()
        await rolled_back.start()
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {store._sql['claim']}"
        text = await connection.fetchval(explain, *columns, LIMIT, worker, 0, False, depth(LIMIT, len(lanes)))
        await rolled_back.rollback()
    plan = json.loads(text)[0]["Plan"]
    [head] = [node for node in within(plan) if node.get("Subplan Name") == "CTE head"]
    return head["Actual Rows"], plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def within(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A step of a plan and those below it."""
    yield node
    for below in node.get("Plans", ()):
        yield from within(below)

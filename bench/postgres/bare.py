"""The bare loop: the least durable work on our own tables that could be called the same thing, by asyncpg.

No worker, no retries, no routing, no task, no wake-up: one connection that claims a batch (UPDATE … RETURNING) and
settles it (DELETE and INSERT into the table of ended jobs), each in a transaction of its own, with the server's default
`synchronous_commit=on`. It begins each search where the last claim ended. It is a bound, not a rival.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from bench.frame import Ledger, main
from mainspring.ids import new_id
from mainspring.store.open import open_store

CHUNK = 10_000
COLUMNS = ("id", "created", "due", "priority", "state", "queue", "task", "version", "payload")
INSERT = """
INSERT INTO mainspring.jobs (id, created, due, priority, state, queue, task, version, payload)
VALUES ($1, $2, $2, 0, 'ready', 'default', 'bench.noop', '', $3)
"""
INSERT_MANY = """
INSERT INTO mainspring.jobs (id, created, due, priority, state, queue, task, version, payload)
SELECT id, $2, $2, 0, 'ready', 'default', 'bench.noop', '', payload::json
FROM unnest($1::uuid[], $3::text[]) AS new (id, payload)
"""
CLAIM = """
UPDATE mainspring.jobs
SET state = 'running', lease = lease + 1, attempt = attempt + 1, worker = 'bare', claim = $1, claimed = clock_timestamp()
WHERE id = ANY (ARRAY (
    SELECT id FROM mainspring.jobs
    WHERE state = 'ready' AND NOT suspect AND queue = 'default' AND task = 'bench.noop' AND version = ''
        AND (-priority, due, id) > (0, $2, $3)
    ORDER BY -priority, due, id LIMIT $4 FOR UPDATE SKIP LOCKED
))
RETURNING id, due, payload
"""
# The columns of both tables are the same, in the same order, but for the last two.
SETTLE = """
WITH ended AS (DELETE FROM mainspring.jobs WHERE id = ANY ($1::uuid[]) RETURNING {columns})
INSERT INTO mainspring.jobs_done ({columns}, finished) SELECT {values}, clock_timestamp() FROM ended
"""


class Side:
    def __init__(self, url: str) -> None:
        self.url = url
        self.how = ""
        self.connection: Any = None

    async def prepare(self) -> None:
        store = open_store(self.url)  # which makes the tables, and the days of those that have ended
        await store.open()
        await store.close()

    async def open(self, how: str) -> None:
        self.how = how
        self.connection = await asyncpg.connect(self.url)

    async def one(self, n: int) -> object:
        return await self.connection.execute(INSERT, _id(), datetime.now(UTC), _payload(n))

    async def bulk(self, numbers: range) -> None:
        size = int(self.how.removeprefix("bulk") or CHUNK)
        for first in range(0, len(numbers), size):
            part = numbers[first : first + size]
            now = datetime.now(UTC)
            if size < CHUNK:
                await self.connection.execute(INSERT_MANY, [_id() for _ in part], now, [_payload(n) for n in part])
                continue
            rows = [(_id(), now, now, 0, "ready", "default", "bench.noop", "", _payload(n)) for n in part]
            await self.connection.copy_records_to_table("jobs", schema_name="mainspring", columns=COLUMNS, records=rows)

    @asynccontextmanager
    async def working(self, ledger: Ledger, purpose: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
        await self.open("bulk")
        names = await self.connection.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'mainspring.jobs'::regclass AND attnum > 0"
        )
        columns = [name for (name,) in names]
        values = ["'completed'" if name == "state" else name for name in columns]
        settle = await self.connection.prepare(SETTLE.format(columns=", ".join(columns), values=", ".join(values)))
        claim = await self.connection.prepare(CLAIM)
        yield lambda: self._drain(claim, settle, int(purpose), ledger)

    async def _drain(self, claim: Any, settle: Any, batch: int, ledger: Ledger) -> None:
        """It has no tasks that could mark the ledger: it counts there."""
        due, last, number, done = datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0), 0, 0
        while True:
            number += 1
            rows = await claim.fetch(number, due, last, batch)
            if not rows:
                return
            if not done:
                ledger.mark(0)
            due, last = max((row["due"], row["id"]) for row in rows)
            await settle.fetch([row["id"] for row in rows])
            ledger.ran[done : done + len(rows)] = b"\1" * len(rows)
            done += len(rows)


def _payload(n: int) -> str:
    return f'{{"n":{n}}}'


def _id() -> UUID:
    return UUID(new_id())


if __name__ == "__main__":
    main(Side)

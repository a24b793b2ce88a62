"""Two stores on one schema, as of two processes, each of which can be stopped at a chosen statement."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from time import time
from typing import Any, cast

import asyncpg

from mainspring.clock import FakeClock
from mainspring.errors import JobBusy, StoreUnavailable
from mainspring.ids import new_id
from mainspring.model.record import Answer, JobRecord, NewJob, Settlement
from mainspring.model.schedule import FireAnswer
from mainspring.store.base import Beat, Claim, Lane, Worker
from mainspring.store.postgres.schedule_sql import firing_sql, schedule_sql
from mainspring.store.postgres.store import PostgresStore
from mainspring.testing.contract.harness import fall_silent
from tests.contract.test_postgres import PostgresHarness

GROUPS = ("loads", "flush", "jobs", "upkeep", "reads", "days")
TOGETHER = "schedules.together"
"""What a fire writes, as one statement."""
LOOK = "firing.look"
"""What the usual fire looks at, without a lock; it writes TOGETHER then, and commits by that."""

LANES = (Lane("default", "work", "", 1000),)
PATIENCE = 20.0
"""Seconds until a test that waits for something gives up: the machine may be busy."""


class Halt:
    """A place where one caller stops, once: `reached` when it is there, goes on after `go`."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._go = asyncio.Event()

    @property
    def there(self) -> bool:
        """Whether somebody has come to it."""
        return self._reached.is_set()

    async def reached(self) -> None:
        """Until somebody stands there."""
        await asyncio.wait_for(self._reached.wait(), PATIENCE)

    def go(self) -> None:
        """Let it go on."""
        self._go.set()

    async def stand(self) -> None:
        """For who comes to it."""
        self._reached.set()
        await asyncio.wait_for(self._go.wait(), PATIENCE)


class Watched:
    """A connection in a transaction, which asks before each statement whether to stop."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], before: Callable[[str], Any]) -> None:
        self._connection = connection
        self._before = before

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        await self._before(sql)
        return await self._connection.fetch(sql, *args)

    async def fetchval(self, sql: str, *args: object) -> Any:
        await self._before(sql)
        return await self._connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: object) -> str:
        await self._before(sql)
        return await self._connection.execute(sql, *args)

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)


class Process:
    """A store with a pool of its own. `halt` stops it at a statement, `lose` cuts the answer of the next call off."""

    def __init__(self, store: PostgresStore) -> None:
        self.store = store
        self._halts: dict[str, Halt] = {}
        self._losing = False
        self.said: list[str] = []
        place = store._place  # the scene looks behind the scene
        self._names = {text: f"{group}.{name}" for group in GROUPS for name, text in place.sql(group).items()}
        self._names |= {text: f"schedules.{name}" for name, text in schedule_sql(place).items()}
        self._names[firing_sql(place)["look"]] = LOOK
        pool = store._pool
        self._fetch, self._transaction = pool.fetch, pool.transaction
        pool.fetch = self.fetch  # type: ignore[method-assign]  # to stop in it
        pool.transaction = self.transaction  # type: ignore[method-assign, assignment]  # the same

    def halt(self, name: str) -> Halt:
        """Stop before the next statement of this name: `flush.insert`, or `commit`, or `committed`."""
        assert name in {"commit", "committed", TOGETHER, *self._names.values()}, name
        self._halts[name] = Halt()
        return self._halts[name]

    def look_closely(self) -> None:
        """From now on this process fires in transactions alone, with locks, as it does where something is unusual."""

        async def nothing_is_usual(_: object) -> dict[str, FireAnswer]:
            return {}

        self.store._fire_as_usual = nothing_is_usual  # type: ignore[method-assign, assignment]  # to see the other way

    def lose(self) -> None:
        """The next call is carried out, and nobody hears of it."""
        self._losing = True

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        await self._before(sql)
        rows = await self._fetch(sql, *args)
        if self._name(sql) not in {"", LOOK}:  # not what wakes others, which is sent beside the calls
            self._answered()
        return rows

    def transaction(
        self, *args: Any, **options: Any
    ) -> AbstractAsyncContextManager[asyncpg.Connection[asyncpg.Record]]:
        @asynccontextmanager
        async def watched() -> AsyncGenerator[asyncpg.Connection[asyncpg.Record]]:
            async with self._transaction(*args, **options) as connection:
                yield cast("asyncpg.Connection[asyncpg.Record]", Watched(connection, self._before))
                await self._stand("commit")
            await self._stand("committed")
            self._answered()

        return watched()

    async def _before(self, sql: str) -> None:
        name = self._name(sql)
        self.said.append(name)
        await self._stand(name)

    def _name(self, sql: str) -> str:
        return self._names.get(sql, TOGETHER if sql.startswith("WITH part0 AS") else "")

    async def _stand(self, name: str) -> None:
        halt = self._halts.pop(name, None)
        if halt is not None:
            await halt.stand()

    def _answered(self) -> None:
        if self._losing:
            self._losing = False
            raise StoreUnavailable("the answer is lost")


class Scene:
    """Two processes, `a` and `b`, and a plain connection of somebody else."""

    def __init__(self, harness: PostgresHarness, b: PostgresStore, plain: asyncpg.Connection[asyncpg.Record]) -> None:
        self.harness = harness
        self.clock = harness.clock
        self.a = Process(harness.store)
        self.b = Process(b)
        self.plain = plain
        self._numbers = iter(range(1, 1_000_000))

    @property
    def one(self) -> PostgresStore:
        """The store of process a."""
        return self.a.store

    @property
    def two(self) -> PostgresStore:
        """The store of process b."""
        return self.b.store

    def table(self, name: str) -> str:
        """A table's name in SQL."""
        return f"{self.harness.place.quoted}.{name}"

    async def blocked(self, number: int = 1) -> None:
        """Until so many statements of ours wait for a lock."""
        async with asyncio.timeout(PATIENCE):
            while True:
                await self.plain.execute("SELECT pg_stat_clear_snapshot()")  # kept for as long as a transaction
                waiting = await self.plain.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%'",
                    self.harness.place.schema,
                )
                if waiting >= number:
                    return
                await asyncio.sleep(0.005)

    @asynccontextmanager
    async def locked(self, id: str, table: str = "jobs") -> AsyncIterator[None]:  # noqa: A002
        """Somebody's open transaction holds this row."""
        async with self.plain.transaction():
            await self.plain.execute(f"SELECT FROM {self.table(table)} WHERE id = $1::text::uuid FOR UPDATE", id)
            yield

    # --- the usual

    async def joined(self, *workers: str, lease_time: float = 30.0) -> None:
        for worker in workers:
            await self.one.join(Worker(worker, lease_time=lease_time))

    async def add(self, number: int = 1, **fields: Any) -> list[str]:
        jobs = [NewJob(id=new_id(), task="work", **fields) for _ in range(number)]
        await self.one.add(jobs)
        return [job.id for job in jobs]

    async def claim(self, worker: str = "w", limit: int = 1000, store: PostgresStore | None = None) -> list[JobRecord]:
        claim = Claim(worker, next(self._numbers), LANES, limit, 1)
        return (await (store or self.one).claim(claim)).jobs

    async def run(self, number: int = 1, worker: str = "w", **fields: Any) -> list[JobRecord]:
        """Jobs that this worker runs."""
        ids = await self.add(number, **fields)
        jobs = await self.claim(worker)
        assert sorted(job.id for job in jobs) == sorted(ids)
        return jobs

    async def settle(self, store: PostgresStore, *settlements: Settlement) -> list[Answer]:
        """As the engine does: who finds a job in the hands of somebody else, tries again."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(JobBusy):
                    return await store.settle(settlements)

    async def get(self, id: str) -> JobRecord:  # noqa: A002
        job = (await self.one.get([id]))[0]
        assert job is not None
        return job

    async def rows_of(self, id: str) -> int:  # noqa: A002
        """In how many places this job lies."""
        looks = " + ".join(
            f"(SELECT count(*) FROM {self.table(name)} WHERE id = $1::text::uuid)"
            for name in ("jobs", "jobs_done", "jobs_kept")
        )
        return cast("int", await self.plain.fetchval(f"SELECT {looks}", id))

    async def lapse(self, worker: str) -> None:
        await fall_silent(self.one, self.clock, worker)

    async def beat(self, *workers: str) -> None:
        for worker in workers:
            await self.one.beat(Beat(worker))


@asynccontextmanager
async def scene_on(url: str) -> AsyncIterator[Scene]:
    """On an emptied schema, whose clock obeys."""
    harness = PostgresHarness(url)
    harness.clock = FakeClock(time())  # so that the ids made here have a day
    await harness.prepare()
    b = harness.new()
    await b.open()
    plain = await asyncpg.connect(harness.place.dsn)
    await harness.tell_the_time(plain)
    scene = Scene(harness, b, plain)
    try:
        yield scene
    finally:
        await plain.close(timeout=5)
        await b.close()
        await harness.store.close()

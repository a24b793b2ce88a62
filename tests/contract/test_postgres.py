"""The public contract suite over PostgreSQL: one schema, emptied before each test, whose clock is ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Literal

import asyncpg
import pytest

from mainspring.clock import FakeClock
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.store import PostgresStore
from mainspring.testing.contract import StoreContract, StoreHarness, fall_silent
from tests.servers.fixtures import fresh_schema
from tests.servers.postgres import Postgres

TABLES = (
    "jobs", "jobs_done", "jobs_kept", "blobs", "attempts", "progress", "unique_keys", "groups", "workers",
    "paused_queues", "tallies", "schedules", "schedule_runs",
)  # fmt: skip


class PostgresHarness:
    """The schema's clock says what the connection was told when it was taken."""

    liveness: Literal["beats", "locks"] = "beats"

    def __init__(self, url: str) -> None:
        self.clock = FakeClock()
        self.place = Place.parse(url)
        self.store = self.new()

    def new(self) -> PostgresStore:
        return PostgresStore(self.place, before=self.tell_the_time)

    async def tell_the_time(self, connection: asyncpg.Connection) -> None:
        await connection.execute(f"SELECT set_config('mainspring.now', '{self.clock.now()!r}', false)")

    async def prepare(self) -> None:
        """An empty schema whose clock obeys."""
        await self.store.open()
        async with self.store._pool.use() as connection:  # the harness may
            # Few rows: to delete them is many times faster than to truncate the tables with their partitions.
            await connection.execute("; ".join(f'DELETE FROM "{self.place.schema}".{name}' for name in TABLES))
            await connection.execute(
                f'CREATE OR REPLACE FUNCTION "{self.place.schema}".clock() RETURNS timestamptz LANGUAGE sql VOLATILE'
                " AS $$SELECT to_timestamp(current_setting('mainspring.now')::float8)$$"
            )

    async def lapse(self, worker: str) -> None:
        await fall_silent(self.store, self.clock, worker)

    async def spoil(self, schedule: str) -> None:
        async with self.store._pool.use() as connection:  # the harness may
            await connection.execute(
                f'UPDATE "{self.place.schema}".schedules'
                """ SET definition = (definition::jsonb || '{"overlap":"shuffle"}')::json WHERE id = $1""",
                schedule,
            )

    async def reopen(self) -> None:
        await self.store.close()
        self.store = self.new()
        await self.store.open()


@pytest.fixture(scope="module")
def postgres_schema(postgres_server: Postgres) -> Iterator[str]:
    """A schema for all tests here: to empty it is faster than to make it."""
    with fresh_schema(postgres_server) as schema:
        yield postgres_server.url(schema)


@pytest.mark.postgres
class TestPostgres(StoreContract):
    @pytest.fixture
    async def harness(self, postgres_schema: str) -> AsyncIterator[StoreHarness]:
        harness = PostgresHarness(postgres_schema)
        await harness.prepare()
        yield harness
        await harness.store.close()

"""Tasks with `transaction=True` on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from mainspring import App, Context, JobFailed
from tests.transactions.tasks import LONG, Ledger, Tasks, plain, schema_of, write


@pytest.mark.postgres
class TestOnPostgres(Tasks):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url

    @pytest.fixture
    async def effects(self, url: str) -> AsyncIterator[Ledger]:
        async with plain(url) as db:
            await db.execute("DROP TABLE IF EXISTS parts, wholes, effects")
            await db.execute("CREATE TABLE effects (what text)")
            await db.execute("CREATE TABLE wholes (id integer PRIMARY KEY)")
            await db.execute("CREATE TABLE parts (whole integer REFERENCES wholes (id) DEFERRABLE INITIALLY DEFERRED)")

            async def read() -> list[str]:
                return [row[0] for row in await db.fetch("SELECT what FROM effects ORDER BY what")]

            yield read

    async def take_lease_away(self, app: App, ctx: Context) -> None:
        async with plain(str(app.url)) as db:
            schema = schema_of(str(app.url))
            await db.execute(f'UPDATE "{schema}".jobs SET lease = lease + 1 WHERE id = $1', ctx.job_id)

    async def break_deferred_constraint(self, ctx: Context) -> None:
        await ctx.connection.execute("INSERT INTO parts VALUES (7)")

    async def test_H2_nobody_waits_for_an_open_transaction(self, app: App, effects: Ledger) -> None:
        """Its job is not locked before it has returned: cancel, sweep and prune go on."""
        started, go_on = asyncio.Event(), asyncio.Event()

        @app.task(transaction=True, name="t")
        async def task(ctx: Context) -> None:
            await write(ctx, "effect")
            started.set()
            await go_on.wait()

        async with app.running(grace=1):
            job = await task.enqueue()
            await started.wait()
            store = await app.store()
            async with asyncio.timeout(1):
                await store.sweep((await job.refresh()).worker or "")
                await store.prune({"completed": 0.0})
                assert (await store.cancel([job.id])) == ["requested"]
            go_on.set()
            await job.result(timeout=LONG)
        assert await effects() == ["effect"], "a request to cancel comes too late for what has returned"

    async def test_the_connection_is_as_the_driver_makes_it(self, app: App, effects: Ledger) -> None:
        """No codecs of ours, and nothing left of what an earlier task has set."""

        @app.task(transaction=True, name="t")
        async def task(ctx: Context) -> list[str]:
            now, uuid = await ctx.connection.fetchrow("SELECT now(), gen_random_uuid()")
            before = await ctx.connection.fetchval("SHOW statement_timeout")
            await ctx.connection.execute("SET statement_timeout = '77s'")
            return [type(now).__name__, before, hex(uuid.int)[:2]]

        async with app.running(grace=1):
            for _ in range(2):
                assert await (await task.enqueue()).result(timeout=LONG) == ["datetime", "0", "0x"]

    async def test_a_failed_statement_that_was_swallowed_fails_the_attempt(self, app: App, effects: Ledger) -> None:
        @app.task(transaction=True, name="t")
        async def task(ctx: Context) -> None:
            await write(ctx, "effect")
            with pytest.raises(asyncpg.PostgresError):
                await ctx.connection.execute("SELECT 1 / 0")

        async with app.running(grace=1):
            with pytest.raises(JobFailed, match="a statement of the task had failed"):
                await (await task.enqueue()).result(timeout=LONG)
        assert await effects() == []

    async def test_H2_a_connection_that_dies_is_no_success(self, app: App, effects: Ledger) -> None:
        """The server ends it just before the commit; the job runs again."""
        runs: list[int] = []

        @app.task(transaction=True, name="t")
        async def task(ctx: Context) -> None:
            runs.append(ctx.attempt)
            await write(ctx, f"run {len(runs)}")
            if len(runs) == 1:
                pid = ctx.connection.get_server_pid()
                async with plain(str(app.url)) as db:
                    await db.execute("SELECT pg_terminate_backend($1, 5000)", pid)

        async with app.running(grace=1):
            await (await task.enqueue()).result(timeout=LONG)
        assert (runs, await effects()) == ([1, 1], ["run 2"])


async def test_through_a_pooler_in_transaction_mode(pgbouncer_url: str) -> None:
    app = App(f"{pgbouncer_url}&prepared=off&notify=off")

    @app.task(name="other")
    async def other() -> str:
        return "done"

    @app.task(transaction=True, name="t")
    async def task(ctx: Context) -> tuple[str, int]:
        number = await ctx.connection.fetchval("SELECT $1::integer + 1", 1)
        return (await other.enqueue()).id, number

    async with app.running(grace=1), plain(pgbouncer_url, prepared=False) as db:
        job_id, number = await (await task.enqueue()).result(timeout=LONG)
        assert (await (await app.jobs.get(job_id)).result(timeout=LONG), number) == ("done", 2)
        async with db.transaction():
            job = await other.options(tx=db, unique="k").enqueue()
        assert await job.result(timeout=LONG) == "done"

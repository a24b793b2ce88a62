"""Tasks with `transaction=True` on SQLite, where there is one write lock (RULES H3)."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mainspring import App, Context, JobFailed
from mainspring.errors import AppError
from tests.transactions.tasks import LONG, Ledger, Tasks, write


class TestOnSqlite(Tasks):
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "work.db"

    @pytest.fixture
    def url(self, path: Path) -> str:
        return f"sqlite:///{path}?synchronous=NORMAL"

    @pytest.fixture
    async def effects(self, app: App, path: Path) -> AsyncIterator[Ledger]:
        async with app:
            pass
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("CREATE TABLE effects (what TEXT)")
        db.execute("CREATE TABLE parts (whole INTEGER REFERENCES wholes (id) DEFERRABLE INITIALLY DEFERRED)")
        db.execute("CREATE TABLE wholes (id INTEGER PRIMARY KEY)")

        async def read() -> list[str]:
            return [row[0] for row in db.execute("SELECT what FROM effects ORDER BY what")]

        yield read
        db.close()

    async def take_lease_away(self, app: App, ctx: Context) -> None:
        # Nobody else can write now: a lease can only be lost before its transaction begins.
        await ctx.connection.execute("UPDATE jobs SET lease = lease + 1 WHERE id = $1", ctx.job_id)

    async def break_deferred_constraint(self, ctx: Context) -> None:
        pytest.skip("SQLite checks foreign keys only where they are switched on, and not within a transaction")

    async def test_H3_a_long_transaction_is_warned_about(
        self, app: App, effects: Ledger, caplog: pytest.LogCaptureFixture
    ) -> None:
        @app.task(transaction=True, name="t")
        async def task(ctx: Context, seconds: float) -> None:
            await write(ctx, "effect")
            await asyncio.sleep(seconds)

        async with app.running(grace=1, lease_time=0.9):
            with caplog.at_level(logging.WARNING, "mainspring.store.sqlite"):
                await (await task.enqueue(0.01)).result(timeout=LONG)
                assert not caplog.records
                job = await task.enqueue(0.5)
                await job.result(timeout=LONG)
        [record] = caplog.records
        assert job.id in record.getMessage()
        assert "nobody else can write" in record.getMessage()

    async def test_H3_nothing_is_lost_while_it_is_open_longer_than_a_lease(self, app: App, effects: Ledger) -> None:
        """Beats and settlements wait; liveness is a lock, so that nobody takes the worker for dead."""
        runs: list[str] = []

        @app.task(transaction=True, name="t")
        async def task(ctx: Context) -> None:
            runs.append("t")
            await write(ctx, "effect")
            await asyncio.sleep(1.0)

        @app.task(name="beside")
        async def beside() -> None:
            runs.append("beside")
            await asyncio.sleep(0.1)

        async with app.running(grace=1, lease_time=0.3):
            jobs = [await beside.enqueue(), await task.enqueue(), await beside.enqueue()]
            for job in jobs:
                await job.result(timeout=LONG)
            waits = [await job.refresh() for job in jobs]
        assert sorted(runs) == ["beside", "beside", "t"]
        assert [(record.attempt, record.rescues) for record in waits] == [(1, 0)] * 3
        assert await effects() == ["effect"]

    async def test_H3_other_verbs_say_that_they_would_wait_for_themselves(self, app: App, effects: Ledger) -> None:
        @app.task(transaction=True, name="t")
        async def task(ctx: Context, job_id: str) -> str:
            with pytest.raises(AppError, match="write lock"):
                await app.jobs.cancel(job_id)
            with pytest.raises(AppError, match="write lock"):
                await app.queues.pause("q")
            assert (await app.jobs.get(job_id)).state == "scheduled", "reading is fine"
            return "fine"

        async with app.running(grace=1):
            later = await app.remote("other").options(delay=3600).enqueue(n=1)
            assert await (await task.enqueue(later.id)).result(timeout=LONG) == "fine"
            assert await later.cancel() == "cancelled"

    async def test_numbered_values_and_question_marks_both_work(self, app: App, effects: Ledger) -> None:
        @app.task(transaction=True, name="t")
        async def task(ctx: Context) -> list[object]:
            db = ctx.connection
            assert await db.execute("INSERT INTO effects VALUES ($1)", "a") == "INSERT 0 1"
            await db.executemany("INSERT INTO effects VALUES (?)", [("b",), ("c",)])
            assert await db.execute("UPDATE effects SET what = what || '$1' WHERE what > ?", "a") == "UPDATE 2"
            assert await db.execute("SELECT 1 UNION SELECT 2") == "SELECT 2"
            row = await db.fetchrow("SELECT what, 2 AS two FROM effects ORDER BY what")
            rows = await db.fetch("SELECT what FROM effects WHERE what <> $1 ORDER BY 1", "a")
            assert await db.fetchrow("SELECT 1 WHERE 0") is None
            return [row["what"], row["two"], [each[0] for each in rows], await db.fetchval("SELECT 1, 5", column=1)]

        async with app.running(grace=1):
            assert await (await task.enqueue()).result(timeout=LONG) == ["a", 2, ["b$1", "c$1"], 5]

    async def test_a_cancelled_statement_is_interrupted(self, app: App, effects: Ledger) -> None:
        @app.task(transaction=True, name="t", timeout=0.2)
        async def task(ctx: Context) -> None:
            count = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
            await ctx.connection.fetchval(count)

        async with app.running(grace=1):
            began = time.monotonic()
            with pytest.raises(JobFailed, match="timeout"):
                await (await task.enqueue()).result(timeout=LONG)
        assert time.monotonic() - began < LONG / 2

    async def test_a_store_that_closes_rolls_back(self, app: App, effects: Ledger) -> None:
        async with app:
            store = await app.store()
            transaction = await store.transaction("w", "j")
            await transaction.connection.execute("INSERT INTO effects VALUES ('x')")  # type: ignore[attr-defined]  # each store has its own kind
        assert await effects() == []
        with pytest.raises(AppError, match="over"):
            await transaction.connection.execute("SELECT 1")  # type: ignore[attr-defined]  # as above

    async def test_one_that_is_given_up_before_it_began_leaves_no_lock(self, app: App, effects: Ledger) -> None:
        async with app:
            store = await app.store()
            first = await store.transaction("w", "a")
            second = asyncio.create_task(store.transaction("w", "b"))
            await asyncio.sleep(0.05)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            await first.rollback()
            assert (await app.remote("other").options(delay=1).enqueue(n=1)).created

    async def test_a_lock_of_somebody_else_is_waited_for(self, app: App, effects: Ledger, path: Path) -> None:
        other = sqlite3.connect(path, isolation_level=None)
        async with app:
            other.execute("BEGIN IMMEDIATE")
            waiting = asyncio.create_task((await app.store()).transaction("w", "a"))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            other.execute("COMMIT")
            await (await waiting).rollback()
        other.close()

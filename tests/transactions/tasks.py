"""Tasks with `transaction=True`: effects, completion and follow-ups are one commit, or nothing (RULES H2, H3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from mainspring import App, Context, GiveUp, JobFailed, Retry, RetryLater, Snooze, chain, group
from mainspring.engine.events import JobEnded, LeaseLost
from mainspring.errors import JobCancelled, StoreUnavailable
from mainspring.model.record import Answer, Settlement
from mainspring.store.base import Filter, Store, Transaction
from mainspring.store.postgres.place import Place

LONG = 30.0
Ledger = Callable[[], Awaitable[list[str]]]


class Tasks:
    """The tests, over fixtures `url` and `effects`, which reads what tasks have written, on a connection of its own."""

    @pytest.fixture
    def app(self, url: str) -> App:
        app = App(url)

        @app.task(name="other")
        async def other(n: int) -> int:
            return n + 1

        @app.task(name="total")
        async def total(numbers: list[int]) -> int:
            return sum(numbers)

        return app

    async def test_H2_effect_completion_and_follow_up_are_one_commit(self, app: App, effects: Ledger) -> None:
        seen: list[object] = []

        @app.task(transaction=True, name="t")
        async def task(ctx: Context, n: int) -> int:
            await write(ctx, f"effect {n}")
            job = await app.remote("other").enqueue(n=n)
            seen.append(await effects())
            seen.append((await (await app.store()).get([job.id]))[0])
            return n * 2

        ended: list[JobEnded] = []
        app.events.subscribe(JobEnded, ended.append)
        async with app.running(grace=1) as worker:
            job = await task.enqueue(4)
            assert await job.result(timeout=LONG) == 8
            await app.idle()
            assert worker.running == ()
        assert seen == [[], None], "nobody saw anything of it before the commit"
        assert await effects() == ["effect 4"]
        assert sorted((each.task, each.kind) for each in ended) == [("other", "complete"), ("t", "complete")]
        assert [each.job for each in ended if each.task == "t"] == [job.id]

    async def test_H2_an_error_takes_everything_back_and_is_retried(self, app: App, effects: Ledger) -> None:
        @app.task(transaction=True, name="t", retry=Retry(on=ValueError, attempts=3, backoff=lambda _: 0.01))
        async def task(ctx: Context) -> None:
            await write(ctx, f"attempt {ctx.attempt}")
            await app.remote("other").enqueue(n=1)
            if ctx.attempt < 3:
                raise ValueError(f"no {ctx.attempt}")

        async with app.running(grace=1):
            job = await task.enqueue()
            await job.result(timeout=LONG)
            await app.idle()
            counts = {(each.task, each.state): each.number for each in await app.jobs.counts()}
            attempts = [each.ending for each in await app.jobs.attempts(job.id)]
        assert await effects() == ["attempt 3"]
        assert counts == {("t", "completed"): 1, ("other", "completed"): 1}
        assert attempts == ["retried", "retried", "completed"]

    @pytest.mark.parametrize(
        ("end", "state"),
        [(Snooze(3600), "scheduled"), (RetryLater(3600), "scheduled"), (GiveUp("no"), "dead"), (OSError("x"), "dead")],
        ids=["snooze", "retry-later", "give-up", "error"],
    )
    async def test_H2_every_end_but_a_return_takes_it_back(
        self, app: App, effects: Ledger, end: Exception, state: str
    ) -> None:
        @app.task(transaction=True, name="t")
        async def task(ctx: Context) -> None:
            await write(ctx, "effect")
            raise end

        async with app.running(grace=1):
            job = await task.enqueue()
            await until(job.refresh, lambda record: record.state == state)
        assert await effects() == []

    async def test_H2_a_lost_lease_takes_everything_back(self, app: App, effects: Ledger) -> None:
        lost: list[LeaseLost] = []
        app.events.subscribe(LeaseLost, lost.append)

        @app.task(transaction=True, name="t", retry=Retry(on=ValueError, attempts=9))
        async def task(ctx: Context) -> None:
            await write(ctx, f"fence {ctx.fence}")
            await app.remote("other").enqueue(n=1)
            if ctx.fence == 1:
                await self.take_lease_away(app, ctx)

        async with app.running(grace=1):
            job = await task.enqueue()
            await until(self.nothing, lambda _: bool(lost))
            assert [(each.job, each.lease) for each in lost] == [(job.id, 1)]
            assert await effects() == []
            assert await (await app.store()).find(Filter(task="other")) == ([], None)

    async def test_H2_an_unclear_commit_that_happened_is_a_success(
        self, app: App, effects: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs: list[int] = []

        @app.task(transaction=True, name="t")
        async def task(ctx: Context) -> str:
            runs.append(ctx.attempt)
            await write(ctx, "effect")
            return "done"

        ended: list[JobEnded] = []
        app.events.subscribe(JobEnded, ended.append)
        async with app.running(grace=1):
            spoil_settle(monkeypatch, await app.store(), before=False)
            job = await task.enqueue()
            assert await job.result(timeout=LONG) == "done"
            await app.idle()
        assert (runs, await effects()) == ([1], ["effect"])
        assert [each.kind for each in ended] == ["complete"], "and not as one that was handed back"

    async def test_H2_an_unclear_commit_that_did_not_happen_runs_again(
        self, app: App, effects: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs: list[int] = []

        @app.task(transaction=True, name="t")
        async def task(ctx: Context) -> str:
            runs.append(ctx.attempt)
            await write(ctx, "effect")
            return "done"

        async with app.running(grace=1):
            spoil_settle(monkeypatch, await app.store(), before=True)
            job = await task.enqueue()
            assert await job.result(timeout=LONG) == "done"
        assert (runs, await effects()) == ([1, 1], ["effect"]), "the attempt was given back"

    async def test_H2_timeout_and_cancel_take_it_back(self, app: App, effects: Ledger) -> None:
        waiting = asyncio.Event()

        @app.task(transaction=True, name="t", timeout=0.2)
        async def late(ctx: Context) -> None:
            await write(ctx, "late")
            await asyncio.sleep(LONG)

        @app.task(transaction=True, name="deaf")
        async def deaf(ctx: Context) -> str:
            await write(ctx, "deaf")
            waiting.set()
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError:
                pass
            return "all the same"

        async with app.running(grace=1) as worker:
            with pytest.raises(JobFailed, match="timeout"):
                await (await late.enqueue()).result(timeout=LONG)
            job = await deaf.enqueue()
            await waiting.wait()
            worker.cancel([job.id])  # as a beat would tell it
            with pytest.raises(JobCancelled):
                await job.result(timeout=LONG)
        assert await effects() == []

    async def test_a_stop_takes_it_back_and_hands_the_job_back(self, app: App, effects: Ledger) -> None:
        started = asyncio.Event()

        @app.task(transaction=True, name="t")
        async def task(ctx: Context) -> None:
            await write(ctx, "effect")
            started.set()
            await asyncio.sleep(LONG)

        async with app:
            async with app.running(grace=0.05):
                job = await task.enqueue()
                await started.wait()
            record = await job.refresh()
        assert (record.state in {"ready", "scheduled"}, record.attempt) == (True, 0)
        assert await effects() == []

    async def test_a_result_that_cannot_be_stored_takes_it_back(self, app: App, effects: Ledger) -> None:
        @app.task(transaction=True, name="t")
        async def task(ctx: Context) -> object:
            await write(ctx, "effect")
            return object()

        async with app.running(grace=1):
            with pytest.raises(JobFailed, match="ResultNotEncodable"):
                await (await task.enqueue()).result(timeout=LONG)
        assert await effects() == []

    async def test_H3_flows_many_and_blocking_calls_go_through_the_transaction(self, app: App, effects: Ledger) -> None:
        """All that a function enqueues: else SQLite would wait for itself, and PostgreSQL would commit too early."""
        other = app.remote("other")

        @app.task(transaction=True, name="t", timeout=LONG)
        async def task(ctx: Context, fail: bool) -> list[str]:
            flow = await app.enqueue(chain(group(*(other.bind(n=n) for n in range(3))), app.remote("total")))
            many = await app.enqueue_many(other.bind(n=n) for n in range(5))
            child = await asyncio.create_task(other.enqueue(n=7))
            blocking = await asyncio.to_thread(lambda: other.sync.enqueue(n=8))
            several = await asyncio.gather(*(other.enqueue(n=n) for n in range(5)))
            jobs = [flow, *many, child, blocking, *several]
            assert [each for each in await (await app.store()).get([job.id for job in jobs]) if each] == []
            if fail:
                raise OSError("no")
            return [job.id for job in jobs]

        async with app.running(grace=1):
            with pytest.raises(JobFailed, match="OSError"):
                await (await task.enqueue(fail=True)).result(timeout=LONG)
            assert (await app.jobs.find(task="other")).jobs == []
            ids = await (await task.enqueue(fail=False)).result(timeout=LONG)
            results = [await (await app.jobs.get(each)).result(timeout=LONG) for each in ids]
        assert results == [6, 1, 2, 3, 4, 5, 8, 9, 1, 2, 3, 4, 5]

    async def test_many_at_once(self, app: App, effects: Ledger) -> None:
        @app.task(transaction=True, name="t")
        async def task(ctx: Context, n: int) -> int:
            await write(ctx, f"{n:02}")
            await asyncio.sleep(0.001)
            await app.remote("other").enqueue(n=n)
            return n

        async with app.running(concurrency=8, grace=1):
            jobs = await app.enqueue_many(task.bind(n) for n in range(40))
            assert [await job.result(timeout=LONG) for job in jobs] == list(range(40))
            await app.idle()
            assert len((await app.jobs.find(task="other")).jobs) == 40
        assert await effects() == [f"{n:02}" for n in range(40)]

    async def test_what_was_enqueued_unique_is_not_lost_with_the_job_that_held_the_key(self, app: App) -> None:
        """RULES H11g: the key of a job that ends is not free before its own transaction has ended."""

        @app.task(transaction=True, name="t")
        async def task(ctx: Context) -> bool:
            return (await app.remote("other").options(unique="k").enqueue(n=1)).created

        async with app.running(grace=1):
            assert await (await task.options(unique="k").enqueue()).result(timeout=LONG) is False
            assert await (await task.options(unique="other").enqueue()).result(timeout=LONG) is True

    async def test_a_statement_that_ends_the_transaction_ends_the_attempt(self, app: App, effects: Ledger) -> None:
        @app.task(transaction=True, name="t")
        async def task(ctx: Context) -> None:
            await ctx.connection.execute("COMMIT")

        async with app.running(grace=1):
            with pytest.raises(JobFailed, match="worker"):
                await (await task.enqueue()).result(timeout=LONG)

    async def test_savepoints_are_the_tasks_own(self, app: App, effects: Ledger) -> None:
        @app.task(transaction=True, name="t")
        async def task(ctx: Context) -> None:
            await write(ctx, "first")
            await ctx.connection.execute("SAVEPOINT s")
            await write(ctx, "second")
            await ctx.connection.execute("ROLLBACK TO s")

        async with app.running(grace=1):
            await (await task.enqueue()).result(timeout=LONG)
        assert await effects() == ["first"]

    async def test_a_constraint_that_is_checked_at_the_commit_fails_the_attempt(
        self, app: App, effects: Ledger
    ) -> None:
        @app.task(transaction=True, name="t")
        async def task(ctx: Context) -> None:
            await write(ctx, "effect")
            await self.break_deferred_constraint(ctx)

        async with app.running(grace=1):
            with pytest.raises(JobFailed, match=r"(?i)foreign ?key"):
                await (await task.enqueue()).result(timeout=LONG)
            assert await (await app.remote("other").enqueue(n=1)).result(timeout=LONG) == 2, "the worker goes on"
        assert await effects() == []

    async def take_lease_away(self, app: App, ctx: Context) -> None:
        """As a rescue by another worker would."""
        raise NotImplementedError

    async def break_deferred_constraint(self, ctx: Context) -> None:
        """What the commit refuses."""
        raise NotImplementedError

    async def nothing(self) -> None:
        """For `until`."""


# --- what they share


async def write(ctx: Context, what: str) -> None:
    assert await ctx.connection.execute("INSERT INTO effects (what) VALUES ($1)", what) == "INSERT 0 1"


async def until(look: Callable[[], Coroutine[Any, Any, Any]], good: Callable[[Any], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not good(await look()):
            await asyncio.sleep(0.01)


def spoil_settle(monkeypatch: pytest.MonkeyPatch, store: Store, *, before: bool) -> None:
    """The first commit ends without an answer."""
    begin = store.transaction
    spoiled: list[str] = []

    async def transaction(worker: str, job: str) -> Transaction:
        made = await begin(worker, job)
        settle = made.settle

        async def unclear(settlement: Settlement) -> Answer:
            if spoiled:
                return await settle(settlement)
            spoiled.append(settlement.job)
            if not before:
                await settle(settlement)
            raise StoreUnavailable("no answer")

        monkeypatch.setattr(made, "settle", unclear)
        return made

    monkeypatch.setattr(store, "transaction", transaction)


def schema_of(url: str) -> str:
    return Place.parse(url).schema


@asynccontextmanager
async def plain(url: str, *, prepared: bool = True) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(Place.parse(url).dsn, statement_cache_size=100 if prepared else 0)
    try:
        yield connection
    finally:
        await connection.close()

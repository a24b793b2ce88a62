"""The high and medium rules that concern the engine."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from mainspring.engine.context import Context
from mainspring.engine.events import JobEnded
from mainspring.engine.limits import Limits
from mainspring.engine.settings import WorkerSettings
from mainspring.model.record import Settlement
from mainspring.retries.backoff import constant
from mainspring.retries.policy import Retry
from mainspring.store.base import Claim, Lane
from mainspring.store.memory import MemoryStore
from tests.unit.engine.workshop import Workshop, virtual, workshop

LEASE = 30.0


def lane(task: str = "t") -> Lane:
    return Lane("default", task, "", 100)


@virtual
async def test_H8_nothing_starts_while_the_lease_is_in_doubt() -> None:
    """The loop stands still for most of a lease; then no beat is answered. What was claimed before is not started."""
    started: list[tuple[int, bool]] = []

    async with workshop() as shop:

        async def work(n: int) -> None:
            started.append((n, shop.store.down))
            if n == 0:
                shop.store.down = True
                shop.clock.advance(LEASE * 0.9)
                shop.loop.call_later(60, lambda: setattr(shop.store, "down", False))

        shop.task(work)
        jobs = [await shop.add(arguments={"n": n}) for n in range(4)]
        async with shop.worker(concurrency=4, lease_time=LEASE):
            await shop.ended(*jobs, within=300)
        assert started == [(0, False), (1, False), (2, False), (3, False)]


@virtual
async def test_H8_a_frozen_worker_asks_before_it_starts_what_others_have_by_now() -> None:
    """It was stopped for 20 minutes with jobs in its buffer; the store has rescued them meanwhile."""
    started: list[tuple[int, int]] = []

    async with workshop() as shop:

        async def quick(ctx: Context, n: int) -> None:
            started.append((n, ctx.fence))
            if n == 0 and ctx.fence == 1:
                shop.clock.advance(1200)  # the process stands still, and its loop with it
                await MemoryStore.leave(shop.store, worker.id, died=True)

        shop.task(quick, context=True)
        jobs = [await shop.add(arguments={"n": n}) for n in range(10)]
        worker = shop.worker(concurrency=10, lease_time=LEASE)
        async with worker:
            await shop.ended(*jobs, within=2000)
        assert started[0] == (0, 1)
        assert sorted(started[1:]) == [(n, 2) for n in range(10)]


@virtual
async def test_C2_an_attempt_that_was_lost_is_ended() -> None:
    """Another worker has the job now; the store tells so when the leases are compared."""
    ended: list[str] = []

    async with workshop() as shop:

        async def work() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append("lost")

        shop.task(work)
        job = await shop.add()
        async with shop.worker(lease_time=LEASE) as worker:
            await shop.until(lambda: job in worker.running)
            (record,) = await shop.store.get([job])
            assert record is not None
            await MemoryStore.settle(shop.store, [Settlement(job=job, lease=record.lease, kind="cancelled")])
            await asyncio.sleep(61)
            assert ended == ["lost"]
            assert worker.running == ()


@virtual
async def test_H8_expires_is_looked_at_before_the_start() -> None:
    started: list[int] = []

    async with workshop() as shop:

        async def work(n: int) -> None:
            started.append(n)
            shop.clock.advance(0.6)

        shop.task(work)
        first, second = await shop.add(arguments={"n": 1}), await shop.add(arguments={"n": 2}, expires_in=0.5)
        async with shop.worker(concurrency=2):
            records = await shop.ended(first, second)
        assert [record.state for record in records] == ["completed", "expired"]
        assert started == [1]


@virtual
async def test_H8_a_cancelled_job_in_the_buffer_is_not_started() -> None:
    started: list[int] = []

    async with workshop() as shop:

        async def work(n: int) -> None:
            started.append(n)
            if n == 0:
                await shop.store.cancel([jobs[1]])
                worker._parts._told([jobs[1]], [])  # type: ignore[union-attr]  # as the next beat would

        shop.task(work)
        jobs = [await shop.add(arguments={"n": n}) for n in range(2)]
        worker = shop.worker(concurrency=1, prefetch=5)
        async with worker:
            records = await shop.ended(*jobs)
        assert [record.state for record in records] == ["completed", "cancelled"]
        assert started == [0]


def measured(*, mean: float, claim: float, running: int = 0, concurrency: int | None = None) -> int:
    """How many jobs of such a lane are asked for beyond 10 free slots."""
    shop_registry = Workshop.__new__(Workshop)
    from mainspring.engine.registry import Registry

    shop_registry.registry = Registry()

    async def work() -> None: ...

    shop_registry.task(work, concurrency=concurrency)
    limits = Limits(shop_registry.registry, WorkerSettings(concurrency=10, prefetch=500))
    known = limits.lane("default", "t", "")
    limits.claimed(claim)
    known.ran(mean)
    for _ in range(running):
        known.began()
    wish = limits.wish(running, [])
    return 0 if wish is None else wish.lanes[0].cap - (10 - running)


def test_H8_fast_jobs_are_fetched_ahead_for_two_claims() -> None:
    assert measured(mean=0.001, claim=0.01) == 20
    assert measured(mean=0.001, claim=0.01, running=5) == 100
    assert measured(mean=0.000001, claim=0.01) == 500


def test_H8_slow_and_limited_jobs_are_not_fetched_ahead() -> None:
    assert measured(mean=0.06, claim=10.0) == 0
    assert measured(mean=0.001, claim=0.01, concurrency=1) < 0


@virtual
async def test_H8_what_is_stuck_behind_slow_jobs_is_handed_back() -> None:
    async with workshop() as shop:

        async def work(n: int) -> None:
            if n >= 20:
                await asyncio.sleep(600)
            else:
                shop.clock.advance(0.0001)

        claim = shop.store.claim

        async def slow_claim(request: Any) -> Any:
            answer = await claim(request)
            shop.clock.advance(0.01)
            return answer

        shop.store.claim = slow_claim  # type: ignore[method-assign]
        shop.task(work)
        jobs = [await shop.add(arguments={"n": n}) for n in range(60)]
        async with shop.worker(concurrency=2, prefetch=100) as worker:
            await shop.ended(*jobs[:20])
            await asyncio.sleep(5)
            held = await MemoryStore.held(shop.store, worker.id)
            assert len(held) == len(worker.running) == 2
            await worker.stop(now=True)


VARIABLE: ContextVar[str] = ContextVar("variable", default="unset")


@virtual
async def test_H16_context_is_not_shared() -> None:
    """Neither among jobs that wait, nor among those that run one after the other in one runner."""
    seen: list[str] = []

    async def work(n: int) -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set(f"job {n}")
        if n % 2:
            await asyncio.sleep(1)
            assert VARIABLE.get() == f"job {n}"

    async with workshop() as shop:
        shop.task(work)
        jobs = [await shop.add(arguments={"n": n}) for n in range(10)]
        async with shop.worker(concurrency=10):
            records = await shop.ended(*jobs)
        assert seen == ["unset"] * 10
        assert all(record.state == "completed" for record in records)


@virtual
async def test_H16_a_job_that_waits_has_a_task_to_itself() -> None:
    tasks: dict[int, asyncio.Task[Any] | None] = {}

    async def work(n: int) -> None:
        before = asyncio.current_task()
        await asyncio.sleep(1)
        assert asyncio.current_task() is before
        tasks[n] = before

    async with workshop() as shop:
        shop.task(work)
        jobs = [await shop.add(arguments={"n": n}) for n in range(10)]
        async with shop.worker(concurrency=3):
            await shop.ended(*jobs)
        assert len(set(tasks.values())) == 10


@virtual
async def test_H16_a_job_that_cancels_itself_hurts_no_other() -> None:
    async def work(n: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        if n == 0:
            task.cancel()  # and ends without ever waiting
        elif n == 1:
            async with asyncio.timeout(1):
                await asyncio.sleep(0.5)
        else:
            await asyncio.sleep(0)

    async with workshop() as shop:
        shop.task(work)
        jobs = [await shop.add(arguments={"n": n}) for n in range(6)]
        async with shop.worker(concurrency=6):
            records = await shop.ended(*jobs)
        assert [record.state for record in records] == ["completed"] * 6


@virtual
async def test_M2_a_retry_of_this_process_is_on_time() -> None:
    times: list[float] = []

    async with workshop() as shop:

        async def fail() -> None:
            times.append(shop.loop.time())
            raise OSError

        shop.task(fail, retry=Retry(on=OSError, attempts=2, backoff=constant(0.05)))
        job = await shop.add()
        async with shop.worker(poll=1.0):
            await shop.ended(job)
        assert times[1] - times[0] == pytest.approx(0.05, abs=0.01)


@virtual
async def test_M13_settlements_wait_for_a_store_that_is_down() -> None:
    async def work() -> str:
        await asyncio.sleep(1)
        return "kept"

    async with workshop() as shop:
        ended: list[JobEnded] = []
        shop.hub.subscribe(JobEnded, ended.append)
        shop.task(work)
        job = await shop.add()
        async with shop.worker() as worker:
            await shop.until(lambda: job in worker.running)
            shop.store.down = True
            await asyncio.sleep(20)
            assert ended == []
            shop.store.down = False
            (record,) = await shop.ended(job)
        assert record.result == b'"kept"'
        assert [event.job for event in ended] == [job]


@virtual
async def test_M13_a_stop_with_the_store_down_says_what_was_lost() -> None:
    """Also SCD-033."""

    async def work() -> None:
        await asyncio.sleep(1)

    async with workshop() as shop:
        shop.task(work)
        jobs = [await shop.add() for _ in range(3)]
        worker = shop.worker(grace=10.0)
        async with worker:
            await shop.until(lambda: len(worker.running) == 3)
            shop.store.down = True
            await asyncio.sleep(2)
            began = shop.loop.time()
            report = await worker.stop()
            assert shop.loop.time() - began < 30
        assert report.lost == 3
        assert (await shop.job(jobs[0])).state == "running"


@virtual
async def test_M14_leaving_releases_all() -> None:
    async def work() -> None:
        await asyncio.sleep(1)

    async with workshop() as shop:
        shop.task(work)
        ghost = await shop.add(task="unknown")
        async with shop.worker() as worker:
            await MemoryStore.claim(shop.store, Claim(worker.id, 999, [lane("unknown")], 1))
        assert (await shop.job(ghost)).state == "ready"
        assert await shop.store.workers() == []


async def test_prune_removes_what_is_past_its_retention() -> None:
    @virtual
    async def run() -> None:
        async def work() -> None: ...

        async with workshop() as shop:
            shop.task(work)
            job = await shop.add()
            async with shop.worker(retention={"completed": 100.0}, prune_every=10.0):
                await shop.ended(job)
                await asyncio.sleep(90)
                assert (await shop.store.get([job]))[0] is not None
                await asyncio.sleep(30)
                assert (await shop.store.get([job]))[0] is None

    await asyncio.to_thread(run)

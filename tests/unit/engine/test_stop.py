"""The stop ladder: what finishes, what is handed back, and what is told."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mainspring.engine.context import Context
from mainspring.engine.drained import Stopped
from mainspring.errors import RetryLater, StoreClosed
from mainspring.store.memory import MemoryStore
from tests.unit.engine.workshop import virtual, workshop


@virtual
async def test_CAN_036_running_jobs_end_within_the_grace() -> None:
    """CAN-036: and they were told at once that the worker stops."""
    told: list[bool] = []

    async with workshop() as shop:

        async def work(ctx: Context) -> str:
            await asyncio.sleep(5)
            told.append(ctx.stopping)
            return "done"

        shop.task(work, context=True)
        jobs = [await shop.add() for _ in range(3)]
        async with shop.worker(grace=10.0) as worker:
            await shop.until(lambda: len(worker.running) == 3)
            began = shop.loop.time()
            report = await worker.stop()
            assert shop.loop.time() - began == pytest.approx(5, abs=0.1)
        records = await shop.store.get(jobs)
        assert [record and record.state for record in records] == ["completed"] * 3
        assert report == Stopped(finished=3)
        assert told == [True] * 3


@virtual
async def test_CAN_037_what_does_not_end_in_time_is_interrupted_and_handed_back_unburned() -> None:
    """CAN-037."""

    async with workshop() as shop:

        async def work() -> None:
            await asyncio.sleep(3600)

        shop.task(work)
        job = await shop.add()
        async with shop.worker(grace=10.0) as worker:
            await shop.until(lambda: job in worker.running)
            began = shop.loop.time()
            report = await worker.stop()
            assert shop.loop.time() - began == pytest.approx(10, abs=0.1)
        record = await shop.job(job)
        assert (record.state, record.reason, record.attempt) == ("scheduled", "release", 0)
        assert record.due - await shop.store.now() <= 1.0
        assert report == Stopped(handed_back=1)


@virtual
async def test_a_second_stop_hands_back_now() -> None:
    async with workshop() as shop:

        async def work() -> None:
            await asyncio.sleep(3600)

        shop.task(work)
        job = await shop.add()
        async with shop.worker(grace=1000.0) as worker:
            await shop.until(lambda: job in worker.running)
            began = shop.loop.time()
            first = asyncio.create_task(worker.stop())
            await asyncio.sleep(1)
            report = await worker.stop(now=True)
            assert shop.loop.time() - began == pytest.approx(1, abs=0.1)
            assert await first == report == worker.stopped == Stopped(handed_back=1)


@virtual
async def test_the_buffer_is_handed_back_first_and_nothing_starts_any_more() -> None:
    started: list[int] = []

    async with workshop() as shop:

        async def work(n: int) -> None:
            started.append(n)
            if n == 0:
                asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(worker.stop()))
                await asyncio.sleep(5)

        shop.task(work)
        jobs = [await shop.add(arguments={"n": n}) for n in range(4)]
        worker = shop.worker(concurrency=1)
        async with worker:
            await shop.until(lambda: worker.stopped is not None)
        assert started == [0]
        records = [await shop.job(job) for job in jobs]
        assert [record.state for record in records] == ["completed", "ready", "ready", "ready"]
        assert [record.attempt for record in records[1:]] == [0, 0, 0]
        assert await shop.store.attempts(jobs[1]) == []


@virtual
async def test_leaving_the_block_stops() -> None:
    async with workshop() as shop:

        async def work() -> None:
            await asyncio.sleep(2)

        shop.task(work)
        job = await shop.add()
        worker = shop.worker(grace=10.0)
        async with worker:
            await shop.until(lambda: job in worker.running)
        assert worker.stopped == Stopped(finished=1)
        assert worker.stopping
        assert await shop.store.workers() == []


@virtual
async def test_cancelling_the_block_ends_the_grace_only_the_second_time() -> None:
    async with workshop() as shop:

        async def work() -> None:
            await asyncio.sleep(3600)

        shop.task(work)
        job = await shop.add()
        worker = shop.worker(grace=100.0)

        async def block() -> None:
            async with worker:
                await asyncio.sleep(10_000)

        running = asyncio.create_task(block())
        await shop.until(lambda: job in worker.running)
        began = shop.loop.time()
        running.cancel()
        await asyncio.sleep(5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert shop.loop.time() - began == pytest.approx(5, abs=0.1)
        assert (await shop.job(job)).state == "scheduled"


@virtual
async def test_a_job_may_say_itself_how_it_wants_to_stop() -> None:
    async with workshop() as shop:

        async def work() -> None:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                raise RetryLater(60, "interrupted") from None

        shop.task(work)
        job = await shop.add()
        async with shop.worker(grace=1.0) as worker:
            await shop.until(lambda: job in worker.running)
        record = await shop.job(job)
        assert (record.state, record.reason, record.attempt) == ("scheduled", "retry", 1)


@virtual
async def test_a_thread_that_looks_at_its_context_ends() -> None:
    async with workshop() as shop:
        stopping = threading.Event()

        def work(ctx: Context) -> str:
            while not ctx.stopping:
                stopping.wait(0.001)
            return "stopped early"

        shop.task(work, mode="sync", context=True)
        job = await shop.add()
        async with shop.worker() as worker:
            while job not in worker.running:
                await asyncio.sleep(0)
        assert (await shop.job(job)).result == b'"stopped early"'


async def test_a_thread_that_never_ends_is_left_behind() -> None:
    """Real time: its lease is not released, for it still runs; the lease time ends it."""
    async with workshop() as shop:
        go = threading.Event()

        def work() -> None:
            go.wait(30)

        shop.task(work, mode="sync")
        job = await shop.add()
        worker = shop.worker(grace=0.05)
        from mainspring.engine import drain

        before = drain.UNWIND
        drain.UNWIND = 0.05  # type: ignore[misc]
        try:
            async with worker:
                while job not in worker.running:
                    await asyncio.sleep(0.001)
        finally:
            drain.UNWIND = before  # type: ignore[misc]
            go.set()
        assert worker.stopped is not None
        assert worker.stopped.left_behind == 1
        assert (await shop.job(job)).state == "running"


@virtual
async def test_a_loop_that_fails_for_good_interrupts_the_block() -> None:
    async with workshop() as shop:
        shop.task(lambda: None, mode="sync")
        with pytest.raises(StoreClosed):
            async with shop.worker(grace=1.0):
                await asyncio.sleep(3)
                await MemoryStore.close(shop.store)
                await asyncio.sleep(10_000)


@virtual
async def test_a_worker_that_never_ran_stops_at_once() -> None:
    async with workshop() as shop:
        assert await shop.worker().stop() == Stopped()


def test_the_report_reads_as_a_sentence() -> None:
    assert str(Stopped(2, 3, 0)) == "stopped: finished 2, handed back 3, lost settlements 0"
    assert str(Stopped(0, 0, 1, 2)).endswith("lost settlements 1, left behind 2")

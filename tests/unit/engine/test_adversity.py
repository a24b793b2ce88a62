"""What must not get lost, run twice or hang when tasks, callers and stores behave badly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mainspring.engine.drain import idle
from mainspring.engine.events import LeaseLost
from mainspring.engine.refusals import OUTLASTED
from mainspring.engine.worker import Worker
from mainspring.errors import JobBusy, StoreClosed, StoreUnsuitable
from mainspring.model.record import Answer, Settlement
from mainspring.retries.backoff import constant
from mainspring.retries.policy import Retry
from mainspring.store.memory import MemoryStore
from tests.unit.engine.workshop import Workshop, virtual, workshop

TWICE = Retry(on=Exception, attempts=2, backoff=constant(10))


def failing(shop: Workshop, error: Callable[[Sequence[Settlement]], Exception | None]) -> None:
    """From now on the store raises what this says about a batch of settlements."""
    real = shop.store.settle

    async def settle(settlements: Sequence[Settlement]) -> list[Answer]:
        wrong = error(settlements)
        if wrong is not None:
            raise wrong
        answers: list[Answer] = await real(settlements)
        return answers

    shop.store.settle = settle  # type: ignore[method-assign]


@virtual
async def test_a_job_that_cancels_its_own_task_has_failed() -> None:
    """It is no release, which would give the attempt back and go on for ever."""
    runs: list[int] = []

    async def work() -> None:
        runs.append(1)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    async with workshop() as shop:
        shop.task(work, retry=TWICE)
        job = await shop.add()
        async with shop.worker():
            (record,) = await shop.ended(job)
        assert (record.state, record.attempt, len(runs)) == ("dead", 2, 2)
        assert record.error is not None
        assert record.error.message == "the task was cancelled, but not by its worker"


@virtual
async def test_a_loop_that_is_torn_down_burns_no_attempt() -> None:
    """All tasks are cancelled at once, before the worker has heard that it should stop."""

    async def work() -> None:
        await asyncio.sleep(3600)

    async with workshop() as shop:
        shop.task(work)
        jobs = [await shop.add() for _ in range(3)]
        worker = shop.worker(grace=10.0, concurrency=2)

        async def block() -> None:
            async with worker:
                await asyncio.sleep(10_000)

        running = asyncio.create_task(block())
        await shop.until(lambda: len(worker.running) == 2)
        mine = asyncio.current_task()
        for task in asyncio.all_tasks():
            if task is not mine:
                task.cancel()
        await asyncio.wait({running})
        records = [await shop.job(job) for job in jobs]
        assert {record.attempt for record in records} == {0}
        assert all(record.state in {"ready", "scheduled"} for record in records)
        assert await shop.store.workers() == []


@virtual
async def test_a_stop_that_is_torn_down_begins_anew_and_hands_back() -> None:
    """The second Ctrl-C cancels the stop itself; it must neither spin nor leave its jobs to the lease time."""

    async def work() -> None:
        await asyncio.sleep(3600)

    async with workshop() as shop:
        shop.task(work)
        job = await shop.add()
        worker = shop.worker(grace=100.0)
        stop, asked = worker.stop, 0

        async def counted(*, now: bool = False) -> Any:
            nonlocal asked
            asked += 1
            assert asked < 10, "it spins"
            return await stop(now=now)

        worker.stop = counted  # type: ignore[method-assign]

        async def block() -> None:
            async with worker:
                await asyncio.sleep(10_000)

        running = asyncio.create_task(block())
        await shop.until(lambda: job in worker.running)
        running.cancel()
        await asyncio.sleep(1)
        mine = asyncio.current_task()
        for task in asyncio.all_tasks():
            if task is not mine:
                task.cancel()
        await asyncio.wait({running})
        assert running.cancelled()
        assert (await shop.job(job)).state == "scheduled"
        assert await shop.store.workers() == []


@virtual
async def test_a_thread_that_raises_KeyboardInterrupt_is_a_failed_attempt() -> None:
    def work() -> None:
        raise KeyboardInterrupt

    async with workshop() as shop:
        shop.task(work, mode="sync")
        job = await shop.add()
        async with shop.worker():
            (record,) = await shop.ended(job)
        assert record.state == "dead"
        assert record.error is not None
        assert (record.error.type, record.error.message) == ("RuntimeError", "the task raised KeyboardInterrupt")


@virtual
async def test_CAN_025_a_cancel_request_of_this_process_needs_no_beat() -> None:
    started: list[int] = []

    async def work(n: int) -> None:
        started.append(n)
        await asyncio.sleep(0 if n else 3600)

    async with workshop() as shop:
        shop.task(work)
        slow, next_ = await shop.add(arguments={"n": 0}), await shop.add(arguments={"n": 1})
        worker = shop.worker(concurrency=1, lease_time=3600.0)
        worker.cancel([slow])  # before it has begun: nothing happens
        async with worker:
            await shop.until(lambda: slow in worker.running)
            assert await shop.store.cancel([slow]) == ["requested"]
            began = shop.loop.time()
            worker.cancel([slow])
            records = await shop.ended(slow, next_)
        assert shop.loop.time() - began < 1
        assert [record.state for record in records] == ["cancelled", "completed"]


@virtual
async def test_C2_an_attempt_that_is_lost_while_it_ends_says_nothing() -> None:
    """Its timeout is over and it cleans up; the store has given the job away meanwhile."""

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(200)

    async with workshop() as shop:
        lost: list[LeaseLost] = []
        shop.hub.subscribe(LeaseLost, lost.append)
        settled: list[str] = []
        shop.task(work, timeout=10.0)
        job = await shop.add()
        failing(shop, lambda batch: settled.extend(each.job for each in batch))
        async with shop.worker() as worker:
            await shop.until(lambda: job in worker.running)
            record = await shop.job(job)
            await asyncio.sleep(20)
            await MemoryStore.settle(shop.store, [Settlement(job=job, lease=record.lease, kind="cancelled")])
            await asyncio.sleep(600)
        assert settled == []
        assert [each.job for each in lost] == [job]


@virtual
async def test_M13_a_store_that_is_unsuitable_for_a_while_loses_no_success() -> None:
    """A file that is read-only for a moment says nothing about what was to be written."""

    async def work() -> str:
        await asyncio.sleep(0.01)
        return "done"

    async with workshop() as shop:
        shop.task(work)
        ends = shop.loop.time() + 30
        failing(shop, lambda _batch: StoreUnsuitable("read-only") if shop.loop.time() < ends else None)
        job = await shop.add()
        async with shop.worker():
            (record,) = await shop.ended(job)
        assert (record.state, record.result, record.lease) == ("completed", b'"done"', 1)


@virtual
async def test_C10_an_error_that_nobody_foresaw_is_outlasted() -> None:
    async def work() -> str:
        return "done"

    async with workshop() as shop:
        shop.task(work)
        ends = shop.loop.time() + OUTLASTED / 2
        failing(shop, lambda _batch: RuntimeError("what?") if shop.loop.time() < ends else None)
        jobs = [await shop.add() for _ in range(5)]
        async with shop.worker():
            records = await shop.ended(*jobs)
        assert [(record.state, record.lease) for record in records] == [("completed", 1)] * 5


@virtual
async def test_C10_a_job_in_somebodys_hands_is_settled_however_long_they_hold_it() -> None:
    async def work() -> str:
        return "done"

    async with workshop() as shop:
        shop.task(work)
        ends = shop.loop.time() + OUTLASTED * 2
        job = await shop.add()
        failing(shop, lambda _batch: JobBusy("held") if shop.loop.time() < ends else None)
        async with shop.worker():
            [record] = await shop.ended(job)
        assert (record.state, record.lease) == ("completed", 1)


@pytest.mark.parametrize("error", [ValueError("a value"), RuntimeError("what?")], ids=repr)
def test_C10_what_the_store_never_takes_ends_its_job_dead_and_holds_up_no_other(error: Exception) -> None:
    @virtual
    async def scene() -> None:
        async def work(n: int) -> int:
            return n

        async with workshop() as shop:
            shop.task(work)
            failing(
                shop,
                lambda batch: error if any(each.job == bad and each.kind == "complete" for each in batch) else None,
            )
            bad, *others = [await shop.add(arguments={"n": n}) for n in range(6)]
            async with shop.worker():
                began = shop.loop.time()
                records = await shop.ended(*others)
                assert shop.loop.time() - began < 1
                (dead,) = await shop.ended(bad)
        assert {record.state for record in records} == {"completed"}
        assert (dead.state, dead.reason) == ("dead", "the store refused what its attempt said")

    scene()


@virtual
async def test_C10_what_can_not_even_be_written_as_dead_is_handed_back() -> None:
    """The lease is not kept by a worker that has nothing more to say: the job runs again."""
    runs: list[int] = []

    async def work() -> None:
        runs.append(1)

    async with workshop() as shop:
        shop.task(work)
        failing(
            shop, lambda batch: ValueError("no") if len(runs) < 2 and any(s.kind != "release" for s in batch) else None
        )
        job = await shop.add()
        async with shop.worker():
            (record,) = await shop.ended(job)
        assert (record.state, len(runs)) == ("completed", 2)


@virtual
async def test_a_stop_writes_what_was_refused_for_a_passing_reason() -> None:
    async def work() -> None: ...

    async with workshop() as shop:
        shop.task(work)
        ends = shop.loop.time() + 21
        failing(shop, lambda _batch: RuntimeError("what?") if shop.loop.time() < ends else None)
        job = await shop.add()
        worker = shop.worker(grace=60.0)
        async with worker:
            await asyncio.sleep(20)
        assert (await shop.job(job)).state == "completed"
        assert worker.stopped is not None
        assert worker.stopped.lost == 0


@virtual
async def test_a_closed_store_loses_settlements_at_once() -> None:
    async def work() -> None: ...

    async with workshop() as shop:
        shop.task(work)
        failing(shop, lambda _batch: StoreClosed("closed"))
        await shop.add()
        worker = shop.worker(grace=1.0)
        async with worker:
            await asyncio.sleep(1)
        assert worker.stopped is not None
        assert worker.stopped.lost == 1


@virtual
async def test_idle_waits_for_no_queue_that_nobody_here_serves_nor_for_a_pause() -> None:
    async def work() -> None:
        await asyncio.sleep(0.1)

    async with workshop() as shop:
        shop.task(work)
        elsewhere = await shop.add(queue="elsewhere")
        held = await shop.add(queue="held")
        served = await shop.add(queue="served")
        await shop.store.pause("held")
        async with shop.worker(queues=("held", "served")) as worker:
            async with asyncio.timeout(600):
                await idle(shop.store, known=worker.serves, paused=lambda: worker.paused)
            assert worker.paused == {"held"}
            states = [(await shop.job(job)).state for job in (elsewhere, held, served)]
            assert states == ["ready", "ready", "completed"]


async def test_a_worker_that_has_not_begun_serves_nothing() -> None:
    async with workshop() as shop:
        shop.task(lambda: None, mode="sync")
        worker: Worker = shop.worker()
        assert not worker.serves("default", "t")
        assert worker.paused == frozenset()

"""The rules that concern the engine, each with the interleaving that breaks an engine without it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from mainspring.engine.context import Context
from mainspring.engine.drain import idle
from mainspring.engine.events import LeaseLost
from mainspring.engine.watchdog import EXIT_CODE, Watchdog
from mainspring.model.record import Settlement
from mainspring.retries.backoff import constant
from mainspring.retries.policy import Retry
from mainspring.store.base import Beat, Claim, Lane, Worker
from mainspring.store.memory import MemoryStore
from tests.unit.engine.workshop import Workshop, virtual, workshop

LEASE = 30.0


def lane(task: str = "t") -> Lane:
    return Lane("default", task, "", 100)


async def taken_by_the_dead(shop: Workshop, *jobs: str, task: str = "t") -> None:
    """These jobs were running in a worker that died: they come back as suspects."""
    await shop.store.join(Worker("dead"))
    claimed = await MemoryStore.claim(shop.store, Claim("dead", 1, [lane(task)], len(jobs)))
    assert {job.id for job in claimed.jobs} == set(jobs)
    await shop.store.leave("dead", died=True)


@pytest.mark.parametrize("verb", ["claim", "settle", "beat", "sweep", "lanes", "held"])
@pytest.mark.parametrize("number", range(4))
def test_C2_every_answer_may_be_lost_once(verb: str, number: int) -> None:
    """Whichever call loses its answer, each job runs to its end within two lease times, and no lease is left over."""

    @virtual
    async def run() -> None:
        ran: dict[int, int] = {}

        async def work(n: int) -> None:
            ran[n] = ran.get(n, 0) + 1
            if n % 3 == 0 and ran[n] == 1:
                raise OSError
            if n % 3 == 1:
                await asyncio.sleep(0.2)

        async with workshop() as shop:
            shop.store.lose = {f"{verb}:{number}"}
            shop.task(work, retry=Retry(on=OSError, attempts=2, backoff=constant(1)))
            jobs = [await shop.add(arguments={"n": n}) for n in range(12)]
            async with shop.worker(concurrency=4, lease_time=LEASE) as worker:
                records = await shop.ended(*jobs, within=2 * LEASE)
                await asyncio.sleep(61)
                assert await MemoryStore.held(shop.store, worker.id) == []
            assert all(record.state == "completed" for record in records)
            assert ran == {n: 2 if n % 3 == 0 else 1 for n in range(12)}

    run()


@virtual
async def test_C2_ghost_leases_are_released() -> None:
    """The store thinks that the worker has a job, the worker has never heard of it."""
    started: list[str] = []

    async def work(ctx: Context) -> None:
        started.append(ctx.job_id)

    async with workshop() as shop:
        shop.task(work, context=True)
        async with shop.worker(queues=("other",)) as worker:
            ghost = await shop.add()
            await MemoryStore.claim(shop.store, Claim(worker.id, 999, [lane()], 1))
            assert (await shop.job(ghost)).state == "running"
            await asyncio.sleep(70)
            assert (await shop.job(ghost)).state == "ready"
            async with shop.worker():
                (record,) = await shop.ended(ghost)
        assert (record.state, record.attempt, started) == ("completed", 1, [ghost])


def test_C2_what_ends_while_the_leases_are_compared_is_not_handed_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The store has looked, and its answer is slow: jobs that end meanwhile are in it, and no strangers."""
    looked: list[int] = []
    held = MemoryStore.held

    async def slowly(self: MemoryStore, worker: str) -> Any:
        answer = await held(self, worker)
        looked.append(len(answer))
        await asyncio.sleep(5)
        return answer

    @virtual
    async def run() -> None:
        async def work() -> None:
            await asyncio.sleep(2)

        async with workshop() as shop:
            monkeypatch.setattr(type(shop.store), "held", slowly)
            shop.task(work)
            async with shop.worker(concurrency=4):
                for _ in range(400):
                    await shop.add()
                await asyncio.sleep(250)

    run()
    assert any(looked)
    assert "has no use for" not in caplog.text


@virtual
async def test_C2_a_claim_without_an_answer_is_asked_for_again_by_its_number() -> None:
    async def work() -> None:
        await asyncio.sleep(1)

    async with workshop() as shop:
        shop.task(work)
        shop.store.lose = {"claim:0", "claim:1", "claim:2"}
        jobs = [await shop.add() for _ in range(5)]
        async with shop.worker(concurrency=5):
            records = await shop.ended(*jobs, within=10)
        assert [record.lease for record in records] == [1] * 5


@virtual
async def test_C3_a_settlement_whose_answer_was_lost_is_no_lost_lease() -> None:
    async def work() -> str:
        return "ok"

    async with workshop() as shop:
        told: list[LeaseLost] = []
        shop.hub.subscribe(LeaseLost, told.append)
        shop.task(work)
        shop.store.lose = {"settle:0", "settle:1"}
        job = await shop.add()
        async with shop.worker():
            (record,) = await shop.ended(job)
            await asyncio.sleep(10)
        assert record.result == b'"ok"'
        assert told == []
        assert shop.store.calls.count("settle:2") == 1


@virtual
async def test_C3_a_stale_settlement_is_told_and_hurts_nobody() -> None:
    """The job was rescued and ended elsewhere while this attempt went on."""
    async with workshop() as shop:
        told: list[LeaseLost] = []
        shop.hub.subscribe(LeaseLost, told.append)

        async def work() -> None:
            await asyncio.sleep(5)

        shop.task(work)
        job = await shop.add()
        async with shop.worker() as worker:
            await shop.until(lambda: job in worker.running)
            await MemoryStore.leave(shop.store, worker.id, died=True)
            await shop.store.join(Worker("other"))
            await MemoryStore.claim(shop.store, Claim("other", 1, [lane()], 1, suspects=1))
            await MemoryStore.settle(shop.store, [Settlement(job=job, lease=2, kind="complete", result=b"2")])
            await asyncio.sleep(10)
        assert (await shop.job(job)).result == b"2"
        assert [(event.job, event.lease) for event in told] == [(job, 1)]


@virtual
async def test_C6_suspects_run_alone() -> None:
    """No start next to a suspect's that is not a second older, none for a second after it."""
    starts: list[tuple[float, bool]] = []

    async with workshop() as shop:

        async def work(ctx: Context) -> None:
            starts.append((shop.loop.time(), ctx.job.suspect))
            await asyncio.sleep(3)

        shop.task(work, context=True)
        suspects = [await shop.add() for _ in range(3)]
        await taken_by_the_dead(shop, *suspects)
        others = [await shop.add() for _ in range(6)]
        async with shop.worker(concurrency=4):
            await shop.ended(*suspects, *others)
        assert sum(suspect for _, suspect in starts) == 3
        for at, suspect in starts:
            if suspect:
                near = [each for each, _ in starts if each != at and abs(each - at) < 0.999]
                assert not near, starts


@virtual
async def test_C6_a_suspect_that_ends_at_once_holds_up_nobody() -> None:
    async def work() -> None: ...

    async with workshop() as shop:
        shop.task(work)
        suspects = [await shop.add() for _ in range(20)]
        await taken_by_the_dead(shop, *suspects)
        began = shop.loop.time()
        async with shop.worker(concurrency=4):
            await shop.ended(*suspects)
        assert shop.loop.time() - began < 5


@virtual
async def test_C6_one_suspect_at_a_time() -> None:
    async with workshop() as shop:
        most = 0

        async def work() -> None:
            nonlocal most
            held = await MemoryStore.held(shop.store, worker.id)
            jobs = [await shop.job(each.job) for each in held]
            most = max(most, sum(job.suspect for job in jobs))
            await asyncio.sleep(2)

        shop.task(work)
        suspects = [await shop.add() for _ in range(4)]
        await taken_by_the_dead(shop, *suspects)
        worker = shop.worker(concurrency=4)
        async with worker:
            await shop.ended(*suspects)
        assert most == 1


async def test_C7_stalled_loop_is_seen_by_a_thread(caplog: pytest.LogCaptureFixture) -> None:
    """Real time and a real thread: the loop stands still for 0.3 s."""
    told: list[float] = []
    watchdog = Watchdog(0.1, lambda: None, on_stall=told.append, doing=lambda: "job 7 of busy")
    watchdog.start()
    await asyncio.sleep(0.05)
    with caplog.at_level(logging.ERROR):
        time.sleep(0.3)  # noqa: ASYNC251  # the point of the test
    stalled = [watchdog.stalled]
    await asyncio.sleep(0.1)
    stalled.append(watchdog.stalled)
    watchdog.stop()
    assert stalled == [True, False]
    assert len(told) == 1
    assert "job 7 of busy" in caplog.text
    assert "time.sleep(0.3)" in caplog.text


async def test_C7_a_loop_that_stands_still_for_too_long_ends_the_process() -> None:
    codes: list[int] = []
    watchdog = Watchdog(0.05, lambda: 0.15, on_stall=lambda _seconds: None, doing=lambda: "no job", end=codes.append)
    watchdog.start()
    await asyncio.sleep(0.05)
    time.sleep(0.4)  # noqa: ASYNC251  # the point of the test
    watchdog.stop()
    assert codes == [EXIT_CODE]


async def test_C7_a_loop_that_turns_is_left_alone() -> None:
    told: list[float] = []
    watchdog = Watchdog(
        0.2, lambda: 0.2, on_stall=told.append, doing=lambda: "no job", end=lambda _code: told.append(0)
    )
    watchdog.start()
    for _ in range(40):
        await asyncio.sleep(0.01)
    watchdog.stop()
    assert told == []


@virtual
async def test_C8_a_worker_that_was_forgotten_ends_what_it_lost() -> None:
    """Its beat comes back unknown: it joins again, and the attempts whose leases have gone are ended."""
    ends: list[str] = []

    async with workshop() as shop:

        async def work(ctx: Context) -> None:
            try:
                await asyncio.sleep(3600 if ctx.fence == 1 else 1)
            finally:
                ends.append(f"lease {ctx.fence}")

        shop.task(work, context=True)
        job = await shop.add()
        async with shop.worker(lease_time=LEASE) as worker:
            await shop.until(lambda: job in worker.running)
            await MemoryStore.leave(shop.store, worker.id, died=True)
            (record,) = await shop.ended(job, within=60)
        assert record.state == "completed"
        assert ends[0] == "lease 1"
        assert record.lease > 1


@virtual
async def test_C10_a_settlement_that_the_store_refuses_ends_its_job_only() -> None:
    """A follow-up that waits on nothing known is refused with the whole batch; only its own job pays."""
    async with workshop() as shop:
        refused = 0
        settle = shop.store.settle

        async def picky(settlements: Any) -> Any:
            nonlocal refused
            if any(each.result == b'"bad"' for each in settlements):
                refused += 1
                raise ValueError("a value that this store cannot hold")
            return await settle(settlements)

        shop.store.settle = picky  # type: ignore[method-assign]

        async def work(n: int) -> str:
            return "bad" if n == 7 else "good"

        shop.task(work)
        jobs = [await shop.add(arguments={"n": n}) for n in range(16)]
        async with shop.worker(concurrency=16):
            records = await shop.ended(*jobs)
        assert [record.state for record in records] == ["completed"] * 7 + ["dead"] + ["completed"] * 8
        assert records[7].error is not None
        assert "cannot hold" in records[7].error.message
        assert refused > 1


@virtual
async def test_a_store_that_is_down_at_the_start_is_waited_for() -> None:
    async def work() -> None: ...

    async with workshop() as shop:
        shop.task(work)
        job = await shop.add()
        shop.store.down = True
        shop.loop.call_later(60, lambda: setattr(shop.store, "down", False))
        async with shop.worker(lease_time=LEASE):
            (record,) = await shop.ended(job)
        assert record.state == "completed"


@virtual
async def test_idle_waits_for_retries_and_not_for_delays() -> None:
    calls: list[int] = []

    async def fail() -> None:
        calls.append(1)
        raise OSError

    async with workshop() as shop:
        shop.task(fail, retry=Retry(on=OSError, attempts=3, backoff=constant(50)))
        job, later = await shop.add(), await shop.add(delay=10_000.0)
        began = shop.loop.time()
        async with shop.worker():
            await idle(shop.store)
        assert shop.loop.time() - began < 200
        assert len(calls) == 3
        assert (await shop.job(job)).state == "dead"
        assert (await shop.job(later)).state == "scheduled"


@virtual
async def test_C1_an_outage_of_the_store_rescues_nobody() -> None:
    """The store is down for longer than the lease; both workers live on, and no job runs twice."""
    ran: list[str] = []

    async def work(ctx: Context) -> None:
        ran.append(ctx.job_id)
        await asyncio.sleep(120)

    async with workshop() as shop:
        shop.task(work, context=True)
        jobs = [await shop.add() for _ in range(4)]
        async with shop.worker(concurrency=2, lease_time=LEASE), shop.worker(concurrency=2, lease_time=LEASE):
            await shop.until(lambda: len(ran) == 4)
            shop.store.down = True
            await asyncio.sleep(45)
            shop.store.down = False
            records = await shop.ended(*jobs)
        assert len(ran) == 4
        assert all((record.state, record.lease) == ("completed", 1) for record in records)


@virtual
async def test_a_dead_worker_is_rescued_from_after_its_lease() -> None:
    async def work() -> None: ...

    async with workshop() as shop:
        shop.task(work)
        job = await shop.add()
        await shop.store.join(Worker("gone", lease_time=LEASE))
        await MemoryStore.claim(shop.store, Claim("gone", 1, [lane()], 1))
        await MemoryStore.beat(shop.store, Beat("gone"))
        async with shop.worker(lease_time=LEASE):
            (record,) = await shop.ended(job, within=3 * LEASE)
        assert (record.state, record.rescues) == ("completed", 1)

"""Jobs run by a worker on the memory store, in virtual time."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from mainspring.codec import decode
from mainspring.engine.context import Context
from mainspring.engine.drain import idle
from mainspring.engine.events import JobEnded, JobStarted, WorkerStarted, WorkerStopped
from mainspring.engine.options import pack
from mainspring.errors import AppError, TaskDefinitionError
from mainspring.model.conclude import Completed, Outcome
from mainspring.model.record import NewGroup, NewJob
from mainspring.retries.backoff import constant
from mainspring.retries.policy import Retry
from tests.unit.engine.workshop import virtual, workshop

TWICE = Retry(on=Exception, attempts=2, backoff=constant(10))


@virtual
async def test_a_job_runs_and_its_result_is_kept() -> None:
    """SCH-035."""

    async def greet(ctx: Context, name: str, mark: str = "!") -> str:
        assert Context.current() is ctx
        return f"hello {name}{mark}, {ctx.state}"

    async with workshop() as shop:
        shop.task(greet, context=True)
        job = await shop.add(arguments={"name": "Ada"})
        async with shop.worker(state="pool"):
            (record,) = await shop.ended(job)
        assert record.state == "completed"
        assert record.result == b'"hello Ada!, pool"'
        assert (record.attempt, record.lease) == (1, 1)


@virtual
async def test_many_jobs_run_side_by_side_up_to_the_concurrency() -> None:
    running, most = 0, 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    async with workshop() as shop:
        shop.task(work)
        jobs = [await shop.add() for _ in range(25)]
        began = shop.loop.time()
        async with shop.worker(concurrency=10):
            await shop.ended(*jobs)
        assert most == 10
        assert shop.loop.time() - began == pytest.approx(3.0, abs=0.2)


@virtual
async def test_LIM_006_a_task_never_runs_more_often_at_once_than_its_concurrency() -> None:
    """LIM-006, also over two queues."""
    running, most = 0, 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.1)
        running -= 1

    async def other() -> None:
        await asyncio.sleep(0.1)

    async with workshop() as shop:
        shop.task(work, concurrency=3)
        shop.task(other, "other")
        jobs = [await shop.add(queue=("default", "b")[index % 2]) for index in range(20)]
        jobs += [await shop.add("other") for _ in range(20)]
        async with shop.worker(concurrency=10):
            await shop.ended(*jobs)
        assert most == 3


@virtual
async def test_an_unknown_task_waits_and_hurts_nobody() -> None:
    async def work() -> None: ...

    async with workshop() as shop:
        shop.task(work)
        stranger, known = await shop.add("elsewhere"), await shop.add()
        async with shop.worker():
            await shop.ended(known)
            await idle(shop.store, known=lambda _queue, task, _version: task == "t")
        assert (await shop.job(stranger)).state == "ready"


@virtual
async def test_a_queue_that_nobody_told_of_is_found() -> None:
    async def work() -> None: ...

    async with workshop() as shop:
        shop.task(work)
        async with shop.worker():
            await asyncio.sleep(5)
            job = await shop.add(queue="surprise")
            await shop.ended(job, within=2.5)


@virtual
async def test_only_the_queues_asked_for_are_served() -> None:
    async def work() -> None: ...

    async with workshop() as shop:
        shop.task(work)
        here, there = await shop.add(queue="here"), await shop.add(queue="there")
        async with shop.worker(queues=("here",)):
            await shop.ended(here)
            await asyncio.sleep(10)
        assert (await shop.job(there)).state == "ready"


@virtual
async def test_a_delayed_job_starts_on_time() -> None:
    """SCH-037."""
    started: list[float] = []

    async with workshop() as shop:

        async def work() -> None:
            started.append(shop.loop.time())

        shop.task(work)
        async with shop.worker() as worker:
            await asyncio.sleep(0.25)
            due = await shop.store.now() + 0.1
            job = await shop.add(delay=0.1)
            worker.notice("default", "t", due=due)
            asked = shop.loop.time()
            await shop.ended(job)
        assert started[0] - asked == pytest.approx(0.1, abs=0.01)


@virtual
async def test_sync_tasks_run_in_threads_with_their_context() -> None:
    names: list[str] = []

    def work(ctx: Context, a: int) -> int:
        assert Context.current() is ctx
        names.append(threading.current_thread().name)
        return a * 2

    async with workshop() as shop:
        shop.task(work, mode="sync", context=True)
        jobs = [await shop.add(arguments={"a": a}) for a in range(5)]
        async with shop.worker():
            records = await shop.ended(*jobs)
        assert [decode(record.result or b"", int) for record in records] == [0, 2, 4, 6, 8]
        assert all(name.startswith("mainspring-task") for name in names)


@virtual
async def test_progress_rides_on_the_beat() -> None:
    async def work(ctx: Context) -> None:
        for done in range(5):
            ctx.progress({"done": done})
            await asyncio.sleep(10)

    async with workshop() as shop:
        shop.task(work, context=True)
        job = await shop.add()
        async with shop.worker(lease_time=30.0):
            await asyncio.sleep(25)
            seen = await shop.store.progress(job)
            await shop.ended(job)
        assert seen in {b'{"done":1}', b'{"done":2}'}


@virtual
async def test_H8_what_has_started_rides_on_the_beat() -> None:
    """Claimed is not yet started; the store knows the difference after a beat."""

    async def work() -> None:
        await asyncio.sleep(60)

    async with workshop() as shop:
        shop.task(work)
        job = await shop.add()
        async with shop.worker(lease_time=30.0):
            await asyncio.sleep(25)
            record = (await shop.store.get([job]))[0]
            await shop.ended(job)
        assert record is not None
        assert record.started is not None
        assert record.claimed is not None
        assert abs(record.started - record.claimed) < 0.01


@virtual
async def test_a_job_gets_the_result_of_the_one_it_waited_on() -> None:
    async def first() -> int:
        return 20

    async def second(given: int, factor: int) -> int:
        return given * factor

    async with workshop() as shop:
        shop.task(first, "first")
        shop.task(second, "second")
        a = await shop.add("first")
        b = await shop.add("second", {"factor": 2}, waits_on=a, options=pack(input="value"))
        async with shop.worker():
            records = await shop.ended(a, b)
        assert records[1].result == b"40"


@virtual
async def test_a_job_gets_the_results_of_the_group_in_order() -> None:
    async def member(n: int) -> int:
        await asyncio.sleep(10 - n)
        return n

    async def total(numbers: list[int]) -> list[int]:
        return numbers

    async def merged(a: int, b: int) -> list[int]:
        return [a, b]

    async def part(key: str, value: int) -> dict[str, int]:
        return {key: value}

    async with workshop() as shop:
        shop.task(member, "member")
        shop.task(total, "total")
        shop.task(part, "part")
        shop.task(merged, "merged")
        members = [NewJob(id=f"m{n}", task="member", payload=b'{"n":%d}' % n, group="g") for n in range(5)]
        last = NewJob(id="last", task="total", waits_on="g", options=pack(input="list"))
        await shop.store.add([*members, last], [NewGroup(id="g", size=5)])
        parts = [
            NewJob(id=f"p{key}", task="part", payload=b'{"key":"%s","value":%d}' % (key.encode(), n), group="h")
            for n, key in enumerate("ab")
        ]
        joined = NewJob(id="joined", task="merged", waits_on="h", options=pack(input="merge"))
        await shop.store.add([*parts, joined], [NewGroup(id="h", size=2)])
        async with shop.worker():
            one, two = await shop.ended("last", "joined")
        assert one.result == b"[0,1,2,3,4]"
        assert two.result == b"[0,1]"


@virtual
async def test_process_tasks_go_to_the_pool() -> None:
    class Pool:
        async def run(self, task: Any, job: Any, **kwargs: Any) -> Outcome:
            kwargs["progress"](b"1")
            return Completed(b'"from afar"')

    async def never() -> None:
        raise AssertionError

    async with workshop() as shop:
        shop.task(never, mode="process")
        job = await shop.add()
        async with shop.worker(processes=Pool()):
            (record,) = await shop.ended(job)
        assert record.result == b'"from afar"'


@virtual
async def test_events_are_told_when_somebody_listens() -> None:
    async def work() -> None: ...

    async with workshop() as shop:
        shop.task(work)
        told: list[object] = []
        for kind in (JobStarted, JobEnded, WorkerStarted, WorkerStopped):
            shop.hub.subscribe(kind, told.append)
        job = await shop.add()
        async with shop.worker() as worker:
            await shop.ended(job)
            await asyncio.sleep(1)
        assert [type(event) for event in told] == [WorkerStarted, JobStarted, JobEnded, WorkerStopped]
        started, ended = told[1], told[2]
        assert isinstance(started, JobStarted)
        assert isinstance(ended, JobEnded)
        assert (started.job, started.task, ended.job, ended.task, ended.kind) == (job, "t", job, "t", "complete")
        assert worker.stopped is not None


@virtual
async def test_a_worker_is_used_once() -> None:
    async with workshop() as shop:
        worker = shop.worker()
        async with worker:
            pass
        with pytest.raises(AppError, match="used once"):
            await worker.__aenter__()


@virtual
async def test_annotations_that_cannot_be_resolved_stop_the_worker_at_its_start() -> None:
    async def work(a: NoSuchThing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    async with workshop() as shop:
        shop.task(work)
        with pytest.raises(TaskDefinitionError, match=r"NoSuchThing|\ba\b"):
            await shop.worker().__aenter__()

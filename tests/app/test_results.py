"""Waiting for results."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from mainspring import App, CancelJob, GiveUp, Job, JobCancelled, JobExpired, JobFailed, JobNotFound
from mainspring.errors import StoreClosed, StoreUnavailable
from mainspring.model.record import JobRecord, Settlement
from mainspring.store.base import Claim, Lane
from mainspring.store.memory import MemoryStore
from mainspring.testing.virtual import run_virtual
from tests.app.virtual_app import run


@dataclass
class Point:
    x: int
    y: int


class Counting(MemoryStore):
    """A memory store that tells of its reads, and can be down for some."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []
        self.down = 0
        self.broken = False

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        self.reads.append(len(ids))
        if self.broken:
            raise ZeroDivisionError
        if self.down:
            self.down -= 1
            raise StoreUnavailable("down")
        return await super().get(ids)


async def end(app: App, job: Job[object], result: bytes) -> None:
    """End a job as a worker of another process would: nothing here hears of it."""
    store = await app.store()
    await store.claim(Claim("other", 1, [Lane("default", job.task, "", 1)], 1))
    await store.settle([Settlement(job=job.id, lease=1, kind="complete", result=result)])


def test_no_time_at_all_is_a_look_at_what_there_is() -> None:
    async def main(app: App) -> None:
        @app.task(name="t")
        async def task() -> int:
            return 1

        job = await task.enqueue()
        with pytest.raises(TimeoutError, match="has not ended yet"):
            await job.result(timeout=0)
        await end(app, job, b"7")
        assert await job.result(timeout=0) == 7
        gone = await task.enqueue()
        await gone.cancel()
        await app.jobs.delete(gone.id)
        with pytest.raises(JobNotFound):
            await gone.result(timeout=0)

    run(main)


def test_D44_the_result_comes_back_as_annotated() -> None:
    async def main(app: App) -> None:
        @app.task(name="point")
        async def point(x: int) -> Point:
            return Point(x, x)

        @app.task(name="nothing")
        async def nothing() -> None: ...

        @app.task(name="secret", store_result=False)
        async def secret() -> int:
            return 1

        async with app.running():
            job = await point.enqueue(3)
            assert await job.result(timeout=5) == Point(3, 3)
            assert await job.result() == Point(3, 3)  # read once
            none: list[Job[object]] = [await nothing.enqueue(), await secret.enqueue()]
            assert [await each.result(5) for each in none] == [None, None]
            assert await (await app.jobs.get(job.id)).result() == Point(3, 3)

    run(main)


def test_D45_other_ends_are_errors() -> None:
    async def main(app: App) -> None:
        @app.task(name="fail")
        async def fail(how: str) -> None:
            if how == "give up":
                raise GiveUp("no use")
            if how == "cancel":
                raise CancelJob("not needed")
            raise ValueError("bad value")

        async with app.running():
            with pytest.raises(JobFailed, match=r"dead after 1 attempt.*ValueError: bad value") as failed:
                await (await fail.enqueue("error")).result(5)
            assert (failed.value.error_type, failed.value.attempts) == ("builtins.ValueError", 1) or (
                failed.value.error_type == "ValueError"
            )
            with pytest.raises(JobFailed, match="no use"):
                await (await fail.enqueue("give up")).result(5)
            with pytest.raises(JobCancelled, match="not needed"):
                await (await fail.enqueue("cancel")).result(5)
            with pytest.raises(JobExpired):
                await (await fail.options(delay=10, expires=5).enqueue("late")).result(60)

    run(main)


def test_the_wait_has_a_limit_and_the_job_goes_on() -> None:
    async def main(app: App) -> None:
        @app.task(name="slow")
        async def slow() -> int:
            await asyncio.sleep(10)
            return 1

        async with app.running():
            job = await slow.enqueue()
            with pytest.raises(TimeoutError, match="has not ended within 2"):
                await job.result(timeout=2)
            assert await job.result(timeout=20) == 1

    run(main)


def test_an_unknown_job_is_not_found() -> None:
    async def main(app: App) -> None:
        job = await app.remote("t").enqueue()
        await job.cancel()
        assert await app.jobs.delete(job.id)
        for ask in (job.result(1), job.refresh(), job.cancel(), app.jobs.get(job.id)):
            with pytest.raises(JobNotFound):
                await ask

    run(main)


def test_M6_all_waiting_go_into_one_read_with_growing_pauses() -> None:
    async def main() -> None:
        store = Counting()
        app = App(store=store)
        async with app:
            jobs = [await app.remote("t").enqueue() for _ in range(50)]
            waiting = [asyncio.create_task(job.result()) for job in jobs]
            await asyncio.sleep(10)
            assert len(store.reads) < 30  # 5 ms, 10 ms, 20 ms, … then one each second
            assert set(store.reads) == {50}
            await end(app, jobs[0], b"7")
            assert await waiting[0] == 7
            for task in waiting[1:]:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            before = len(store.reads)
            await asyncio.sleep(10)
            assert len(store.reads) == before  # nobody waits, nobody reads

    run_virtual(main())


def test_an_end_in_this_process_is_heard_of_at_once() -> None:
    async def main(app: App) -> None:
        @app.task(name="slow")
        async def slow() -> int:
            await asyncio.sleep(100.3)
            return 1

        loop = asyncio.get_running_loop()
        async with app.running():
            job = await slow.enqueue()
            begun = loop.time()
            assert await job.result() == 1
            assert loop.time() - begun < 100.31

    run(main)


def test_a_store_that_is_down_for_a_while_is_asked_again() -> None:
    async def main() -> None:
        store = Counting()
        app = App(store=store)
        async with app:
            job = await app.remote("t").enqueue()
            store.down = 5
            waiting = asyncio.create_task(job.result(60))
            await asyncio.sleep(1)
            await end(app, job, b"1")
            assert await waiting == 1

    run_virtual(main())


def test_who_asks_while_others_are_being_told_is_told_as_well() -> None:
    async def main(app: App) -> None:
        @app.task(name="quick")
        async def quick() -> int:
            return 1

        async with app.running():
            for _ in range(20):
                job = await quick.enqueue()
                first = asyncio.create_task(job.result(5))
                others: list[asyncio.Task[object]] = []
                while not first.done():
                    others.append(asyncio.create_task((await app.jobs.get(job.id)).result(5)))
                    others.append(asyncio.create_task(Job[object](app.connection, job.id, task="quick").result(5)))
                    await asyncio.sleep(0)
                assert await asyncio.gather(*others) == [1] * len(others)

    run(main)


def test_an_error_of_the_store_reaches_all_and_harms_nobody_later() -> None:
    async def main() -> None:
        store = Counting()
        app = App(store=store)
        async with app:
            job = await app.remote("t").enqueue()
            store.broken = True
            waiting = [asyncio.create_task(job.result(60)) for _ in range(3)]
            for each in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(each, ZeroDivisionError)
            store.broken = False
            again = asyncio.create_task(job.result(60))
            await end(app, job, b"1")
            assert await again == 1

    run_virtual(main())


def test_closing_ends_the_wait() -> None:
    async def main(app: App) -> None:
        async with app:
            waiting = asyncio.create_task((await app.remote("t").enqueue()).result())
            await asyncio.sleep(1)
        with pytest.raises(StoreClosed):
            await waiting

    run(main)

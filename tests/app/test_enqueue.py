"""Enqueueing: what is stored, what comes back, one and many."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from mainspring import App, BoundTask, Context, Job, JobRecord, Retry, chain, group
from mainspring.app.chunks import chunks
from mainspring.engine.options import unpack
from mainspring.errors import ArgumentsInvalid, EncodingError, InvalidOption, StoreUnavailable
from mainspring.model.record import NewGroup, NewJob
from mainspring.store.base import Added
from mainspring.store.memory import MemoryStore
from tests.app.virtual_app import run


class Watched(MemoryStore):
    """A memory store that tells of its adds, and gathers as one that writes does."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.down = 0

    @property
    def features(self) -> Any:
        return super().features._replace(survives="process")

    async def add(self, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
        await asyncio.sleep(0.01)
        if self.down:
            self.down -= 1
            raise StoreUnavailable("it restarts")
        self.batches.append(len(jobs))
        return await super().add(jobs, groups)


def watched() -> tuple[App, Watched]:
    store = Watched()
    app = App(store=store)
    app.task(name="square")(square)
    return app, store


async def square(n: int) -> int:
    return n * n


async def read(app: App, job: Job[Any]) -> JobRecord:
    record = (await (await app.store()).get([job.id]))[0]
    assert record is not None
    return record


def test_a_job_is_stored_with_its_options() -> None:
    async def main(app: App) -> None:
        task = app.task(name="square", queue="math", priority=1, tags=["a"], expires=100)(square)
        job = await task.options(
            delay=timedelta(minutes=1),
            tags=["b"],
            correlation="c",
            metadata={"m": 1},
            timeout=5,
            retry=Retry(on=OSError),
        ).enqueue(3)
        record = await read(app, job)
        assert (record.task, record.payload, record.queue, record.priority) == ("square", b'{"n":3}', "math", 1)
        assert (record.tags, record.correlation, record.metadata) == (("b",), "c", b'{"m":1}')
        assert record.due == record.created + 60
        assert record.expires == record.created + 100
        assert unpack(record.options).timeout == 5
        assert (job.created, job.state, job.task, job.record) == (True, "scheduled", "square", None)

    run(main)


def test_D7_the_handle_shows_what_was_seen_last() -> None:
    async def main(app: App) -> None:
        job = await app.task(name="square")(square).enqueue(3)
        assert (job.state, job.record) == ("ready", None)
        record = await job.refresh()
        assert job.record is record
        assert await job.cancel("not wanted") == "cancelled"
        assert (await job.refresh()).reason == "not wanted"
        assert job.state == "cancelled"
        assert await job.cancel() == "ended"
        assert job == await app.jobs.get(job.id)
        assert len({job, await app.jobs.get(job.id)}) == 1

    run(main)


def test_D27_a_taken_key_answers_with_its_holder() -> None:
    async def main(app: App) -> None:
        task = app.task(name="square")(square).options(unique="k")
        first, second = await task.enqueue(1), await task.enqueue(2)
        assert (first.created, second.created) == (True, False)
        assert (second.id, second.state) == (first.id, None)
        assert (await read(app, second)).payload == b'{"n":1}'

    run(main)


def test_unique_for_ever_outlives_the_end_of_the_job() -> None:
    async def main(app: App) -> None:
        task = app.task(name="square")(square)
        kept = await task.options(unique="a", unique_for="ever").enqueue(1)
        freed = await task.options(unique="b").enqueue(1)
        await kept.cancel()
        await freed.cancel()
        assert not (await task.options(unique="a").enqueue(2)).created
        assert (await task.options(unique="b").enqueue(2)).created

    run(main)


def test_D8_a_remote_task_takes_keywords_only() -> None:
    async def main(app: App) -> None:
        remote = app.remote("billing.invoice").options(queue="billing")
        record = await read(app, await remote.enqueue(order_id=7))
        assert (record.task, record.queue, record.payload) == ("billing.invoice", "billing", b'{"order_id":7}')
        with pytest.raises(ArgumentsInvalid, match="by keyword"):
            await remote.enqueue(7)
        await app.enqueue(remote.bind(order_id=8))

    run(main)


def test_a_wrong_call_stores_nothing() -> None:
    async def main(app: App) -> None:
        task = app.task(name="square")(square)
        with pytest.raises(ArgumentsInvalid):
            await task.enqueue()  # type: ignore[call-arg]  # the case
        with pytest.raises(EncodingError):
            await task.enqueue(object())  # type: ignore[arg-type]  # the case
        with pytest.raises(InvalidOption, match="bind"):
            await app.enqueue(task)  # type: ignore[arg-type]  # the case
        assert (await app.jobs.find()).jobs == []

    run(main)


def test_D11_enqueue_is_a_real_coroutine() -> None:
    app = App("memory://")
    task = app.task(name="square")(square)
    forgotten = task.enqueue(1)
    assert asyncio.iscoroutine(forgotten)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del forgotten
    assert any("never awaited" in str(each.message) for each in caught)


def test_a_job_that_is_enqueued_in_a_job_knows_its_parent() -> None:
    async def main(app: App) -> None:
        child = app.task(name="square")(square)

        @app.task(name="parent")
        async def parent(ctx: Context) -> list[str]:
            many = await app.enqueue_many([child.bind(2)])
            one = await app.enqueue(chain(child.bind(1), child))
            own = await child.options(correlation="own").enqueue(3)
            return [(await child.enqueue(1)).id, many[0].id, one.id, own.id]

        async with app.running():
            job = await parent.options(correlation="c").enqueue()
            records = [await (await app.jobs.get(each)).refresh() for each in await job.result(5)]
            assert {record.parent for record in records} == {job.id}
            assert [record.correlation for record in records] == ["c", "c", "c", "own"]
            assert len((await app.jobs.find(parent=job.id)).jobs) == 5

    run(main)


# --- many at once


async def test_concurrent_enqueues_gather() -> None:
    app, store = watched()
    async with app:
        task = app.remote("square")
        jobs = await asyncio.gather(*(task.enqueue(n=n) for n in range(500)))
        assert len({job.id for job in jobs}) == 500
        assert len(store.batches) <= 3
        assert sum(store.batches) == 500


async def test_C10_jobs_with_a_key_do_not_stall_those_without() -> None:
    app, store = watched()
    async with app:
        task = app.remote("square")
        await asyncio.gather(task.enqueue(n=1), task.options(unique="k").enqueue(n=2), task.enqueue(n=3))
        assert sorted(store.batches) == [1, 2]


async def test_a_store_that_cannot_be_reached_is_asked_again() -> None:
    app, store = watched()
    async with app:
        store.down = 1
        assert (await app.remote("square").enqueue(n=1)).created


async def test_enqueue_many_is_chunked_and_lazy() -> None:
    """WFL-023 in our form: a batch is stored whole or not at all."""
    app, store = watched()
    held: list[int] = []

    def bound() -> Iterator[BoundTask[object]]:
        for n in range(2500):
            held.append(n - sum(store.batches))
            yield app.remote("square").bind(n=n)

    async with app:
        jobs = await app.enqueue_many(bound())
        assert store.batches == [1000, 1000, 500]
        assert max(held) <= 1000
        records = await store.get([job.id for job in jobs])
        assert [record and record.payload for record in records[:2]] == [b'{"n":0}', b'{"n":1}']


async def test_WFL_023_many_with_a_duplicate() -> None:
    app, _ = watched()
    async with app:
        task = app.remote("square").options(unique="k")
        jobs = await app.enqueue_many([task.bind(n=1), task.bind(n=2), app.remote("square").bind(n=3)])
        assert [job.created for job in jobs] == [True, False, True]
        assert jobs[0] == jobs[1]


def test_chunks_respect_bytes_and_never_divide_a_flow() -> None:
    app = App("memory://")
    big = app.remote("t").bind(x="x" * 400_000)
    assert [len(chunk) for chunk in chunks((each, each.compile(app.connection.ids)) for each in [big] * 5)] == [2, 2, 1]
    wide = chain(group(*(app.remote("t").bind(x=n) for n in range(1500))), app.remote("end"))
    assert [len(chunk) for chunk in chunks((each, each.compile(app.connection.ids)) for each in [wide, wide])] == [1, 1]


async def test_the_first_enqueue_of_many_opens_once() -> None:
    app = App("memory://")
    task = app.task(name="square")(square)
    await asyncio.gather(*(task.enqueue(n) for n in range(10)))
    assert len((await app.jobs.find()).jobs) == 10
    await app.close()

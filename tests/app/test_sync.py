"""The blocking face: from many threads, beside a running app, and refused where it would wait for itself."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.queues import SimpleQueue

import pytest

from mainspring import App, Job, JobFailed, chain
from mainspring.errors import AppClosed, AppError, ArgumentsInvalid, StoreClosed, WrongLoop


def make() -> App:
    app = App("memory://")

    @app.task(name="square")
    async def square(n: int) -> int:
        return n * n

    @app.task(name="outer")
    def outer(n: int) -> int:
        # A plain function runs in a thread of the worker, and may enqueue and wait there.
        job: Job[object] = app.remote("square").sync.enqueue(n=n)
        result = job.sync.result(timeout=10)
        assert isinstance(result, int)
        return result + 1

    return app


@pytest.fixture
def app() -> Iterator[App]:
    app = make()
    yield app
    app.sync.close()


def test_every_verb_is_there_for_blocking_code(app: App) -> None:
    square = app.remote("square")
    job = square.options(queue="q").sync.enqueue(n=1)
    assert (job.created, job.sync.refresh().queue) == (True, "q")
    assert [each.created for each in app.sync.enqueue_many([square.bind(n=n) for n in range(3)])] == [True] * 3
    flow = app.sync.enqueue(chain(square.bind(n=1), square))
    assert flow.sync.refresh().state == "waiting"
    assert len(app.jobs.sync.find().jobs) == 6
    assert app.jobs.sync.get(job.id) == job
    assert app.jobs.sync.cancel(job.id) == "cancelled"
    assert app.jobs.sync.replay(job.id) == "replayed"
    assert app.jobs.sync.reschedule(job.id, delay=60)
    assert job.sync.cancel() == "cancelled"
    assert app.jobs.sync.attempts(job.id) == []
    assert app.jobs.sync.delete(job.id)
    app.queues.sync.pause("default")
    app.queues.sync.resume("default")
    assert app.queues.sync.counts() == {"default": {"ready": 4, "waiting": 1}}
    assert sum(count.number for count in app.jobs.sync.counts()) == 5
    with pytest.raises(TimeoutError):
        flow.sync.result(timeout=0.01)


def test_errors_come_out_as_they_are(app: App) -> None:
    with pytest.raises(ArgumentsInvalid):
        app.remote("square").sync.enqueue(1)


def test_many_threads_share_one_background_loop(app: App) -> None:
    threads = {each.name for each in threading.enumerate()} | {"mainspring-sync"}
    with ThreadPoolExecutor(16) as pool:
        jobs = list(pool.map(lambda n: app.remote("square").sync.enqueue(n=n), range(200)))
        assert {each.name for each in threading.enumerate() if "ThreadPool" not in each.name} <= threads
    assert len({job.id for job in jobs}) == 200
    assert app.queues.sync.counts() == {"default": {"ready": 200}}


def test_two_apps_share_it_too(app: App) -> None:
    other = make()
    other.remote("square").sync.enqueue(n=1)
    app.remote("square").sync.enqueue(n=1)
    assert [each.name for each in threading.enumerate()].count("mainspring-sync") == 1
    other.sync.close()


def test_with_opens_and_closes(app: App) -> None:
    with app.sync:
        app.remote("square").sync.enqueue(n=1)
    with pytest.raises(AppClosed):
        app.remote("square").sync.enqueue(n=1)
    with app.sync as face:
        assert face.enqueue(app.remote("square").bind(n=1)).created


async def test_calls_go_to_the_loop_that_runs_the_app() -> None:
    app = make()
    async with app.running():
        assert await asyncio.to_thread(lambda: app.remote("square").sync.enqueue(n=7).sync.result(10)) == 49
        with ThreadPoolExecutor(8) as pool:
            loop = asyncio.get_running_loop()
            work = [loop.run_in_executor(pool, partial(app.remote("square").sync.enqueue, n=n)) for n in range(50)]
            jobs = await asyncio.gather(*work)
        await app.idle()
        assert {(await job.refresh()).state for job in jobs} == {"completed"}


async def test_a_task_in_a_thread_may_enqueue_and_wait() -> None:
    app = make()
    async with app.running():
        assert await (await app.remote("outer").enqueue(n=3)).result(10) == 10


async def test_a_failed_job_is_an_error_for_blocking_code_too() -> None:
    app = make()

    @app.task(name="fail")
    def fail() -> None:
        raise ValueError("no")

    async with app.running():
        with pytest.raises(JobFailed, match="no"):
            await asyncio.to_thread(lambda: fail.sync.enqueue().sync.result(10))


async def test_inside_the_apps_own_loop_it_is_refused() -> None:
    """It would wait for itself for ever."""
    app = make()
    async with app:
        calls: list[Callable[[], object]] = [
            lambda: app.remote("square").sync.enqueue(n=1),
            app.jobs.sync.counts,
            app.queues.sync.counts,
            app.sync.idle,
        ]
        for call in calls:
            with pytest.raises(AppError, match=r"own event loop.*await"):
                call()


async def test_inside_a_loop_an_app_that_is_not_open_says_await() -> None:
    app = make()
    with pytest.raises(AppError, match="await the verb"):
        app.remote("square").sync.enqueue(n=1)


def test_D12_what_sync_has_opened_is_closed_by_sync(app: App) -> None:
    app.remote("square").sync.enqueue(n=1)
    with pytest.raises(WrongLoop, match=r"app.sync.close\(\)"):
        asyncio.run(app.remote("square").enqueue(n=1))
    app.sync.close()

    async def main() -> None:
        async with app:
            await app.remote("square").enqueue(n=1)

    asyncio.run(main())


def test_a_loop_that_ends_meanwhile_is_said() -> None:
    app = make()
    answers: list[object] = []

    async def main() -> threading.Thread:
        await app.__aenter__()
        job = await app.remote("square").enqueue(n=1)

        def wait() -> None:
            try:
                answers.append(job.sync.result())
            except BaseException as error:
                answers.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        await asyncio.sleep(0.02)
        return thread

    thread = asyncio.run(main())
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(answers[0], AppClosed | StoreClosed)


def forked(results: SimpleQueue[tuple[int, bool, object]], app: App) -> None:
    results.put((os.getpid(), app.remote("square").sync.enqueue(n=1).created, app.queues.sync.counts()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_opens_its_own() -> None:
    """As web servers do that load the app before they fork."""
    app = make()
    app.remote("square").sync.enqueue(n=1)
    context = multiprocessing.get_context("fork")
    results: SimpleQueue[tuple[int, bool, object]] = context.SimpleQueue()
    child = context.Process(target=forked, args=(results, app))
    child.start()
    pid, created, counts = results.get()
    child.join(20)
    assert pid != os.getpid()
    assert created
    assert counts == {"default": {"ready": 1}}
    app.sync.close()

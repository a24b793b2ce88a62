"""`Harness`: an app with a memory store in virtual time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from mainspring import App, Context, Retry, RetryLater, Snooze, chain, constant, group
from mainspring.errors import AppError, JobFailed, StoreClosed
from mainspring.testing import Harness, drain, hours, minutes, run_virtual


@dataclass
class Order:
    number: int
    urgent: bool = False


class Flaky:
    """Fails so often, then succeeds; knows the virtual times at which it was called."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.times: list[float] = []

    def __call__(self) -> None:
        self.times.append(asyncio.get_running_loop().time())
        if len(self.times) <= self.failures:
            raise OSError("not yet")


async def test_a_delayed_job_runs_when_its_time_has_come(mainspring: Harness) -> None:
    """Snippet 10 of the plan."""
    app = App()

    @app.task(name="mail")
    async def mail(to: str, subject: str = "Hi") -> int:
        return len(to)

    async with mainspring(app) as h:
        await mail.options(delay=3600).enqueue("a@example.com")
        h.assert_enqueued(mail, to="a@example.com")
        assert await h.drain() == 0
        await h.advance(minutes(59))
        assert await h.drain() == 0
        assert h.jobs(mail)[0].state == "scheduled"
        await h.advance(minutes(1))
        assert await h.drain() == 1
        job = h.jobs(mail)[0]
        assert job.state == "completed"
        assert await job.result() == 13
        assert h.clock.monotonic() == 3600


async def test_drain_lets_no_time_pass_and_waits_for_no_retry(mainspring: Harness) -> None:
    app = App()
    flaky = Flaky(2)

    @app.task(name="flaky", retry=Retry(on=OSError, attempts=5, backoff=constant(60)))
    async def task() -> None:
        flaky()

    async with mainspring(app) as h:
        await task.enqueue()
        assert await h.drain() == 1
        assert flaky.times == [0]
        await h.advance(60)
        assert await h.drain() == 1
        assert await h.drain() == 0
        await h.advance(60)
        assert await h.drain() == 1
        assert flaky.times == [0, 60, 120]
        assert h.jobs(task, state="completed")[0].record is not None


async def test_run_lets_every_attempt_happen_at_its_own_time(mainspring: Harness) -> None:
    app = App()
    flaky = Flaky(3)

    @app.task(name="flaky", retry=Retry(on=OSError, attempts=5))
    async def task() -> None:
        flaky()

    async with mainspring(app) as h:
        await task.enqueue()
        assert await h.run(hours(1)) == 4
        assert h.clock.monotonic() == 3600
    assert flaky.times == pytest.approx([0, 1, 3, 7], abs=0.1)  # jitter at its longest: 1, 2, 4 s


async def test_drain_runs_what_jobs_add(mainspring: Harness) -> None:
    app = App()

    @app.task(name="count")
    async def count(word: str) -> int:
        return len(word)

    @app.task(name="total")
    async def total(lengths: list[int]) -> int:
        return sum(lengths)

    async with mainspring(app) as h:
        job = await app.enqueue(chain(group(count.bind("a"), count.bind("bcd")), total))
        assert h.jobs(total)[0].state == "waiting"
        assert await h.drain() == 3
        assert await job.result() == 4


async def test_time_that_tasks_sleep_passes(mainspring: Harness) -> None:
    app = App()

    @app.task(name="slow")
    async def slow() -> None:
        await asyncio.sleep(7200)

    async with mainspring(app) as h:
        await slow.enqueue()
        await h.drain()
        assert h.clock.monotonic() == pytest.approx(7200, abs=2)
        assert h.jobs(slow)[0].state == "completed"


async def test_drain_says_what_does_not_end(mainspring: Harness) -> None:
    app = App()

    @app.task(name="for-ever")
    async def for_ever() -> None:
        await asyncio.Event().wait()

    async with mainspring(app) as h:
        await for_ever.enqueue()
        with pytest.raises(TimeoutError, match=r"still not done after 3600 s: for-ever \(running, attempt 1"):
            await h.drain(limit=hours(1))


async def test_threads_and_processes_run_in_threads(mainspring: Harness) -> None:
    app = App()
    threads: set[bool] = set()

    @app.task(name="blocking")
    def blocking() -> str:
        threads.add(threading.current_thread() is threading.main_thread())
        return "blocking"

    @app.task(name="in-process", process=True)
    def in_process() -> str:
        threads.add(threading.current_thread() is threading.main_thread())
        return "in process"

    async with mainspring(app) as h:
        jobs = [await blocking.enqueue(), await in_process.enqueue()]
        await h.drain()
        assert [await job.result() for job in jobs] == ["blocking", "in process"]
    assert threads == {False}


async def test_a_dead_job_is_seen_with_its_error(mainspring: Harness) -> None:
    app = App()

    @app.task(name="broken")
    async def broken() -> None:
        raise KeyError("nope")

    async with mainspring(app) as h:
        job = await broken.enqueue()
        await h.drain()
        assert [each.id for each in h.jobs(state="dead")] == [job.id]
        with pytest.raises(JobFailed, match="nope"):
            await job.result()


async def test_snooze_and_retry_later_wait_for_advance(mainspring: Harness) -> None:
    app = App()

    @app.task(name="polite", retry=Retry(on=OSError, attempts=5))
    async def polite(ctx: Context) -> int:
        if ctx.created.timestamp() == ctx.started.timestamp():
            raise Snooze(60)
        if ctx.attempt == 1:
            raise RetryLater(60)
        return ctx.attempt

    async with mainspring(app) as h:
        job = await polite.enqueue()
        assert [await h.drain(), await h.drain()] == [1, 0]
        await h.advance(60)
        assert await h.drain() == 1
        await h.advance(60)
        assert await h.drain() == 1
        assert await job.result() == 2


async def test_drain_ends_what_has_expired_and_lets_no_time_pass(mainspring: Harness) -> None:
    app = App()

    @app.task(name="news")
    async def news() -> None: ...

    async with mainspring(app) as h:
        await news.options(expires=60).enqueue()
        await news.options(expires=60, delay=50).enqueue()
        await news.options(expires=hours(3), delay=hours(2)).enqueue()
        await h.advance(120)
        assert await h.drain() == 0
        assert [job.state for job in h.jobs()] == ["expired", "expired", "scheduled"]
        assert h.clock.monotonic() == 120


async def test_drain_leaves_paused_queues_alone(mainspring: Harness) -> None:
    app = App()

    @app.task(name="news")
    async def news() -> None: ...

    async with mainspring(app) as h:
        await app.queues.pause("later")
        await news.options(queue="later").enqueue()
        await news.enqueue()
        assert await h.drain() == 1
        assert [job.state for job in h.jobs()] == ["ready", "completed"]
        assert h.clock.monotonic() == 0
        await app.queues.resume("later")
        assert await h.drain() == 1


async def test_what_was_cancelled_does_not_run(mainspring: Harness) -> None:
    app = App()

    @app.task(name="news")
    async def news() -> None: ...

    async with mainspring(app) as h:
        job = await news.enqueue()
        assert await job.cancel() == "cancelled"
        assert await h.drain() == 0
        assert h.jobs(state="cancelled") == [job]


# --- the state of tasks


async def test_the_lifespan_is_entered_once_and_only_by_a_worker(mainspring: Harness) -> None:
    log: list[str] = []

    @asynccontextmanager
    async def resources(_app: App) -> AsyncIterator[str]:
        log.append("begin")
        yield "smtp"
        log.append("end")

    app = App(lifespan=resources)

    @app.task(name="mail")
    async def mail(ctx: Context) -> None:
        log.append(str(ctx.state))

    async with mainspring(app) as h:
        await mail.enqueue()
        assert log == []
        await h.drain()
        await mail.enqueue()
        await h.drain()
        assert log == ["begin", "smtp", "smtp"]
    assert log == ["begin", "smtp", "smtp", "end"]


async def test_a_state_of_the_test_takes_the_place_of_the_lifespan(mainspring: Harness) -> None:
    @asynccontextmanager
    async def resources(_app: App) -> AsyncIterator[str]:
        seen.append("entered")
        yield "smtp"

    app = App(lifespan=resources)
    seen: list[object] = []

    @app.task(name="mail")
    async def mail(ctx: Context) -> None:
        seen.append(ctx.state)

    async with mainspring(app, state="fake") as h:
        await mail.enqueue()
        await h.drain()
    assert seen == ["fake"]


# --- the app is given back


async def test_each_block_begins_empty_and_the_app_is_given_back(mainspring: Harness) -> None:
    app = App("memory://")

    @app.task(name="mail")
    async def mail() -> None: ...

    h = mainspring(app)
    for _ in range(2):
        async with h:
            assert h.jobs() == []
            await mail.enqueue()
            assert len(h.jobs()) == 1
    assert app.url == "memory://"
    async with app:
        job = await mail.enqueue()
        assert job.created
    with pytest.raises(AppError, match="not open"):
        h.jobs()


async def test_an_app_that_is_open_is_refused(mainspring: Harness) -> None:
    app = App("memory://")
    async with app:
        with pytest.raises(AppError, match="open"):
            async with mainspring(app):
                pass


async def test_the_app_is_given_back_after_an_error(mainspring: Harness) -> None:
    app = App("memory://")
    with pytest.raises(ZeroDivisionError):
        async with mainspring(app):
            _ = 1 / 0
    async with mainspring(app) as h:
        assert h.jobs() == []


async def test_the_store_of_a_block_ends_with_it(mainspring: Harness) -> None:
    app = App()
    async with mainspring(app) as h:
        store = h.store
    with pytest.raises(StoreClosed):
        await store.counts()


def test_a_loop_with_real_time_is_refused() -> None:
    async def main() -> None:
        async with Harness(App()):
            pass

    with pytest.raises(AppError, match="run_virtual"):
        asyncio.run(main())


async def test_the_fixture_wants_an_app(mainspring: Harness) -> None:
    with pytest.raises(AppError, match=r"mainspring\(app\)"):
        mainspring.jobs()
    with pytest.raises(AppError, match=r"mainspring\(app\)"):
        async with mainspring:
            pass


def test_without_pytest_run_virtual_is_enough() -> None:
    app = App()

    @app.task(name="mail")
    async def mail() -> str:
        return "sent"

    async def main() -> str:
        async with Harness(app) as h:
            job = await mail.enqueue()
            await h.drain()
            return await job.result()

    assert run_virtual(main()) == "sent"


# --- drain without the fixture


def test_drain_works_on_any_app_in_real_time() -> None:
    app = App("memory://")
    flaky = Flaky(1)

    @app.task(name="flaky", retry=Retry(on=OSError, backoff=constant(3600)))
    async def task() -> None:
        flaky()

    async def main() -> tuple[int, str | None]:
        async with app:
            job = await task.enqueue()
            ran = await drain(app)
            await job.refresh()
            return ran, job.state

    assert asyncio.run(main()) == (1, "scheduled")

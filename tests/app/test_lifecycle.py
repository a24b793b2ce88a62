"""Opening and closing an app, and which loop it belongs to (D12)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mainspring import App
from mainspring.errors import (
    AppClosed,
    AppError,
    InvalidOption,
    JobCancelled,
    StoreClosed,
    StoreUrlError,
    TaskDefinitionError,
    WrongLoop,
)
from mainspring.store.memory import MemoryStore


class Slow(MemoryStore):
    """A memory store that takes its time to open, and tells of it."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = self.closed = 0

    async def open(self) -> None:
        await asyncio.sleep(0.001)
        self.opened += 1
        await super().open()

    async def close(self) -> None:
        self.closed += 1
        await super().close()


@pytest.fixture
def store() -> Slow:
    return Slow()


@pytest.fixture
def app(store: Slow) -> App:
    app = App(store=store)

    @app.task(name="t")
    async def task(n: int) -> int:
        return n

    return app


def test_it_opens_at_its_first_use_once(app: App, store: Slow) -> None:
    async def main() -> None:
        await asyncio.gather(*(app.remote("t").enqueue(n=n) for n in range(20)))
        assert len((await app.jobs.find()).jobs) == 20

    asyncio.run(main())
    assert (store.opened, store.closed) == (1, 1)  # the end of the loop has closed it


def test_one_app_may_serve_one_run_after_the_other(app: App, store: Slow) -> None:
    async def main() -> None:
        await app.remote("t").enqueue(n=1)

    asyncio.run(main())
    asyncio.run(main())
    assert (store.opened, store.closed) == (2, 2)


def test_D12_it_may_be_opened_again_after_close(app: App, store: Slow) -> None:
    """SCD-002, S3-06: closing twice is no error."""

    async def main() -> None:
        async with app:
            await app.remote("t").enqueue(n=1)
            await app.close()
            with pytest.raises(AppClosed, match="async with app"):
                await app.remote("t").enqueue(n=1)
        with pytest.raises(AppClosed):
            await app.jobs.counts()
        async with app:
            await app.remote("t").enqueue(n=1)
        await app.close()  # twice is fine

    asyncio.run(main())
    assert (store.opened, store.closed) == (2, 2)


def test_blocks_may_be_nested(app: App, store: Slow) -> None:
    async def main() -> None:
        async with app, app.running():
            job = await app.remote("t").enqueue(n=1)
            assert await job.result(5) == 1
            async with app:
                pass
            await app.jobs.counts()
        assert (store.opened, store.closed) == (1, 1)

    asyncio.run(main())


async def test_SCD_001_S3_04_a_second_start_beside_the_first_is_refused(app: App, store: Slow) -> None:
    """Also while the first one starts or ends. After its end it may be started again (RUN-021)."""

    async def refused() -> None:
        with pytest.raises(AppError, match=r"works jobs in this process already; .* app\.running\(concurrency=…\)"):
            await app.running().__aenter__()

    starting = asyncio.create_task(app.running().__aenter__())
    await asyncio.sleep(0)
    await refused()
    await (await starting).stop()
    await refused()
    await app.close()


async def test_SCD_001_it_may_be_started_again_after_its_end(app: App, store: Slow) -> None:
    for _ in range(2):
        async with app.running():
            with pytest.raises(AppError, match="works jobs in this process already"):
                await app.running().__aenter__()
            job = await app.remote("t").enqueue(n=1)
            assert await job.result(5) == 1
    assert (store.opened, store.closed) == (2, 2)


async def test_SCD_001_a_start_that_failed_is_no_start(app: App, store: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(store, "open", failing)
        with pytest.raises(OSError, match="no disk"):
            await app.running().__aenter__()
    async with app.running():
        pass


def test_SCD_001_a_start_of_a_loop_that_has_ended_counts_no_more(app: App, store: Slow) -> None:
    async def left_alone() -> None:
        blocks.append(app.running())
        await blocks[0].__aenter__()

    async def main() -> None:
        async with app.running():
            assert await (await app.remote("t").enqueue(n=1)).result(5) == 1

    blocks: list[Any] = []
    asyncio.run(left_alone())
    asyncio.run(main())


async def failing() -> None:
    raise OSError("no disk")


def test_a_block_takes_over_from_the_first_use(app: App, store: Slow) -> None:
    async def main() -> None:
        await app.remote("t").enqueue(n=1)
        async with app:
            assert store.opened == 1
        assert store.closed == 1

    asyncio.run(main())
    assert store.closed == 1


def test_D12_another_loop_is_told_to_use_sync(app: App) -> None:
    async def main() -> None:
        async with app:
            await asyncio.to_thread(asyncio.run, elsewhere())

    async def elsewhere() -> None:
        for use in (app.remote("t").enqueue(n=1), app.jobs.counts(), app.close(), app.__aenter__()):
            with pytest.raises(WrongLoop, match=r"\.sync"):
                await use

    asyncio.run(main())


def test_a_loop_that_ended_without_closing_is_no_obstacle(
    app: App, store: Slow, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(app.__aenter__())
    loop.close()
    with caplog.at_level(logging.WARNING):
        asyncio.run(app.remote("t").enqueue(n=1))
    assert "opened anew" in caplog.text
    assert store.opened == 2


def test_a_failed_opening_can_be_tried_again() -> None:
    class Broken(Slow):
        async def open(self) -> None:
            await super().open()
            if self.opened == 1:
                raise StoreUrlError("not yet")

    async def main() -> None:
        app = App(store=Broken())
        with pytest.raises(StoreUrlError):
            await app.remote("t").enqueue()
        assert (await app.remote("t").enqueue()).created

    asyncio.run(main())


def test_a_cancelled_caller_does_not_stop_the_opening(app: App, store: Slow) -> None:
    async def main() -> None:
        first = asyncio.create_task(app.remote("t").enqueue(n=1))
        second = asyncio.create_task(app.remote("t").enqueue(n=2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).created
        assert store.opened == 1

    asyncio.run(main())


# --- D23: the URL


def test_D23_the_url_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAINSPRING_URL", raising=False)
    assert App().url is None
    app = App()
    with pytest.raises(AppError, match="MAINSPRING_URL"):
        asyncio.run(app.jobs.counts())
    monkeypatch.setenv("MAINSPRING_URL", "memory://")
    assert app.url == "memory://"
    assert asyncio.run(app.jobs.counts()) == []
    assert App("sqlite:///x.db").url == "sqlite:///x.db"


def test_making_an_app_opens_nothing() -> None:
    App("nonsense://")  # found at the first use
    with pytest.raises(StoreUrlError, match="names no store"):
        asyncio.run(App("nonsense://").jobs.counts())


def test_the_policy_of_an_app_is_checked() -> None:
    with pytest.raises(InvalidOption):
        App("memory://", retry=3)  # type: ignore[arg-type]  # the case


# --- running


async def test_D24_the_lifespan_is_the_state_and_ends_last(store: Slow) -> None:
    told: list[str] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncGenerator[dict[str, int]]:
        told.append(f"begin {(await app.jobs.counts())}")
        yield {"answer": 42}
        told.append("end")

    from mainspring import Context

    app = App(store=store, lifespan=lifespan)

    @app.task(name="ask")
    async def ask(ctx: Context) -> int:
        return int(ctx.state["answer"])

    async with app.running():
        assert await (await ask.enqueue()).result(5) == 42
        assert told == ["begin []"]
    assert told == ["begin []", "end"]
    assert store.closed == 1


async def test_D40_services_run_beside_the_worker(store: Slow) -> None:
    app = App(store=store)
    ticked = asyncio.Event()

    @app.service(every=0.01)
    async def tick() -> None:
        await app.jobs.counts()
        ticked.set()

    async with app.running():
        async with asyncio.timeout(5):
            await ticked.wait()
    ticked.clear()
    await asyncio.sleep(0)
    assert not ticked.is_set()


async def test_what_the_block_raises_comes_out(app: App, store: Slow) -> None:
    with pytest.raises(KeyError):
        async with app.running():
            raise KeyError("x")
    assert store.closed == 1


@pytest.mark.parametrize(
    "options",
    [{"concurrency": 0}, {"grace": -1}, {"queues": []}, {"poll": "1"}, {"queues": "mail"}, {"concurrency": "5"}],
)
async def test_settings_are_checked(app: App, options: dict[str, object]) -> None:
    """SCD-041."""
    with pytest.raises(InvalidOption):
        app.running(**options)  # type: ignore[arg-type]  # the case


async def test_D26_a_process_task_that_no_child_can_import_is_found_at_the_start(app: App, store: Slow) -> None:
    @app.task(name="p", process=True)
    def local(n: int) -> int:
        return n

    with pytest.raises(TaskDefinitionError, match="local function"):
        await app.running().__aenter__()
    assert store.opened == 0


async def test_queues_are_paused_and_counted(app: App) -> None:
    async with app.running(queues=["mail"]):
        await app.queues.pause("mail")
        job = await app.remote("t").options(queue="mail").enqueue(n=1)
        await app.remote("t").enqueue(n=2)
        with pytest.raises(TimeoutError):
            await job.result(0.05)
        assert await app.queues.counts() == {"mail": {"ready": 1}, "default": {"ready": 1}}
        await app.queues.resume("mail")
        assert await job.result(5) == 1


# --- lent: for tests


async def test_an_app_can_be_lent_a_store(app: App, store: Slow) -> None:
    other = Slow()
    await other.open()
    with app.connection.lent(other):
        await app.remote("t").enqueue(n=1)
        with pytest.raises(AppError):
            app.connection.lent(other).__enter__()
        await app.close()
    assert (store.opened, other.closed) == (0, 0)
    assert len(await other.counts()) == 1
    await other.close()
    with pytest.raises(StoreClosed):
        await other.counts()
    assert (await app.remote("t").enqueue(n=1)).created
    assert store.opened == 1


async def test_a_task_that_comes_too_late_is_refused(app: App) -> None:
    """The worker that runs here would never run it, and its jobs would wait in silence."""
    async with app.running():
        with pytest.raises(TaskDefinitionError, match=r"too late.*before app\.running"):

            @app.task(name="late")
            async def late() -> None: ...

    @app.task(name="late")
    async def again() -> None: ...


async def test_a_cancel_request_of_this_process_takes_effect_at_once() -> None:
    """Not with the next beat, which comes every ten seconds."""
    app = App("memory://")
    began = asyncio.Event()

    @app.task(name="long")
    async def long() -> None:
        began.set()
        await asyncio.sleep(3600)

    async with app.running(), asyncio.timeout(5):
        job = await long.enqueue()
        await began.wait()
        assert await job.cancel() == "requested"
        with pytest.raises(JobCancelled):
            await job.result()

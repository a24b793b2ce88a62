"""`@app.service`: services beside the workers of an app, one per process (D40)."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mainspring import App, Retry
from mainspring.app.running import Local
from mainspring.errors import InvalidOption
from mainspring.retries.attempt_file import SQLiteAttempts
from mainspring.retries.attempt_store import MemoryAttempts
from mainspring.retries.backoff import constant
from mainspring.service import Health
from mainspring.store.memory import MemoryStore
from mainspring.testing.virtual import run_virtual


async def health(app: App) -> dict[str, Health]:
    """As a page about this process would ask."""
    (local,) = (await app.connection.opened()).workers
    assert isinstance(local, Local)
    return {each.name: each for each in local.health()}


def test_D40_every_option_of_a_service_reaches_it() -> None:
    app = App("memory://")
    told: list[str] = []
    attempts = MemoryAttempts()
    mine = logging.getLogger("mine")

    async def stop() -> None:
        told.append("stop")

    async def shut_down() -> None:
        told.append("shut down")

    @app.service(
        name="poll",
        every=30,
        retry=Retry(on=OSError, attempts=None, backoff=constant(2)),
        timeout=10,
        delay=5,
        stop=stop,
        on_shutdown=shut_down,
        logger=mine,
        attempt_store=attempts,
    )
    async def poll() -> None:
        told.append(f"run at {asyncio.get_running_loop().time():g}")
        if len(told) == 1:
            await asyncio.sleep(3600)  # its timeout
        if len(told) == 2:
            raise OSError("once")

    async def main() -> None:
        async with app.running():
            await asyncio.sleep(16)
            assert await attempts.load("poll") == {"builtins.OSError": 1}
            assert (await health(app))["poll"].state == "waiting"
            await asyncio.sleep(4)
            assert (await health(app))["poll"].restarts == 2
            await asyncio.sleep(30)

    assert inspect.iscoroutinefunction(poll)  # the decorator gives the function back
    run_virtual(main())
    assert told == ["run at 5", "run at 17", "run at 19", "run at 49", "stop", "shut down"]


async def test_a_sync_service_runs_in_a_thread_and_is_asked_to_return() -> None:
    app = App(store=MemoryStore())
    told: list[str] = []
    begun = threading.Event()

    @app.service()
    def watch(stop: threading.Event) -> None:
        told.append(threading.current_thread().name)
        begun.set()
        assert stop.wait(20)
        told.append("returned")

    async with app.running():
        assert await asyncio.to_thread(begun.wait, 20)
        (name,) = await health(app)
    assert name.endswith("watch")
    assert told == [f"service:{name}", "returned"]


def test_the_name_of_a_service_is_its_functions_and_taken_once() -> None:
    app = App("memory://")

    @app.service()
    async def refresh() -> None: ...

    with pytest.raises(InvalidOption, match=r"test_services.*refresh' already; give one of them another name="):
        app.service()(refresh)
    app.service(name="again")(refresh)
    with pytest.raises(InvalidOption, match="every of service 'wrong'"):
        app.service(name="wrong", every=0)(refresh)


def test_without_brackets_as_a_task() -> None:
    app = App("memory://")

    @app.service
    async def refresh() -> None:
        await asyncio.Event().wait()

    async def main() -> dict[str, Health]:
        async with app.running():
            await asyncio.sleep(1)
            return await health(app)

    assert inspect.iscoroutinefunction(refresh)
    (found,) = run_virtual(main()).values()
    assert found.name.endswith("test_services.test_without_brackets_as_a_task.<locals>.refresh")
    assert found.state == "up"
    with pytest.raises(InvalidOption, match="refresh' already"):
        app.service(refresh)


class Poller:
    def __call__(self) -> None: ...


async def poll() -> None: ...


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("poll", r"by keyword, as in @app.service\(name='poll'\)"),
        (Poller(), r"has no name for a service; give it one: app.service\(name=…\)"),
        (partial(poll), r"has no name for a service; give it one: app.service\(name=…\)"),
        (3, "has no name for a service"),
    ],
)
def test_what_cannot_be_a_service_is_told_what_to_do(given: Any, says: str) -> None:
    app = App("memory://")
    with pytest.raises(InvalidOption, match=says):
        app.service(given)


def test_a_coroutine_in_place_of_the_function_says_what_to_pass() -> None:
    coroutine: Any = poll()
    with pytest.raises(InvalidOption, match="pass the function itself, without calling it"):
        App("memory://").service(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


def test_with_a_name_an_object_is_a_service() -> None:
    app = App("memory://")
    poller = Poller()
    assert app.service(name="poll")(poller) is poller
    with pytest.raises(InvalidOption, match="'poll' already"):
        app.service(name="poll")(poller)


def test_services_start_after_the_worker_and_end_before_it() -> None:
    """SCD-047."""
    told: list[str] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncGenerator[None]:
        told.append("lifespan")
        yield
        told.append("lifespan over")

    app = App("memory://", lifespan=lifespan)

    @app.task(name="work")
    async def work() -> str:
        return "worked"

    @app.service()
    async def enqueues() -> None:
        told.append(await (await work.enqueue()).result(60))
        try:
            await asyncio.Event().wait()
        finally:
            told.append(await (await work.enqueue()).result(60))

    async def main() -> None:
        async with app.running():
            await asyncio.sleep(10)

    run_virtual(main())
    assert told == ["lifespan", "worked", "worked", "lifespan over"]


def test_a_service_that_fails_for_good_stops_the_worker_and_its_error_comes_out() -> None:
    app = App("memory://")

    @app.service(name="bad")
    async def bad() -> None:
        await asyncio.sleep(5)
        raise OSError("gone")

    async def main() -> None:
        with pytest.raises(OSError, match="gone") as caught:
            async with app.running() as worker:
                await asyncio.sleep(3600)
        assert "raised by service 'bad'" in caught.value.__notes__
        assert worker.stopping
        assert asyncio.get_running_loop().time() < 60

    run_virtual(main())


def test_the_grace_of_the_worker_is_that_of_its_services() -> None:
    app = App("memory://")
    ended: list[float] = []

    async def stop() -> None: ...

    @app.service(stop=stop)
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(asyncio.get_running_loop().time())

    async def main() -> None:
        async with app.running(grace=7):
            await asyncio.sleep(1)

    run_virtual(main())
    assert ended == [8.0]


def test_the_counts_of_a_service_go_on_where_they_were(tmp_path: Path) -> None:
    """ATT-010: over two lives of the worker."""
    app = App("memory://")
    runs: list[float] = []

    @app.service(
        name="poll",
        retry=Retry(on=OSError, attempts=4, backoff=constant(1)),
        attempt_store=SQLiteAttempts(tmp_path / "attempts.db"),
    )
    async def poll() -> None:
        runs.append(asyncio.get_running_loop().time())
        raise OSError("down")

    async def main(seconds: float) -> None:
        async with app.running():
            await asyncio.sleep(seconds)

    run_virtual(main(1.5))
    assert len(runs) == 2
    with pytest.raises(OSError, match="down"):
        run_virtual(main(100))
    assert len(runs) == 4

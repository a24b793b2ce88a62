"""`app.idle` and schedules: what is due when it is asked has run when it returns."""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext

import pytest
from msgspec.structs import replace

from mainspring import App, Every
from mainspring.clock import FakeClock
from mainspring.engine.settings import WorkerSettings
from mainspring.store.base import SchedulePut
from mainspring.store.memory import MemoryStore
from mainspring.testing.virtual import VirtualLoop, run_virtual


class Shop:
    """An app in virtual time, its store kept, and what has run."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.clock: FakeClock = loop.clock
        self.store = store or MemoryStore(clock=loop.clock)
        self.app = App(store=self.store, clock=loop.clock)
        self.ran = 0
        self.takes = 0.0

        @self.app.task(name="note")
        async def note() -> None:
            await asyncio.sleep(self.takes)
            self.ran += 1

        self.note = note


def test_what_is_due_when_idle_is_asked_has_run_when_it_returns() -> None:
    async def test() -> None:
        shop = Shop()
        await shop.store.open()
        async with shop.app:
            await shop.app.schedules.put("s", Every(60), shop.note.bind())
            async with shop.app.running():
                await shop.app.idle()
                assert shop.ran == 1
                assert (await shop.app.jobs.find(states=["ready", "running"])).jobs == []
                began = shop.clock.now()
                await shop.app.idle()  # the next slot is in a minute
                assert shop.clock.now() - began < 1

    run_virtual(test())


def test_a_producer_without_a_worker_waits_for_due_slots_as_for_ready_jobs() -> None:
    async def test() -> None:
        shop = Shop()
        await shop.store.open()
        async with shop.app:
            await shop.app.schedules.put("s", Every(3600), shop.note.bind())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(30):
                    await shop.app.idle()
            waiting = asyncio.create_task(shop.app.idle())
            worker = Shop(shop.store)
            async with worker.app.running():
                async with asyncio.timeout(30):
                    await waiting
            assert worker.ran == 1

    run_virtual(test())


def test_slots_of_tasks_that_this_app_does_not_know_are_not_waited_for() -> None:
    async def test() -> None:
        shop = Shop()
        await shop.store.open()
        async with shop.app, asyncio.timeout(30):
            await shop.app.schedules.put("s", Every(60), shop.app.remote("elsewhere").bind())
            await shop.app.idle()

    run_virtual(test())


@pytest.mark.parametrize("working", [True, False])
def test_a_schedule_that_nobody_can_read_does_not_keep_idle_from_ending(
    working: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        shop = Shop()
        await shop.store.open()
        async with shop.app:
            await shop.app.schedules.put("odd", Every(60), shop.note.bind())
            seen = await shop.store.get_schedules(["odd"])
            (row,) = seen.schedules
            odd = replace(row, definition=replace(row.definition, trigger=b'{"trigger":"lunar"}'), revision=2)
            assert await shop.store.put_schedules([SchedulePut(odd, row)]) == ["put"]
            assert (await shop.store.due_schedules()).schedules
            async with shop.app.running() if working else nullcontext(), asyncio.timeout(30):
                await shop.app.idle()
        assert shop.ran == 0

    with caplog.at_level(logging.CRITICAL):
        run_virtual(test())


def test_a_worker_that_is_to_end_fires_no_slots_that_come_while_it_works() -> None:
    """As `mainspring run --drain`: slots every 4 s, of a task that takes 6 s."""

    async def test() -> None:
        shop = Shop()
        shop.takes = 6.0
        await shop.store.open()
        async with shop.app:
            await shop.app.schedules.put("dense", Every(4), shop.note.bind(), overlap="queue")
            async with shop.app.working(WorkerSettings()) as worker, asyncio.timeout(60):
                await worker.hold_schedules()
                await shop.app.idle()
                assert shop.ran == 1

    run_virtual(test())

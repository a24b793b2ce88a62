"""Ends of attempts that must not get lost, and must not be taken for another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from mainspring import App, chain
from mainspring.errors import StoreUnavailable
from mainspring.model.record import JobRecord
from mainspring.store.memory import MemoryStore
from mainspring.testing.virtual import VirtualLoop, run_virtual
from tests.unit.engine.workshop import virtual, workshop


class Hiccup(MemoryStore):
    """A memory store that cannot be read so many times."""

    unread = 0

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        if self.unread:
            self.unread -= 1
            raise StoreUnavailable("a hiccup")
        return await super().get(ids)


@virtual
async def test_a_store_that_cannot_be_read_is_not_the_failure_of_the_task() -> None:
    """The input of a chain's step is read by the engine: it asks again, and no attempt is used up."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    store = Hiccup(clock=loop.clock)
    app = App(store=store, clock=loop.clock)

    @app.task(name="one")
    async def one() -> int:
        return 1

    @app.task(name="more")
    async def more(number: int) -> int:
        return number + 1

    async with app.running():
        job = await app.enqueue(chain(one.bind(), more))
        store.unread = 1
        await asyncio.sleep(60)
        record = (await store.get([job.id]))[0]
        assert record is not None
        assert (record.state, record.result, record.attempt) == ("completed", b"2", 1)


@pytest.mark.parametrize("mode", ["async", "sync"])
@pytest.mark.parametrize("waits", [False, True], ids=["at-once", "later"])
@pytest.mark.parametrize("error", [GeneratorExit(), SystemExit(3), StopIteration(5), BaseException("base")], ids=repr)
def test_whatever_a_task_raises_ends_its_attempt(error: BaseException, waits: bool, mode: str) -> None:
    async def scene() -> None:
        async with workshop() as shop:

            async def work() -> None:
                if waits:
                    await asyncio.sleep(0.01)
                raise error

            def blocking() -> None:
                raise error

            shop.task(blocking if mode == "sync" else work, mode="sync" if mode == "sync" else "async")
            async with shop.worker(grace=1.0):
                record = (await shop.ended(await shop.add(), within=60))[0]
                assert record.state == "dead"

    run_virtual(scene())

"""Mainspring on PostgreSQL, written as a user would: an app with one async task that does nothing but mark itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from bench.frame import Ledger, main
from bench.work import CONCURRENCY
from mainspring import App


class Side:
    def __init__(self, url: str) -> None:
        self.app = App(url)
        self.ledger: Ledger | None = None

        @self.app.task(name="bench.noop", store_result=False)
        async def noop(n: int) -> None:
            assert self.ledger
            self.ledger.mark(n)

        self.noop = noop

    async def prepare(self) -> None:
        await self.app.store()
        await self.app.close()

    async def open(self, how: str) -> None:
        await self.app.store()

    async def one(self, n: int) -> object:
        return await self.noop.enqueue(n)

    async def bulk(self, numbers: range) -> object:
        return await self.app.enqueue_many(self.noop.bind(n) for n in numbers)

    @asynccontextmanager
    async def working(self, ledger: Ledger, purpose: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
        self.ledger = ledger
        stop, stopped = asyncio.Event(), asyncio.Event()

        async def run() -> None:
            async with self.app.running(concurrency=CONCURRENCY):
                await stop.wait()
            stopped.set()

        await self.app.store()
        yield run
        stop.set()
        await stopped.wait()


if __name__ == "__main__":
    main(Side)

"""procrastinate on psycopg: it fetches and finishes job by job; triggers write an event for each change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from bench.frame import Ledger, main
from bench.peers import Environment, Peer

CONCURRENCY = {"drain": 100, "latency": 10}
POOL = 40
CHUNK = 10_000
PEER = Peer(
    environment=Environment("procrastinate", ("procrastinate==3.10.0", "psycopg[binary]==3.3.9")),
    module="bench.peers.procrastinate",
    unfinished="select count(*) from procrastinate_jobs where status <> 'succeeded'",
    finished="select count(*) from procrastinate_jobs where status = 'succeeded'",
    jobs={"drain": 3_000, "one": 2_000, "concurrent": 3_000, "bulk": 20_000, "latency": 100},
    settings={
        "drain": "concurrency=100, pool of 40",
        "latency": "concurrency=10",
        "concurrent": "pool of 40",
        "bulk": "batch_defer of 10,000",
    },
    guarantee="at least once where the application itself looks for stalled jobs; finished jobs and events are kept",
)


class Side:
    def __init__(self, url: str) -> None:
        self.lib: Any = import_module("procrastinate")
        self.ledger: Ledger | None = None
        self.app: Any = self.lib.App(connector=self.lib.PsycopgConnector(conninfo=url, min_size=1, max_size=POOL))

        @self.app.task(name="noop")  # type: ignore[untyped-decorator]  # the library is not in our environment
        async def noop(n: int) -> None:
            assert self.ledger is not None
            self.ledger.mark(n)

        self.noop: Any = noop

    async def prepare(self) -> None:
        await self.app.open_async()
        await self.app.schema_manager.apply_schema_async()

    async def open(self, how: str) -> None:
        await self.app.open_async()
        await self.app.check_connection_async()

    async def one(self, n: int) -> object:
        return await self.noop.defer_async(n=n)

    async def bulk(self, numbers: range) -> None:
        for first in range(0, len(numbers), CHUNK):
            await self.noop.batch_defer_async(*({"n": n} for n in numbers[first : first + CHUNK]))

    @asynccontextmanager
    async def working(self, ledger: Ledger, purpose: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
        self.ledger = ledger
        await self.open("one")
        yield lambda: self.app.run_worker_async(concurrency=CONCURRENCY[purpose], install_signal_handlers=False)


if __name__ == "__main__":
    main(Side)

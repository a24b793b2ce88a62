"""pgqueuer on asyncpg. It claims and completes in batches; a finished job's row is deleted and one log row is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any

from bench.frame import Ledger, main
from bench.peers import Environment, Peer

PEER = Peer(
    environment=Environment("pgqueuer", ("pgqueuer[asyncpg]==1.6.0", "asyncpg==0.32.0")),
    module="bench.peers.pgqueuer",
    unfinished="select count(*) from pgqueuer",
    finished="select count(*) from pgqueuer_log where status = 'successful'",
    jobs={"drain": 50_000, "one": 4_000, "concurrent": 10_000, "bulk": 60_000, "latency": 400},
    settings={
        "drain": "batch_size=1000",
        "latency": "batch_size=10",
        "concurrent": "pool of 10",
        "bulk": "lists of 10,000",
    },
    guarantee="at least once, by heartbeat; completions wait in memory for their batch, a crash runs up to 1,000 again",
    quick=frozenset({"drain", "2proc", "one", "concurrent", "bulk", "latency"}),
)
BATCH = {"drain": 1000, "latency": 10}
CHUNK = 10_000


class Side:
    def __init__(self, url: str) -> None:
        self.url = url
        self.asyncpg: Any = import_module("asyncpg")
        self.lib: Any = import_module("pgqueuer")
        self.queries: Any = None

    async def prepare(self) -> None:
        await self.open("one")
        await self.queries.install()

    async def open(self, how: str) -> None:
        db: Any = import_module("pgqueuer.db")
        if how == "concurrent":
            driver = db.AsyncpgPoolDriver(await self.asyncpg.create_pool(self.url, min_size=10, max_size=10))
        else:
            driver = db.AsyncpgDriver(await self.asyncpg.connect(self.url))
        self.queries = import_module("pgqueuer.queries").Queries(driver)

    async def one(self, n: int) -> object:
        return await self.queries.enqueue("noop", b"%d" % n)

    async def bulk(self, numbers: range) -> None:
        for first in range(0, len(numbers), CHUNK):
            part = numbers[first : first + CHUNK]
            await self.queries.enqueue(["noop"] * len(part), [b"%d" % n for n in part], [0] * len(part))

    @asynccontextmanager
    async def working(self, ledger: Ledger, purpose: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
        worker = self.lib.PgQueuer.from_asyncpg_connection(await self.asyncpg.connect(self.url))

        @worker.entrypoint("noop")  # type: ignore[untyped-decorator]  # the library is not in our environment
        async def noop(job: Any) -> None:
            ledger.mark(int(job.payload))

        yield lambda: worker.run(batch_size=BATCH[purpose], dequeue_timeout=timedelta(seconds=30))
        worker.shutdown.set()
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    main(Side)

"""absurd on psycopg: functions in the database do the work; a worker has one connection and asks at intervals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from bench.frame import Ledger, main
from bench.peers import Environment, Peer

QUEUE = "bench"
CONCURRENCY = {"drain": 100, "latency": 10}
POLL = {"drain": 0.25, "latency": 0.01}
PEER = Peer(
    environment=Environment("absurd", ("absurd-sdk==0.5.1", "absurdctl==0.5.1", "psycopg[binary]==3.3.9")),
    module="bench.peers.absurd",
    unfinished="select count(*) from absurd.t_bench where state <> 'completed'",
    finished="select count(*) from absurd.t_bench where state = 'completed'",
    jobs={"drain": 4_000, "one": 3_000, "concurrent": 3_000, "latency": 100},
    settings={
        "drain": "concurrency=100, batch_size=100",
        "latency": "concurrency=10, asked every 10 ms",
        "concurrent": "its one connection",
    },
    guarantee="at least once, by a claim that runs out; finished tasks are kept",
)


class Side:
    def __init__(self, url: str) -> None:
        self.url = url
        self.app: Any = import_module("absurd_sdk").AsyncAbsurd(url, queue_name=QUEUE)

    async def prepare(self) -> None:
        psycopg: Any = import_module("psycopg")
        schema: str = import_module("absurdctl").BUNDLED_SCHEMA_SQL
        async with await psycopg.AsyncConnection.connect(self.url) as connection:
            await connection.execute(schema)
        await self.app.create_queue(QUEUE)

    async def open(self, how: str) -> None:
        await self.app.list_queues()

    async def one(self, n: int) -> object:
        return await self.app.spawn("noop", {"n": n}, queue=QUEUE)

    async def bulk(self, numbers: range) -> None:
        """It has none: this only fills the queue for others to measure."""
        for n in numbers:
            await self.one(n)

    @asynccontextmanager
    async def working(self, ledger: Ledger, purpose: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
        @self.app.register_task("noop")  # type: ignore[untyped-decorator]  # the library is not in our environment
        async def noop(params: Any, _context: Any) -> None:
            ledger.mark(params["n"])

        await self.app.list_queues()
        most = CONCURRENCY[purpose]
        yield lambda: self.app.start_worker(concurrency=most, batch_size=most, poll_interval=POLL[purpose])
        self.app.stop_worker()


if __name__ == "__main__":
    main(Side)

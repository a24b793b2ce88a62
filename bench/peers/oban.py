"""oban on psycopg: one statement acknowledges each job, several of them in one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from bench.frame import Ledger, main
from bench.peers import Environment, Peer

LIMIT = {"drain": 50, "latency": 10}
CHUNK = 10_000
PEER = Peer(
    environment=Environment("oban", ("oban==0.7.0", "psycopg[binary]==3.3.9"), python=(3, 12)),
    module="bench.peers.oban",
    unfinished="select count(*) from oban_jobs where state <> 'completed'",
    finished="select count(*) from oban_jobs where state = 'completed'",
    jobs={"drain": 10_000, "one": 2_500, "concurrent": 4_000, "bulk": 10_000, "latency": 100},
    settings={"drain": "limit=50", "latency": "limit=10", "concurrent": "pool of 10", "bulk": "enqueue_many of 10,000"},
    guarantee="at least once; jobs of a lost producer are rescued after a minute; finished jobs are kept for a day",
)
QUEUE = "bench"


class Side:
    def __init__(self, url: str) -> None:
        self.url = url
        self.lib: Any = import_module("oban")
        self.ledger: Ledger | None = None
        self.oban: Any = None

        @self.lib.worker(queue=QUEUE)
        class Noop:
            async def process(_self, job: Any) -> None:  # noqa: N805  # `self` is the side
                assert self.ledger is not None
                self.ledger.mark(job.args["n"])

        self.noop: Any = Noop

    async def prepare(self) -> None:
        await import_module("oban.schema").install(await self._pool())

    async def open(self, how: str) -> None:
        self.oban = self.lib.Oban(pool=await self._pool())

    async def one(self, n: int) -> object:
        return await self.oban.enqueue(self.noop.new({"n": n}))

    async def bulk(self, numbers: range) -> None:
        for first in range(0, len(numbers), CHUNK):
            await self.oban.enqueue_many([self.noop.new({"n": n}) for n in numbers[first : first + CHUNK]])

    @asynccontextmanager
    async def working(self, ledger: Ledger, purpose: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
        self.ledger = ledger
        oban = self.lib.Oban(pool=await self._pool(), queues={QUEUE: LIMIT[purpose]})
        yield oban.start
        await oban.stop()

    async def _pool(self) -> Any:
        return await self.lib.Oban.create_pool(self.url, min_size=10, max_size=10)


if __name__ == "__main__":
    main(Side)

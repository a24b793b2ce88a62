"""DBOS: a job is a workflow without steps. It asks its queue for work at intervals, and starts all that it finds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from bench.frame import Ledger, main
from bench.peers import Environment, Peer

PEER = Peer(
    environment=Environment("dbos", ("dbos==3.4.0",)),
    module="bench.peers.dbos",
    unfinished="select count(*) from dbos.workflow_status where status <> 'SUCCESS'",
    finished="select count(*) from dbos.workflow_status where status = 'SUCCESS'",
    jobs={"drain": 3_000, "one": 2_000, "concurrent": 2_000, "latency": 100},
    settings={
        "drain": "synchronous workflows, no limit",
        "latency": "asked every 10 ms",
        "concurrent": "threads, pool of 20",
    },
    guarantee="at least once, workflows of a lost process are recovered when it starts again; finished ones are kept",
)
QUEUE = "bench"
POLL = {"drain": 1.0, "latency": 0.01}


class Side:
    def __init__(self, url: str) -> None:
        self.url = url
        self.lib: Any = import_module("dbos")
        self.client: Any = None
        self.one = self._one

    async def prepare(self) -> None:
        dbos = self._dbos()
        await asyncio.to_thread(dbos.launch)
        await asyncio.to_thread(dbos.destroy)

    async def open(self, how: str) -> None:
        self.client = self.lib.DBOSClient(
            system_database_url=self.url, system_database_pool_size=20, application_name="bench"
        )
        if how == "concurrent":
            self.one = self._one_of_many

    async def _one(self, n: int) -> object:
        return self.client.enqueue(self._options(), n)

    async def _one_of_many(self, n: int) -> object:
        return await self.client.enqueue_async(self._options(), n)

    async def bulk(self, numbers: range) -> None:
        """It has none: this only fills the queue for others to measure."""
        for n in numbers:
            await self._one(n)

    @asynccontextmanager
    async def working(self, ledger: Ledger, purpose: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
        dbos = self._dbos()

        @dbos.workflow(name="noop")  # type: ignore[untyped-decorator]  # the library is not in our environment
        def noop(n: int) -> None:
            ledger.mark(n)

        def begin() -> None:
            dbos.launch()
            dbos.register_queue(QUEUE, polling_interval_sec=POLL[purpose])

        yield lambda: asyncio.to_thread(begin)

    def _dbos(self) -> Any:
        config = {"name": "bench", "system_database_url": self.url, "application_version": "1", "log_level": "ERROR"}
        self.lib.DBOS(config=config)
        return self.lib.DBOS

    def _options(self) -> dict[str, str]:
        return {"workflow_name": "noop", "queue_name": QUEUE, "app_version": "1"}


if __name__ == "__main__":
    main(Side)

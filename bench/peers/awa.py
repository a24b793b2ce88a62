"""awa: an engine in Rust that claims, settles and keeps leases; only the task is Python."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from bench.frame import Ledger, main
from bench.peers import Environment, Peer

WORKERS = {"drain": 4096, "latency": 64}
CHUNK = 10_000
# Where it keeps what has ended: batches, single jobs, and the number of those that it has dropped by whole segments.
BATCHES = "select coalesce(sum(completed_count), 0)::bigint from awa.receipt_completion_batches"
SINGLES = "select count(*) from awa.done_entries"
ROLLED = "select coalesce(sum(pruned_completed_count), 0)::bigint from awa.queue_terminal_rollups"
PEER = Peer(
    environment=Environment("awa", ("awa-pg==0.6.9",)),
    module="bench.peers.awa",
    unfinished=f"select (select count(*) from awa.ready_entries) - ({BATCHES}) - ({SINGLES})",
    finished=f"select ({BATCHES}) + ({SINGLES}) + ({ROLLED})",
    jobs={"drain": 30_000, "one": 2_000, "concurrent": 10_000, "bulk": 60_000, "latency": 100},
    settings={
        "drain": "4,096 workers",
        "latency": "64 workers",
        "concurrent": "10 connections",
        "bulk": "COPY of 10,000",
    },
    guarantee="at least once, by heartbeat; finished jobs are dropped in whole segments, their number is kept",
    quick=frozenset({"bulk"}),
)


@dataclass
class Noop:
    n: int


class Side:
    def __init__(self, url: str) -> None:
        self.client: Any = import_module("awa").AsyncClient(url, max_connections=10)

    async def prepare(self) -> None:
        await self.client.migrate()
        await self.client.install_queue_storage(schema="awa")

    async def open(self, how: str) -> None:
        await self.client.queue_stats()

    async def one(self, n: int) -> object:
        return await self.client.insert(Noop(n), queue="bench")

    async def bulk(self, numbers: range) -> None:
        for first in range(0, len(numbers), CHUNK):
            jobs = [Noop(n) for n in numbers[first : first + CHUNK]]
            await self.client.enqueue_many_copy(jobs, queue="bench")

    @asynccontextmanager
    async def working(self, ledger: Ledger, purpose: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
        @self.client.task(Noop, queue="bench")  # type: ignore[untyped-decorator]  # the library is not in our environment
        async def noop(job: Any) -> None:
            ledger.mark(job.args.n)

        await self.client.queue_stats()
        yield lambda: self.client.start([("bench", WORKERS[purpose])])
        await self.client.shutdown()


if __name__ == "__main__":
    main(Side)

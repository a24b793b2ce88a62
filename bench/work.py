"""Our side of the measurements, written as a user would: an app, a no-op task, a ledger that counts by job."""

from __future__ import annotations

import asyncio
from time import perf_counter

from mainspring import App

CONCURRENCY = 100


class Work:
    """An app with one async task that does nothing but count that it ran; `done` when so many have run.

    `began` is when the job ran last, by `perf_counter`.
    """

    def __init__(self, url: str, jobs: int) -> None:
        self.ran = ran = bytearray(jobs)
        self.began = began = [0.0] * jobs
        self.done = done = asyncio.Event()
        self.app = App(url)
        left = jobs

        @self.app.task(name="bench.noop", store_result=False)
        async def noop(n: int) -> None:
            nonlocal left
            ran[n] += 1
            left -= 1
            if not left:
                done.set()

        @self.app.task(name="bench.clocked", store_result=False)
        async def clocked(n: int) -> None:
            began[n] = perf_counter()
            ran[n] += 1

        self.noop = noop
        self.clocked = clocked

    async def ended(self, jobs: int) -> None:
        """Until every job is recorded as completed."""
        await self.done.wait()
        while True:
            counts = await self.app.jobs.counts()
            if sum(count.number for count in counts if count.state == "completed") >= jobs:
                return
            await asyncio.sleep(0.001)

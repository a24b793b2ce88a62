"""A worker in a process of its own: `python -m tests.soak.postgres_worker URL prepare|fill N|work|drain N`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from time import perf_counter

from mainspring import App, Task
from mainspring.engine.settings import WorkerSettings
from mainspring.store.base import Claim, Claimed
from mainspring.store.postgres.jobs import JobVerbs

CONCURRENCY = 100
SETTINGS = WorkerSettings(concurrency=CONCURRENCY)


class Side:
    """An app with one task, that says when it was asked to run; counts, and how late it ran, in seconds."""

    def __init__(self, url: str) -> None:
        self.app = App(url)
        self.done = 0
        self.late: list[float] = []
        self.claims: list[tuple[float, int]] = []

        @self.app.task(name="soak.noop", store_result=False)
        async def noop(at: float) -> None:
            self.done += 1
            self.late.append(time.time() - at)

        self.noop: Task[[float], None] = noop

    def watch_claims(self) -> None:
        """Note how long each claim takes, and how many jobs it gives."""
        real, notes = JobVerbs.claim, self.claims

        async def watched(self: JobVerbs, claim: Claim) -> Claimed:
            began = perf_counter()
            claimed = await real(self, claim)
            notes.append((perf_counter() - began, len(claimed.jobs)))
            return claimed

        JobVerbs.claim = watched  # type: ignore[method-assign]  # this process does nothing else

    async def fill(self, jobs: int) -> None:
        """Jobs that are ready."""
        at = time.time()
        await self.app.enqueue_many(self.noop.bind(at) for _ in range(jobs))
        await self.app.close()

    async def work(self) -> None:
        """Until standard input ends; a line each second."""
        self.watch_claims()
        loop = asyncio.get_running_loop()
        ended = loop.run_in_executor(None, sys.stdin.read)
        async with self.app.working(SETTINGS):
            while not ended.done():
                await asyncio.wait([ended], timeout=1.0)
                self.say()
        await self.app.close()

    async def drain(self, jobs: int) -> None:
        """All that is there, as fast as it goes."""
        self.watch_claims()
        await self.app.store()
        began = perf_counter()
        async with self.app.working(SETTINGS):
            while self.done < jobs:
                await asyncio.sleep(0.005)
            took = perf_counter() - began
        await self.app.close()
        self.say(rate=jobs / took)

    def say(self, **more: float) -> None:
        """How the last second was."""
        late, self.late = sorted(self.late) or [0.0], []
        claims = list(self.claims) or [(0.0, 0)]
        self.claims.clear()
        spent, given = sum(cost for cost, _ in claims), sum(number for _, number in claims)
        figures = {
            "done": self.done,
            "late_p50": late[len(late) // 2],
            "late_p99": late[int(len(late) * 0.99)],
            "claims": len(claims),
            "claim_us": spent / max(given, 1) * 1e6,
            "claim_mean": spent / len(claims),
            "claim_max": max(cost for cost, _ in claims),
        }
        sys.stdout.write(json.dumps(figures | more) + "\n")
        sys.stdout.flush()


async def main(url: str, what: str, *words: str) -> None:
    side = Side(url)
    match what:
        case "fill":
            await side.fill(int(words[0]))
        case "work":
            await side.work()
        case "drain":
            await side.drain(int(words[0]))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

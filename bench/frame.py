"""The frame of every contestant on PostgreSQL: ours, the bare loop and each peer run as programs of one kind.

`python -m MODULE COMMAND URL JOBS …`, in the contestant's own environment:

    prepare URL JOBS                       its tables, in an empty database
    enqueue URL JOBS HOW                   store jobs 0…JOBS-1: `one` by one, by 100 `concurrent` callers, or in `bulk…`
    feed URL JOBS                          store one job every 20 ms, as a client of an idle system
    work URL JOBS PURPOSE FILE             run jobs until told to stop; each marks itself in the ledger FILE

Every command but `prepare` prints {"ready": true} when it has imported and connected, and begins when a line comes.
`enqueue` answers {"seconds"}, `feed` {"called": times}; each command stays until one more line comes. Only the standard library
is imported here: this runs in the peers' environments too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import mmap
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from time import perf_counter
from typing import Protocol

CALLERS = 100
PAUSE = 0.02  # seconds between two jobs of an idle system


class Ledger:
    """How often each job ran and when it began last (`perf_counter`): a file that the measuring process maps too."""

    def __init__(self, file: Path, jobs: int, *, new: bool = False) -> None:
        times = (jobs + 7) // 8 * 8
        if new:
            file.write_bytes(bytes(times + 8 * jobs))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 0)
        whole = memoryview(self._map)
        self.ran = whole[:jobs]
        self.began = whole[times:].cast("d")

    def mark(self, n: int) -> None:
        """Job n runs now."""
        self.began[n] = perf_counter()
        self.ran[n] += 1


class Contestant(Protocol):
    """What a module on PostgreSQL offers to the frame; made with the URL of its database."""

    async def prepare(self) -> None:
        """Make the tables."""

    async def open(self, how: str) -> None:
        """Connect as a client; `how` is `one`, `concurrent` or `bulk`."""

    async def one(self, n: int) -> object:
        """Store job n; committed when it returns."""

    async def bulk(self, numbers: range) -> object:
        """Store these jobs the fastest way there is for many."""

    def working(self, ledger: Ledger, purpose: str) -> AbstractAsyncContextManager[Callable[[], Awaitable[object]]]:
        """Connect as a worker. What it gives is called to begin, and works until the context is left.

        `purpose` is `drain` or `latency`: the settings may differ.
        """


def main(make: Callable[[str], Contestant], arguments: Sequence[str] | None = None) -> None:
    """Do one command and leave the process at once: threads of the contestant have nothing more to do."""
    logging.disable(logging.WARNING)
    command, url, jobs, *rest = sys.argv[1:] if arguments is None else arguments

    async def run() -> None:
        await COMMANDS[command](make(url), int(jobs), *rest)
        sys.stdout.flush()
        os._exit(0)

    asyncio.run(run())


async def prepare(side: Contestant, _jobs: int) -> None:
    await side.prepare()


async def enqueue(side: Contestant, jobs: int, how: str) -> None:
    await side.open(how)
    await _go()
    begin = perf_counter()
    if how.startswith("bulk"):
        await side.bulk(range(jobs))
    elif how == "one":
        for n in range(jobs):
            await side.one(n)
    else:
        await _concurrent(side, jobs)
    _say({"seconds": perf_counter() - begin})
    await _line()


async def feed(side: Contestant, jobs: int) -> None:
    await side.open("one")
    await _go()
    called = []
    for n in range(jobs):
        called.append(perf_counter())
        await side.one(n)
        await asyncio.sleep(PAUSE)
    _say({"called": called})
    await _line()


async def work(side: Contestant, jobs: int, purpose: str, file: str) -> None:
    async with side.working(Ledger(Path(file), jobs), purpose) as begin:
        await _go()
        working = asyncio.ensure_future(begin())
        stop = asyncio.ensure_future(_line())
        await asyncio.wait({working, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.done():  # some return when they have begun, others when they have ended
            await working
            await stop


async def _concurrent(side: Contestant, jobs: int) -> None:
    numbers = iter(range(jobs))

    async def caller() -> None:
        for n in numbers:  # shared: each number goes to whoever asks next
            await side.one(n)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def _go() -> None:
    _say({"ready": True})
    await _line()


async def _line() -> None:
    await asyncio.to_thread(sys.stdin.readline)


def _say(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)


COMMANDS: dict[str, Callable[..., Awaitable[None]]] = {
    "prepare": prepare,
    "enqueue": enqueue,
    "feed": feed,
    "work": work,
}

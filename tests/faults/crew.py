"""The app of the fault tests, and a process that works for it: `python -m tests.faults.crew SETTINGS`, until killed.

`mainspring run tests.faults.crew:app` works for it, too. What a job does goes to a ledger outside the store, in lines
of one length, so that its size tells how many there are.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

from mainspring import App, Context, RetryLater
from mainspring.engine.events import JobEnded
from mainspring.engine.settings import WorkerSettings

LEDGER, ACCEPTED = "ledger.txt", "accepted.txt"
LINE = 49
NAP = 0.015  # before and after the effect, in seconds

app = App()


def write(kind: str, number: int) -> None:
    """One line of the ledger. The monotonic clock is that of the machine: lines of all processes can be compared."""
    line = f"{kind:<8} {number:>8} {time.monotonic_ns():>20} {os.getpid():>8}"
    append(LEDGER, f"{line:<{LINE - 1}}\n")


def append(name: str, line: str) -> None:
    place = os.open(Path(os.environ["FIELD"], name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(place, line.encode())  # one call: lines of several processes do not mix
    os.close(place)


@app.task(name="work")
async def work(number: int) -> int:
    await asyncio.sleep(NAP)
    write("effect", number)
    await asyncio.sleep(NAP)
    return number


@app.task(name="again")
async def again(number: int) -> int:
    """Fails at first, and comes again after a second."""
    if Context.current().attempt == 1:
        await asyncio.sleep(NAP)
        write("first", number)
        raise RetryLater(after=1)
    write("effect", number)
    return number


@app.task(name="spawn")
async def spawn(number: int, other: int) -> int:
    """Adds another job, whose id is made here."""
    await work.options(delay=0.5, expires=60).enqueue(other)
    write("effect", number)
    return number


@app.task(name="nap")
async def nap(number: int, seconds: float) -> int:
    """Runs for a while."""
    write("begin", number)
    await asyncio.sleep(seconds)
    write("effect", number)
    return number


@app.task(name="block")
async def block(number: int, seconds: float) -> int:
    """The loop of its process stands still."""
    write("begin", number)
    time.sleep(seconds)  # noqa: ASYNC251  # that is the fault
    write("effect", number)
    return number


@app.task(name="hold")
async def hold(number: int, seconds: float) -> int:
    """Holds the GIL, by one regular expression; repeated with a longer one until so many seconds have passed."""
    write("begin", number)
    length, longest, began = 18, 0.0, time.monotonic()
    while longest < seconds:
        since = time.monotonic()
        re.match(r"(a+)+$", "a" * length + "b")
        longest = time.monotonic() - since
        assert time.monotonic() - began < seconds * 6, "the regular expression took much longer than it should"
        length += 1 if longest * 3 > seconds else 2
    write("effect", number)
    return number


def ended(event: JobEnded) -> None:
    append(ACCEPTED, f"{event.kind} {event.job} {os.getpid()}\n")


app.events.subscribe(JobEnded, ended)


async def serve(settings: WorkerSettings, workers: int) -> None:
    """Several workers of one process compete like those of several."""
    async with AsyncExitStack() as stack:
        for _ in range(workers):
            await stack.enter_async_context(app.working(settings))
        append(ACCEPTED, f"up {os.getpid()}\n")
        await asyncio.Event().wait()


def main(settings: str) -> None:
    given = json.loads(settings)
    workers: int = given.pop("workers")
    asyncio.run(serve(WorkerSettings(**given), workers))


if __name__ == "__main__":
    main(sys.argv[1])

"""enqueue.*: storing jobs, one client process and no worker; jobs per second, each committed before it is counted.

`one`: one after the other. `concurrent`: 100 callers, each one after the other; they gather by themselves. `bulk`:
`enqueue_many`. That each job is there once, and runs once, is verified afterwards by draining one round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from time import perf_counter
from typing import Any

from bench import bare
from bench.measurement import OURS, Measurement, Row, Run, interleaved, verify_once
from bench.peers import peer_rate
from bench.report import row_of
from bench.stores import fdatasync_ms, place_for
from bench.work import CONCURRENCY, Work

STORES = ("memory", "sqlite")
CALLERS = 100
COUNTS = {"one": (5_000, 1_500), "concurrent": (30_000, 10_000), "bulk": (50_000, 20_000)}
BARE_BATCH = {"one": 1, "concurrent": bare.BATCH, "bulk": bare.BATCH}


def measure(how: str, store: str, run: Run) -> Sequence[Row]:
    name = f"enqueue.{how}.{store}"
    jobs = run.count(*COUNTS[how])
    ways: dict[str, Callable[[], float]] = {"mainspring": partial(ours, how, store, run, jobs)}
    if store == "sqlite":
        ways["bare loop"] = lambda: bare.enqueue(place_for(store, run.folder), jobs, BARE_BATCH[how])
        theirs = peer_rate(run, "huey_sqlite", "enqueue", "full", run.count(4_000, 1_500)) if how == "one" else None
        if theirs is not None:
            ways["huey"] = theirs
    samples = interleaved(run, name, ways)
    synced = fdatasync_ms(run.folder) if store == "sqlite" else None
    return [row_of(name, "jobs/s", samples, verified=jobs * len(samples[OURS].values), fdatasync=synced)]


def ours(how: str, store: str, run: Run, jobs: int) -> float:
    """Jobs per second."""
    return asyncio.run(_enqueue(how, place_for(store, run.folder).url, jobs))


async def _enqueue(how: str, url: str, jobs: int) -> float:
    work = Work(url, jobs)
    async with work.app:
        begin = perf_counter()
        await HOW[how](work, jobs)
        took = perf_counter() - begin
        async with work.app.running(concurrency=CONCURRENCY):
            await work.ended(jobs)
    verify_once(work.ran)
    return jobs / took


async def _one(work: Work, jobs: int) -> None:
    for n in range(jobs):
        await work.noop.enqueue(n)


async def _concurrent(work: Work, jobs: int) -> None:
    numbers = iter(range(jobs))

    async def caller() -> None:
        for n in numbers:  # shared: each number goes to whoever asks next
            await work.noop.enqueue(n)

    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(caller())


async def _bulk(work: Work, jobs: int) -> None:
    await work.app.enqueue_many(work.noop.bind(n) for n in range(jobs))


HOW: dict[str, Callable[[Work, int], Coroutine[Any, Any, None]]] = {
    "one": _one,
    "concurrent": _concurrent,
    "bulk": _bulk,
}
MEASUREMENTS = tuple(
    Measurement((f"enqueue.{how}.{store}",), partial(measure, how, store)) for how in HOW for store in STORES
)

"""drain.*: no-op jobs that are there already, until all of them are recorded as completed; one process, jobs per second.

`drain.sqlite` syncs every commit (synchronous=FULL), `drain.normal.sqlite` does not (NORMAL: the last commits may be
lost in a power cut, not in a crash of the process). huey, the peer, takes a task off the queue before it runs it (at
most once) and keeps nothing of it; for the NORMAL row it runs with synchronous=OFF, which it offers instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

from bench import bare
from bench.measurement import OURS, Measurement, Row, Run, interleaved, verify_once
from bench.peers import peer_rate
from bench.report import row_of
from bench.stores import fdatasync_ms, place_for
from bench.work import CONCURRENCY, Work

STORES = ("memory", "sqlite", "normal.sqlite")


def measure(store: str, run: Run) -> Sequence[Row]:
    name = f"drain.{store}"
    jobs = run.count(60_000, 20_000)
    ways: dict[str, Callable[[], float]] = {"mainspring": partial(ours, store, run, jobs)}
    if store != "memory":
        ways["bare loop"] = lambda: bare.drain(place_for(store, run.folder), jobs)
        synchronous = "full" if store == "sqlite" else "off"
        theirs = peer_rate(run, "huey_sqlite", "drain", synchronous, run.count(10_000, 4_000))
        if theirs is not None:
            ways["huey"] = theirs
    samples = interleaved(run, name, ways)
    synced = fdatasync_ms(run.folder) if store != "memory" else None
    return [row_of(name, "jobs/s", samples, verified=jobs * len(samples[OURS].values), fdatasync=synced)]


def ours(store: str, run: Run, jobs: int) -> float:
    """Jobs per second, from before the worker starts."""
    return asyncio.run(_drain(place_for(store, run.folder).url, jobs))


async def _drain(url: str, jobs: int) -> float:
    work = Work(url, jobs)
    async with work.app:  # a memory store lives as long as this
        await work.app.enqueue_many(work.noop.bind(n) for n in range(jobs))
        begin = perf_counter()
        async with work.app.running(concurrency=CONCURRENCY):
            await work.ended(jobs)
            took = perf_counter() - begin
    verify_once(work.ran)
    return jobs / took


MEASUREMENTS = tuple(Measurement((f"drain.{store}",), partial(measure, store)) for store in STORES)

"""latency.*: how long an idle system takes from before the call of `enqueue` to the start of the task, in ms.

One job every 20 ms. `latency.cross.*`: another process works. The clock is the monotonic one, which all processes of a
machine share. huey, the peer, asks its store again and again: after 1 ms, then less often, up to every 0.1 s.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from statistics import quantiles
from time import perf_counter

from bench.measurement import OURS, Measurement, Row, Run, Samples, Unverified, interleaved, verify_once
from bench.peers import ROOT
from bench.report import row_of
from bench.stores import fdatasync_ms, place_for
from bench.work import Work

PAUSE = 0.02  # seconds between two jobs
WARM_UP = 5
TIMEOUT = 20.0
LEVELS = ("p50", "p99")


def measure(prefix: str, store: str, run: Run) -> Sequence[Row]:
    """The rows of one store: p50 and p99 of the same jobs."""
    jobs = run.count(300, 150)
    tails: dict[str, list[float]] = {}

    def way(who: str, latencies: Callable[[], tuple[float, float]]) -> Callable[[], float]:
        def sample() -> float:
            half, tail = latencies()
            tails.setdefault(who, []).append(tail)
            return half

        return sample

    ours = partial(_across, run, jobs) if prefix.endswith("cross") else partial(_within, store, run, jobs)
    ways = {"mainspring": way("mainspring", ours)}
    if store == "sqlite" and prefix == "latency" and run.peer("huey_sqlite", "latency", "full", "3", str(run.folder)):
        ways["huey"] = way("huey", partial(_theirs, run, run.count(100, 40)))
    halves = interleaved(run, f"{prefix}.{store}", ways)
    ends = {who: Samples(tuple(values)) for who, values in tails.items()}
    synced = fdatasync_ms(run.folder) if store == "sqlite" else None
    return [
        row_of(f"{prefix}.{level}.{store}", "ms", samples, verified=jobs * len(samples[OURS].values), fdatasync=synced)
        for level, samples in zip(LEVELS, (halves, ends), strict=True)
    ]


def levels(began: Sequence[float], called: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th percentile of the waits, in ms, without those of the warm-up."""
    waits = [(start - call) * 1000 for start, call in zip(began, called, strict=True)][WARM_UP:]
    cuts = quantiles(waits, n=100, method="inclusive")
    return cuts[49], cuts[98]


def _within(store: str, run: Run, jobs: int) -> tuple[float, float]:
    return asyncio.run(_in_one_process(place_for(store, run.folder).url, jobs + WARM_UP))


async def _in_one_process(url: str, jobs: int) -> tuple[float, float]:
    work = Work(url, jobs)
    async with work.app.running():
        called = await _feed(work.clocked.enqueue, jobs)
        await work.app.idle()
    verify_once(work.ran)
    return levels(work.began, called)


def _across(run: Run, jobs: int) -> tuple[float, float]:
    return asyncio.run(_in_two_processes(place_for("sqlite", run.folder).url, jobs + WARM_UP))


async def _in_two_processes(url: str, jobs: int) -> tuple[float, float]:
    work = Work(url, jobs)
    async with work.app:
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.latency", url, str(jobs)),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert worker.stdout
            await asyncio.wait_for(worker.stdout.readline(), TIMEOUT)  # it works now
            called = await _feed(work.clocked.enqueue, jobs)
            answer, _ = await asyncio.wait_for(worker.communicate(b"that was all\n"), TIMEOUT)
        finally:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()
    began = json.loads(answer)
    verify_once([len(times) for times in began])
    return levels([times[0] for times in began], called)


async def _feed(enqueue: Callable[[int], Awaitable[object]], jobs: int) -> list[float]:
    """Enqueue one job after the other, with pauses; when each call began."""
    called = []
    for n in range(jobs):
        called.append(perf_counter())
        await enqueue(n)
        await asyncio.sleep(PAUSE)
    return called


def _theirs(run: Run, jobs: int) -> tuple[float, float]:
    found = run.peer("huey_sqlite", "latency", "full", str(jobs), str(run.folder))
    if found is None:
        raise Unverified("huey answered once and then no more")
    return found["p50"], found["p99"]


async def work_elsewhere(url: str, jobs: int) -> None:
    """The other process: works until a line comes on stdin, then says when each job began, each time it did."""
    work = Work(url, jobs)
    began: list[list[float]] = [[] for _ in range(jobs)]

    async with work.app.running():
        print("working", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await work.app.idle()
    for n, times in enumerate(work.ran):
        began[n] += [work.began[n]] * times
    print(json.dumps(began), flush=True)


MEASUREMENTS = tuple(
    Measurement(tuple(f"{prefix}.{level}.{store}" for level in LEVELS), partial(measure, prefix, store))
    for prefix, store in (("latency", "memory"), ("latency", "sqlite"), ("latency.cross", "sqlite"))
)

if __name__ == "__main__":
    asyncio.run(work_elsewhere(sys.argv[1], int(sys.argv[2])))

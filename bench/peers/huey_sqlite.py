"""Runs in the peers' environment: huey on SQLite, in its best settings (one worker thread, WAL).

`python -m bench.peers.huey_sqlite drain full 4000` prints {"rate": jobs per second}; `latency` prints {"p50", "p99"} in ms.
Each job counts that it ran; a run in which one did not run exactly once fails.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from statistics import quantiles
from typing import Any

PAUSE = 0.02
POLL = 0.1


class Work:
    """A huey with one task that counts."""

    def __init__(self, folder: str, synchronous: str, jobs: int) -> None:
        logging.disable(logging.INFO)
        lib = import_module("huey")
        file = str(Path(folder) / "huey.db")
        self.huey: Any = lib.SqliteHuey(filename=file, fsync=synchronous == "full", results=False, utc=True)
        self.ran = ran = bytearray(jobs)
        self.began = began = [0.0] * jobs

        @self.huey.task()  # type: ignore[untyped-decorator]  # huey has no types
        def noop(n: int) -> None:
            began[n] = time.perf_counter()
            ran[n] += 1

        self.noop: Any = noop

    def consume(self) -> Any:
        consumer = self.huey.create_consumer(
            workers=1, worker_type="thread", periodic=False, initial_delay=0.001, backoff=1.15, max_delay=POLL
        )
        consumer.start()
        return consumer

    def wait(self) -> None:
        while not all(self.ran):
            time.sleep(0.001)
        assert max(self.ran) == 1


def drain(work: Work, jobs: int) -> dict[str, float]:
    for n in range(jobs):
        work.noop(n)
    begin = time.perf_counter()
    work.consume()
    work.wait()
    return {"rate": jobs / (time.perf_counter() - begin)}


def enqueue(work: Work, jobs: int) -> dict[str, float]:
    begin = time.perf_counter()
    for n in range(jobs):
        work.noop(n)
    took = time.perf_counter() - begin
    work.consume()
    work.wait()
    return {"rate": jobs / took}


def latency(work: Work, jobs: int) -> dict[str, float]:
    work.consume()
    time.sleep(0.3)
    called = []
    for n in range(jobs):
        called.append(time.perf_counter())
        work.noop(n)
        time.sleep(PAUSE)
    work.wait()
    waits = [(start - call) * 1000 for start, call in zip(work.began, called, strict=True)]
    cuts = quantiles(waits, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98]}


MEASURES = {"drain": drain, "enqueue": enqueue, "latency": latency}


def main(what: str, synchronous: str, jobs: int, place: str) -> None:
    with tempfile.TemporaryDirectory(dir=place) as folder:
        print(json.dumps(MEASURES[what](Work(folder, synchronous, jobs), jobs)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
    import os

    os._exit(0)  # its threads have nothing more to do, and stop only at their leisure

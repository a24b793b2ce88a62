"""Act two: the files as durable jobs in SQLite, two workers, a `kill -9` after a third, a replacement.

The workers are those of `mainspring run`: its parent process puts a new one in the place of the one that is killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.report import Progress
from demo.source import Index
from demo.tasks import LEDGER, Entry, Ledger, app, fold, index
from mainspring import Job, chain, group

ROOT = Path(__file__).resolve().parents[1]
LOOK_EVERY = 0.1  # seconds between two looks into the ledger
TIMEOUT = 60.0
PATIENCE = 15.0  # for the workers to stop by themselves
LEDGER_FILE = "ledger.tsv"
COMMAND = ("mainspring", "run", "demo.tasks:app")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The durable result, and what the store and the ledger tell about how it came to be. Times in seconds."""

    index: Index
    entries: Sequence[Entry]
    killed: int
    killed_at: float
    rescued: int
    retried: int
    rescue_seconds: float
    seconds: float


async def run_durable(paths: Sequence[str], folder: Path) -> Outcome:
    """The jobs, the kill, the replacement, the result; `workers` of the same folder are there or about to be."""
    ledger = Ledger(folder / LEDGER_FILE)
    async with app:
        with Progress("jobs", len(paths)) as progress:
            await both_workers()
            begin = time.time()
            job = await app.enqueue(chain(group(*(index.bind(path) for path in paths)), fold))
            victim = await a_third(len(paths), ledger, job, progress)
            os.kill(victim, signal.SIGKILL)
            killed_at = time.time()
            progress.tell(f"   kill -9 {victim}: one of the two is dead; its parent starts another")
            await follow(len(paths), ledger, job, progress)
            result = await job.result(timeout=TIMEOUT)
            seconds = time.time() - begin
        rescued, retried, rescued_at = await history()
    return Outcome(
        index=result,
        entries=ledger.entries,
        killed=victim,
        killed_at=killed_at,
        rescued=rescued,
        retried=retried,
        rescue_seconds=max(0.0, rescued_at - killed_at) if rescued else 0.0,
        seconds=seconds,
    )


@contextmanager
def workers(folder: Path) -> Iterator[None]:
    """Two worker processes under one parent, until the block ends; each runs two files at once. They start unawaited.

    They keep what they have in this folder, and this process is told where that is.
    """
    os.environ["MAINSPRING_URL"] = f"sqlite:///{folder / 'demo.db'}"
    os.environ[LEDGER] = str(folder / LEDGER_FILE)
    log = folder / "workers.log"
    asked = (*COMMAND, "--processes", "2", "--concurrency", "2", "--log-level", "error")
    with log.open("wb") as said, subprocess.Popen([sys.executable, "-m", *asked], cwd=ROOT, stderr=said) as parent:
        try:
            yield
        except BaseException:
            print(log.read_text(encoding="utf-8"), file=sys.stderr)  # else nobody would learn why
            raise
        finally:
            parent.terminate()
            try:
                parent.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                parent.kill()


async def both_workers() -> None:
    """Waits until both have joined. Raises TimeoutError."""
    store = await app.store()
    for _ in range(int(TIMEOUT / LOOK_EVERY)):
        if len(await store.workers()) == 2:
            return
        await asyncio.sleep(LOOK_EVERY)
    raise TimeoutError(f"the workers did not start within {TIMEOUT:.0f} s")


async def a_third(files: int, ledger: Ledger, job: Job[Index], progress: Progress) -> int:
    """Waits until a third of the files has begun, in both workers; the worker that began the last one."""
    while True:
        begun = ledger.look()
        progress.at(begun)
        if begun >= max(1, files // 3) and len({entry.worker for entry in ledger.entries}) == 2:
            return ledger.entries[-1].worker
        await _moment(job)


async def follow(files: int, ledger: Ledger, job: Job[Index], progress: Progress) -> None:
    """Shows how far it is until every file has begun, or the fan-in has ended some other way."""
    while (begun := ledger.look()) < files:
        progress.at(begun)
        await _moment(job)
    progress.at(begun)


async def history() -> tuple[int, int, float]:
    """How many attempts were rescued, how many retried, and when the last rescue was, as the store tells."""
    rescued, retried, last = 0, 0, 0.0
    cursor = None
    while True:
        page = await app.jobs.find(task=index.name, limit=500, cursor=cursor)
        for job in page.jobs:
            record = job.record
            if record is None or (record.attempt == 1 and not record.rescues):
                continue
            for attempt in await app.jobs.attempts(job.id):
                retried += attempt.ending == "retried"
                if attempt.ending == "rescued":
                    rescued, last = rescued + 1, max(last, attempt.ended or 0.0)
        cursor = page.cursor
        if cursor is None:
            return rescued, retried, last


async def _moment(job: Job[Index]) -> None:
    """A moment. Raises what the fan-in ended with before its time, so that nobody waits for it."""
    await asyncio.sleep(LOOK_EVERY)
    if (await job.refresh()).terminal:
        await job.result()

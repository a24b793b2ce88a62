"""5,000 jobs on SQLite while worker processes are killed with SIGKILL at random moments: nothing is lost or stuck."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mainspring.app.app import App
from mainspring.model.record import CRASH_LIMIT, JobRecord
from mainspring.model.states import TERMINAL
from mainspring.store.base import Filter

ROOT = Path(__file__).resolve().parents[2]
JOBS = 5000
WORKERS = 3
LEAST_KILLS = 15

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
]


class Fleet:
    """Worker processes, each of which may be killed and replaced at any time."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.url = f"sqlite:///{folder / 'work.db'}"
        self.effects = folder / "effects.txt"
        self.accepted = folder / "accepted.txt"
        self.kills = 0
        self._chance = chance
        self._log = (folder / "log.txt").open("wb")
        self.accepted.touch()
        self._workers = [self._start() for _ in range(WORKERS)]

    async def kill_one(self) -> None:
        """Any of them, some time after it has begun to work: one that is killed at once gets nothing done."""
        place = self._chance.randrange(WORKERS)
        ends = time.monotonic() + 30
        while f"up {self._workers[place].pid}" not in lines(self.accepted):
            assert time.monotonic() < ends, "a worker does not start"
            await asyncio.sleep(0.01)
        await asyncio.sleep(self._chance.uniform(0.0, 0.4))
        assert self._workers[place].poll() is None, "a worker ended by itself"
        self._workers[place].kill()
        self._workers[place].wait()
        self._workers[place] = self._start()
        self.kills += 1

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
            worker.wait()
        self._log.close()

    def _start(self) -> subprocess.Popen[bytes]:
        files = [str(self.effects), str(self.accepted)]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.kill.worker", self.url, *files], cwd=ROOT, stdout=self._log, stderr=self._log
        )


@contextmanager
def fleet(folder: Path, seed: int) -> Iterator[Fleet]:
    made = Fleet(folder, random.Random(seed))
    try:
        yield made
    finally:
        made.close()


async def add_jobs(app: App) -> list[str]:
    work = app.remote("work")
    return [job.id for job in await app.enqueue_many(work.bind(number=number) for number in range(JOBS))]


async def all_jobs(app: App) -> list[JobRecord]:
    store = await app.store()
    found: list[JobRecord] = []
    cursor: str | None = None
    while True:
        page = await store.find(Filter(task="work"), cursor=cursor, limit=1000)
        found += page.jobs
        cursor = page.cursor
        if cursor is None:
            return found


async def unfinished(app: App) -> int:
    return sum(each.number for each in await app.jobs.counts() if each.state not in TERMINAL)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("seed", [1])
async def test_killed_workers_lose_nothing(tmp_path: Path, seed: int) -> None:
    async with App(f"sqlite:///{tmp_path / 'work.db'}") as app:
        ids = await add_jobs(app)
        with fleet(tmp_path, seed) as workers:
            ends = time.monotonic() + 240
            while left := await unfinished(app):
                assert time.monotonic() < ends, f"stuck: {left} jobs: {await app.jobs.counts()}"
                if left > JOBS // 20:
                    await workers.kill_one()
                else:
                    await asyncio.sleep(0.05)
            jobs = await all_jobs(app)
            assert workers.kills >= LEAST_KILLS
    judge(jobs, ids, Counter(int(line) for line in lines(workers.effects)), lines(workers.accepted))


def judge(jobs: list[JobRecord], ids: list[str], effects: Counter[int], accepted: list[str]) -> None:
    assert sorted(job.id for job in jobs) == sorted(ids)
    assert {job.state for job in jobs} <= {"completed", "dead"}
    # Dead only by the crash limit: it was there each time when somebody shot its worker.
    assert [job for job in jobs if job.state == "dead" and job.crashes < CRASH_LIMIT] == []
    assert sum(job.state == "dead" for job in jobs) <= len(jobs) // 1000
    done = {int(job.result or b"-1") for job in jobs if job.state == "completed"}
    assert len(done) == sum(job.state == "completed" for job in jobs)
    assert done <= effects.keys(), f"no effect for {sorted(done - effects.keys())[:10]}"
    ended = Counter(line for line in accepted if line.startswith("complete "))
    assert [job for job, times in ended.items() if times > 1] == []
    more = sum(times - 1 for times in effects.values())
    rescued = [job for job in jobs if job.rescues]
    assert rescued
    assert more <= sum(job.rescues for job in rescued), "a job ran more often than it was rescued"

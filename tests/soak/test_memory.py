"""A worker that has run a million jobs is no larger than one that has run a hundred thousand (celery#4843)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mainspring import App
from mainspring.engine.settings import WorkerSettings

BATCH = 10_000
FIRST, LAST = 100_000, 1_000_000
KEPT = 5.0  # seconds for which ended jobs stay, so that pruning has to keep up
GROWTH = 1.10


@pytest.mark.soak
def test_a_million_jobs_leave_no_memory_behind(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, __file__, f"sqlite:///{tmp_path / 'soak.db'}?synchronous=NORMAL"],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    sizes = {int(jobs): size for jobs, size in json.loads(ran.stdout).items()}
    assert sizes[LAST] <= GROWTH * sizes[FIRST], sizes


async def work(url: str) -> dict[int, float]:
    """Megabytes of this process after so many jobs."""
    app = App(url)
    done = 0

    @app.task(name="count")
    async def count(n: int) -> int:
        nonlocal done
        done += 1
        return n

    sizes: dict[int, float] = {}
    settings = WorkerSettings(concurrency=100, retention={"completed": KEPT}, prune_every=1.0)
    async with app.working(settings):
        while done < LAST:
            await app.enqueue_many(count.bind(n) for n in range(BATCH))
            await app.idle()
            if done % FIRST == 0:
                sizes[done] = resident()
                sys.stderr.write(f"{done:,} jobs, {sizes[done]:.1f} MB\n")
    return sizes


def resident() -> float:
    """Megabytes that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(work(sys.argv[1]))))

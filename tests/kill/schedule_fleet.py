"""Processes that fire the same schedules, some of them killed."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypedDict

from mainspring import Every, ScheduleSpec
from mainspring.app.app import App
from mainspring.model.schedule import MOST_CAUGHT_UP, Misfire, Overlap
from mainspring.store.base import Store
from tests.kill.schedule_worker import TASK

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds that eight processes on a busy machine may need to start."""


@dataclass(frozen=True)
class Kind:
    """How many schedules of one kind there are, and what they do."""

    name: str
    number: int
    interval: float = 1.0
    misfire: Misfire = "all"
    overlap: Overlap = "allow"
    seconds: float = 0.0
    """How long a run takes."""


MIXED = (
    Kind("plain", 40),
    Kind("once", 15, misfire="once"),
    Kind("skip", 15, overlap="skip", seconds=0.2),
    Kind("queue", 10, overlap="queue", misfire="once", seconds=0.2),
    Kind("dense", 4, interval=0.05),
    Kind("long", 4, interval=0.2, overlap="skip", misfire="once", seconds=0.5),
)
"""88 schedules, 180 slots a second."""

FEWER = tuple(replace(kind, number=kind.number // 2) for kind in MIXED)
"""For many processes on a small machine."""


class Fleet:
    """Scheduler processes, each of which may be killed and replaced, or stopped and continued, at any time."""

    def __init__(self, folder: Path, url: str, number: int, seed: int) -> None:
        self.url = url
        self.kills = 0
        self._lines = folder / "lines.txt"
        self._lines.touch()
        self._chance = random.Random(seed)
        self._log = (folder / "log.txt").open("wb")
        self._began = time.monotonic()
        self.processes = [self._start() for _ in range(number)]

    async def until_up(self, process: subprocess.Popen[bytes]) -> None:
        """It works."""
        ends = time.monotonic() + PATIENCE
        while f"up {process.pid}" not in self.lines():
            assert process.poll() is None, "a scheduler process ended at its start"
            assert time.monotonic() < ends, "a scheduler process does not start"
            await asyncio.sleep(0.02)

    async def all_up(self) -> None:
        """All of them do."""
        for process in self.processes:
            await self.until_up(process)

    async def kill_one(self) -> None:
        """Any of them, at any moment after it has begun to work; another takes its place."""
        place = self._chance.randrange(len(self.processes))
        await self.until_up(self.processes[place])
        await asyncio.sleep(self._chance.uniform(0.0, 0.3))
        assert self.processes[place].poll() is None, "a scheduler process ended by itself"
        self.processes[place].kill()
        self.processes[place].wait()
        self.processes[place] = self._start()
        self.kills += 1

    async def stop_for(self, seconds: float, process: subprocess.Popen[bytes]) -> None:
        """The process stands still, wherever it is, and then goes on as if nothing had happened."""
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        process.send_signal(signal.SIGCONT)

    def fired(self) -> Counter[int]:
        """How many fires each process was told to have succeeded."""
        return Counter(int(line.split()[1]) for line in self.lines() if line.startswith("fired "))

    def lines(self) -> list[str]:
        """What they said."""
        return self._lines.read_text(encoding="utf-8").splitlines()

    def close(self) -> None:
        """Kill all."""
        for process in self.processes:
            process.kill()
            process.wait()
        self._log.close()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.kill.schedule_worker", self.url, str(self._lines)],
            cwd=ROOT,
            stdout=self._log,
            stderr=self._log,
        )


@contextmanager
def fleet(folder: Path, url: str, number: int, seed: int = 1) -> Iterator[Fleet]:
    """So many processes; what they logged is shown beside a failure."""
    made = Fleet(folder, url, number, seed)
    try:
        yield made
    except BaseException:
        sys.stdout.write((folder / "log.txt").read_text(errors="replace")[-5000:])
        raise
    finally:
        made.close()


async def put(app: App, kinds: Iterable[Kind], begin: datetime) -> None:
    """The schedules, their phases spread over their interval; the first slots come at `begin`."""
    specs = [
        ScheduleSpec(
            f"{kind.name}-{n}",
            Every(kind.interval, start=begin + timedelta(seconds=kind.interval * n / kind.number)),
            app.remote(TASK).bind(seconds=kind.seconds),
            **late(kind),
            overlap=kind.overlap,
            keep=10_000,
        )
        for kind in kinds
        for n in range(kind.number)
    ]
    await app.schedules.put_many(specs)


class Late(TypedDict, total=False):
    """What becomes of slots that nobody ran in time."""

    misfire: Misfire
    misfire_limit: int


def late(kind: Kind) -> Late:
    """With a limit that nothing reaches here, where there is one."""
    return {"misfire": "all", "misfire_limit": MOST_CAUGHT_UP} if kind.misfire == "all" else {"misfire": kind.misfire}


async def caught_up(crew: Fleet, store: Store) -> float:
    """Everybody works, until everything is fired that was due when they began to; returns that moment."""
    await crew.all_up()
    await asyncio.sleep(1.0)
    until = await store.now()
    ends = time.monotonic() + PATIENCE
    while True:
        due = [each.due for each in (await store.list_schedules(limit=10_000)).schedules if not each.paused]
        if all(at is None or at > until for at in due):
            return until
        assert time.monotonic() < ends, "the schedules that are due are not fired"
        await asyncio.sleep(0.1)

"""Schedulers in several processes on one file: each slot once, changes heard at once, no cost while nothing happens."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mainspring.model.record import NewJob
from mainspring.model.schedule import Definition, ScheduleRecord
from mainspring.store.base import SchedulePut
from mainspring.store.sqlite import SqliteStore

ROOT = Path(__file__).parents[3]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.store.sqlite.other", *map(str, arguments)]
        running.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, synchronous="NORMAL")
    await store.open()
    yield store
    await store.close()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def put(store: SqliteStore, name: str, due: float) -> None:
    definition = Definition(trigger=b"{}", template=NewJob(id="", task="t"), overlap="allow", keep=1000)
    now = time.time()
    record = ScheduleRecord(id=name, definition=definition, begin=now, next=due, due=due, created=now, changed=now)
    assert await store.put_schedules([SchedulePut(record, None)]) == ["put"]


async def test_H13_processes_that_are_killed_fire_each_slot_once(path: Path, store: SqliteStore, start: Start) -> None:
    """A commit is whole or not there: whoever is killed in the middle of a fire leaves it to the others."""
    apart, number, seconds = 0.05, 10, 3.0
    first = round(time.time() + 1.0, 3)
    until = first + seconds
    for n in range(number):
        await put(store, f"s{n}", first + n / 1000)
    others = [start("schedule", path, apart, until) for _ in range(3)]
    for each in others:
        assert await asyncio.to_thread(line, each) == "ready"
    await asyncio.sleep(first + seconds / 2 - time.time())
    others[0].send_signal(signal.SIGKILL)
    for each in others[1:]:
        assert int(await asyncio.to_thread(line, each)) > 0
    with closing(sqlite3.connect(path)) as db:
        ledger = db.execute("SELECT schedule, slot FROM schedule_runs ORDER BY schedule, number").fetchall()
        jobs = db.execute(
            "SELECT json_extract(more, '$.schedule') AS schedule, json_extract(more, '$.slot') AS slot FROM jobs"
            " ORDER BY schedule, slot"
        ).fetchall()
    assert ledger == jobs
    for n in range(number):
        slots = [slot for schedule, slot in ledger if schedule == f"s{n}"]
        wanted = [first + n / 1000]
        while wanted[-1] + apart < until:
            wanted.append(wanted[-1] + apart)
        assert slots == wanted


async def test_a_change_in_another_process_is_heard_at_once(path: Path, store: SqliteStore, start: Start) -> None:
    number = 10
    other = start("wake_scheduler", path, number)
    assert await asyncio.to_thread(line, other) == "ready"
    waits = []
    for n in range(number):
        await store.add([NewJob(id=f"j{n}", task="t")])  # of which it must not hear
        await asyncio.sleep(0.1)
        before = time.time()
        await put(store, f"s{n}", before + 1000)
        waits.append(float(await asyncio.to_thread(line, other)) - before)
    assert min(waits) > 0, "it was woken by something else"
    assert statistics.median(waits) < 0.1  # 10 ms on a quiet machine


async def test_a_scheduler_that_waits_costs_next_to_nothing(path: Path, store: SqliteStore, start: Start) -> None:
    for n in range(100):
        await put(store, f"s{n}", time.time() + 1000)
    other = start("idle_scheduler", path, 2)
    share = float(await asyncio.to_thread(line, other))
    assert share < 0.05  # 2 % on a quiet machine

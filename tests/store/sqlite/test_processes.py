"""Several processes on one file: turns, deaths, wake-ups."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from mainspring.errors import AppError, StoreUnavailable
from mainspring.model.record import NewJob
from mainspring.store.base import Beat, Worker
from mainspring.store.sqlite import SqliteStore
from mainspring.store.sqlite.liveness import FileLiveness
from mainspring.store.sqlite.locks import FileLock

ROOT = Path(__file__).parents[3]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.store.sqlite.other", *map(str, arguments)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
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
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


async def test_C9_two_processes_add_at_once_and_nothing_is_lost(path: Path, store: SqliteStore, start: Start) -> None:
    others = [start("add", path, f"p{n}-", 1000) for n in range(2)]
    for other in others:
        assert line(other) == "ready"
    for other in others:
        go(other)
    mine = [store.add([NewJob(id=f"mine-{n}", task="t")]) for n in range(1000)]
    assert all(answers[0].created for answers in await asyncio.gather(*mine))
    for other in others:
        assert await asyncio.to_thread(other.wait) == 0
    assert [count.number for count in await store.counts()] == [3000]
    wanted = [f"{prefix}{n}" for prefix in ("p0-", "p1-", "mine-") for n in range(1000)]
    assert None not in await store.get(wanted)


async def test_two_processes_make_the_same_file(path: Path, start: Start) -> None:
    others = [start("add", path, f"p{n}-", 10) for n in range(3)]
    for other in others:
        assert line(other) == "ready"
        go(other)
    for other in others:
        assert await asyncio.to_thread(other.wait) == 0
    store = SqliteStore(path)
    await store.open()
    assert [count.number for count in await store.counts()] == [30]
    await store.close()


async def test_C9_a_writer_killed_in_its_turn_stops_nobody(path: Path, store: SqliteStore, start: Start) -> None:
    other = start("hold_turn", path)
    assert line(other) == "holding"
    add = asyncio.create_task(store.add([NewJob(id="a", task="t")]))
    done, _ = await asyncio.wait([add], timeout=0.2)
    assert not done, "it is the other's turn"
    other.kill()
    assert (await add)[0].created
    assert await store._open().reader.call(lambda rows: rows.paused()) == frozenset()


async def test_C9_a_beat_is_not_starved_by_commits_back_to_back(path: Path, store: SqliteStore, start: Start) -> None:
    """By SQLite's own lock it waited 1.6 s in the middle, 5 s at worst, and failed in the end."""
    await store.join(Worker("me"))
    others = [start("attack", path, 2) for _ in range(2)]
    for other in others:
        assert line(other) == "ready"
    waits = []
    while any(other.poll() is None for other in others):
        began = time.monotonic()
        await store.beat(Beat("me"))
        waits.append(time.monotonic() - began)
    assert statistics.median(waits) < 0.3
    assert max(waits) < 2


async def test_C9_a_killed_worker_is_rescued_at_once(path: Path, store: SqliteStore, start: Start) -> None:
    await store.join(Worker("me"))
    await store.add([NewJob(id="a", task="t"), NewJob(id="b", task="t")])
    other = start("work", path, "other")
    assert line(other) == "a b"
    assert (await store.sweep("me")).rescued == 0, "it lives"
    other.kill()
    other.wait()
    began = time.monotonic()
    assert (await store.sweep("me")).rescued == 2
    assert time.monotonic() - began < 0.1
    assert [seen.worker.id for seen in await store.workers()] == ["me"]


async def test_C9_a_file_with_two_names_has_one_set_of_locks(path: Path, store: SqliteStore, start: Start) -> None:
    """Opened by a symbolic link, the living looked dead, and every job ran twice."""
    await store.add([NewJob(id="a", task="t")])
    link = path.with_name("link.db")
    link.symlink_to(path)
    other = start("live", link, "other")
    assert line(other) == "a"
    await store.join(Worker("me"))
    for _ in range(3):
        assert (await store.sweep("me")).rescued == 0, "it lives"
    assert sorted(each.name for each in path.parent.iterdir() if each.name.startswith("link")) == ["link.db"]
    other.kill()
    other.wait()
    assert (await store.sweep("me")).rescued == 1


async def test_C9_who_removes_lock_files_kills_nobody(path: Path, store: SqliteStore, start: Start) -> None:
    await store.add([NewJob(id="a", task="t")])
    other = start("live", path, "other")
    assert line(other) == "a"
    await store.join(Worker("me"))
    file = path.with_name("jobs.db-workers") / "other"
    for _ in range(5):
        shutil.rmtree(file.parent)
        while not file.exists():
            assert (await store.sweep("me")).rescued == 0, "it lives"
            await asyncio.sleep(0.001)
    other.kill()
    other.wait()
    began = time.monotonic()
    assert (await store.sweep("me")).rescued == 1
    assert time.monotonic() - began < 0.1


async def test_C9_a_writer_that_stands_still_in_its_turn_is_named(path: Path, start: Start) -> None:
    """A stopped process holds its lock; neither a verb nor closing may wait for it without end."""
    store = SqliteStore(path, busy_limit=0.3)
    await store.open()
    await store.add([NewJob(id="a", task="t")])
    other = start("hold_turn", path)
    assert line(other) == "holding"
    other.send_signal(signal.SIGSTOP)
    with pytest.raises(StoreUnavailable, match=rf"process {other.pid} has held .*-turn for 0\.3 s"):
        await store.add([NewJob(id="b", task="t")])
    with pytest.raises(StoreUnavailable, match=rf"process {other.pid} "):
        await store.add([NewJob(id="b", task="t")])
    assert (await store.get(["b"])) == [None], "reads go on"
    other.kill()
    other.wait()
    assert (await store.add([NewJob(id="b", task="t")]))[0].created
    await store.close()


async def test_C9_a_turn_that_nobody_wants_any_more_is_given_on(path: Path, start: Start) -> None:
    patient, hasty = SqliteStore(path), SqliteStore(path, busy_limit=0.1)
    await patient.open()
    await hasty.open()
    other = start("hold_turn", path)
    assert line(other) == "holding"
    with pytest.raises(StoreUnavailable):
        await hasty.add([NewJob(id="a", task="t")])
    other.kill()
    other.wait()
    assert (await patient.add([NewJob(id="b", task="t")]))[0].created
    assert (await hasty.add([NewJob(id="a", task="t")]))[0].created
    await hasty.close()
    await patient.close()


async def test_C9_closing_does_not_wait_for_ever(path: Path, start: Start) -> None:
    store = SqliteStore(path, busy_limit=0.2)
    await store.open()
    other = start("hold_turn", path)
    assert line(other) == "holding"
    add = asyncio.create_task(store.add([NewJob(id="b", task="t")]))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await store.close()
    with pytest.raises(StoreUnavailable):
        await add


async def test_work_from_another_process_is_seen_soon(path: Path, store: SqliteStore, start: Start) -> None:
    number = 20
    other = start("wake", path, number)
    assert line(other) == "ready"
    added: dict[str, float] = {}
    for n in range(number):
        await asyncio.sleep(0.017)
        added[f"j{n}"] = time.time()
        await store.add([NewJob(id=f"j{n}", task="t")])
    waits = []
    for _ in range(number):
        id_, at = (await asyncio.to_thread(line, other)).split()
        waits.append(float(at) - added[id_])
    assert statistics.median(waits) < 0.1  # 10 ms on a quiet machine; the benchmark holds it to that


async def test_waiting_costs_next_to_nothing(path: Path, store: SqliteStore, start: Start) -> None:
    other = start("idle", path, 2)
    share = float(await asyncio.to_thread(line, other))
    assert share < 0.05  # 2 % on a quiet machine


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_forked_child_is_refused_and_harms_nothing(store: SqliteStore) -> None:
    def child(said: object) -> None:
        try:
            asyncio.run(store.get(["a"]))
        except AppError as error:
            said.send(str(error))  # type: ignore[attr-defined]  # a Connection
        asyncio.run(store.close())

    await store.join(Worker("me"))
    forking = multiprocessing.get_context("fork")
    mine, theirs = forking.Pipe()
    process = forking.Process(target=child, args=(theirs,))
    process.start()
    assert "before this process was forked; open the store again" in await asyncio.to_thread(mine.recv)
    await asyncio.to_thread(process.join)
    assert (await store.add([NewJob(id="a", task="t")]))[0].created
    assert FileLiveness(f"{store._place.path}-workers").look("me") == "lives", "the child's end is not the worker's"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_does_not_keep_its_dead_parents_locks(tmp_path: Path) -> None:
    """Process tasks are forked children, which may outlive a killed worker for as long as their job takes."""
    code = (
        "import os, sys, time\n"
        "from mainspring.store.sqlite.liveness import FileLiveness\n"
        "from mainspring.store.sqlite.locks import FileLock\n"
        "lock = FileLock(sys.argv[1]); lock.acquire()\n"
        "live = FileLiveness(sys.argv[2]); live.hold('parent')\n"
        "if os.fork() == 0:\n"
        "    print('child', os.getpid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    turn, folder = str(tmp_path / "turn"), str(tmp_path / "workers")
    parent = subprocess.Popen([sys.executable, "-c", code, turn, folder], stdout=subprocess.PIPE, text=True)
    child = int(line(parent).split()[1])
    try:
        lock = FileLock(turn)
        assert not lock.try_acquire()
        parent.kill()
        parent.wait()
        assert lock.try_acquire()
        lock.close()
        assert FileLiveness(folder).look("parent") == "died"
        os.kill(child, 0)
    finally:
        os.kill(child, 9)
        parent.communicate()

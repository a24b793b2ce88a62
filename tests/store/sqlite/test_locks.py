"""Locks of the operating system, within one process; across processes see test_processes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mainspring.errors import StoreUnsuitable
from mainspring.model.record import NewJob
from mainspring.store.base import Claim, Lane, Worker
from mainspring.store.sqlite import SqliteStore, locks
from mainspring.store.sqlite.locks import FileLiveness, FileLock, LocalLiveness


def test_a_lock_excludes_and_is_given_on(tmp_path: Path) -> None:
    first, second = FileLock(str(tmp_path / "lock")), FileLock(str(tmp_path / "lock"))
    first.acquire()
    assert not second.try_acquire()
    got = threading.Event()

    def wait() -> None:
        with second:
            got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not got.wait(0.05)
    first.release()
    assert got.wait(10)
    thread.join()
    first.close()
    first.close()
    second.close()


def test_closing_another_descriptor_does_not_drop_a_lock(tmp_path: Path) -> None:
    """What POSIX record locks would do."""
    path = tmp_path / "lock"
    held = FileLock(str(path))
    held.acquire()
    path.read_bytes()
    other = FileLock(str(path))
    assert not other.try_acquire()
    other.close()
    held.close()


def test_the_dead_are_those_whose_lock_is_free(tmp_path: Path) -> None:
    here, there = FileLiveness(str(tmp_path / "w")), FileLiveness(str(tmp_path / "w"))
    here.hold("a")
    here.hold("a")
    there.hold("b/../c")
    assert here.dead(["a", "b/../c", "never"]) == {"never"}
    assert there.dead(["a", "b/../c"]) == set()
    there.free("b/../c")
    there.free("b/../c")
    assert here.dead(["a", "b/../c"]) == {"b/../c"}
    with pytest.raises(StoreUnsuitable, match="worker a runs elsewhere"):
        there.hold("a")
    here.free("a")
    assert there.dead(["a"]) == {"a"}
    assert list((tmp_path / "w").iterdir()) == []


def test_C9_closing_does_not_free_a_worker_that_has_not_left(tmp_path: Path) -> None:
    """A thread of its may still run in this process, so nobody may take its jobs before the process ends."""
    here, there = FileLiveness(str(tmp_path / "w")), FileLiveness(str(tmp_path / "w"))
    here.hold("a")
    here.close()
    assert there.dead(["a"]) == set()


def test_what_a_dead_worker_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "gone").write_text("worker gone, process 4711\n")
    assert FileLiveness(str(tmp_path / "w")).dead(["gone"]) == {"gone"}
    assert list((tmp_path / "w").iterdir()) == []


def test_names_of_any_kind(tmp_path: Path) -> None:
    here, there = FileLiveness(str(tmp_path / "w")), FileLiveness(str(tmp_path / "w"))
    for name in ("..", "x" * 255, "ünïcödé" * 30, "a b\nc"):
        here.hold(name)
        assert there.dead([name]) == set()
    assert len(list((tmp_path / "w").iterdir())) == 4
    here.close()


async def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileLock, "try_acquire", lambda self: True)
    with pytest.raises(StoreUnsuitable, match=r"no working file locks.*local disk"):
        await SqliteStore(tmp_path / "jobs.db").open()
    assert not (tmp_path / "jobs.db").exists()


async def test_a_system_without_flock_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    with pytest.raises(StoreUnsuitable, match="no flock"):
        await SqliteStore(tmp_path / "jobs.db").open()


async def test_liveness_can_be_given_so_that_one_process_holds_two_workers(tmp_path: Path) -> None:
    liveness = LocalLiveness()
    store = SqliteStore(tmp_path / "jobs.db", liveness=liveness)
    await store.open()
    await store.join(Worker("one"))
    await store.join(Worker("two"))
    await store.add([NewJob(id="a", task="t")])
    await store.claim(Claim("one", 1, [Lane("default", "t", "", 1)], 1))
    assert (await store.sweep("two")).rescued == 0
    liveness.kill("one")
    assert (await store.sweep("two")).rescued == 1
    await store.close()


async def test_a_worker_that_left_lets_go_of_its_lock(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    await store.open()
    await store.join(Worker("one"))
    assert FileLiveness(f"{tmp_path}/jobs.db-workers").dead(["one"]) == set()
    await store.leave("one")
    assert FileLiveness(f"{tmp_path}/jobs.db-workers").dead(["one"]) == {"one"}
    await store.close()

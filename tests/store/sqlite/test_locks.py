"""Locks of the operating system, within one process; across processes see test_processes."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from mainspring.errors import StoreUnsuitable
from mainspring.store.sqlite import SqliteStore, locks
from mainspring.store.sqlite.locks import FileLock


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


async def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileLock, "try_acquire", lambda self: True)
    with pytest.raises(StoreUnsuitable, match=r"no working file locks.*local disk"):
        await SqliteStore(tmp_path / "jobs.db").open()
    assert not (tmp_path / "jobs.db").exists()


async def test_a_system_without_flock_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    with pytest.raises(StoreUnsuitable, match="no flock"):
        await SqliteStore(tmp_path / "jobs.db").open()


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOENT, "cannot be made (No such file or directory); put the database in another folder"),
        (errno.ENOSPC, "cannot be made (No space left on device)"),
        (errno.EROFS, "cannot be written; make its folder writable"),
        (errno.ENOLCK, "has no working file locks"),
    ],
)
def test_locks_are_blamed_for_what_locks_do(monkeypatch: pytest.MonkeyPatch, number: int, says: str) -> None:
    """A folder that takes no files, such as /proc, has nothing against locks."""

    def fails(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(StoreUnsuitable) as caught:
        locks.lock_file("/srv/jobs.db-turn")
    assert says in str(caught.value)
    assert ("locks" in str(caught.value)) == (number == errno.ENOLCK)

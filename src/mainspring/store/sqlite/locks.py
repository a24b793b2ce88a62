"""Locks between processes, by the operating system: whose turn it is to write, and who is alive (RULES C9).

`flock` and not POSIX record locks: those are dropped when any descriptor of the file is closed anywhere in the
process, and do not exclude two stores in one process. What `flock` shares with a forked child is closed there by a
hook, so that a lock lives exactly as long as the process that took it; no child can keep a dead worker alive.
"""

from __future__ import annotations

import errno
import hashlib
import os
import weakref
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from mainspring.errors import StoreUnsuitable

try:
    import fcntl
except ImportError:  # Windows: written for Linux and macOS
    fcntl = None  # type: ignore[assignment]  # looked at before each use

_open_locks: weakref.WeakSet[FileLock] = weakref.WeakSet()
_left_behind: list[FileLock] = []


class FileLock:
    """An exclusive lock on a file, from `acquire` until `release`, `close` or the end of the process.

    Not for several threads at once. Not recursive.
    """

    def __init__(self, path: str) -> None:
        """Create the file when it is not there. Raises OSError when that cannot be done."""
        _hook_fork()
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        _open_locks.add(self)

    def acquire(self) -> None:
        """Wait for the lock; the kernel gives it in turn. It has no time limit, but dies with its holder."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def try_acquire(self) -> bool:
        """Take the lock if it is free."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let the next one have it."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def note(self, text: str) -> None:
        """Write something for people into the file."""
        os.pwrite(self._fd, text.encode(), 0)

    def close(self) -> None:
        """Close the file, which releases the lock. Closing twice is fine."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        _open_locks.discard(self)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Liveness(Protocol):
    """How the workers of a store know of each other's death."""

    def hold(self, worker: str) -> None:
        """This process runs the worker, until `free` or its own end. Call it after any fork."""
        ...

    def free(self, worker: str) -> None:
        """The worker has left. Freeing one that is not held does nothing."""
        ...

    def dead(self, workers: Collection[str]) -> set[str]:
        """Those that certainly run no more. Never one that this object holds."""
        ...

    def close(self) -> None:
        """Let go, but not of workers that have not left: something of theirs may still run in this process."""
        ...


class FileLiveness:
    """A locked file for each worker, in a folder beside the database. The kernel frees it when the process dies."""

    def __init__(self, folder: str) -> None:
        """`folder` is made on first use."""
        self._folder = Path(folder)
        self._held: dict[str, FileLock] = {}

    def hold(self, worker: str) -> None:
        """See `Liveness.hold`. Raises StoreUnsuitable when somebody else holds it: the id is not unique."""
        if worker in self._held:
            return
        self._folder.mkdir(exist_ok=True)
        lock = FileLock(self._path(worker))
        if not lock.try_acquire():
            lock.close()
            raise StoreUnsuitable(f"worker {worker} runs elsewhere; a worker's id must be unique for each start")
        lock.note(f"worker {worker}, process {os.getpid()}\n")
        self._held[worker] = lock

    def free(self, worker: str) -> None:
        """See `Liveness.free`. The file is removed; of a worker elsewhere only when that is dead."""
        lock = self._held.pop(worker, None)
        if lock is None:
            self._is_free(self._path(worker))
            return
        Path(self._path(worker)).unlink(missing_ok=True)
        lock.close()

    def dead(self, workers: Collection[str]) -> set[str]:
        """See `Liveness.dead`. A worker without a file is dead: the file is there before the worker's row is."""
        return {worker for worker in workers if worker not in self._held and self._is_free(self._path(worker))}

    def close(self) -> None:
        """See `Liveness.close`. Their locks are the process's from now on."""
        _left_behind.extend(self._held.values())
        self._held.clear()

    def probe(self) -> None:
        """Make sure that locks work here. Raises StoreUnsuitable when they do not."""
        try:
            self._folder.mkdir(exist_ok=True)
            name = str(self._folder / f"probe-{os.getpid()}-{id(self)}")
            first, second = FileLock(name), FileLock(name)
            try:
                works = first.try_acquire() and not second.try_acquire()
            finally:
                first.close()
                second.close()
                Path(name).unlink(missing_ok=True)
        except OSError as error:
            raise no_locks(str(self._folder), error) from error
        if not works:
            raise no_locks(str(self._folder), "two locks on one file were granted")

    def _is_free(self, path: str) -> bool:
        if not Path(path).exists():
            return True
        lock = FileLock(path)
        try:
            free = lock.try_acquire()
            if free:  # nobody will ever hold it again: ids are unique for each start
                Path(path).unlink(missing_ok=True)
        finally:
            lock.close()
        return free

    def _path(self, worker: str) -> str:
        name = quote(worker, safe="")
        if len(name) > 200 or name.startswith("."):
            name = hashlib.sha256(worker.encode()).hexdigest()
        return str(self._folder / name)


class LocalLiveness:
    """Liveness without files, for a database in memory and for tests: `kill` says that a worker has died."""

    def __init__(self) -> None:
        self._held: set[str] = set()

    def hold(self, worker: str) -> None:
        """See `Liveness.hold`."""
        self._held.add(worker)

    def free(self, worker: str) -> None:
        """See `Liveness.free`."""
        self._held.discard(worker)

    kill = free

    def dead(self, workers: Collection[str]) -> set[str]:
        """See `Liveness.dead`."""
        return set(workers) - self._held

    def close(self) -> None:
        """See `Liveness.close`. What is held stays: other stores may share this object."""


def no_locks(place: str, reason: object) -> StoreUnsuitable:
    """A file system on which workers could not see each other die."""
    return StoreUnsuitable(
        f"the file system of {place} has no working file locks ({reason}); put the database on a local disk"
    )


def lock_file(path: str) -> FileLock:
    """Open a lock file. Raises StoreUnsuitable where there can be none."""
    if fcntl is None:
        raise no_locks(path, "this system has no flock")
    try:
        return FileLock(path)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise StoreUnsuitable(f"{path} cannot be written; make its folder writable for this user") from error
        raise no_locks(path, error) from error


@cache
def _hook_fork() -> None:
    """Once for each process, and not on import."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_close_all)


def _close_all() -> None:
    for lock in list(_open_locks):
        lock.close()
    _left_behind.clear()

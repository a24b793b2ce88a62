"""Locks between processes, by the operating system (RULES C9).

`flock` and not POSIX record locks: those are dropped when any descriptor of the file is closed anywhere in the
process, and do not exclude two stores in one process. What `flock` shares with a forked child is closed there by a
hook, so that a lock lives exactly as long as the process that took it; no child can keep a dead worker alive.
"""

from __future__ import annotations

import errno
import os
import weakref
from functools import cache
from pathlib import Path
from typing import Final

from mainspring.errors import StoreUnsuitable

try:
    import fcntl
except ImportError:  # Windows: written for Linux and macOS
    fcntl = None  # type: ignore[assignment]  # looked at before each use

NOTE_LIMIT: Final = 1000
"""Bytes of a note that are read."""

_LOCKS_FAIL: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO})
"""What a file system answers that has no locks, or a server for them that does not work."""

_open_locks: weakref.WeakSet[FileLock] = weakref.WeakSet()


class FileLock:
    """An exclusive lock on a file, from `acquire` until `release`, `close` or the end of the process.

    Not for several threads at once. Not recursive.
    """

    def __init__(self, path: str, *, make: bool = True) -> None:
        """Open the file; with `make=False` only to look at it. Raises OSError when that cannot be done."""
        _hook_fork()
        self._fd = os.open(path, os.O_CLOEXEC | (os.O_RDWR | os.O_CREAT if make else os.O_RDONLY), 0o644)
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

    def is_free(self) -> bool:
        """Whether nobody holds it now. Looking never stands in the way of another who looks."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return True

    @property
    def inode(self) -> int:
        """The number of the file itself, whatever its name."""
        return os.fstat(self._fd).st_ino

    def is_at(self, path: str) -> bool:
        """Whether the file of this path is this one: not removed, not replaced."""
        try:
            return os.path.samestat(Path(path).stat(), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let the next one have it."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def note(self, text: str) -> None:
        """Write something for people into the file, in place of what was there."""
        data = text.encode()
        if os.pread(self._fd, NOTE_LIMIT, 0) != data:  # reading costs less, and keeps the file system quiet
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, data, 0)

    def noted(self) -> str:
        """What was written there last, perhaps by the holder."""
        return os.pread(self._fd, NOTE_LIMIT, 0).decode(errors="replace").strip()

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
        raise refused(path, error) from error


def refused(path: str, error: OSError) -> StoreUnsuitable:
    """Why there can be no lock file: it cannot be written, cannot be made, or cannot be locked."""
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return StoreUnsuitable(f"{path} cannot be written; make its folder writable for this user")
    if error.errno in _LOCKS_FAIL:
        return no_locks(path, error)
    return StoreUnsuitable(f"{path} cannot be made ({error.strerror or error}); put the database in another folder")


@cache
def _hook_fork() -> None:
    """Once for each process, and not on import."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_close_all)


def _close_all() -> None:
    for lock in list(_open_locks):
        lock.close()

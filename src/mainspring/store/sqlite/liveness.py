"""Who is alive: each worker holds a locked file, and the kernel frees it when the process dies (RULES C9).

Only a file that is there, free, and the very file that the worker made says that its worker has died. One that is
missing, or a copy, says nothing: people and clean-up scripts remove files, and restore them. The living make theirs
again, and whoever has none is judged by its beats.
"""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import quote

from mainspring.errors import StoreUnsuitable
from mainspring.store.sqlite.locks import FileLock, no_locks, refused

log = logging.getLogger("mainspring.store.sqlite")

Sign = Literal["lives", "died", "unknown"]
_left_behind: list[FileLock] = []


class Liveness(Protocol):
    """How the workers of a store know of each other's death."""

    def hold(self, worker: str) -> None:
        """This process runs the worker, until `free` or its own end. Call it after any fork."""
        ...

    def keep(self) -> None:
        """Make sure that others can see those that are held. Called with every beat and sweep."""
        ...

    def free(self, worker: str) -> None:
        """The worker runs no more. Freeing one that is not held does nothing."""
        ...

    def forget(self, worker: str) -> None:
        """The worker's row is gone: remove what is left of it, unless it lives."""
        ...

    def look(self, worker: str) -> Sign:
        """Whether it lives; `unknown`: judge by its beats."""
        ...

    def close(self) -> None:
        """Let go, but not of workers that have not left: something of theirs may still run in this process."""
        ...


class FileLiveness:
    """A locked file for each worker, in a folder beside the database."""

    def __init__(self, folder: str) -> None:
        """`folder` is made on first use."""
        self._folder = Path(folder)
        self._held: dict[str, FileLock] = {}
        self._troubled = False

    def hold(self, worker: str) -> None:
        """See `Liveness.hold`. Raises StoreUnsuitable when somebody else holds it: the id is not unique."""
        if worker in self._held:
            self.keep()
            return
        if self.look(worker) == "lives":
            raise StoreUnsuitable(f"worker {worker} runs elsewhere; a worker's id must be unique for each start")
        self._held[worker] = self._made(worker)

    def keep(self) -> None:
        """See `Liveness.keep`. What cannot be made now is tried again next time; beats count until then."""
        for worker, lock in list(self._held.items()):
            try:
                if lock.is_at(self._path(worker)):
                    continue
                again = self._made(worker)
            except OSError as error:
                if not self._troubled:
                    log.warning("the lock file of worker %s cannot be made again: %s", worker, error)
                self._troubled = True
                continue
            log.warning("somebody removed the lock file of worker %s in %s; it is there again", worker, self._folder)
            self._troubled = False
            self._held[worker] = again
            lock.close()

    def free(self, worker: str) -> None:
        """See `Liveness.free`. The file stays until `forget`: that it is free says that the worker has died."""
        lock = self._held.pop(worker, None)
        if lock is not None:
            lock.close()

    def forget(self, worker: str) -> None:
        """See `Liveness.forget`."""
        if self.look(worker) == "died":
            with suppress(OSError):  # an empty file more; nobody looks at it
                Path(self._path(worker)).unlink(missing_ok=True)

    def look(self, worker: str) -> Sign:
        """See `Liveness.look`. A worker whose file is missing, or is not the one that it made, is unknown."""
        if worker in self._held:
            return "lives"
        try:
            lock = FileLock(self._path(worker), make=False)
        except FileNotFoundError:
            return "unknown"
        try:
            if not lock.is_free():
                return "lives"
            return "died" if lock.noted().startswith(_signed(lock)) else "unknown"
        finally:
            lock.close()

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
            raise refused(str(self._folder), error) from error
        if not works:
            raise no_locks(str(self._folder), "two locks on one file were granted")

    def _made(self, worker: str) -> FileLock:
        """A locked file under the worker's name. It is locked before it has that name: nobody ever finds it free."""
        self._folder.mkdir(exist_ok=True)
        path = self._path(worker)
        new = str(self._folder / f".new-{os.getpid()}-{Path(path).name[:100]}")
        lock = FileLock(new)
        try:
            if not lock.try_acquire():
                raise BlockingIOError(f"{new} is locked by another process")
            lock.note(f"{_signed(lock)} worker {worker}, process {os.getpid()}\n")
            Path(new).replace(path)
        except BaseException:
            lock.close()
            raise
        return lock

    def _path(self, worker: str) -> str:
        name = quote(worker, safe="")
        if len(name) > 200 or name.startswith("."):
            name = hashlib.sha256(worker.encode()).hexdigest()
        return str(self._folder / name)


def _signed(lock: FileLock) -> str:
    """How a file says that it is no copy."""
    return f"file {lock.inode}:"


class LocalLiveness:
    """Liveness without files, for a database in memory and for tests: `free` says that a worker has died."""

    def __init__(self) -> None:
        self._held: set[str] = set()

    def hold(self, worker: str) -> None:
        """See `Liveness.hold`."""
        self._held.add(worker)

    def keep(self) -> None:
        """See `Liveness.keep`. Nobody can remove anything."""

    def free(self, worker: str) -> None:
        """See `Liveness.free`."""
        self._held.discard(worker)

    def forget(self, worker: str) -> None:
        """See `Liveness.forget`. Nothing is left."""

    def look(self, worker: str) -> Sign:
        """See `Liveness.look`."""
        return "lives" if worker in self._held else "died"

    def close(self) -> None:
        """See `Liveness.close`. What is held stays: other stores may share this object."""

"""Whose turn it is to write, among processes: waited for in the kernel's order, but not for ever (RULES C9).

The kernel gives a lock in turn, yet cannot be told how long to wait; whoever asks again and again instead is starved
by those who write back to back. So a thread stands in the kernel's queue, and the writer waits for that thread.
"""

from __future__ import annotations

import os
import threading

from mainspring.errors import StoreUnavailable
from mainspring.store.sqlite.locks import FileLock, lock_file


class Turn:
    """The turn of this process to write, taken by one thread at a time."""

    def __init__(self, path: str, limit: float) -> None:
        """`limit`: seconds to wait. Raises StoreUnsuitable where there can be no lock."""
        self._path = path
        self._limit = limit
        self._lock: FileLock = lock_file(path)
        self._note = f"process {os.getpid()}\n"
        self._queued: Queued | None = None

    def __enter__(self) -> None:
        """Raises StoreUnavailable that names the holder when the limit is over; OSError for a lock that fails."""
        if self._queued is not None or not self._lock.try_acquire():
            self._wait()
        self._lock.note(self._note)

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def close(self) -> None:
        """Close the file. A thread that still waits gets nothing: its lock goes with the file."""
        self._lock.close()

    def _wait(self) -> None:
        """Whoever gave up left a place in the queue: the next one takes it."""
        queued, self._queued = self._queued, None
        if queued is None or not queued.take_over():
            if self._lock.try_acquire():
                return
            queued = Queued(self._lock)
        if not queued.wait(self._limit):
            self._queued = queued
            raise StoreUnavailable(
                f"{self._lock.noted() or 'another process'} has held {self._path} for {self._limit:g} s, so that nobody"
                " else can write; if it stands still, let it go on (kill -CONT) or end it, then repeat"
            )


class Queued:
    """A thread in the kernel's queue for a lock. When it gets one that nobody wants any more, it lets go of it."""

    def __init__(self, lock: FileLock) -> None:
        self._lock = lock
        self._change = threading.Condition()
        self._done = False
        self._wanted = True
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="mainspring-turn", daemon=True).start()

    def wait(self, limit: float) -> bool:
        """Whether the lock came within so many seconds. Raises OSError when it failed."""
        with self._change:
            self._change.wait_for(lambda: self._done, limit)
            if self._error is not None:
                raise self._error
            self._wanted = self._done
            return self._done

    def take_over(self) -> bool:
        """Want it again. False when it has come, or failed, and is gone."""
        with self._change:
            self._wanted = not self._done
            return self._wanted

    def _run(self) -> None:
        try:
            self._lock.acquire()
        except BaseException as error:  # noqa: BLE001  # it belongs to whoever waits
            self._error = error
        with self._change:
            self._done = True
            self._change.notify()
            if not self._wanted and self._error is None:
                try:
                    self._lock.release()
                except (OSError, ValueError):
                    pass  # closed meanwhile: the lock has gone with its file

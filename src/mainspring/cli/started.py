"""The jobs that a worker process has started, in memory that its parent can read when the process is dead.

Only these can have killed it (RULES C6). A message on a pipe for each start and end would cost more than a fast job;
two writes to shared memory cost next to nothing, and survive a SIGKILL as well.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Final

SLOTS: Final = 4096
SLOT: Final = 64
"""Bytes of one slot: the length of the id, written last and cleared first, then the id."""

SIZE: Final = SLOTS * SLOT


def new_table() -> int:
    """A file descriptor of an empty table, to be given to a worker process."""
    if hasattr(os, "memfd_create"):
        table = os.memfd_create("mainspring-started")
    else:
        with tempfile.TemporaryFile() as file:
            table = os.dup(file.fileno())
    os.ftruncate(table, SIZE)
    return table


class Started:
    """One side's view of a table.

    When more jobs run at once than there are slots, or an id is longer than a slot, the table says from then on that
    it does not know.

    >>> fd = new_table()
    >>> table = Started(fd)
    >>> table.put("job-1"); table.put("job-2"); table.drop("job-1")
    >>> table.ids()
    ['job-2']
    >>> table.close(); os.close(fd)
    """

    def __init__(self, table: int) -> None:
        self._map = mmap.mmap(table, SIZE)
        self._free = list(range((SLOTS - 1) * SLOT, 0, -SLOT))  # slot 0 holds the mark of an overflow
        self._places: dict[str, int] = {}

    def put(self, job: str) -> None:
        """The job starts."""
        data = job.encode()
        if not self._free or len(data) >= SLOT or job in self._places:
            self._map[0] |= job not in self._places
            return
        place = self._places[job] = self._free.pop()
        self._map[place + 1 : place + 1 + len(data)] = data
        self._map[place] = len(data)

    def drop(self, job: str) -> None:
        """The job has ended, and the store knows."""
        place = self._places.pop(job, None)
        if place is not None:
            self._map[place] = 0
            self._free.append(place)

    def ids(self) -> list[str] | None:
        """The started jobs; None when the table does not know."""
        if self._map[0]:
            return None
        sizes = [(place, self._map[place]) for place in range(SLOT, SIZE, SLOT)]
        return [self._map[place + 1 : place + 1 + size].decode() for place, size in sizes if size]

    def close(self) -> None:
        """Let go of the memory."""
        self._map.close()

"""Jobs that were claimed and have not been started yet, first by claim order (priority, due, id)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from mainspring.engine.limits import Lane
from mainspring.model.record import JobRecord


class Entry(NamedTuple):
    """A claimed job, its lane, and when it came (time of the loop)."""

    job: JobRecord
    lane: Lane
    came: float


class Buffer:
    """A sorted list, its first at the end: claims come sorted, so there is nothing to be done as a rule."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """From the last to the first."""
        return iter(self._entries)

    def push(self, entries: Sequence[Entry]) -> None:
        """Put in what a claim brought, in claim order."""
        if self._entries:
            self._entries += entries
            self._entries.sort(key=claim_order, reverse=True)
        else:
            self._entries = list(entries[::-1])

    def pop(self) -> Entry | None:
        """Take out the first; None when there is none."""
        return self._entries.pop() if self._entries else None

    def lanes(self) -> list[Lane]:
        """The lane of each."""
        return [entry.lane for entry in self._entries]

    def take(self, wanted: Callable[[Entry], bool]) -> list[Entry]:
        """Take out all that are wanted."""
        taken = [entry for entry in self._entries if wanted(entry)]
        if taken:
            self._entries = [entry for entry in self._entries if not wanted(entry)]
        return taken


def claim_order(entry: Entry) -> tuple[int, float, str]:
    """The order in which stores hand out jobs (RULES M4)."""
    job = entry.job
    return (-job.priority, job.due, job.id)

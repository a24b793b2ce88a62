"""A heap for what is looked up by its order and changes under it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

E = TypeVar("E", tuple[int, float, str], tuple[float, str])

TIDY_ABOVE: Final = 1024
"""Entries below which nothing is tidied."""


class Heap(Generic[E]):
    """Entries in their order. One that is no longer true is dropped at the top, or when such are the most of all.

    Entries that were taken count as lent: those that are still true come back at the next look.
    """

    __slots__ = ("_entries", "_lent", "_tidy_at", "_true")

    def __init__(self, true: Callable[[E], bool]) -> None:
        self._true: Callable[[E], bool] = true
        self._entries: list[E] = []
        self._lent: list[E] = []
        self._tidy_at = TIDY_ABOVE

    def push(self, entry: E) -> None:
        """Put one in. The same entry twice counts once."""
        heapq.heappush(self._entries, entry)
        if len(self._entries) > self._tidy_at:
            self._entries = list({each for each in self._entries if self._true(each)})
            heapq.heapify(self._entries)
            self._tidy_at = max(TIDY_ABOVE, 2 * len(self._entries))

    def take(self, limit: int, until: float | None = None) -> list[E]:
        """The first ones that are true; with `until`, those up to this time."""
        self._bring_back()
        entries = self._entries
        found: dict[E, None] = {}
        while entries and len(found) < limit and (until is None or entries[0][0] <= until):
            entry = heapq.heappop(entries)
            if self._true(entry):
                found[entry] = None
        self._lent = list(found)
        return self._lent

    def first(self) -> E | None:
        """The first one that is true."""
        self._bring_back()
        while self._entries:
            if self._true(self._entries[0]):
                return self._entries[0]
            heapq.heappop(self._entries)
        return None

    def first_after(self, time: float) -> E | None:
        """The first one later than this time that is true, after all up to then were taken: those stay lent."""
        entries = self._entries
        passed: list[E] = []
        while entries and (entries[0][0] <= time or not self._true(entries[0])):
            entry = heapq.heappop(entries)
            if self._true(entry):
                passed.append(entry)
        if passed:
            self._lent = self._lent + passed  # the type checker loses the types in a display
        return entries[0] if entries else None

    def __iter__(self) -> Iterator[E]:
        """All, in no order, the untrue ones, too."""
        yield from self._lent
        yield from self._entries

    def _bring_back(self) -> None:
        if self._lent:
            for entry in self._lent:
                if self._true(entry):
                    heapq.heappush(self._entries, entry)
            self._lent = []

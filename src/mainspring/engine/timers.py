"""All timeouts of a process in one heap, with one timer of the loop: a timeout costs a push, not an object each."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count


class Timers:
    """Calls functions at times of the loop. Cancelled ones stay in the heap until their time comes, or until they
    are the most of it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._cancelled: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap) - len(self._cancelled)

    def add(self, after: float, call: Callable[[], None]) -> int:
        """Call `call()` after so many seconds; returns the number to cancel it by."""
        number = next(self._numbers)
        entry = (self._loop.time() + after, number, call)
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._set()
        return number

    def cancel(self, number: int) -> None:
        """Forget a call that has not been made. Each number may be cancelled once, and only before its call."""
        self._cancelled.add(number)
        if len(self._cancelled) > 64 and len(self._cancelled) * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[1] not in self._cancelled]
            heapq.heapify(self._heap)
            self._cancelled.clear()
            self._set()

    def close(self) -> None:
        """Forget everything."""
        self._heap.clear()
        self._cancelled.clear()
        self._set()

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._heap[0][0], self._ring, self._heap[0][0]) if self._heap else None

    def _ring(self, due: float) -> None:
        now = max(self._loop.time(), due)  # the loop calls within its resolution, which may be a little early
        self._timer = None
        while self._heap and self._heap[0][0] <= now:
            _, number, call = heapq.heappop(self._heap)
            if number in self._cancelled:
                self._cancelled.discard(number)
            else:
                call()
        self._set()

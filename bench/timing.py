"""How long one call takes. Imports nothing of ours: the peers are timed by the same code, in their own environment."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from itertools import repeat
from time import perf_counter

CHUNK = 0.02  # seconds: long enough for the clock, short enough to fall between two disturbances

Chunk = Callable[[int], float]
"""So many calls; how many seconds they took."""


class Calls:
    """The function whose attempts are counted: every `1 + fails`-th call succeeds."""

    def __init__(self, fails: int) -> None:
        self.made = 0
        self._every = 1 + fails

    def succeed(self) -> int:
        return 1

    async def succeed_async(self) -> int:
        return 1

    def fail_first(self) -> int:
        self.made += 1
        if self.made % self._every:
            raise OSError("down")
        return 1

    async def fail_first_async(self) -> int:
        self.made += 1
        if self.made % self._every:
            raise OSError("down")
        return 1


def over_call(fn: Callable[[], object], bare: Callable[[], object], seconds: float) -> float:
    """Microseconds that a call of `fn` takes over one of `bare`: the fastest chunks of each, by turns."""

    def chunk_of(called: Callable[[], object]) -> Chunk:
        def chunk(number: int) -> float:
            begin = perf_counter()
            for _ in repeat(None, number):
                called()
            return perf_counter() - begin

        return chunk

    return _over(chunk_of(fn), chunk_of(bare), seconds)


def over_await(fn: Callable[[], Awaitable[object]], bare: Callable[[], Awaitable[object]], seconds: float) -> float:
    """The same for awaited calls, those of a chunk all in one task."""

    async def calls(called: Callable[[], Awaitable[object]], number: int) -> float:
        begin = perf_counter()
        for _ in repeat(None, number):
            await called()
        return perf_counter() - begin

    with asyncio.Runner() as runner:
        return _over(
            lambda number: runner.run(calls(fn, number)), lambda number: runner.run(calls(bare, number)), seconds
        )


def _over(chunk: Chunk, bare: Chunk, seconds: float) -> float:
    number, number_bare = _size(chunk), _size(bare)
    collecting = gc.isenabled()
    gc.disable()
    try:
        end = perf_counter() + seconds
        best = best_bare = sys.float_info.max
        while perf_counter() < end:
            best = min(best, chunk(number) / number)
            best_bare = min(best_bare, bare(number_bare) / number_bare)
    finally:
        if collecting:
            gc.enable()
    return (best - best_bare) * 1e6


def _size(chunk: Chunk) -> int:
    """How many calls take about as long as a chunk should."""
    number = 1
    while (took := chunk(number)) < CHUNK / 4:
        number *= 4
    return max(1, int(number * CHUNK / took))

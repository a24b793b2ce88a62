"""How long one call takes. Imports nothing of ours: the peers are timed by the same code, in their own environment."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from itertools import repeat
from time import perf_counter

CHUNK = 0.02  # seconds: long enough for the clock, short enough to fall between two disturbances


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


def per_call(fn: Callable[[], object], seconds: float) -> float:
    """Microseconds per call: the fastest of the chunks that fit into `seconds`."""

    def chunk(number: int) -> float:
        begin = perf_counter()
        for _ in repeat(None, number):
            fn()
        return perf_counter() - begin

    return _fastest(chunk, seconds)


def per_await(fn: Callable[[], Awaitable[object]], seconds: float) -> float:
    """Microseconds per awaited call, all in one task."""

    async def calls(number: int) -> float:
        begin = perf_counter()
        for _ in repeat(None, number):
            await fn()
        return perf_counter() - begin

    with asyncio.Runner() as runner:
        return _fastest(lambda number: runner.run(calls(number)), seconds)


def _fastest(chunk: Callable[[int], float], seconds: float) -> float:
    number = 1
    while (took := chunk(number)) < CHUNK / 4:
        number *= 4
    number = max(1, int(number * CHUNK / took))
    collecting = gc.isenabled()
    gc.disable()
    try:
        end = perf_counter() + seconds
        best = sys.float_info.max
        while perf_counter() < end:
            best = min(best, chunk(number) / number)
    finally:
        if collecting:
            gc.enable()
    return best * 1e6

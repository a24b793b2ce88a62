"""Runs in the environment of a contestant: schedules that are added, begin to fire, and fire densely.

`python -m bench.peers.scheduling WHO WHAT URL NUMBER SLOTS SERVER` prints what WHAT measures, WHO being mainspring or
apscheduler, on a store that is empty, or filled by `fill`:

    add         NUMBER schedules, one after the other                      {"us"} for each
    concurrent  the same by 100 callers, each one after the other          {"us"} for each
    bulk        the same in one go                                         {"us"} for each
    fill        the same, one of them due, and nothing is measured         {}
    start       on memory fills first; until the one that is due has fired {"ms", "bytes" for each}
    late        NUMBER schedules, phases spread, SLOTS slots each,         {"p50", "p99"} in ms; for each slot, in µs:
                a second apart                                             {"cpu"}, and {"server_cpu"}, a part of it

"verified" is how many schedules, or slots. SERVER: the first process of a server whose processor time counts too; 0
without one. A run that fires a slot twice, or not at all, fails.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import quantiles

from bench.peers.schedulers import MEMORY, SIDES, Ledger, Side

CALLERS = 100
LEAD = 2.5  # seconds in which dense schedules are added before their first slot
PATIENCE = 30.0  # seconds until the first slot has fired
BEHIND = 5  # all slots must have fired in so many times the seconds that they are spread over


async def add(side: Side, number: int) -> dict[str, float]:
    async with side.open():
        begin = time.perf_counter()
        for n in range(number):
            await side.add(n)
        return await _each(side, number, time.perf_counter() - begin)


async def concurrent(side: Side, number: int) -> dict[str, float]:
    numbers = iter(range(number))

    async def caller() -> None:
        for n in numbers:  # shared: each number goes to whoever asks next
            await side.add(n)

    async with side.open():
        begin = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return await _each(side, number, time.perf_counter() - begin)


async def bulk(side: Side, number: int) -> dict[str, float]:
    async with side.open():
        begin = time.perf_counter()
        await side.bulk(number)
        return await _each(side, number, time.perf_counter() - begin)


async def fill(side: Side, number: int) -> dict[str, float]:
    async with side.open():
        if number:
            await side.bulk(number, due=True)
        await _see_stored(side, number)
    return {}


async def start(make: Callable[[], tuple[Side, Ledger]], number: int, *, filled: bool) -> dict[str, float]:
    """The sources are loaded and warm: the same has been done with a single schedule before."""
    side, ledger = make()
    before = _resident()
    async with AsyncExitStack() as stack:
        if not filled:
            await stack.enter_async_context(side.open())
            await side.bulk(number, due=True)
        begin = time.perf_counter()
        await stack.enter_async_context(side.firing())
        await asyncio.wait_for(ledger.first.wait(), PATIENCE)
        took = time.perf_counter() - begin
        used = _resident() - before
        if not filled:
            await _see_stored(side, number)
    if ledger.ran != {number - 1: 1}:
        raise SystemExit(f"one schedule was due, and these ran: {dict(ledger.ran)}")
    return {"ms": took * 1000, "bytes": max(used, 0) / number, "verified": number}


async def late(side: Side, ledger: Ledger, number: int, slots: int, server: int) -> dict[str, float]:
    async with side.open():
        base = float(round(time.time() + LEAD))
        await side.dense(number, base, slots)
        async with side.firing():
            if time.time() > base:
                raise SystemExit(f"{number} schedules could not be added within {LEAD} s")
            await asyncio.sleep(base - time.time())
            began, theirs = time.process_time(), _server_seconds(server)
            await asyncio.sleep(slots)
            while ledger.ran.total() < number * slots and time.time() < base + slots * (1 + BEHIND):  # noqa: ASYNC110  # it looks
                await asyncio.sleep(0.05)
            used, theirs = time.process_time() - began, _server_seconds(server) - theirs
        await side.check(number)
    cuts = quantiles([late * 1000 for late in lateness(ledger, number, base, slots)], n=100, method="inclusive")
    cost = 1e6 / (number * slots)
    return {
        "p50": cuts[49],
        "p99": cuts[98],
        "verified": number * slots,
        "cpu": (used + theirs) * cost,
        "server_cpu": theirs * cost,
    }


def lateness(ledger: Ledger, number: int, base: float, slots: int) -> list[float]:
    """Seconds from each slot to its fire. Raises SystemExit unless each was fired once, and each function ran for each.

    >>> ledger = Ledger()
    >>> ledger.fired.append((0, 100.0, 100.5)); ledger.run(0)
    >>> lateness(ledger, 1, 100.0, 1)
    [0.5]
    """
    wanted = [(n, round(base + n / number + k, 3)) for n in range(number) for k in range(slots)]
    fired = sorted((n, round(slot, 3)) for n, slot, _ in ledger.fired)
    if fired != sorted(wanted):
        raise SystemExit(
            f"{len(wanted)} slots, of which {len(set(fired) & set(wanted))} were fired in {len(fired)} fires"
        )
    if ledger.ran != dict.fromkeys(range(number), slots):
        raise SystemExit(f"{len(wanted)} slots, and {ledger.ran.total()} runs")
    return [when - slot for _, slot, when in ledger.fired]


async def main(who: str, what: str, url: str, number: int, slots: int, server: int) -> dict[str, float]:
    logging.disable(logging.ERROR)

    def make(place: str = url) -> tuple[Side, Ledger]:
        ledger = Ledger()
        return SIDES[who](place, ledger), ledger

    side, ledger = make()
    if what == "late":
        return await late(side, ledger, number, slots, server)
    if what != "start":
        return await {"add": add, "concurrent": concurrent, "bulk": bulk, "fill": fill}[what](side, number)
    with tempfile.TemporaryDirectory() as folder:
        warm = MEMORY if url == MEMORY else f"sqlite:///{folder}/warm.db"
        if not url.startswith("postgresql"):
            await start(partial(make, warm), 1, filled=False)
        return await start(make, number, filled=url != MEMORY)


async def _each(side: Side, number: int, took: float) -> dict[str, float]:
    await _see_stored(side, number)
    return {"us": took / number * 1e6, "verified": number}


async def _see_stored(side: Side, number: int) -> None:
    if (stored := await side.stored()) != number:
        raise SystemExit(f"{number} were added, and {stored} are stored")


def _resident() -> int:
    """Bytes that the process holds in memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _server_seconds(server: int) -> float:
    return import_module("bench.postgres.usage").server_seconds(server) if server else 0.0


if __name__ == "__main__":
    who, what, url, *numbers = sys.argv[1:]
    print(json.dumps(asyncio.run(main(who, what, url, *map(int, numbers)))), flush=True)

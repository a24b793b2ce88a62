"""Schedulers on a store with locked rows: each fire takes what the others have not in hand, and they come to terms."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

import pytest

from mainspring.engine.scheduler import Scheduler
from mainspring.events import ScheduleFired
from mainspring.ids import new_id
from mainspring.model.every import Every
from mainspring.model.schedule import Fire, FireAnswer
from mainspring.store.base import Schedules
from mainspring.testing.virtual import run_virtual
from tests.unit.engine.timetable import LossySchedules, Timetable, ended, scheduling, timetable

NUMBER: Final = 100
"""Schedules that fire each second, in crowds that are due at the same time."""


class Skipping:
    """The way of one scheduler to a store that locks row after row, and skips those that another one has locked."""

    def __init__(self, store: LossySchedules, locked: set[str], seed: int) -> None:
        self._store = store
        self._locked = locked
        self._dice = random.Random(seed)
        self.fired = 0
        self.stale = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def fire(self, fires: Sequence[Fire]) -> list[FireAnswer]:
        mine: list[Fire] = []
        for each in self._dice.sample(fires, len(fires)):
            await asyncio.sleep(self._dice.uniform(0, 0.0001))
            if each.schedule not in self._locked:
                self._locked.add(each.schedule)
                mine.append(each)
        try:
            await asyncio.sleep(0.001)  # the commit
            answers: Iterator[FireAnswer] = iter(await self._store.fire(mine))
        finally:
            self._locked.difference_update(each.schedule for each in mine)
        taken = {each.schedule for each in mine}
        given: list[FireAnswer] = [next(answers) if each.schedule in taken else "stale" for each in fires]
        self.stale += given.count("stale")
        self.fired += given.count("fired")
        return given


def nobody(*_: object) -> None: ...


def scheduler(table: Timetable, way: Skipping, seed: int) -> Scheduler:
    dice = random.Random(seed)
    return Scheduler(
        cast("Schedules", way),  # the rest is the store's
        kinds=table.kinds,
        ids=new_id,
        poll=1.0,
        random=dice.random,
        on_fired=nobody,
        hub=table.hub,
    )


@pytest.mark.parametrize("crowds", [2, NUMBER])
@pytest.mark.parametrize("number", [2, 4])
def test_H13_of_schedulers_that_share_the_rows_one_comes_to_do_nearly_all(number: int, crowds: int) -> None:
    """And when that one is killed, another has taken its place within 100 ms; each slot is fired once all the while."""

    async def main() -> None:
        async with timetable() as table:
            for each in range(NUMBER):
                await table.put(f"s{each}", Every(1.0), start_at=1 + each % crowds / crowds, overlap="allow", keep=1000)
            locked: set[str] = set()
            ways = [Skipping(table.store, locked, each) for each in range(number)]
            async with scheduling(*[scheduler(table, way, each) for each, way in enumerate(ways)]) as tasks:
                await table.advance(10.5)
                leader = await share(table, ways, 10)
                assert leader is not None, "nobody does most of it"
                late: list[float] = []
                table.hub.subscribe(
                    ScheduleFired, lambda event: late.append(table.clock.now() - event.slots[-1].timestamp())
                )
                await ended(tasks[leader], tasks[number + leader])
                await table.advance(10)
                assert max(late) < 0.1
                rest = [way for each, way in enumerate(ways) if each != leader]
                assert await share(table, rest, 10) is not None
            for each in range(NUMBER):
                await table.each_slot_once(f"s{each}")

    run_virtual(main())


async def share(table: Timetable, ways: Sequence[Skipping], seconds: float) -> int | None:
    """Who fires nine tenths of all slots of these seconds, if next to nothing is asked for in vain meanwhile."""
    for way in ways:
        way.fired = way.stale = 0
    await table.advance(seconds)
    slots = sum(way.fired for way in ways)
    assert slots >= NUMBER * (seconds - 1)
    most = max(way.fired for way in ways)
    if most < 0.9 * slots or sum(way.stale for way in ways) > 0.1 * slots:
        return None
    return next(each for each, way in enumerate(ways) if way.fired == most)

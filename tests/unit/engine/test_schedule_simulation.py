"""Schedulers that die and come again, a store that loses answers, people who change things, clocks that step: by seeds.

What must hold in the end: no slot became a job twice, no slot was lost without a record, and all goes on.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from mainspring.model.cron import Cron
from mainspring.model.every import Every
from mainspring.model.planning import planned
from mainspring.store.base import Filter
from mainspring.testing.virtual import run_virtual
from tests.unit.engine.timetable import START, Timetable, ended, scheduling, timetable

NAMES = tuple(f"s{number}" for number in range(8))
MISFIRES = ("once", "skip", "all")
OVERLAPS = ("skip", "allow", "queue")


class Chaos:
    """One seed's worth of trouble, for 60 s."""

    def __init__(self, table: Timetable, seed: int, *, people: bool, steps: bool) -> None:
        self.table = table
        self.dice = random.Random(seed)
        self.people = people
        self.steps = steps

    async def run(self) -> None:
        self.table.takes = 0.4
        async with self.table.working(schedules=False, poll=1.0, concurrency=50):
            schedulers = [asyncio.create_task(self._live()) for _ in range(self.dice.randint(1, 4))]
            ends = asyncio.get_running_loop().time() + 60
            while asyncio.get_running_loop().time() < ends:
                await asyncio.sleep(self.dice.uniform(0.05, 2))
                await self._trouble()
            await ended(*schedulers)

    async def _trouble(self) -> None:
        self._lose_answers()
        if self.steps and self.dice.random() < 0.2:
            self.table.clock.step(round(self.dice.uniform(-5, 5), 3))
        if self.people and self.dice.random() < 0.5:
            await self._somebody_acts()

    async def _live(self) -> None:
        """One scheduler after the other, each killed at some moment."""
        while True:
            async with scheduling(self.table.scheduler(random=self.dice.random())):
                await asyncio.sleep(self.dice.choice((0.001, 0.1, 1.0, 5.0)) * self.dice.random())

    def _lose_answers(self) -> None:
        verbs = [verb for verb in ("fire", "due_schedules") if self.dice.random() < 0.3]
        self.table.store.lose = {f"{verb}:*" for verb in verbs}

    async def _somebody_acts(self) -> None:
        name = self.dice.choice(NAMES)
        match self.dice.randint(0, 4):
            case 0:
                await self.table.pause(name)
            case 1:
                record = await self.table.schedule(name)
                if record.dropped is None:
                    await self.table.resume(name, Every(1.0))
            case 2:
                await self.table.store.drop_schedules([name])
            case _:
                trigger = self.dice.choice((Every(self.dice.choice((0.5, 1.0, 3.0))), Cron("* * * * * *")))
                overlap, misfire = self.dice.choice(OVERLAPS), self.dice.choice(MISFIRES)
                definition = self.table.definition(trigger, overlap=overlap, misfire=misfire, keep=10_000)
                await self.table.change(
                    name, lambda stored, now: planned(name, definition, trigger, now, stored=stored)
                )


async def put_all(table: Timetable, dice: random.Random) -> dict[str, float]:
    """Some schedules of every sort; returns their intervals."""
    intervals = {name: dice.choice((0.25, 1.0, 2.0)) for name in NAMES}
    for name, interval in intervals.items():
        await table.put(
            name,
            Every(interval),
            overlap=dice.choice(OVERLAPS),
            misfire=dice.choice(MISFIRES),
            misfire_limit=dice.randint(1, 20),
            keep=10_000,
            jitter=dice.choice((0.0, 0.3)),
        )
    return intervals


async def jobs_by_slot(table: Timetable) -> Counter[tuple[str | None, float | None]]:
    """How many jobs there are of each slot."""
    found: Counter[tuple[str | None, float | None]] = Counter()
    cursor: str | None = None
    while True:
        page = await table.store.find(Filter(), cursor=cursor, limit=1000)
        found.update((job.schedule, job.slot) for job in page.jobs)
        cursor = page.cursor
        if cursor is None:
            return found


async def quiet(table: Timetable) -> None:
    """No more trouble: one scheduler, for long enough that every due slot is dealt with."""
    table.store.lose = set()
    async with scheduling(table.scheduler()):
        await table.advance(120)


@pytest.mark.parametrize("seed", range(12))
def test_H13_no_slot_is_lost_and_none_comes_twice_whatever_happens_to_schedulers(seed: int) -> None:
    async def main() -> None:
        async with timetable() as table:
            intervals = await put_all(table, random.Random(seed))
            await Chaos(table, seed, people=False, steps=seed % 3 == 2).run()
            await quiet(table)
            jobs = await jobs_by_slot(table)
            assert set(jobs.values()) == {1}
            for name, interval in intervals.items():
                record = await table.schedule(name)
                assert record.due is not None
                assert record.due > table.clock.now()
                slots = await table.each_slot_once(name)
                assert {slot for schedule, slot in jobs if schedule == name} == {slot + START for slot in slots}
                # Each slot up to the watermark became a job, or was recorded as missed or skipped.
                passed = round((record.fired_to - record.begin) / interval) + 1
                assert record.runs + record.missed + record.skipped == passed
                assert sum(count for _, _, count in await table.ledger(name)) == passed

    run_virtual(main())


@pytest.mark.parametrize("seed", range(100, 112))
def test_H13_no_slot_comes_twice_while_people_change_pause_and_remove(seed: int) -> None:
    async def main() -> None:
        async with timetable() as table:
            await put_all(table, random.Random(seed))
            await Chaos(table, seed, people=True, steps=seed % 2 == 1).run()
            await quiet(table)
            jobs = await jobs_by_slot(table)
            assert max(jobs.values()) == 1
            for name in NAMES:
                record = await table.schedule(name)
                if record.dropped is None and not record.paused:
                    assert record.due is not None
                    assert record.due > table.clock.now()
                    assert record.next == record.due or record.definition.jitter
                assert all(slot <= record.fired_to for schedule, slot in jobs if schedule == name and slot is not None)

    run_virtual(main())

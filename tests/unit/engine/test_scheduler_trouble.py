"""Schedulers in trouble: several on one store, stores that fail or lose answers, clocks that step."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mainspring.clock import moment
from mainspring.engine.scheduler import APART, FARTHEST_BACK, LIMIT
from mainspring.errors import StoreUnsuitable
from mainspring.events import ScheduleFired
from mainspring.model.cron import Cron
from mainspring.model.every import Every, Once
from mainspring.testing.virtual import run_virtual
from tests.unit.engine.timetable import START, ended, fires, scheduling, timetable
from tests.unit.engine.workshop import virtual

HOUR = 3600.0


# --- several schedulers on one store


@pytest.mark.parametrize("number", [2, 5])
def test_H13_several_schedulers_fire_each_slot_once(number: int) -> None:
    async def main() -> None:
        async with timetable() as table:
            for each in range(50):
                await table.put(f"s{each}", Every(1.0), start_at=each / 50, overlap="allow", keep=1000)
            async with scheduling(*[table.scheduler(random=each / number) for each in range(number)]):
                await table.advance(30.5)
            for each in range(50):
                slots = await table.each_slot_once(f"s{each}")
                first = each / 50
                assert slots == [pytest.approx(first + second) for second in range(len(slots))]
                assert 30 <= len(slots) <= 31

    run_virtual(main())


@virtual
async def test_who_comes_too_late_stands_back_and_takes_over_when_the_other_dies() -> None:
    """Two schedulers that look at the same times do not both fire: mostly one works."""
    async with timetable() as table:
        for each in range(20):
            await table.put(f"s{each}", Every(1.0), start_at=each / 20, overlap="allow", keep=1000)
        first, second = table.scheduler(), table.scheduler()
        async with scheduling(first, second) as tasks:
            await table.advance(10)
            before = fires(table)
            await table.advance(10)
            assert fires(table) - before <= 10 * 20 * 1.1
            await ended(tasks[0], tasks[2])
            late: list[float] = []
            table.hub.subscribe(
                ScheduleFired, lambda event: late.append(table.clock.now() - event.slots[-1].timestamp())
            )
            await table.advance(10)
        assert len(late) >= 199
        assert max(late) <= FARTHEST_BACK + APART + 0.001
        assert sorted(late)[100] <= 0.001  # it came forward at once


@virtual
async def test_a_scheduler_that_dies_between_looking_and_firing_leaves_the_slot_to_others() -> None:
    async with timetable() as table:
        await table.put("minutely", Every(60))
        held = asyncio.Event()
        fire = table.store.fire

        async def hanging(fires: Any) -> Any:
            held.set()
            await asyncio.sleep(HOUR)

        table.store.fire = hanging  # type: ignore[method-assign]
        async with scheduling(table.scheduler()) as tasks:
            await held.wait()
            await ended(*tasks)
        assert (await table.schedule("minutely")).runs == 0
        table.store.fire = fire  # type: ignore[method-assign]
        async with scheduling(table.scheduler()):
            await table.advance(0.01)
        assert await table.each_slot_once("minutely") == [0.0]


# --- stores in trouble


@virtual
async def test_schedules_that_somebody_holds_locked_neither_stall_the_others_nor_spin() -> None:
    """More of them than one look brings: each of their fires is answered `stale`, until they are let go."""
    async with timetable() as table:
        for each in range(LIMIT + 100):
            await table.put(f"held{each}", Once(moment(START)), keep=1)
        await table.put("good", Every(1.0, first="after"), overlap="allow")
        fire, looks = table.store.fire, 0

        async def holding(asked: Any) -> Any:
            nonlocal looks
            looks += 1
            free = iter(await fire([each for each in asked if not each.schedule.startswith("held")]))
            return ["stale" if each.schedule.startswith("held") else next(free) for each in asked]

        table.store.fire = holding  # type: ignore[assignment, method-assign]
        async with scheduling(table.scheduler()):
            await table.advance(10.5)
            assert await table.each_slot_once("good") == [float(second) for second in range(1, 11)]
            assert looks < 200
            table.store.fire = fire  # type: ignore[method-assign]
            await table.advance(3)
            assert (await table.schedule("held0")).runs == 1
            assert (await table.schedule(f"held{LIMIT + 99}")).runs == 1


def test_slots_that_are_missed_all_the_time_are_told_of_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with timetable() as table:
            await table.put("dense", Every(0.001), overlap="allow")
            async with scheduling(table.scheduler()):
                await table.advance(5)

    run_virtual(main())
    assert 2 <= len([each for each in caplog.messages if "missed" in each]) <= 6


@virtual
async def test_C3_a_fire_whose_answer_was_lost_is_not_made_again() -> None:
    async with timetable() as table:
        table.store.lose = {f"fire:{number}" for number in range(0, 20, 2)}
        await table.put("s", Every(1.0), overlap="allow")
        await table.work(20.5)
        slots = await table.each_slot_once("s")
        assert slots == [float(number) for number in range(21)]
        assert table.slots == slots  # each ran, at its time or soon after
        assert max(when - (slot or 0) for _, slot, when in table.ran) < 0.3


@virtual
async def test_lost_answers_of_looks_cost_nothing_but_time() -> None:
    async with timetable() as table:
        table.store.lose = {f"due_schedules:{number}" for number in range(1, 40, 2)}
        await table.put("s", Every(10.0))
        await table.work(100.5)
        assert await table.each_slot_once("s") == [10.0 * number for number in range(11)]


@virtual
async def test_a_store_that_is_down_for_a_while_is_waited_for_and_what_was_missed_is_recorded() -> None:
    async with timetable() as table:
        await table.put("s", Every(10.0))
        async with table.working(poll=1.0, lease_time=30.0):
            await table.advance(25)
            table.store.down = True
            await table.advance(600)
            table.store.down = False
            await table.advance(30)
        assert await table.ledger("s") == [
            ("slot", 0.0, 1),
            ("slot", 10.0, 1),
            ("slot", 20.0, 1),
            ("missed", 30.0, 59),
            ("slot", 620.0, 1),
            ("slot", 630.0, 1),
            ("slot", 640.0, 1),
            ("slot", 650.0, 1),
        ]


@virtual
async def test_a_slot_decided_before_an_outage_is_judged_anew_after_it() -> None:
    """The fire fails; when the store is back, the slot is too old for its grace, and must not run."""
    async with timetable() as table:
        await table.put("s", Every(HOUR), misfire="skip")
        fire = table.store.fire

        async def goes_down(fires: Any) -> Any:
            table.store.down = True
            return await fire(fires)

        table.store.fire = goes_down  # type: ignore[method-assign]
        async with table.working():
            await table.advance(1)
            table.store.fire = fire  # type: ignore[method-assign]
            await table.advance(600)
            table.store.down = False
            await table.advance(10)
        assert table.ran == []
        assert (await table.schedule("s")).missed == 1


@virtual
async def test_a_store_that_is_damaged_does_not_end_the_worker() -> None:
    async with timetable() as table:
        await table.put("s", Every(10.0))
        due = table.store.due_schedules

        async def damaged(*_: object, **__: object) -> Any:
            raise StoreUnsuitable("the file is no database")

        table.store.due_schedules = damaged  # type: ignore[method-assign]
        async with table.working():
            await table.advance(60)
            table.store.due_schedules = due  # type: ignore[method-assign]
            await table.advance(30)
            assert (await table.schedule("s")).runs >= 3


# --- steps of the clock


def test_a_step_of_the_clock_forwards_is_seen_within_poll_and_recorded(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with timetable() as table:
            await table.put("minutely", Every(60))
            async with table.working(poll=1.0):
                await table.advance(30)
                table.clock.step(HOUR)
                await table.advance(1.1)
                assert table.slots == [0.0, HOUR]
                await table.advance(60)
            assert table.slots == [0.0, HOUR, HOUR + 60]
            assert (await table.ledger("minutely"))[1] == ("missed", 60.0, 59)

    run_virtual(main())
    assert (
        "schedule 'minutely': 59 slots came too late and were missed, from 2026-01-01 00:01:00+00:00 to "
        "2026-01-01 00:59:00+00:00" in caplog.text
    )


@virtual
async def test_a_step_of_the_clock_backwards_fires_nothing_twice_and_goes_on() -> None:
    async with timetable() as table:
        await table.put("minutely", Every(60))
        await table.put("nightly", Cron("* * * * *"))
        async with table.working(poll=1.0):
            await table.advance(130)
            table.clock.step(-100)
            await table.advance(100)
            assert await table.each_slot_once("minutely") == [0.0, 60.0, 120.0]
            await table.advance(120)
            assert await table.each_slot_once("minutely") == [0.0, 60.0, 120.0, 180.0, 240.0]
            assert await table.each_slot_once("nightly") == [0.0, 60.0, 120.0, 180.0, 240.0]


@virtual
async def test_a_clock_that_dances_fires_each_slot_once() -> None:
    async with timetable() as table:
        await table.put("s", Every(1.0), overlap="allow", keep=1000)
        async with scheduling(table.scheduler()):
            for step in (5, -3, 0.5, -0.5, 20, -20, 1, -1, 2.25, -4.25) * 3:
                await table.advance(1.7)
                table.clock.step(step)
            await table.advance(60)
        slots = await table.each_slot_once("s")
        assert all(slot == int(slot) for slot in slots)

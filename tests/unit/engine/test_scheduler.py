"""The scheduler itself: when it looks, what wakes it, what it tells, and schedules that it cannot fire."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from msgspec.structs import replace

from mainspring.engine.scheduler import APART, LIMIT
from mainspring.events import ScheduleFired, ScheduleStopped, SlotsMissed
from mainspring.model.every import Every
from mainspring.model.schedule import FAILED, ScheduleRecord, unreadable
from mainspring.model.trigger_kinds import TriggerKinds
from mainspring.store.base import Features
from mainspring.testing.virtual import run_virtual
from tests.unit.engine.timetable import START, Backwards, Lunar, Moody, fires, looks, scheduling, timetable
from tests.unit.engine.workshop import virtual

HOUR = 3600.0


# --- when it looks


@virtual
async def test_S3_04_a_start_costs_one_look_whatever_there_is() -> None:
    async with timetable() as table:
        for number in range(200):
            await table.put(f"daily-{number}", Every(86_400, first="after"))
        async with scheduling(table.scheduler(poll=60)):
            await table.advance(1)
            assert looks(table) == 1
            assert fires(table) == 0


@virtual
async def test_a_put_of_another_process_is_seen_at_once() -> None:
    """The store's hint wakes a scheduler that sleeps for an hour."""
    async with timetable() as table:
        async with table.working(poll=HOUR):
            await table.advance(100)
            await table.put("late", Every(60))
            await table.advance(0.003)
        assert table.slots == [100.0]


@virtual
async def test_a_put_of_this_process_is_seen_at_once_where_the_store_gives_no_hints() -> None:
    async with timetable() as table:
        table.store.wait_schedules = deaf  # type: ignore[method-assign]
        async with table.working(poll=HOUR) as worker:
            await table.advance(100)
            await table.put("late", Every(60))
            await table.advance(10)
            assert table.slots == []
            worker.schedules_changed()
            await table.advance(0.003)
        assert [when for _, _, when in table.ran] == [110.0]


@virtual
async def test_a_change_that_nobody_tells_of_is_seen_within_poll() -> None:
    async with timetable() as table:
        table.store.wait_schedules = deaf  # type: ignore[method-assign]
        async with table.working(poll=1.0):
            await table.advance(100)
            await table.put("late", Every(60))
            await table.advance(1.001)
        assert table.slots == [100.0]


async def deaf(timeout: float) -> bool:
    await asyncio.sleep(timeout)
    return False


@virtual
async def test_M2_dense_schedules_are_fired_in_batches() -> None:
    """1,000 schedules that fire each second at times of their own: at most 500 looks a second, none of them late."""
    async with timetable() as table:
        late: list[float] = []
        table.hub.subscribe(ScheduleFired, lambda event: late.append(table.clock.now() - event.slots[-1].timestamp()))
        for number in range(1000):
            await table.put(f"s{number}", Every(1.0), start_at=1 + number / 1000, overlap="allow")
        async with scheduling(table.scheduler()):
            await table.advance(3)
            before = looks(table)
            await table.advance(2)
            assert looks(table) - before <= 1002
            assert fires(table) <= looks(table)
        assert max(late) <= APART + 0.0001
        assert len(late) > 2500


@virtual
async def test_fires_are_sent_by_the_thousand() -> None:
    async with timetable() as table:
        sizes: list[int] = []
        fire = table.store.fire

        async def measured(fires: Any) -> Any:
            sizes.append(sum(max(len(each.slots), 1) for each in fires))
            return await fire(fires)

        table.store.fire = measured  # type: ignore[method-assign]
        for number in range(300):
            await table.put(f"s{number}", Every(60), misfire="all", misfire_limit=10, overlap="allow")
        await table.advance(600)
        await table.scheduler().fire_due()
        assert sum(sizes) == 3000
        assert max(sizes) <= LIMIT + 10


@virtual
async def test_more_schedules_than_one_look_brings_are_all_fired() -> None:
    async with timetable() as table:
        for number in range(2 * LIMIT + 5):
            await table.put(f"s{number}", Every(HOUR))
        async with scheduling(table.scheduler()):
            await table.advance(0.1)
        counts = [count.number for count in await table.store.counts() if count.state == "ready"]
        assert sum(counts) == 2 * LIMIT + 5


@virtual
async def test_a_slot_is_fired_exactly_at_its_time_and_not_looked_at_before() -> None:
    """Whatever fractions of a second it has, and however the clock rounds them."""
    async with timetable() as table:
        late: list[float] = []
        table.hub.subscribe(ScheduleFired, lambda event: late.append(table.clock.now() - event.slots[-1].timestamp()))
        await table.put("odd", Every(1.234567), start_at=0.7654321, overlap="allow")
        async with scheduling(table.scheduler(poll=60)):
            for number in range(100):
                await table.advance(1 + number / 977)
        assert len(late) > 80
        assert max(late) <= 0.000_002
        assert looks(table) <= len(late) + 2


@virtual
async def test_hints_in_plenty_cause_few_looks() -> None:
    async with timetable() as table:
        scheduler = table.scheduler(poll=60)
        async with scheduling(scheduler):
            for _ in range(1000):
                await asyncio.sleep(0.0001)
                scheduler.wake()
            await table.advance(1)
        assert looks(table) <= 0.1 / APART + 2


@virtual
async def test_who_runs_jobs_is_told_of_those_that_were_added_once_for_each_kind() -> None:
    """Also when the answer of the store is lost: they may be there."""
    async with timetable() as table:
        told: list[tuple[str, str, str, float]] = []
        for number in range(5):
            await table.put(f"s{number}", Every(60))
        await table.put("other", Every(60), task="u")
        await table.put("paused", Every(60), task="v")
        await table.pause("paused")
        scheduler = table.scheduler(on_fired=lambda *job: told.append(job))
        await scheduler.fire_due()
        assert sorted(told) == [("default", "t", "", 0.0), ("default", "u", "", 0.0)]
        told.clear()
        await table.put("late", Every(60), task="w")
        table.store.lose = {"fire:1"}
        await scheduler.fire_due()
        assert told == [("default", "w", "", 0.0)]
        assert (await table.schedule("late")).runs == 1


# --- a worker and its scheduler


@virtual
async def test_a_worker_without_schedules_fires_none() -> None:
    async with timetable() as table:
        await table.put("minutely", Every(60))
        await table.work(300, schedules=False)
        assert table.ran == []
        assert looks(table) == 0
        async with table.working(schedules=False) as worker:
            worker.schedules_changed()
            assert await worker.fire_due() == frozenset()


@virtual
async def test_a_store_without_schedules_is_never_asked_for_any() -> None:
    async with timetable() as table:
        without: Features = table.store.features._replace(schedules=False)
        type(table.store).features = property(lambda self: without)  # type: ignore[assignment,method-assign]
        try:
            job = await table.add()
            await table.work(600)
            assert (await table.job(job)).state == "completed"
            assert looks(table) == 0
        finally:
            del type(table.store).features


@virtual
async def test_the_ladder_ends_firing_before_anything_else() -> None:
    """A worker that stops adds no jobs while the last one still runs."""
    async with timetable() as table:
        table.takes = 100
        await table.put("minutely", Every(60), overlap="allow")
        async with table.working(grace=300) as worker:
            await table.advance(10)
            stopping = asyncio.create_task(worker.stop())
            await table.advance(95)
            await stopping
        assert table.slots == [0.0]
        assert (await table.schedule("minutely")).runs == 1


@virtual
async def test_events_tell_what_was_fired_missed_and_stopped() -> None:
    async with timetable() as table:
        events: list[object] = []
        for kind in (ScheduleFired, SlotsMissed, ScheduleStopped):
            table.hub.subscribe(kind, events.append)
        table.fails = True
        await table.put("minutely", Every(60), stop_after=2)
        await table.advance(150)
        await table.work(200)
        runs = [run for run in await table.runs("minutely") if run.job]
        fired = [event for event in events if isinstance(event, ScheduleFired)]
        assert [event.jobs for event in fired] == [(run.job,) for run in runs]
        assert [event.slots[0].timestamp() - START for event in fired] == [120.0, 180.0]
        missed = [event for event in events if isinstance(event, SlotsMissed)]
        assert [(event.number, event.first.timestamp(), event.last.timestamp()) for event in missed] == [
            (2, START, START + 60)
        ]
        assert events[-1] == ScheduleStopped("minutely", FAILED)


@virtual
async def test_runs_are_pruned_before_the_jobs_that_tell_how_they_ended() -> None:
    """A worker writes down how runs ended before it removes their jobs, and keeps as many runs as it is told."""
    async with timetable() as table:
        await table.put("s", Every(100), keep=3)
        await table.put("single", Every(100), max_runs=1)
        await table.work(1000, prune_every=10.0, retention={"completed": 5.0})
        runs = await table.runs("s")
        assert [run.state for run in runs] == ["completed"] * 3
        assert [run.number for run in runs] == [9, 10, 11]
        single = (await table.runs("single"))[0]
        assert await table.store.get([single.job or ""]) == [None]
        assert single.state == "completed"


# --- schedules that cannot be fired


def test_S3_44_a_trigger_of_an_unknown_kind_is_left_alone_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """SCH-019: the error names the kind. Others fire on; a scheduler that knows the kind fires it."""

    async def main() -> None:
        async with timetable() as table:
            await table.put("moon", Lunar(0.01), overlap="allow")
            await table.put("minutely", Every(60), overlap="allow")
            known, table.kinds = table.kinds, TriggerKinds()
            async with scheduling(table.scheduler()):
                await table.advance(HOUR)
            assert (await table.schedule("minutely")).runs == 61
            assert (await table.schedule("moon")).runs == 0
            table.kinds = known
            async with scheduling(table.scheduler()):
                await table.advance(1)
            assert (await table.schedule("moon")).runs == 1

    run_virtual(main())
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 1
    assert "'moon'" in told[0]
    assert "unknown kind of trigger 'lunar'" in told[0]


def test_an_own_trigger_that_fails_hurts_no_others_and_is_looked_at_again(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with timetable() as table:
            await table.put("moody", Moody(), overlap="allow")
            await table.put("minutely", Every(60), overlap="allow")
            Moody.broken[0] = True
            async with scheduling(table.scheduler()):
                await table.advance(600)
                assert (await table.schedule("moody")).runs == 0
                assert (await table.schedule("minutely")).runs == 11
                Moody.broken[0] = False
                await table.advance(61)
                assert (await table.schedule("moody")).runs > 0

    try:
        run_virtual(main())
    finally:
        Moody.broken[0] = False
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 1
    assert "not today" in told[0].getMessage()


@virtual
async def test_an_own_trigger_that_goes_backwards_hangs_nothing() -> None:
    async with timetable() as table:
        await table.put("backwards", Backwards(), overlap="allow")
        await table.put("minutely", Every(60), overlap="allow")
        async with scheduling(table.scheduler()):
            await table.advance(600)
        assert (await table.schedule("minutely")).runs == 11


@virtual
async def test_a_schedule_whose_trigger_was_mended_fires_at_once() -> None:
    async with timetable() as table:
        await table.put("moody", Moody(), overlap="allow")
        Moody.broken[0] = True
        try:
            async with scheduling(table.scheduler()):
                await table.advance(130)
                await table.put("moody", Every(60), overlap="allow")
                await table.advance(0.01)
                assert (await table.schedule("moody")).runs == 1
        finally:
            Moody.broken[0] = False


def test_C10_a_schedule_whose_definition_cannot_be_read_is_told_of_once_and_hurts_no_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S3-44: a newer version has written a word that this one does not know; its next put is fired again."""

    async def main() -> None:
        async with timetable() as table:
            for each in ("later", "newer", "sound"):
                await table.put(each, Every(10.0), overlap="allow")
            await table.change("newer", spoilt)
            async with scheduling(table.scheduler(), table.scheduler()):
                await table.advance(200.5)
                assert len(await table.each_slot_once("sound")) == len(await table.each_slot_once("later")) == 21
                assert await table.runs("newer") == []
                await table.put("newer", Every(10.0), overlap="allow", keep=7)
                await table.advance(30)
            assert await table.each_slot_once("newer")

    def spoilt(stored: ScheduleRecord | None, _now: float) -> ScheduleRecord:
        assert stored is not None
        empty, reason = unreadable(ValueError("Invalid enum value 'shuffle'"))
        return replace(stored, definition=empty, unreadable=reason)

    run_virtual(main())
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 2  # by each of the two
    assert all(record.exc_info is None for record in told)
    text = told[0].getMessage()
    assert text.startswith(
        "schedule 'newer' does not fire: its definition cannot be read (Invalid enum value 'shuffle')"
    )
    assert "put it again or remove it" in text


def test_C10_a_schedule_that_makes_a_whole_batch_fail_is_found_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with timetable() as table:
            for number in range(20):
                await table.put(f"s{number:02}", Every(60), overlap="allow")
            table.store.poison = "s13"
            async with scheduling(table.scheduler()):
                await table.advance(120)
            runs = [(await table.schedule(f"s{number:02}")).runs for number in range(20)]
            assert runs == [0 if number == 13 else 3 for number in range(20)]

    run_virtual(main())
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 1
    assert "s13" in told[0]

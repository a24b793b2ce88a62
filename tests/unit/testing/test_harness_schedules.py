"""Schedules in the test harness: `advance` and `drain` by the misfire rules, `run` at the time of each slot."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, time, timedelta

import pytest
from msgspec.structs import replace

from mainspring import App, Context, Cron, Daily, Every, Once
from mainspring.store.base import SchedulePut
from mainspring.testing import Harness, hours, minutes, run_virtual
from mainspring.testing.harness import drain


class Noting(App):
    """An app with one task, which notes its slots."""

    def __init__(self, url: str | None = None) -> None:
        super().__init__(url)
        self.slots: list[str] = []
        self.takes = 0.0

        @self.task(name="note")
        async def note(ctx: Context) -> None:
            self.slots.append("" if ctx.scheduled is None else f"{ctx.scheduled:%d %H:%M}")
            await asyncio.sleep(self.takes)

        self.note = note


def test_drain_fires_what_is_due_by_the_misfire_rule() -> None:
    async def test() -> None:
        app = Noting()
        async with Harness(app) as h:
            await app.schedules.put("once", Cron("5 * * * *"), app.note.bind())
            assert await h.drain() == 0
            await h.advance(hours(3))
            assert await h.drain() == 1
            assert app.slots == ["01 02:05"]
            await app.schedules.put("all", Cron("30 * * * *"), app.note.bind(), misfire="all")
            await h.advance(hours(3))
            began = h.now
            assert await h.drain() == 4
            assert h.now == began  # time stands still
            assert sorted(app.slots[1:]) == ["01 03:30", "01 04:30", "01 05:05", "01 05:30"]

    run_virtual(test())


def test_run_fires_each_slot_at_its_time() -> None:
    async def test() -> None:
        app = Noting()
        async with Harness(app) as h:
            await app.schedules.put("s", Every(minutes(10)), app.note.bind())
            assert await h.run(hours(1)) == 7
            assert app.slots == [f"01 00:{minute:02}" for minute in range(0, 60, 10)] + ["01 01:00"]

    run_virtual(test())


def test_drain_leaves_slots_that_come_while_tasks_sleep() -> None:
    async def test() -> None:
        app = Noting()
        app.takes = 6.0
        async with Harness(app) as h:
            await app.schedules.put("s", Every(4), app.note.bind(), overlap="queue")
            assert await h.drain() == 1
            assert h.clock.now() % 60 == 6
            assert app.slots == ["01 00:00"]
            assert await h.drain() == 1  # the slot of second 4, which has passed meanwhile
            assert (await app.schedules.get("s")).runs == 2
            await h.advance(60)
            assert await h.drain() == 1

    run_virtual(test())


def test_drain_fires_what_jobs_put_to_be_due_at_once_even_after_a_sleep() -> None:
    async def test() -> None:
        app = Noting()

        @app.task(name="putting")
        async def putting() -> None:
            await asyncio.sleep(90)
            await app.schedules.put("made", Every(10), app.note.bind())

        async with Harness(app) as h:
            await putting.enqueue()
            assert await h.drain() == 2
            assert app.slots == ["01 00:01"]

    run_virtual(test())


def test_drain_runs_one_slot_of_a_schedule_that_counts_from_the_end() -> None:
    async def test() -> None:
        app = Noting()
        app.takes = 6.0
        async with Harness(app) as h:
            await app.schedules.put("s", Every(4, anchor="end"), app.note.bind())
            assert await h.drain() == 1
            await h.advance(60)
            assert await h.drain() == 1

    run_virtual(test())


def test_declared_schedules_can_be_left_out() -> None:
    async def test() -> None:
        app = App()

        @app.every(60)
        async def ticks() -> None: ...

        async with Harness()(app, schedules=False) as h:
            assert await h.run(hours(1)) == 0
            assert await app.schedules.list() == []

    run_virtual(test())


def test_drain_ends_where_all_that_is_due_is_skipped() -> None:
    async def test() -> None:
        app = Noting()

        async with Harness(app) as h:

            @app.task(name="elsewhere")
            async def elsewhere() -> None: ...

            await app.queues.pause("held")
            await app.schedules.put("s", Every(60), elsewhere.options(queue="held").bind())
            began = h.now
            assert await h.drain() == 0
            await h.advance(minutes(5))
            assert await h.drain() == 0
            assert h.now - began == timedelta(minutes=5)
            assert (await app.schedules.get("s")).skipped == 1  # the newest; the others were missed
            assert len(h.jobs("elsewhere", state="ready")) == 1

    run_virtual(test())


def test_declared_schedules_are_there_from_the_beginning() -> None:
    async def test() -> None:
        app = App()
        ran: list[datetime] = []

        @app.daily(time(9, 30))
        async def report(ctx: Context) -> None:
            ran.append(ctx.started)

        async with Harness(app) as h:
            await h.advance(hours(9))
            await h.run(hours(1))
        assert ran == [datetime(2026, 1, 1, 9, 30, tzinfo=UTC)]

    run_virtual(test())


def test_a_schedule_that_cannot_be_read_does_not_keep_drain_from_ending(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        app = Noting()
        async with Harness(app) as h:
            await app.schedules.put("odd", Daily(time(1)), app.note.bind())
            await app.schedules.put("once", Once(h.now + timedelta(hours=2)), app.note.bind())
            seen = await h.store.get_schedules(["odd"])
            odd = seen.schedules[0]
            broken = replace(odd, definition=replace(odd.definition, trigger=b'{"trigger":"lunar"}'))
            assert await h.store.put_schedules([SchedulePut(broken, odd)]) == ["put"]
            await h.advance(hours(3))
            assert await h.drain() == 1
            assert app.slots == ["01 02:00"]

    run_virtual(test())
    assert "lunar" in caplog.text


def test_the_function_drain_fires_too() -> None:
    async def test() -> list[str]:
        app = Noting("memory://")
        async with app:
            await app.schedules.put("now", Every(3600), app.note.bind())
            assert await drain(app) == 1
        return app.slots

    assert len(asyncio.run(test())) == 1

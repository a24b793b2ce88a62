"""`app.schedules`: pausing, running now, removing; on a memory store in virtual time."""

from __future__ import annotations

import asyncio
from datetime import datetime, time, timedelta
from typing import Any

from mainspring import (
    App,
    Context,
    Cron,
    Daily,
    Every,
    Once,
)
from tests.app.virtual_app import START, tick
from tests.app.virtual_app import run_open as run

MINUTE = timedelta(minutes=1)


# --- pause, resume, trigger


def test_S3_29_a_paused_schedule_stands_still_and_goes_on() -> None:
    """What passes meanwhile is gone; it is neither run nor missed."""

    async def main(app: App) -> None:
        seen: list[datetime] = []
        await app.schedules.put("a", Every(60), tick(app, seen)())
        async with app.running():
            await asyncio.sleep(70)
            paused = await app.schedules.pause("a")
            assert (paused.state, paused.reason, paused.next) == ("paused", "by request", None)
            assert await app.schedules.pause("a") == paused
            assert await app.schedules.next_fires("a") == ()
            await asyncio.sleep(300)
            resumed = await app.schedules.resume("a")
            assert (resumed.state, resumed.next) == ("active", START + 7 * MINUTE)
            assert await app.schedules.resume("a") == resumed
            await asyncio.sleep(60)
        assert seen == [START, START + MINUTE, START + 7 * MINUTE]
        assert (await app.schedules.get("a")).missed == 0

    run(main)


def test_a_person_can_run_it_now_also_while_it_is_paused() -> None:
    async def main(app: App) -> None:
        seen: list[datetime] = []
        await app.schedules.put("a", Daily(time(3)), tick(app, seen)(), max_runs=1)
        await app.schedules.pause("a")
        async with app.running():
            job = await app.schedules.trigger("a")
            assert job is not None
            assert (job.task, await job.result(timeout=10)) == ("tick", None)
        assert seen == [START]
        (only,) = await app.schedules.runs("a")
        assert (only.kind, only.slot, only.job, only.state, only.number) == ("trigger", None, job.id, "completed", 1)
        after = await app.schedules.get("a")
        assert (after.state, after.runs) == ("paused", 0)
        assert [each.id for each in (await app.jobs.find(schedule="a")).jobs] == [job.id]
        assert (await app.jobs.find(schedule="b")).jobs == []

    run(main)


def test_what_is_run_now_keeps_to_the_rule_of_overlap() -> None:
    async def main(app: App) -> None:
        for overlap, answered in (("skip", [True, False]), ("allow", [True, True]), ("queue", [True, True, False])):
            options: Any = {"overlap": overlap}
            await app.schedules.put(overlap, Daily(time(3)), app.remote("t").bind(), **options)
            jobs = [await app.schedules.trigger(overlap) for _ in answered]
            assert [job is not None for job in jobs] == answered

    run(main)


def test_after_so_many_failed_runs_it_is_paused() -> None:
    """And a resume counts them anew. Without `stop_after` no failure ends a schedule (SCD-023, S3-17)."""

    async def main(app: App) -> None:
        @app.task(name="bad")
        async def bad() -> None:
            raise ValueError("no")

        await app.schedules.put("a", Every(60), bad.bind(), stop_after=2)
        await app.schedules.put("b", Every(60), bad.bind())
        async with app.running():
            await asyncio.sleep(590)
            stopped = await app.schedules.get("a")
            assert (stopped.state, stopped.reason, stopped.runs) == ("paused", "too many failed runs", 2)
            assert (await app.schedules.get("b")).runs == 10
            resumed = await app.schedules.resume("a")
            assert resumed.state == "active"
            await asyncio.sleep(300)
            assert (await app.schedules.get("a")).runs == 4

    run(main)


def test_what_this_process_changes_takes_effect_without_a_hint_of_the_store() -> None:
    async def main(app: App) -> None:
        async def deaf(timeout: float) -> bool:
            await asyncio.sleep(timeout)
            return False

        object.__setattr__(await app.store(), "wait_schedules", deaf)
        seen: list[datetime] = []
        work = tick(app, seen)()
        async with app.running(poll=60):
            await asyncio.sleep(5)
            await app.schedules.put("a", Once(START), work)
            await asyncio.sleep(0.5)
            assert seen == [START + timedelta(seconds=5)]

    run(main)


# --- remove


def test_a_removed_schedule_fires_no_more_and_its_job_stays() -> None:
    """S0-55."""

    async def main(app: App) -> None:
        seen: list[datetime] = []
        await app.schedules.put("a", Every(60), tick(app, seen, takes=10)())
        async with app.running():
            await asyncio.sleep(1)
            assert await app.schedules.remove("a") is True
            (job,) = (await app.jobs.find(schedule="a")).jobs
            assert job.state == "running"
            await asyncio.sleep(300)
            assert (await job.refresh()).state == "completed"
        assert seen == [START]
        assert await app.schedules.list() == []

    run(main)


def test_S3_12_a_removal_can_wait_for_the_running_job() -> None:
    async def main(app: App) -> None:
        await app.schedules.put("a", Every(60), tick(app, takes=10)())
        async with app.running():
            await asyncio.sleep(1)
            began = asyncio.get_running_loop().time()
            assert await app.schedules.remove("a", wait=True) is True
            assert 8.5 < asyncio.get_running_loop().time() - began < 10.5
            assert [job.state for job in (await app.jobs.find(schedule="a")).jobs] == ["completed"]

    run(main)


def test_a_job_can_remove_its_own_schedule() -> None:
    """It does not wait for itself."""

    async def main(app: App) -> None:
        @app.task(name="last")
        async def last(ctx: Context) -> bool:
            assert ctx.schedule is not None
            return await app.schedules.remove(ctx.schedule, wait=True)

        await app.schedules.put("a", Every(60), last.bind())
        async with app.running():
            await asyncio.sleep(5)
            (job,) = (await app.jobs.find(schedule="a")).jobs
            assert await job.result(timeout=5) is True
        assert await app.schedules.list() == []

    run(main)


def test_S0_55_a_removal_can_cancel_the_running_job() -> None:
    async def main(app: App) -> None:
        await app.schedules.put("a", Every(60), tick(app, takes=1000)(), overlap="queue")
        async with app.running():
            await asyncio.sleep(61)  # one runs, one waits for it
            began = asyncio.get_running_loop().time()
            assert await app.schedules.remove("a", wait=True, cancel=True) is True
            assert asyncio.get_running_loop().time() - began < 2
            jobs = (await app.jobs.find(schedule="a")).jobs
            assert [job.state for job in jobs] == ["cancelled", "cancelled"]
            assert "schedule 'a' was removed" in (await jobs[1].refresh()).reason

    run(main)


def test_an_id_that_comes_again_fires_no_slot_a_second_time() -> None:
    """RULES H13: the watermark outlives the removal."""

    async def main(app: App) -> None:
        seen: list[datetime] = []
        work = tick(app, seen)()
        hourly = Cron("0 * * * *")
        async with app.running():
            await asyncio.sleep(3540)
            await app.schedules.put("a", hourly, work)
            await asyncio.sleep(61)
            await app.schedules.remove("a")
            again = await app.schedules.put("a", hourly, work)
            assert (again.next, again.runs) == (START + timedelta(hours=2), 0)
        assert seen == [START + timedelta(hours=1)]

    run(main)

"""Schedules and their jobs over a restart: what goes on, and what `on_restart` cancels."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from mainspring import App, Every, Once
from mainspring.app.restart import cancel_left, lives
from mainspring.errors import InvalidOption
from mainspring.store.base import Claim, Lane, Worker, WorkerSeen
from tests.app.fleet import Fleet, Lasting, run_open
from tests.app.virtual_app import START

MINUTE = timedelta(minutes=1)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


# --- on_restart


def left_over(app: App) -> None:
    @app.every(60, id="slow", overlap="queue")
    @app.task(name="slow")
    async def slow() -> None:
        await asyncio.sleep(1000)


def test_RST_003_S0_70_what_an_earlier_life_left_can_be_cancelled(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        app = fleet.app(left_over)
        async with app.running(grace=0):
            await asyncio.sleep(61)  # one runs, one waits for it
        other = await fleet.app().remote("by hand").enqueue()
        again = fleet.app(left_over, on_restart="cancel")
        caplog.clear()
        async with again.running(grace=0):
            jobs = (await again.jobs.find(schedule="slow")).jobs
            assert [job.state for job in jobs][:2] == ["cancelled", "cancelled"]
            assert "left by an earlier run" in (await jobs[0].refresh()).reason
            assert (await other.refresh()).state == "ready", "it is no schedule's"
            assert [each.message for each in caplog.records if "left by an earlier run" in each.message] == [
                "2 job(s) of schedules were left by an earlier run and are cancelled (on_restart='cancel')"
            ]
            await asyncio.sleep(61)
            after = await again.schedules.get("slow")
            assert after.state == "active"
            assert after.runs > 2, "the schedule itself goes on"

    run_open(fleet, main)


def test_S3_42_by_default_what_was_left_is_run(fleet: Fleet) -> None:
    async def main() -> None:
        async with fleet.app(left_over).running(grace=0):
            await asyncio.sleep(30)
        again = fleet.app(left_over)
        async with again.running(grace=0):
            await asyncio.sleep(1)
            (job,) = (await again.jobs.find(schedule="slow")).jobs
            assert job.state == "running"

    run_open(fleet, main)


def test_beside_other_workers_nothing_is_cancelled(fleet: Fleet) -> None:
    async def main() -> None:
        async with fleet.app(left_over).running(grace=0):
            await asyncio.sleep(30)
            second = fleet.app(left_over, on_restart="cancel")
            async with second.running(grace=0):
                await asyncio.sleep(20)  # a request to end would have been heard
                (job,) = (await second.jobs.find(schedule="slow")).jobs
                assert job.state == "running"

    run_open(fleet, main)


def test_jobs_of_another_worker_that_starts_at_the_same_moment_stay(fleet: Fleet) -> None:
    async def main() -> None:
        app = fleet.app(left_over)
        await app.schedules.synchronise()
        workers = fleet.store.workers

        async def slower() -> Any:
            seen = await workers()
            await asyncio.sleep(0.001)
            await app.schedules.trigger("slow")
            return seen

        object.__setattr__(fleet.store, "workers", slower)
        assert await cancel_left(Lasting(fleet.store)) == 0
        assert [job.state for job in (await app.jobs.find(schedule="slow")).jobs] == ["ready"]

    run_open(fleet, main)


@pytest.mark.parametrize(
    ("lease_time", "silent_for", "alive"),
    [(30.0, 0.0, True), (30.0, 30.0, True), (30.0, 31.0, False), (60.0, 31.0, True), (30.0, -1.0, False)],
)
def test_a_worker_that_is_silent_for_its_lease_time_does_not_count(
    lease_time: float, silent_for: float, alive: bool
) -> None:
    seen = WorkerSeen(Worker("w", lease_time=lease_time), 1.0, 1000.0 - silent_for, False, 0)
    assert lives(seen, 1000.0) is alive


def test_a_restart_after_a_crash_cancels_what_ran(fleet: Fleet) -> None:
    """The running job is asked to end, and is cancelled instead of rescued (RULES C4)."""

    async def main() -> None:
        app = fleet.app(left_over)
        await app.schedules.synchronise()
        await fleet.store.join(Worker("crashed", host="elsewhere", pid=1))
        job = await app.schedules.trigger("slow")
        assert job is not None
        await fleet.store.claim(Claim("crashed", 1, (Lane("default", "slow", "", 1),), 1))
        assert (await job.refresh()).state == "running"
        await asyncio.sleep(31)
        again = fleet.app(left_over, on_restart="cancel")
        async with again.running(grace=0):
            await asyncio.sleep(70)
            assert (await again.jobs.get(job.id)).state == "cancelled"

    run_open(fleet, main)


@pytest.mark.parametrize("options", [{"on_restart": "stop"}, {"vanished": "delete"}, {"vanished": None}])
def test_settings_that_cannot_be_meant(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=f"{min(options)} is one of 'resume', 'cancel'|'pause', 'remove', 'keep'"):
        App(**options)


# --- restarts


def test_RST_004_RST_006_S3_43_schedules_go_on_after_a_restart(fleet: Fleet) -> None:
    """An interval runs again; a time that is still to come runs at that time, once; one that has passed, at once."""
    seen: dict[str, list[float]] = {"every": [], "soon": [], "late": []}

    def declare(app: App) -> None:
        for name, times in seen.items():

            @app.task(name=name)
            async def work(times: list[float] = times) -> None:
                times.append(fleet.clock.now() - START.timestamp())

    async def main() -> None:
        app = fleet.app(declare)
        await app.schedules.put("every", Every(60), app.remote("every").bind())
        await app.schedules.put("soon", Once(START + 5 * MINUTE), app.remote("soon").bind())
        await app.schedules.put("late", Once(START + 2 * MINUTE), app.remote("late").bind())
        async with fleet.app(declare).running():
            await asyncio.sleep(70)
        await asyncio.sleep(110)  # until minute 3
        async with fleet.app(declare).running():
            await asyncio.sleep(600)
        async with fleet.app(declare).running():
            await asyncio.sleep(5)

    run_open(fleet, main)
    assert [round(each) for each in seen["every"]][:4] == [0, 60, 180, 240]
    assert [round(each) for each in seen["late"]] == [180]
    assert [round(each) for each in seen["soon"]] == [300]

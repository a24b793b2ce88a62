"""Cases of other schedulers, one by one: starts, broken tasks, runs that follow quickly, restarts. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from mainspring import App, Every, ScheduleNotFound
from mainspring.errors import InvalidOption, StoreUnavailable
from tests.app.fleet import Fleet, run_open
from tests.app.virtual_app import START
from tests.app.virtual_app import run_open as run

MINUTE = timedelta(minutes=1)


# --- starts


def test_SCD_003_S3_03_a_schedule_needs_a_task_and_waits_for_its_code() -> None:
    """It cannot be put without a task; where a worker does not have its code the job waits for one that has."""
    fleet = Fleet()

    async def main() -> None:
        app = fleet.app()
        nothing: Any = None
        with pytest.raises(InvalidOption, match="a schedule adds jobs of a bound task"):
            await app.schedules.put("a", Every(60), nothing)
        await app.schedules.put("a", Every(60), app.remote("elsewhere").bind(), max_runs=1)
        async with fleet.app().running():
            await asyncio.sleep(5)
            (job,) = (await app.jobs.find(schedule="a")).jobs
            assert job.state == "ready"

        def with_code(app: App) -> None:
            app.task(name="elsewhere")(nothing_to_do)

        async with fleet.app(with_code).running():
            await asyncio.sleep(5)
            assert (await job.refresh()).state == "completed"

    run_open(fleet, main)


def test_SCD_005_S3_05_the_block_is_entered_when_it_runs() -> None:
    """However long the start takes: there is nothing to wait for inside."""
    fleet = Fleet()

    def declare(app: App) -> None:
        app.every(60, name="tick")(nothing_to_do)

    async def main() -> None:
        app = fleet.app(declare)
        join = fleet.store.join

        async def slower(worker: Any) -> float:
            await asyncio.sleep(10)
            return await join(worker)

        object.__setattr__(fleet.store, "join", slower)
        async with app.running():
            assert asyncio.get_running_loop().time() >= 10
            assert app.connection.working
            assert [each.id for each in await app.schedules.list()] == ["tick"]
            assert len(await fleet.store.workers()) == 1

    run_open(fleet, main)


def test_RST_002_a_start_that_cannot_cancel_what_was_left_fails() -> None:
    """Strictly: nothing works before it is done. With the default, "resume", nothing has to be marked."""
    fleet = Fleet()

    async def main() -> None:
        app = fleet.app(lambda app: app.task(name="t")(nothing_to_do), on_restart="cancel")
        await app.schedules.put("a", Every(60), app.remote("t").bind())
        await app.schedules.trigger("a")
        find, down = fleet.store.find, [True]

        async def away(*args: Any, **kwargs: Any) -> Any:
            if down:
                raise StoreUnavailable("no answer")
            return await find(*args, **kwargs)

        object.__setattr__(fleet.store, "find", away)
        with pytest.raises(StoreUnavailable, match="no answer"):
            await app.running().__aenter__()
        down.clear()
        (job,) = (await fleet.app().jobs.find(schedule="a")).jobs
        assert job.state == "ready", "nothing has worked"
        async with app.running():
            assert (await job.refresh()).state == "cancelled", "and the next start does it"

    run_open(fleet, main)


def test_RST_011_what_code_declares_wins_over_what_is_stored() -> None:
    """Its counts and its history are those of the store."""
    fleet = Fleet()

    def each(interval: float) -> Callable[[App], object]:
        return lambda app: app.every(interval, name="tick")(nothing_to_do)

    async def main() -> None:
        async with fleet.app(each(60)).running():
            await asyncio.sleep(61)
        app = fleet.app(each(30))
        async with app.running():
            tick = await app.schedules.get("tick")
            assert (tick.trigger, tick.runs, tick.created) == (Every(30), 2, START)

    run_open(fleet, main)


# --- broken tasks


class Panic(BaseException):
    """What no `except Exception` stops."""


@pytest.mark.parametrize("error", [Panic("lost it"), SystemExit(3), GeneratorExit("closed"), MemoryError("full")])
@pytest.mark.parametrize("sync", [False, True])
def test_SCD_024_S3_18_whatever_a_job_raises_is_a_failed_run(error: BaseException, sync: bool) -> None:
    """The schedule is at its next slot since the fire: it neither stops, nor runs again at each look."""

    async def main(app: App) -> None:
        async def panics() -> None:
            raise error

        def panics_in_a_thread() -> None:
            raise error

        work = app.task(name="work")(panics_in_a_thread) if sync else app.task(name="work")(panics)
        app.task(name="well")(nothing_to_do)
        await app.schedules.put("a", Every(60), work.bind())
        await app.schedules.put("b", Every(60), app.remote("well").bind())
        async with app.running():
            await asyncio.sleep(150)
            runs = await app.schedules.runs("a")
            assert [(each.slot, each.state, each.attempts) for each in runs] == [
                (START + n * MINUTE, "dead", 1) for n in range(3)
            ]
            assert all(type(error).__name__ in (each.error or "") for each in runs)
            after = await app.schedules.get("a")
            assert (after.state, after.next, after.runs) == ("active", START + 3 * MINUTE, 3)
            assert [each.state for each in await app.schedules.runs("b")] == ["completed"] * 3

    run(main)


# --- runs that follow quickly, or beside each other


def test_SCD_026_S3_32_runs_of_one_second_are_told_apart() -> None:
    """By the slots and by hand, also at the very same moment: no two have one number, or one job."""

    async def main(app: App) -> None:
        app.task(name="work")(nothing_to_do)
        await app.schedules.put("a", Every(0.25), app.remote("work").bind(), overlap="allow", end_at=START + 9 * MINUTE)
        async with app.running():
            by_hand = [await app.schedules.trigger("a") for _ in range(3)]
            await asyncio.sleep(0.9)
        runs = await app.schedules.runs("a")
        assert {each.fired.replace(microsecond=0) for each in runs} == {START}
        assert [each.kind for each in runs].count("slot") == 4
        assert [each.kind for each in runs].count("trigger") == len(by_hand) == 3
        assert [each.number for each in runs] == [1, 2, 3, 4, 5, 6, 7]
        assert len({each.job for each in runs}) == 7
        assert [each.state for each in runs] == ["completed"] * 7

    run(main)


def test_JOB_004_of_two_that_run_one_ends() -> None:
    """The other goes on, and the schedule as well."""

    async def main(app: App) -> None:
        takes = iter((90, 90))

        @app.task(name="work")
        async def work() -> None:
            await asyncio.sleep(next(takes))

        await app.schedules.put("a", Every(60), work.bind(), overlap="allow", max_runs=2)
        async with app.running():

            async def states() -> list[str | None]:
                return [each.state for each in await app.schedules.runs("a")]

            await asyncio.sleep(61)
            assert await states() == ["running", "running"]
            await asyncio.sleep(30)
            assert await states() == ["completed", "running"]
            assert [each.number for each in await app.schedules.runs("a", states=["running"])] == [2]
            await asyncio.sleep(60)
            assert await states() == ["completed", "completed"]

    run(main)


def test_SCD_040_with_one_place_two_schedules_take_turns() -> None:
    """The second run starts when the first one ends."""

    async def main(app: App) -> None:
        times: list[tuple[float, float]] = []

        @app.task(name="work")
        async def work() -> None:
            began = asyncio.get_running_loop().time()
            await asyncio.sleep(10)
            times.append((began, asyncio.get_running_loop().time()))

        for each in "ab":
            await app.schedules.put(each, Every(60), work.bind(), max_runs=1)
        async with app.running(concurrency=1):
            await asyncio.sleep(30)
        (_, first_ended), (second_began, _) = times
        assert 0 <= second_began - first_ended < 1

    run(main)


def test_RST_022_a_run_that_is_longer_than_its_lease_stays_one_run() -> None:
    """The beats of its worker renew the lease; the other worker, which looks for dead ones, leaves it alone."""
    fleet, calls = Fleet(), []

    def declare(app: App) -> None:
        @app.every(3600, name="long")
        async def long() -> None:
            calls.append(1)
            await asyncio.sleep(600)

    async def main() -> None:
        async with fleet.app(declare).running(lease_time=10), fleet.app(declare).running(lease_time=10):
            await asyncio.sleep(700)
        assert calls == [1]
        (only,) = await fleet.app().schedules.runs("long")
        assert (only.state, only.attempts, only.duration) == ("completed", 1, 600)

    run_open(fleet, main)


# --- ends


def test_SCD_034_S0_55_a_finished_schedule_can_be_removed_and_is_gone_then() -> None:
    """Unlike its seed, which says false here: it keeps its history until somebody removes it, so there is something."""

    async def main(app: App) -> None:
        app.task(name="work")(nothing_to_do)
        await app.schedules.put("a", Every(60), app.remote("work").bind(), max_runs=1)
        async with app.running():
            await asyncio.sleep(1)
            assert (await app.schedules.get("a")).state == "finished"
            assert len(await app.schedules.runs("a")) == 1
            assert await app.schedules.remove("a") is True
            assert await app.schedules.remove("a") is False
            with pytest.raises(ScheduleNotFound):
                await app.schedules.get("a")

    run(main)


async def nothing_to_do() -> None: ...

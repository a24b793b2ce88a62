"""`app.schedules`: what people do to schedules, on a memory store in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from mainspring import (
    App,
    Cron,
    Every,
    Once,
    Schedule,
    ScheduleExists,
    ScheduleNotFound,
    ScheduleSpec,
)
from mainspring.errors import InvalidOption, InvalidTrigger, ScheduleBusy, StoreUnavailable
from mainspring.model.record import NewJob
from mainspring.model.schedule import ScheduleRecord
from mainspring.store.base import PutAnswer, SchedulePut
from tests.app.virtual_app import START, tick
from tests.app.virtual_app import run_open as run

MINUTE = timedelta(minutes=1)


# --- put, add, replace


def test_a_new_schedule_says_what_it_is() -> None:
    """JOB-001, S0-59, S3-15: active, its times set, nothing run, nothing missed."""

    async def main(app: App) -> None:
        work = app.remote("report").options(metadata={"for": "eu"}, queue="q").bind(region="eu")
        put = await app.schedules.put("eu", Every(60), work, overlap="queue", keep=30, end_at=START + MINUTE)
        assert (put.id, put.state, put.reason, put.task) == ("eu", "active", "", "report")
        assert (put.trigger, put.next) == (Every(60), START)  # SCH-028: without start_at the first run is at once
        assert (put.runs, put.missed, put.skipped, put.declared_by) == (0, 0, 0, "")
        assert (put.created, put.changed) == (START, START)
        assert put.metadata == {"for": "eu"}
        assert (put.options["overlap"], put.options["keep"], put.options["end_at"]) == ("queue", 30, START + MINUTE)
        assert put == await app.schedules.get("eu")
        every = "Every(interval=60.0, anchor='grid', first='now', start=None)"
        assert repr(put) == f"<Schedule eu active {every} next 2026-01-01T00:00:00+00:00>"
        assert repr(await app.schedules.pause("eu")) == f"<Schedule eu paused {every}>"
        put = await app.schedules.resume("eu")
        assert await app.schedules.runs("eu") == []  # JOB-012: known, and empty
        assert {put, await app.schedules.get("eu")} == {put}

    run(main)


def test_what_was_read_does_not_change_when_the_reader_changes_it() -> None:
    """SCD-022, JOB-013."""

    async def main(app: App) -> None:
        await app.schedules.put("a", Every(60), app.remote("t").options(metadata={"tags": ["x"]}).bind())
        read = await app.schedules.get("a")
        read.metadata["tags"] = None
        read.options["keep"] = 1
        assert read.metadata == {"tags": ["x"]}
        again = await app.schedules.get("a")
        assert (again.metadata, again.options["keep"]) == ({"tags": ["x"]}, 100)

    run(main)


def test_a_put_of_what_is_there_writes_nothing() -> None:
    async def main(app: App) -> None:
        async def put(**options: Any) -> Schedule:
            return await app.schedules.put("a", Cron("0 3 * * *"), app.remote("t").bind(n=1), **options)

        first = await put(keep=50)
        writes = counted(app, "put_schedules")
        await asyncio.sleep(60)
        assert await put(keep=50) == first
        assert await writes() == 0
        changed = await put()
        assert await writes() == 1
        assert (changed.record.revision, changed.options["keep"]) == (2, 100)  # what is not said has its default
        assert (changed.created, changed.changed) == (START, START + MINUTE)

    run(main)


def test_a_put_costs_one_look_and_one_write() -> None:
    async def main(app: App) -> None:
        await app.schedules.list()
        looks, writes = counted(app, "get_schedules"), counted(app, "put_schedules")
        await app.schedules.put("a", Every(60), app.remote("t").bind())
        assert (await looks(), await writes()) == (1, 1)

    run(main)


def test_S0_34_options_of_a_schedule_can_make_the_same_again() -> None:
    async def main(app: App) -> None:
        options: Any = {
            "misfire": "all",
            "misfire_limit": 7,
            "misfire_grace": 30.0,
            "overlap": "allow",
            "jitter": 2.0,
            "start_at": START + MINUTE,
            "end_at": START + 9 * MINUTE,
            "max_runs": 4,
            "stop_after": 2,
            "keep": 9,
            "keep_for": 3600.0,
        }
        put = await app.schedules.put("a", Every(60), app.remote("t").bind(), **options)
        assert put.options == options
        assert await app.schedules.put("a", put.trigger, app.remote("t").bind(), **put.options) == put

    run(main)


def test_SCD_011_add_refuses_an_id_that_is_there() -> None:
    """Also S0-53, SCD-029: whoever has put it."""

    async def main(app: App) -> None:
        work = app.remote("t").bind()
        added = await app.schedules.add("a", Every(60), work)
        with pytest.raises(ScheduleExists, match="there is a schedule 'a' already; put changes it") as refused:
            await app.schedules.add("a", Every(30), work)
        assert refused.value.schedule == "a"
        assert await app.schedules.get("a") == added
        assert await app.schedules.remove("a")
        assert (await app.schedules.add("a", Every(30), work)).trigger == Every(30)

    run(main)


def test_SCD_028_without_an_id_each_is_a_schedule_of_its_own() -> None:
    """Also S0-52: the ids are unique everywhere."""

    async def main(app: App) -> None:
        work = app.remote("t").bind()
        two = [await app.schedules.add(None, Every(60), work) for _ in range(2)]
        assert [each.id for each in await app.schedules.list()] == sorted(each.id for each in two)
        assert [len(each.id) for each in two] == [36, 36]
        assert [await app.schedules.remove(each.id) for each in two] == [True, True]

    run(main)


def test_SCD_014_another_trigger_keeps_everything_else() -> None:
    """Also S3-11, S3-77: the time of creation, metadata, runs and history stay."""

    async def main(app: App) -> None:
        seen: list[datetime] = []
        tick(app, seen)
        work = app.remote("tick").options(metadata={"a": 1}).bind()
        await app.schedules.put("a", Every(60), work, keep=7)
        async with app.running():
            await asyncio.sleep(61)
            before = await app.schedules.get("a")
            replaced = await app.schedules.replace("a", Once(START + 5 * MINUTE))
            assert replaced.next == START + 5 * MINUTE
            assert (replaced.metadata, replaced.options, replaced.runs) == ({"a": 1}, before.options, 2)
            assert replaced.created == before.created < replaced.changed
            await asyncio.sleep(3600)
        assert seen == [START, START + MINUTE, START + 5 * MINUTE]
        assert (await app.schedules.get("a")).state == "finished"
        assert [each.number for each in await app.schedules.runs("a")] == [1, 2, 3]

    run(main)


def test_a_trigger_that_is_replaced_by_itself_changes_nothing() -> None:
    async def main(app: App) -> None:
        put = await app.schedules.put("a", Every(60), app.remote("t").bind())
        assert await app.schedules.replace("a", Every(60)) == put

    run(main)


def test_many_are_put_a_thousand_at_a_time() -> None:
    async def main(app: App) -> None:
        task = app.remote("t")
        await app.schedules.list()
        writes = counted(app, "put_schedules")
        put = await app.schedules.put_many(
            ScheduleSpec(f"s{n:04}", Every(60), task.bind(n=n), jitter=9) for n in range(2500)
        )
        assert await writes() == 3
        assert [each.id for each in put] == [f"s{n:04}" for n in range(2500)]
        assert await app.schedules.list(after="s2497") == put[2498:]
        with pytest.raises(InvalidOption, match="'x' is given twice"):
            await app.schedules.put_many(ScheduleSpec("x", Every(60), task.bind()) for _ in range(2))
        assert await app.schedules.put_many([]) == []

    run(main)


def test_workers_of_this_process_hear_of_each_change_at_once() -> None:
    async def main(app: App) -> None:
        heard: list[str] = []
        opened = await app.connection.opened()
        opened.workers.append(Listener(heard))
        await app.schedules.put("a", Every(60), app.remote("t").bind())
        await app.schedules.pause("a")
        await app.schedules.resume("a")
        await app.schedules.replace("a", Every(30))
        assert heard == ["changed"] * 4
        await app.schedules.trigger("a")
        assert heard[4:] == ["added t"]

    run(main)


# --- writing beside others


def test_a_put_that_lost_a_race_decides_again() -> None:
    async def main(app: App) -> None:
        store = await app.store()
        put_schedules = store.put_schedules
        work = app.remote("t").bind()
        await app.schedules.put("a", Every(60), work)

        async def slower(puts: list[SchedulePut]) -> list[PutAnswer]:
            object.__setattr__(store, "put_schedules", put_schedules)
            await app.schedules.pause("a")
            return await put_schedules(puts)

        object.__setattr__(store, "put_schedules", slower)
        after = await app.schedules.replace("a", Every(30))
        assert (after.state, after.trigger) == ("paused", Every(30))

    run(main)


def test_a_put_that_always_loses_gives_up() -> None:
    """SCD-015: nothing is changed then."""

    async def main(app: App) -> None:
        put = await app.schedules.put("a", Every(60), app.remote("t").bind())
        store = await app.store()

        async def never(puts: list[SchedulePut]) -> list[PutAnswer]:
            return ["conflict" for _ in puts]

        object.__setattr__(store, "put_schedules", never)
        began = asyncio.get_running_loop().time()
        with pytest.raises(ScheduleBusy, match="schedule 'a' is changed or fired by others"):
            await app.schedules.replace("a", Every(30))
        assert 2 < asyncio.get_running_loop().time() - began < 13
        assert await app.schedules.get("a") == put

    run(main)


def test_SCD_013_a_store_that_is_away_is_waited_for() -> None:
    """Also SCD-030, S0-71, S3-35: for as long as an enqueue waits; then the error, and nothing was kept."""

    async def main(app: App) -> None:
        store = await app.store()
        put_schedules = store.put_schedules
        away = 3

        async def flaky(puts: list[SchedulePut]) -> list[PutAnswer]:
            nonlocal away
            away -= 1
            if away >= 0:
                raise StoreUnavailable("gone for lunch")
            return await put_schedules(puts)

        object.__setattr__(store, "put_schedules", flaky)
        await app.schedules.put("a", Every(60), app.remote("t").bind())
        away = 10**9
        began = asyncio.get_running_loop().time()
        with pytest.raises(StoreUnavailable, match="lunch"):
            await app.schedules.put("b", Every(60), app.remote("t").bind())
        assert 5 < asyncio.get_running_loop().time() - began < 15
        assert [each.id for each in await app.schedules.list()] == ["a"]

    run(main)


def test_a_removal_whose_answer_was_lost_is_a_removal() -> None:
    async def main(app: App) -> None:
        store = await app.store()
        drop = store.drop_schedules
        await app.schedules.put("a", Every(60), app.remote("t").bind())
        lost = [True]

        async def flaky(ids: list[str]) -> list[bool]:
            answer = await drop(ids)
            if lost:
                lost.pop()
                raise StoreUnavailable("done, but you will not hear of it")
            return answer

        object.__setattr__(store, "drop_schedules", flaky)
        assert await app.schedules.remove("a") is True
        assert await app.schedules.remove("a") is False

    run(main)


# --- unknown and empty ids


@pytest.mark.parametrize("verb", ["get", "pause", "resume", "trigger", "next_fires"])
def test_SCD_016_unknown_ids(verb: str) -> None:
    async def main(app: App) -> None:
        await app.schedules.put("gone", Every(60), app.remote("t").bind())
        await app.schedules.remove("gone")
        for unknown in ("never", "gone"):
            with pytest.raises(ScheduleNotFound, match=f"there is no schedule '{unknown}'") as refused:
                await getattr(app.schedules, verb)(unknown)
            assert refused.value.schedule == unknown
            with pytest.raises(ScheduleNotFound):
                await app.schedules.replace(unknown, Every(60))
            assert await app.schedules.remove(unknown) is False
            assert await app.schedules.runs("never") == []  # JOB-027

    run(main)


def test_SCD_012_empty_ids_and_missing_triggers() -> None:
    async def main(app: App) -> None:
        work = app.remote("t").bind()
        nothing: Any = None
        ids: list[Any] = ["", "x" * 256, "ä" * 128, "a\0b", nothing, 7]
        for wrong in ids:
            with pytest.raises(InvalidOption, match="the id of a schedule"):
                await app.schedules.put(wrong, Every(60), work)
            for verb in ("get", "pause", "resume", "trigger", "remove", "next_fires", "runs"):
                with pytest.raises(InvalidOption, match="the id of a schedule"):
                    await getattr(app.schedules, verb)(wrong)
            with pytest.raises(InvalidOption, match="the id of a schedule"):
                await app.schedules.list(ids=[wrong])
        await app.schedules.put("ä" * 127, Every(60), work)
        triggers: list[Any] = [nothing, 60, "@daily", Every]
        for trigger in triggers:
            with pytest.raises(InvalidTrigger, match="a trigger is needed"):
                await app.schedules.put("a", trigger, work)
            with pytest.raises(InvalidTrigger, match="a trigger is needed"):
                await app.schedules.replace("a", trigger)
        assert [each.id for each in await app.schedules.list()] == ["ä" * 127]

    run(main)


# --- the rest of the face


def test_S3_41_an_app_can_be_asked_whether_its_store_is_well() -> None:
    async def main(app: App) -> None:
        findings = await app.check()
        assert findings
        assert {each.level for each in findings} <= {"ok", "warning"}

    run(main)


class Listener:
    """A worker that only notes what it is told."""

    paused: frozenset[str] = frozenset()

    def __init__(self, heard: list[str]) -> None:
        self._heard = heard

    def added(self, new: NewJob) -> None:
        self._heard.append(f"added {new.task}")

    def cancel(self, job_ids: Sequence[str]) -> None: ...

    def serves(self, queue: str, task: str, version: str) -> bool:
        return False

    def fires(self, schedule: ScheduleRecord) -> bool:
        return False

    def schedules_changed(self) -> None:
        self._heard.append("changed")


def counted(app: App, verb: str) -> Callable[[], Any]:
    """Count the calls of a verb of the app's store from the next call on; asked, the number since the last time."""
    connection = app.connection
    state = {"calls": 0}

    async def ask() -> int:
        number, state["calls"] = state["calls"], 0
        return number

    store: Any = connection._given
    original = getattr(store, verb)

    async def counting(*args: Any, **kwargs: Any) -> Any:
        state["calls"] += 1
        return await original(*args, **kwargs)

    object.__setattr__(store, verb, counting)
    return ask

"""What a job knows of the schedule that added it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from mainspring.codec import encode
from mainspring.engine.context import Context, Surroundings
from mainspring.engine.history import History, last_end
from mainspring.errors import AppClosed, AppError, StoreUnavailable
from mainspring.model.every import Every
from mainspring.model.record import JobRecord
from mainspring.model.schedule import Run, SlotJob
from mainspring.store.base import RunNow
from mainspring.store.memory import MemoryStore
from tests.unit.engine.timetable import START, timetable
from tests.unit.engine.workshop import virtual


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(START + seconds, UTC)


@virtual
async def test_S3_02_SCD_020_one_task_serves_all_schedules_by_id_and_metadata() -> None:
    """The id, a copy of the metadata, scheduled <= started, delay >= 0, no last completion on the first run."""
    async with timetable() as table:
        seen: list[tuple[str | None, object, datetime | None, bool, float, datetime | None]] = []

        async def catch_all(ctx: Context) -> None:
            last = await ctx.last_completed()
            on_time = ctx.scheduled is not None and ctx.scheduled <= ctx.started
            seen.append((ctx.schedule, ctx.metadata["kind"], ctx.scheduled, on_time, ctx.delay, last))
            ctx.metadata["kind"] = "changed"  # SCD-022: a copy

        table.task(catch_all, "all", context=True)
        await table.put("orders", Every(60), task="all", metadata=encode({"kind": "report"}))
        await table.put("mail", Every(60, first="after"), task="all", metadata=encode({"kind": "send"}))
        await table.work(60)
        assert seen[0] == ("orders", "report", at(0), True, 0.0, None)
        assert sorted(seen[1:], key=str) == sorted(
            [
                ("mail", "send", at(60), True, 0.0, None),
                ("orders", "report", at(60), True, 0.0, at(0)),
            ],
            key=str,
        )


@virtual
async def test_delay_counts_from_the_slot_at_the_first_attempt() -> None:
    async with timetable() as table:
        delays: list[tuple[int, float]] = []

        async def late(ctx: Context) -> None:
            delays.append((ctx.attempt, ctx.delay))

        table.task(late, "late", context=True)
        await table.put("hourly", Every(3600), task="late")
        await table.advance(25)
        await table.work(1)
        assert delays == [(1, 25.0)]


def test_delay_of_a_later_attempt_counts_from_when_it_was_due() -> None:
    job = JobRecord(
        id="j", task="t", state="running", created=10.0, due=50.0, slot=10.0, schedule="s", attempt=2, claimed=51.0
    )
    assert Context(job).delay == 1.0


@virtual
async def test_SCD_021_the_last_completion_is_the_end_of_the_last_run_that_completed() -> None:
    async with timetable() as table:
        seen: list[datetime | None] = []

        async def run(ctx: Context) -> None:
            seen.append(await ctx.last_completed())
            await asyncio.sleep(5)
            if len(seen) in {2, 3}:
                raise RuntimeError("fails")

        table.task(run, "run", context=True)
        await table.put("minutely", Every(60), task="run")
        await table.work(300)
        assert seen == [None, at(5), at(5), at(5), at(185), at(245)]


@virtual
async def test_the_last_completion_is_found_behind_many_failures() -> None:
    async with timetable() as table:
        seen: list[datetime | None] = []

        async def run(ctx: Context) -> None:
            seen.append(await ctx.last_completed())
            if len(seen) > 1:
                raise RuntimeError("fails")

        table.task(run, "run", context=True)
        await table.put("s", Every(1), task="run", keep=1000)
        await table.work(100)
        assert len(seen) == 101
        assert seen[-1] == at(0)


@virtual
async def test_a_triggered_run_has_a_schedule_and_no_slot() -> None:
    async with timetable() as table:
        seen: list[tuple[str | None, datetime | None]] = []

        async def run(ctx: Context) -> None:
            seen.append((ctx.schedule, ctx.scheduled))

        table.task(run, "run", context=True)
        await table.put("hourly", Every(3600, first="after"), task="run")
        answers = await table.store.trigger([RunNow("hourly", SlotJob(0.0, "job", "group"))])
        assert answers == ["fired"]
        await table.work(1)
        assert seen == [("hourly", None)]


@virtual
async def test_a_job_of_no_schedule_says_so() -> None:
    async with timetable() as table:
        seen: list[object] = []

        async def run(ctx: Context) -> None:
            seen.append((ctx.schedule, ctx.scheduled, await ctx.last_completed()))

        table.task(run, "run", context=True)
        await table.add("run")
        await table.work(1)
        assert seen == [(None, None, None)]
        assert await Context.detached("run").last_completed() is None
        assert Context.detached("run").sync.last_completed() is None


@virtual
async def test_a_task_in_a_thread_asks_by_sync() -> None:
    """Every async verb has a blocking twin."""
    async with timetable() as table:
        seen: list[datetime | None] = []

        def run(ctx: Context) -> None:
            seen.append(ctx.sync.last_completed())
            if len(seen) == 2:
                raise RuntimeError("fails")

        table.task(run, "run", mode="sync", context=True)
        await table.put("s", Every(60), task="run", max_runs=3)
        await table.work(200)
        assert seen[0] is None
        first, second = seen[1:]
        assert first is not None
        assert at(0) <= first < at(60)
        assert second == first, "a failed run has not completed"


@virtual
async def test_a_task_in_the_loop_is_told_to_await_it() -> None:
    async with timetable() as table:
        said: list[str] = []

        async def run(ctx: Context) -> None:
            with pytest.raises(AppError) as error:
                ctx.sync.last_completed()
            said.append(str(error.value))

        table.task(run, "run", context=True)
        await table.put("s", Every(60), task="run", max_runs=1)
        await table.work(1)
        assert said == ["this is the worker's own event loop, which .sync would block for ever: await the verb itself"]


def test_a_loop_that_has_ended_answers_no_thread() -> None:
    job = JobRecord(id="j", task="t", state="running", created=1.0, due=1.0, schedule="s", slot=1.0)

    async def worker() -> Surroundings:
        around = Surroundings()
        around.history = History(MemoryStore(), asyncio.get_running_loop())
        return around

    with pytest.raises(AppClosed, match="the event loop of this app has ended"):
        Context(job, asyncio.run(worker())).sync.last_completed()


@virtual
async def test_a_task_in_a_thread_is_told_that_it_cannot_await() -> None:
    async with timetable() as table:
        said: list[str] = []

        def run(ctx: Context) -> None:
            with pytest.raises(AppError) as error:
                _ = ctx.last_completed()
            said.append(str(error.value))

        table.task(run, "run", mode="sync", context=True)
        await table.put("s", Every(60), task="run", max_runs=1)
        await table.work(1)
        assert len(said) == 1
        assert said[0].endswith("in a thread call ctx.sync.last_completed()")


def test_a_task_in_a_child_process_is_told_that_it_cannot_ask() -> None:
    job = JobRecord(id="j", task="t", state="running", created=1.0, due=1.0, schedule="s", slot=1.0)
    with pytest.raises(AppError, match="cannot be reached from a child process"):
        _ = Context(job, Surroundings()).last_completed()
    with pytest.raises(AppError, match="cannot be reached from a child process"):
        Context(job, Surroundings()).sync.last_completed()


@virtual
async def test_a_store_that_is_away_is_asked_again_for_the_last_completion() -> None:
    async with timetable() as table:
        seen: list[object] = []
        runs, asked = table.store.runs, [0]

        async def sometimes(schedule: str, **options: int) -> list[Run]:
            asked[0] += 1
            if asked[0] % 2:
                raise StoreUnavailable("down")
            return await runs(schedule, **options)

        table.store.runs = sometimes  # type: ignore[method-assign]

        async def run(ctx: Context) -> None:
            seen.append(await ctx.last_completed())

        table.task(run, "run", context=True)
        await table.put("s", Every(60), task="run")
        await table.work(61)
        assert len(seen) == 2
        assert seen[0] is None
        assert seen[1] is not None


def test_runs_after_the_asking_one_do_not_count() -> None:
    def run(number: int, ended: float | None, state: str = "completed") -> Run:
        return Run(schedule="s", number=number, kind="slot", job=f"j{number}", fired=0.0, state=state, ended=ended)  # type: ignore[arg-type]

    runs = [run(1, 5.0), run(2, 9.0), run(3, 7.0), run(4, None, "running"), run(5, 20.0)]
    assert last_end(runs, "j4") == 9.0
    assert last_end(runs, "j1") is None
    assert last_end(runs, "gone") == 20.0
    assert last_end([], "j1") is None

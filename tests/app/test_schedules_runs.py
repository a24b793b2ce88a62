"""The history of a schedule, as `app.schedules.runs` shows it: memory store, virtual time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mainspring import App, Context, Every, ScheduleRun
from mainspring.errors import InvalidOption
from tests.app.virtual_app import run_open as run

MINUTE = timedelta(minutes=1)
START = datetime(2026, 1, 1, tzinfo=UTC)  # where the virtual clock begins


async def five_runs(app: App) -> None:
    """Runs 1 to 5, one a minute; they take 3, 1, 5, 2, 4 seconds, and number 4 fails."""
    takes = iter((3, 1, 5, 2, 4))

    @app.task(name="work")
    async def work() -> None:
        seconds = next(takes)
        await asyncio.sleep(seconds)
        if seconds == 2:
            raise ValueError("the fourth")

    await app.schedules.put("a", Every(60), work.bind(), max_runs=5)
    async with app.running():
        await asyncio.sleep(300)


def test_a_run_says_what_became_of_its_slot() -> None:
    """S0-60, S3-31, JOB-003, JOB-028, SCD-023, S3-17: each has its number; a failed run does not end the schedule."""

    async def main(app: App) -> None:
        await five_runs(app)
        runs = await app.schedules.runs("a")
        assert [each.number for each in runs] == [1, 2, 3, 4, 5]
        assert [each.slot for each in runs] == [START + n * MINUTE for n in range(5)]
        assert [each.duration for each in runs] == [3, 1, 5, 2, 4]
        assert [each.state for each in runs] == ["completed"] * 3 + ["dead", "completed"]
        failed = runs[3]
        jobs = {job.id: job for job in (await app.jobs.find(schedule="a")).jobs}
        assert failed.job is not None
        assert jobs[failed.job].state == "dead"
        assert failed == ScheduleRun(
            schedule="a",
            number=4,
            kind="slot",
            slot=START + 3 * MINUTE,
            last_slot=None,
            count=1,
            job=failed.job,
            fired=START + 3 * MINUTE,
            state="dead",
            started=START + 3 * MINUTE,
            ended=START + 3 * MINUTE + timedelta(seconds=2),
            duration=2.0,
            attempts=1,
            error="ValueError: the fourth",
        )
        assert len({each.job for each in runs}) == 5

    run(main)


def test_JOB_006_a_run_that_ends_after_the_last_slot_is_in_the_history() -> None:
    """Also SCH-027: it has finished with the last slot, while that one's job still runs."""

    async def main(app: App) -> None:
        @app.task(name="work")
        async def work() -> None:
            await asyncio.sleep(100)

        await app.schedules.put("a", Every(60), work.bind(), max_runs=1)
        async with app.running():
            await asyncio.sleep(1)
            assert (await app.schedules.get("a")).state == "finished"
            assert [each.state for each in await app.schedules.runs("a")] == ["running"]
            await asyncio.sleep(120)
            assert [(each.state, each.duration) for each in await app.schedules.runs("a")] == [("completed", 100)]
            assert (await app.schedules.get("a")).state == "finished"

    run(main)


def test_SCD_020_SCD_021_one_task_knows_for_what_it_runs() -> None:
    """Also S3-02, S3-16: a catch-all dispatches on id and metadata; the times are those of the slot."""
    seen: list[tuple[object, ...]] = []

    async def main(app: App) -> None:
        @app.task(name="catch-all")
        async def catch_all(ctx: Context) -> None:
            assert ctx.scheduled is not None
            ctx.metadata["changed"] = True
            seen.append((ctx.schedule, ctx.metadata, ctx.scheduled, ctx.delay, await ctx.last_completed()))
            await asyncio.sleep(3)
            if len(seen) == 2:
                raise ValueError("the second run")

        await app.schedules.put("a", Every(60), catch_all.options(metadata={"for": "eu"}).bind(), max_runs=3)
        async with app.running():
            await asyncio.sleep(200)

    run(main)
    times = [START + n * MINUTE for n in range(3)]
    first_ended = START + timedelta(seconds=3)  # of a failed run nobody says that it has completed
    assert seen == [
        ("a", {"for": "eu"}, times[0], 0.0, None),
        ("a", {"for": "eu"}, times[1], 0.0, first_ended),
        ("a", {"for": "eu"}, times[2], 0.0, first_ended),
    ]


def test_JOB_018_from_a_number_and_the_newest() -> None:
    """Also S0-63."""

    async def main(app: App) -> None:
        await five_runs(app)

        async def numbers(**options: Any) -> list[int]:
            return [each.number for each in await app.schedules.runs("a", **options)]

        assert await numbers(from_number=4) == [4, 5]
        assert await numbers(newest=2) == [4, 5]
        assert await numbers(from_number=2, newest=1) == [5]
        assert await numbers(from_number=99) == []
        assert await numbers(from_number=2, newest=3, descending=True, limit=2) == [5, 4]

    run(main)


def test_JOB_019_limit_and_offset() -> None:
    async def main(app: App) -> None:
        await five_runs(app)

        async def numbers(**options: Any) -> list[int]:
            return [each.number for each in await app.schedules.runs("a", **options)]

        assert await numbers(limit=3) == [1, 2, 3]
        assert await numbers(offset=2, limit=2) == [3, 4]
        assert await numbers(offset=9) == []

    run(main)


def test_JOB_020_JOB_021_ranges_are_half_open() -> None:
    """From <= t < to, in every store."""

    async def main(app: App) -> None:
        await five_runs(app)

        async def numbers(**options: Any) -> list[int]:
            return [each.number for each in await app.schedules.runs("a", **options)]

        assert await numbers(started_from=START + 2 * MINUTE) == [3, 4, 5]
        assert await numbers(started_to=START + 3 * MINUTE) == [1, 2, 3]
        assert await numbers(started_from=START + MINUTE, started_to=START + 2 * MINUTE) == [2]
        assert await numbers(started_from=START + MINUTE, started_to=START + MINUTE) == []

    run(main)


def test_S3_33_order_and_states() -> None:
    async def main(app: App) -> None:
        await five_runs(app)
        await app.schedules.put("a", Every(3600), app.remote("elsewhere").bind())
        assert await app.schedules.trigger("a")  # never starts: nobody knows its task

        async def numbers(**options: Any) -> list[int]:
            return [each.number for each in await app.schedules.runs("a", **options)]

        assert await numbers(order="duration") == [2, 4, 1, 5, 3, 6]
        assert await numbers(order="duration", descending=True) == [3, 5, 1, 4, 2, 6]  # what has none comes last
        assert await numbers(order="started", descending=True) == [5, 4, 3, 2, 1, 6]
        assert await numbers(order="ended") == [1, 2, 3, 4, 5, 6]
        assert await numbers(descending=True, limit=2) == [6, 5]
        assert await numbers(states=["dead", "ready"]) == [4, 6]
        assert await numbers(states=["completed"], order="duration", descending=True, limit=1) == [3]
        assert await numbers(started_to=START + 99 * MINUTE, newest=2) == [4, 5]

    run(main)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"offset": -1}, "offset is a whole number from 0, not -1"),  # JOB-017
        ({"limit": 0}, "limit is a whole number from 1"),
        ({"newest": 0}, "newest is a whole number from 1"),
        ({"newest": True}, "newest is a whole number"),
        ({"from_number": "1"}, "from_number is a whole number from 0"),
        ({"order": "started; DROP TABLE jobs"}, "order: there is no 'started; DROP"),  # JOB-025
        ({"order": "state"}, "there are: number, started, ended, duration"),
        ({"states": ["active"]}, "states: there is no 'active'"),
        ({"states": "dead"}, r'states=\["dead"\]'),
        ({"started_from": datetime(2026, 1, 1)}, "started_from: .* has no time zone"),  # noqa: DTZ001
        ({"started_to": 5}, "started_to is a datetime"),
    ],
)
def test_JOB_025_conditions_are_checked(options: dict[str, Any], said: str) -> None:
    """Also JOB-026."""

    async def main(app: App) -> None:
        with pytest.raises(InvalidOption, match=said):
            await app.schedules.runs("a", **options)

    run(main)


def test_JOB_027_an_unknown_schedule_has_no_runs() -> None:
    async def main(app: App) -> None:
        assert await app.schedules.runs("never") == []

    run(main)


def test_what_is_left_out_is_in_the_history() -> None:
    """Missed and skipped slots: one record for those that belong together (S3-42, SCH-031)."""

    async def main(app: App) -> None:
        @app.task(name="work")
        async def work(ctx: Context) -> None:
            await asyncio.sleep(150)

        await app.schedules.put("a", Every(60), work.bind())
        async with app.running():
            await asyncio.sleep(170)
        await asyncio.sleep(600)  # nobody works
        async with app.running():
            await asyncio.sleep(1)
        runs = await app.schedules.runs("a")
        assert [(each.number, each.kind, each.count, each.job is None) for each in runs] == [
            (1, "slot", 1, False),
            (2, "skipped", 2, True),
            (3, "missed", 9, True),
            (4, "slot", 1, False),
        ]
        assert (runs[1].slot, runs[1].last_slot) == (START + MINUTE, START + 2 * MINUTE)
        assert [each.number for each in await app.schedules.runs("a", states=["missed", "skipped"])] == [2, 3]
        schedule = await app.schedules.get("a")
        assert (schedule.runs, schedule.skipped, schedule.missed) == (2, 2, 9)

    run(main)


def test_S0_49_S0_68_S0_69_what_is_not_to_be_kept_is_pruned() -> None:
    """By count and by age, by hand (here) and by workers; the answer says how many went."""

    async def main(app: App) -> None:
        @app.task(name="work")
        async def work() -> None: ...

        await app.schedules.put("few", Every(60), work.bind(), keep=3)
        await app.schedules.put("young", Every(60), work.bind(), keep_for=150)
        async with app.running():
            await asyncio.sleep(599)
        gone = await app.schedules.prune()
        few = [each.number for each in await app.schedules.runs("few")]
        young = [each.number for each in await app.schedules.runs("young")]
        assert few == [8, 9, 10]
        assert young == [9, 10]
        assert 0 <= gone <= 15  # workers may have pruned some before
        assert await app.schedules.prune() == 0
        assert (await app.schedules.get("few")).runs == 10

    run(main)

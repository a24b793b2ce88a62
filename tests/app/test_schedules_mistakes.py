"""What people who come from another scheduler write first, and what they are told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mainspring import App, Cron, Daily, Every, ScheduleSpec, Tasks
from mainspring.errors import InvalidOption, InvalidTrigger, TaskDefinitionError
from tests.app.virtual_app import run_open as run


async def nothing() -> None: ...


@pytest.mark.parametrize(
    ("decorator", "words", "said"),
    [
        ("every", {"minutes": 5}, r"@app.every has no minutes=…: .* @app.every\(timedelta\(minutes=5\)\)"),
        ("every", {"interval": 5, "tz": "UTC"}, "@app.every has no tz=…: intervals count real time"),
        ("cron", {"day_of_week": "mon"}, "@app.cron has no day_of_week=…: here it is weekday=…"),
        ("cron", {"expression": "@daily", "timezone": "UTC"}, "here it is tz=…"),
        ("daily", {"hour": 3}, r"@app.daily\(time\(9, 30\)\)"),
    ],
)
def test_keywords_of_others(decorator: str, words: dict[str, Any], said: str) -> None:
    for owner in (App("memory://"), Tasks()):
        with pytest.raises(TypeError, match=said):
            getattr(owner, decorator)(**words)


def test_a_zone_may_come_second_and_be_a_zone_info() -> None:
    app = App("memory://")
    app.cron("0 9 * * *", "Europe/Berlin", name="a")(nothing)
    app.daily(time(9), ZoneInfo("Asia/Tokyo"), name="b")(nothing)
    app.cron("@daily", tz=UTC, name="c")(nothing)
    declared = app._declarations().schedules
    assert {each: declared[each].spec.trigger for each in declared} == {
        "a": Cron("0 9 * * *", tz="Europe/Berlin"),
        "b": Daily(time(9), tz="Asia/Tokyo"),
        "c": Cron("@daily"),
    }


def test_the_wrong_order_of_decorators_is_told() -> None:
    app = App("memory://")
    scheduled: Any = app.every(5, name="poll")(nothing)
    with pytest.raises(TaskDefinitionError, match=r"is a task already: put @app.every and its like above @app.task"):
        app.task(scheduled)
    with pytest.raises(TaskDefinitionError, match=r"above @app.task"):
        app.task(queue="mail")(scheduled)


def test_a_bound_task_is_put() -> None:
    app = App("memory://")
    bound: Any = app.remote("t").bind(region="eu")
    with pytest.raises(
        TaskDefinitionError, match=r"has arguments already: give it to app.schedules.put\(id, trigger, …"
    ):
        app.every(5)(bound)


def test_put_many_takes_specs() -> None:
    async def main(app: App) -> None:
        work = app.remote("t").bind()
        loose: Any = app.schedules
        with pytest.raises(InvalidOption, match=r"put_many takes specs: ScheduleSpec\(id, .* not \('a', Every"):
            await loose.put_many([("a", Every(5), work)])
        for single in (ScheduleSpec("a", Every(5), work), Every(5), None):
            with pytest.raises(InvalidOption, match=r"put_many takes a list, as in put_many\(\[ScheduleSpec"):
                await loose.put_many(single)
        assert await app.schedules.list() == []

    run(main)


@pytest.mark.parametrize(
    ("trigger", "made"),
    [
        ("0 9 * * *", r"Cron\('0 9 \* \* \*'\)"),
        (60, r"Every\(60\)"),
        (timedelta(minutes=5), r"Every\(datetime.timedelta\(seconds=300\)\)"),
        (time(9), r"Daily\(…\)"),
        (datetime(2026, 1, 1, tzinfo=UTC), r"Once\(…\)"),
        (Every, r"Every\(…\)"),
        (True, "such as"),
        (None, r"such as Every\(60\) or Cron\('@daily'\); not None"),
    ],
)
def test_what_is_no_trigger_is_told_how_to_become_one(trigger: Any, made: str) -> None:
    work = App("memory://").remote("t").bind()
    with pytest.raises(InvalidTrigger, match=f"a trigger is needed(: write|,) {made}"):
        ScheduleSpec("a", trigger, work)


def test_triggers_of_an_app_are_a_list_of_classes() -> None:
    single: Any = Cron
    with pytest.raises(InvalidOption, match=r"triggers is a list of classes, as in App\(triggers=\[NewMoon\]\)"):
        App(triggers=single)


@pytest.mark.parametrize("wrong", ["a\nb", "\ta", "a\x1b[31m", "a\x7f", "\x85"])
def test_an_id_has_no_control_characters(wrong: str) -> None:
    app = App("memory://")
    with pytest.raises(InvalidOption, match="the id of a schedule has no control characters"):
        ScheduleSpec(wrong, Every(5), app.remote("t").bind())
    with pytest.raises(InvalidOption, match="the id of a schedule has no control characters"):
        app.every(5, id=wrong, name="t")(nothing)
    assert ScheduleSpec("naïve: ✓ 日", Every(5), app.remote("t").bind()).id == "naïve: ✓ 日"


def test_a_jitter_longer_than_the_interval_delays_slots_and_loses_none() -> None:
    async def main(app: App) -> None:
        @app.task(name="work")
        async def work() -> None: ...

        put = await app.schedules.put("late", Every(10), work.bind(), jitter=1000)
        assert put.record.due is not None
        assert put.next is not None
        late = put.record.due - put.next.timestamp()
        assert late > 10
        async with app.running():
            await asyncio.sleep(late + 35)
            runs = await app.schedules.runs("late")
        begin = put.next
        assert [(run.kind, run.slot) for run in runs] == [("slot", begin + timedelta(seconds=10 * n)) for n in range(4)]

    run(main)


# --- what the page tells of rare cases


def test_a_finished_one_can_be_paused_and_goes_on_with_more_runs() -> None:
    async def main(app: App) -> None:
        work = app.task(name="work")(nothing).bind()
        await app.schedules.put("a", Every(10), work, max_runs=1)
        async with app.running():
            await asyncio.sleep(5)
            states = [(await app.schedules.get("a")).state]
            states.append((await app.schedules.pause("a")).state)
            states.append((await app.schedules.resume("a")).state)
            states.append((await app.schedules.put("a", Every(10), work, max_runs=2)).state)
            await asyncio.sleep(20)
            assert [run.number for run in await app.schedules.runs("a")] == [1, 2]
        assert states == ["finished", "paused", "finished", "active"]

    run(main)


def test_a_put_of_what_code_declares_holds_until_a_worker_starts() -> None:
    async def main(app: App) -> None:
        work = app.every(3600, name="work")(nothing)
        await app.schedules.synchronise()
        put = await app.schedules.put("work", Every(5), work.bind(), keep=9)
        assert (put.trigger, put.declared_by, put.options["keep"]) == (Every(5), "", 9)
        async with app.running():
            after = await app.schedules.get("work")
        assert (after.trigger, after.declared_by, after.options["keep"]) == (Every(3600), "tests", 100)

    run(main)


def test_history_goes_on_where_one_is_put_again_within_a_day() -> None:
    async def main(app: App) -> None:
        work = app.task(name="work")(nothing).bind()
        async with app.running():
            await app.schedules.put("a", Every(10), work)
            await asyncio.sleep(15)
            await app.schedules.remove("a")
            assert [run.number for run in await app.schedules.runs("a")] == [1, 2]
            again = await app.schedules.put("a", Every(10), work)
            assert again.runs == 0
            await asyncio.sleep(5)
            assert [run.number for run in await app.schedules.runs("a")] == [1, 2, 3]
            await app.schedules.remove("a")
        await asyncio.sleep(25 * 3600)
        await app.schedules.prune()
        assert await app.schedules.runs("a") == []
        await app.schedules.put("a", Every(10), work)
        async with app.running():
            await asyncio.sleep(5)
            assert [run.number for run in await app.schedules.runs("a")] == [1]

    run(main)


def test_a_slot_is_skipped_while_any_job_has_its_unique_key() -> None:
    async def main(app: App) -> None:
        @app.task(name="work")
        async def work() -> None:
            await asyncio.sleep(25)

        keyed = work.options(unique="k")
        async with app.running():
            await keyed.enqueue()
            await app.schedules.put("a", Every(10), keyed.bind(), overlap="allow")
            await asyncio.sleep(35)
            kinds = [(run.kind, run.count) for run in await app.schedules.runs("a")]
        assert kinds == [("skipped", 3), ("slot", 1)]

    run(main)


def test_a_task_is_declared_several_times_by_its_options() -> None:
    async def main(app: App) -> None:
        work = app.every(7, name="work")(nothing)
        app.every(9, id="often")(work.options(metadata={"for": "the board"}))
        await app.schedules.synchronise()
        both = await app.schedules.list()
        assert [(each.id, each.task, each.metadata) for each in both] == [
            ("often", "work", {"for": "the board"}),
            ("work", "work", {}),
        ]

    run(main)

"""Declared schedules: the decorators, and what becomes of them in the store when a worker starts."""

from __future__ import annotations

import asyncio
import functools
import logging
import runpy
import sys
from collections.abc import Callable
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import pytest

from mainspring import App, Context, Cron, Daily, Every, Task, Tasks
from mainspring.app.plan import code_of
from mainspring.errors import InvalidOption, InvalidTrigger, ScheduleNotFound, TaskDefinitionError
from tests.app.fleet import Fleet, run_open
from tests.app.virtual_app import START

HERE = "tests"  # the top-level package of these functions


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def tick_each(interval: float, **options: Any) -> Callable[[App], object]:
    def declare(app: App) -> object:
        @app.every(interval, id="tick", **options)
        @app.task(name="tick")
        async def tick() -> None: ...

        return tick

    return declare


# --- the decorators


def test_a_function_becomes_a_task_and_stays_a_function() -> None:
    app = App("memory://")

    @app.every(60)
    async def poll() -> int:
        return 3

    @app.cron("0 9 * * 1-5", tz="Europe/Berlin")
    def report(ctx: Context, place: str = "here") -> str:
        return f"{place} {ctx.attempt}"

    assert isinstance(poll, Task)
    assert poll.name.endswith("test_a_function_becomes_a_task_and_stays_a_function.<locals>.poll")
    assert asyncio.run(poll()) == 3
    assert report("there") == "there 1"
    assert {each.name for each in app.registry} == {poll.name, report.name}


def test_a_task_is_given_back_as_it_is() -> None:
    app = App("memory://")

    @app.task(name="work", timeout=5)
    async def work(limit: int = 3) -> int:
        return limit

    assert app.daily(time(3), tz="Europe/Berlin")(work) is work
    assert app.every(60, id="often")(work) is work
    quick = work.options(priority=5)
    assert app.every(1, id="quick")(quick) is quick
    with pytest.raises(TaskDefinitionError, match="there is a schedule 'work' already; give one of them another id="):
        app.every(60)(work)
    declared = app._declarations().schedules
    assert {each: declared[each].spec.trigger for each in declared} == {
        "work": Daily(time(3), tz="Europe/Berlin"),
        "often": Every(60),
        "quick": Every(1),
    }
    assert declared["quick"].code == HERE


def test_a_task_that_needs_arguments_cannot_run_by_itself() -> None:
    app = App("memory://")

    @app.task(name="mail")
    async def mail(ctx: Context, to: str, subject: str = "Hi", *, copies: int) -> None: ...

    loose: Any = mail
    said = r"nobody gives it 'to'.*app\.schedules\.put\('mail', …, task\.bind\(to=…\)\)"
    with pytest.raises(TaskDefinitionError, match=said):
        app.every(60)(loose)
    with pytest.raises(TaskDefinitionError, match="'eu', …"):
        app.every(60, id="eu")(loose)
    assert not app._declarations().schedules


def test_D22_a_schedule_may_name_its_task() -> None:
    """As `@app.task(name=…)`; the id of the schedule is then the same."""
    app, tasks = App("memory://"), Tasks(prefix="mail.")

    @app.every(60, name="poll")
    async def one() -> None: ...

    @app.cron("@daily", name="report", id="daily report")
    async def two() -> None: ...

    @app.daily(time(3), name="clean")
    def three() -> None: ...

    @app.scheduled(Every(60) | Every(90), name="often")
    async def four() -> None: ...

    @tasks.every(60, name="send")
    async def five() -> None: ...

    app.include(tasks)
    assert [each.name for each in (one, two, three, four, five)] == ["poll", "report", "clean", "often", "mail.send"]
    assert list(app._declarations().schedules) == ["poll", "daily report", "clean", "often", "mail.send"]
    with pytest.raises(TaskDefinitionError, match="there is a task 'poll' already; give one of them another name="):
        app.every(60, name="poll")(nothing)


def test_a_task_keeps_its_name_when_it_is_scheduled() -> None:
    app = App("memory://")
    task = app.task(name="work")(nothing)
    said = "task 'work' has its name already: leave out name='other' here, or say it where the task is made; .* its id="
    for decorator in (app.every(60, name="other"), app.cron("@daily", name="other"), app.daily(time(3), name="other")):
        with pytest.raises(TaskDefinitionError, match=said):
            decorator(task)
    with pytest.raises(TaskDefinitionError, match="leave out name='work'"):
        app.scheduled(Every(60), name="work")(task)
    assert not app._declarations().schedules


def test_D22_a_function_of_the_script_itself_is_told_to_say_its_name() -> None:
    app = App("memory://")

    async def poll() -> None: ...

    poll.__module__, poll.__qualname__ = "__main__", "poll"
    with pytest.raises(TaskDefinitionError, match=r'name="poll" in its decorator, .*@app\.every\(…, name="poll"\)'):
        app.every(60, id="poll")(poll)
    assert app.every(60, name="poll")(poll).name == "poll"


def test_SCH_011_SCH_012_a_decorator_takes_named_fields_as_Cron_does() -> None:
    app = App("memory://")

    @app.cron(minute=30, hour="9-17", tz="Europe/Berlin", name="office")
    async def office() -> None: ...

    app.cron(second="*/10", name="quick", tz=UTC)(functools.partial(nothing))
    app.cron(day=1, month="jan", weekday="MON#2", minute=0, hour=0, name="rare")(functools.partial(nothing))
    app.cron(name="minutely")(functools.partial(nothing))
    declared = app._declarations().schedules
    assert {each: declared[each].spec.trigger for each in declared} == {
        "office": Cron(minute=30, hour="9-17", tz="Europe/Berlin"),
        "quick": Cron("*/10 * * * * *"),
        "rare": Cron("0 0 1 jan MON#2"),
        "minutely": Cron("* * * * *"),
    }
    with pytest.raises(InvalidTrigger, match="either an expression or named fields, not both"):
        app.cron("@daily", minute=3)
    forgotten: Any = None
    with pytest.raises(InvalidTrigger):
        app.cron(forgotten)
    with pytest.raises(InvalidTrigger, match="minute must be a number or one field"):
        app.cron(minute="1 2")


def test_a_remote_task_cannot_be_declared() -> None:
    app = App("memory://")
    remote: Any = app.remote("elsewhere")
    with pytest.raises(TaskDefinitionError, match=r"its code is not in this app; put its schedule with app\.schedules"):
        app.every(60)(remote)


def test_what_cannot_be_a_trigger_or_an_id_is_refused_at_once() -> None:
    app = App("memory://")
    with pytest.raises(InvalidTrigger, match="interval"):
        app.every(0)
    with pytest.raises(InvalidTrigger):
        app.cron("* * *")
    with pytest.raises(InvalidTrigger, match="no time zone 'Mars'"):
        app.daily(time(3), tz="Mars")
    with pytest.raises(InvalidTrigger, match="has no time zone"):
        app.every(60, start=datetime(2026, 1, 1))  # noqa: DTZ001
    loose: Any = app
    with pytest.raises(InvalidTrigger, match="a trigger is needed"):
        loose.scheduled("@daily")(nothing)
    for wrong in ("", "x" * 256):
        with pytest.raises(InvalidOption, match="the id of a schedule"):
            app.every(60, id=wrong)(App("memory://").task(name="t")(nothing))


def test_tasks_apart_from_the_app_have_their_schedules_with_them(fleet: Fleet) -> None:
    tasks = Tasks(prefix="mail.")
    app = fleet.app()

    @tasks.every(60, jitter=5)
    async def early() -> None: ...

    app.include(tasks)

    @tasks.cron("@hourly", id="mail.late")
    @tasks.task
    def late() -> None: ...

    async def main() -> None:
        async with app.running():
            schedules = {each.id: each.trigger for each in await app.schedules.list()}
            assert schedules == {early.name: Every(60), "mail.late": Cron("@hourly")}
        other = fleet.app()
        other.task(name="mine")(nothing)
        other.every(60, id="mail.late")(other.task(name="x")(nothing))
        with pytest.raises(TaskDefinitionError, match=r"there is a schedule 'mail\.late' in this app already"):
            other.include(tasks)

    fleet.run(main)


def test_a_declaration_that_comes_too_late_is_refused(fleet: Fleet) -> None:
    app = fleet.app(tick_each(60))

    async def main() -> None:
        async with app.running():
            with pytest.raises(TaskDefinitionError, match=r"'late' comes too late: .*app\.schedules\.put"):
                app.every(60, id="late")(app._known["tick"])

    fleet.run(main)


# --- what the store gets


def test_S3_10_declared_schedules_are_written_at_the_start_in_one_commit(fleet: Fleet) -> None:
    """SCD-009, SCD-010: whatever the store; and not before."""

    def declare(app: App) -> None:
        for n in range(50):
            app.every(60, id=f"s{n:02}", first="after")(app.task(name=f"t{n}")(functools.partial(nothing)))

    app = fleet.app(declare)
    puts: list[int] = []
    put_schedules = fleet.store.put_schedules

    async def counting(asked: Any) -> Any:
        puts.append(len(asked))
        return await put_schedules(asked)

    object.__setattr__(fleet.store, "put_schedules", counting)

    async def main() -> None:
        async with app:
            assert await app.schedules.list() == []
            async with app.running():
                assert len(await app.schedules.list()) == 50
            assert puts == [50]
            first = await app.schedules.list()
        again = fleet.app(declare)
        async with again.running():
            assert await again.schedules.list() == first
        assert puts == [50], "what is as it was is not written"

    fleet.run(main)


def test_changed_code_changes_the_schedule_and_keeps_its_past(fleet: Fleet) -> None:
    async def main() -> None:
        async with fleet.app(tick_each(60)).running():
            await asyncio.sleep(61)
        changed = fleet.app(tick_each(30, overlap="queue"))
        async with changed.running():
            schedule = await changed.schedules.get("tick")
            assert (schedule.trigger, schedule.options["overlap"], schedule.runs) == (Every(30), "queue", 2)
            assert schedule.created == START
            await asyncio.sleep(31)
            assert (await changed.schedules.get("tick")).runs == 3
        assert [each.number for each in await fleet.store.runs("tick")] == [1, 2, 3]

    fleet.run(main)


def test_a_pause_by_a_person_is_kept_at_the_start(fleet: Fleet) -> None:
    async def main() -> None:
        app = fleet.app(tick_each(60))
        async with app.running():
            await app.schedules.pause("tick")
        again = fleet.app(tick_each(30))
        async with again.running():
            schedule = await again.schedules.get("tick")
            assert (schedule.state, schedule.reason, schedule.trigger) == ("paused", "by request", Every(30))

    fleet.run(main)


def test_what_people_change_of_a_declared_one_lasts_until_the_next_start(fleet: Fleet) -> None:
    async def main() -> None:
        app = fleet.app(tick_each(60))
        async with app.running():
            assert (await app.schedules.replace("tick", Every(5))).declared_by == HERE
        async with fleet.app(tick_each(60)).running():
            assert (await fleet.app().schedules.get("tick")).trigger == Every(60)

    run_open(fleet, main)


def test_a_schedule_that_vanishes_is_paused_and_reported(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    def none(app: App) -> None:
        app.task(name="other")(nothing)

    async def main() -> None:
        async with fleet.app(tick_each(60)).running():
            await (put := fleet.app()).schedules.put("by hand", Every(3600), put.remote("other").bind())
        caplog.clear()
        empty = fleet.app(none)
        async with empty.running():
            by_hand, tick = await empty.schedules.list(ids=["tick", "by hand"])
            assert (tick.state, tick.reason) == ("paused", "no longer declared")
            assert by_hand.state == "active"
            warnings = [each.message for each in caplog.records if each.levelno == logging.WARNING]
            (warning,) = warnings
            assert warning == (
                "1 schedule that this code declared once is declared no more, and was paused: 'tick'. Declare it again, "
                "or remove it: `mainspring schedules rm`, or App(vanished='remove')"
            )
        caplog.clear()
        async with fleet.app(none).running():
            assert not [each for each in caplog.records if each.name.startswith("mainspring")], "it is said once"
        async with fleet.app(tick_each(60)).running():
            assert (await fleet.app().schedules.get("tick")).state == "active"

    run_open(fleet, main)


def test_a_schedule_that_vanishes_can_be_removed_or_kept(fleet: Fleet) -> None:
    def none(app: App) -> None:
        app.task(name="other")(nothing)

    async def main() -> None:
        async with fleet.app(tick_each(60)).running():
            pass
        async with fleet.app(none, vanished="keep").running():
            assert (await fleet.app().schedules.get("tick")).state == "active"
        removing = fleet.app(none, vanished="remove")
        async with removing.running():
            with pytest.raises(ScheduleNotFound):
                await removing.schedules.get("tick")

    run_open(fleet, main)


def test_code_of_another_package_is_left_alone(fleet: Fleet) -> None:
    async def main() -> None:
        async with fleet.app(tick_each(60)).running():
            pass

        def strange() -> None: ...

        strange.__module__ = "elsewhere.tasks"
        other = fleet.app(lambda app: app.task(name="strange")(strange))
        async with other.running():
            assert (await other.schedules.get("tick")).state == "active"

    run_open(fleet, main)


def test_synchronise_says_what_it_wrote(fleet: Fleet) -> None:
    async def main() -> None:
        app = fleet.app(tick_each(60))
        assert await app.schedules.synchronise() == ("tick",)
        assert await app.schedules.synchronise() == ()
        none = fleet.app(lambda app: app.task(name="other")(nothing))
        assert await none.schedules.synchronise() == ("tick",)
        assert await none.schedules.synchronise() == ()
        removing = fleet.app(lambda app: app.task(name="other")(nothing), vanished="remove")
        assert await removing.schedules.synchronise() == ("tick",)
        assert await removing.schedules.synchronise() == ()

    run_open(fleet, main)


def test_two_workers_that_start_together_agree(fleet: Fleet) -> None:
    async def main() -> None:
        apps = [fleet.app(tick_each(60)) for _ in range(8)]
        written = await asyncio.gather(*(app.schedules.synchronise() for app in apps))
        assert all(each in {(), ("tick",)} for each in written)
        assert (await apps[0].schedules.get("tick")).record.revision == 1

    run_open(fleet, main)


@pytest.mark.parametrize("verb", ["remove", "put"])
def test_one_that_somebody_acts_on_meanwhile_has_not_vanished(fleet: Fleet, verb: str) -> None:
    """It was removed, or put by hand, between the look and the write."""

    async def main() -> None:
        app = fleet.app(tick_each(60))
        await app.schedules.synchronise()
        list_schedules = fleet.store.list_schedules

        async def slower(**options: Any) -> Any:
            seen = await list_schedules(**options)
            if verb == "remove":
                await app.schedules.remove("tick")
            else:
                await app.schedules.put("tick", Every(60), app.remote("tick").bind())
            return seen

        object.__setattr__(fleet.store, "list_schedules", slower)
        none = fleet.app(lambda app: app.task(name="other")(nothing))
        assert await none.schedules.synchronise() == ()
        object.__setattr__(fleet.store, "list_schedules", list_schedules)
        assert [each.state for each in await app.schedules.list()] == ([] if verb == "remove" else ["active"])

    run_open(fleet, main)


def test_the_code_is_the_top_level_package() -> None:
    assert code_of(nothing) == HERE
    assert code_of(functools.partial(nothing)) == HERE
    assert code_of(Path.exists) == "pathlib"


def test_the_code_of_a_script_is_its_file(tmp_path: Path) -> None:
    """A worker that imports the module and the script itself declare the same."""
    script = tmp_path / "nightly_jobs.py"
    script.write_text("def work(): ...\n", encoding="utf-8")
    saved = sys.modules["__main__"]
    try:
        made = runpy.run_path(str(script), run_name="__main__")["work"]
        main = type(sys)("__main__")
        main.__file__ = str(script)
        sys.modules["__main__"] = main
        assert code_of(made) == "nightly_jobs"
        main.__spec__ = type(sys.__spec__)("shop.main", None)  # python -m
        assert code_of(made) == "shop"
    finally:
        sys.modules["__main__"] = saved


async def nothing() -> None: ...

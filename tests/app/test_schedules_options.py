"""What is refused of a schedule before anything is stored, each time with the option named; and what is not."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from mainspring import App, Every, Once, ScheduleOptions, ScheduleSpec, Trigger, chain, group
from mainspring.app.schedule_options import _READERS
from mainspring.errors import InvalidOption, InvalidTrigger
from mainspring.model.schedule import Definition
from tests.app.virtual_app import run_open as run

START = datetime(2026, 1, 1, tzinfo=UTC)  # where the virtual clock begins
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001  # what is refused
app = App("memory://")
task = app.remote("t")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"misfire": "never"}, "misfire is one of 'once', 'skip', 'all', not 'never'"),
        ({"misfire": None}, "misfire is one of"),
        ({"overlap": "stop"}, "overlap is one of 'skip', 'allow', 'queue'"),
        ({"overlap": ["skip"]}, "overlap is one of"),
        ({"misfire_limit": 0}, "misfire_limit is a whole number from 1"),
        ({"misfire_limit": 1_001}, "misfire_limit is a whole number from 1 to 1,000"),
        ({"misfire_limit": None}, "misfire_limit is a whole number"),
        ({"misfire_grace": 0}, "misfire_grace must be more than 0"),
        ({"misfire_grace": "60"}, "misfire_grace is seconds or a timedelta"),
        ({"max_runs": 0}, "max_runs is a whole number from 1, or None"),  # SCH-026: no end is None
        ({"max_runs": -1}, "max_runs is a whole number from 1"),  # SCH-022
        ({"max_runs": 1.5}, "max_runs is a whole number"),
        ({"max_runs": True}, "max_runs is a whole number"),
        ({"stop_after": 0}, "stop_after is a whole number from 1"),
        ({"stop_after": 34}, "stop_after=34 may have to look at 102 run records, but keep is 100"),
        ({"stop_after": 4, "keep": 11}, "stop_after=4 may have to look at 12 run records, but keep is 11"),
        ({"keep": 0}, "keep is a whole number from 1 to 10,000"),
        ({"keep": 10_001}, "keep is a whole number from 1 to 10,000"),
        ({"keep_for": 0}, "keep_for must be more than 0"),
        ({"jitter": -1}, "jitter must be 0 or more"),
        ({"jitter": float("nan")}, "jitter must be 0 or more"),
        ({"jitter": "5"}, "jitter is seconds or a timedelta"),
        ({"start_at": NAIVE}, "start_at: .* has no time zone"),
        ({"end_at": NAIVE}, "end_at: .* has no time zone"),
        ({"start_at": 1767225600}, "start_at is a datetime with a time zone, not 1767225600"),
        ({"end_at": timedelta(1)}, "end_at is a datetime with a time zone"),
        ({"start_at": START, "end_at": START - timedelta(seconds=1)}, "end_at lies before start_at"),  # SCH-022, S0-33
        ({"misfire_limit": 100}, "misfire_limit is for misfire='all' alone"),
        ({"misfire_limit": 9, "misfire": "skip"}, "misfire_limit is for misfire='all' alone"),
        (
            {"queue": "mail"},
            r"queue is an option of the task: put @app.task\(queue=…\) below, or schedule task.options\(",
        ),
        ({"retry": None}, r"retry is an option of the task: put @app.task\(retry=…\) below"),
        ({"timeout": 5}, r"timeout is an option of the task: put @app.task\(timeout=…\) below"),
        ({"process": True}, r"process is an option of the task: put @app.task\(process=…\) below$"),
        ({"metadata": {}}, r"metadata is an option of the task: schedule task.options\(metadata=…\)$"),
        ({"delay": 5}, "the trigger says when its jobs run"),
        ({"max_instances": 1}, "here it is overlap='skip'"),
        ({"misfre": "all"}, "a schedule has no option 'misfre'; did you mean 'misfire'?"),
        ({"zzz": 1}, "a schedule has no option 'zzz'; there are: end_at, jitter, keep, "),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, Any], said: str) -> None:
    """SCH-022, S0-33, S0-34: the message names the option, in every way of saying it."""
    with pytest.raises(InvalidOption, match=said):
        ScheduleSpec("a", Every(60), task.bind(), **options)
    with pytest.raises(InvalidOption, match=said):
        app.every(60, **options)

    async def main(app: App) -> None:
        with pytest.raises(InvalidOption, match=said):
            await app.schedules.put("a", Every(60), app.remote("t").bind(), **options)
        assert await app.schedules.list() == []

    run(main)


@pytest.mark.parametrize(
    "options",
    [
        {"stop_after": 33},
        {"stop_after": 1, "keep": 3},
        {"keep": 10_000, "keep_for": timedelta(days=1), "stop_after": 3333},
        {"start_at": START, "end_at": START},  # SCH-023
        {"start_at": None, "end_at": None, "max_runs": None, "stop_after": None, "keep_for": None},
        {"misfire_grace": None, "jitter": timedelta(minutes=1), "misfire_limit": 1_000, "misfire": "all"},
    ],
)
def test_options_that_can_be_meant(options: dict[str, Any]) -> None:
    async def main(app: App) -> None:
        put = await app.schedules.put("a", Every(60), app.remote("t").bind(), **options)
        assert put.state == "active"

    run(main)


def test_every_option_is_typed_checked_and_stored() -> None:
    stored = set(Definition.__struct_fields__) - {"trigger", "template", "from_end"}
    assert set(ScheduleOptions.__annotations__) == set(_READERS) == stored


def test_SCH_024_an_end_in_the_past_is_taken_and_has_finished() -> None:
    async def main(app: App) -> None:
        put = await app.schedules.put("a", Every(60), app.remote("t").bind(), end_at=START - timedelta(seconds=1))
        assert (put.state, put.next, put.runs) == ("finished", None, 0)
        assert await app.schedules.next_fires("a") == ()

    run(main)


def test_SCH_023_an_end_at_the_start_leaves_one_slot() -> None:
    async def main(app: App) -> None:
        @app.task(name="work")
        async def work() -> None: ...

        at = START + timedelta(seconds=90)
        await app.schedules.put("a", Every(60), work.bind(), start_at=at, end_at=at)
        async with app.running():
            await asyncio.sleep(600)
        after = await app.schedules.get("a")
        assert (after.state, after.runs) == ("finished", 1)
        assert [run.slot for run in await app.schedules.runs("a")] == [at]

    run(main)


def test_SCH_030_a_start_in_the_past_is_now() -> None:
    async def main(app: App) -> None:
        put = await app.schedules.put("a", Every(60), app.remote("t").bind(), start_at=START - timedelta(days=9))
        assert put.next == START

    run(main)


def test_SCD_018_a_time_in_the_past_is_now_once() -> None:
    """Also SCH-027: with the last of its runs it has finished."""

    async def main(app: App) -> None:
        @app.task(name="work")
        async def work() -> None: ...

        await app.schedules.put("a", Once(START - timedelta(days=9)), work.bind())
        await app.schedules.put("b", Every(60), work.bind(), max_runs=1)
        async with app.running():
            await asyncio.sleep(1)
            for each in "ab":
                after = await app.schedules.get(each)
                assert (after.state, after.runs, after.next) == ("finished", 1, None)
            await asyncio.sleep(300)
            assert [each.runs for each in await app.schedules.list()] == [1, 1]

    run(main)


# --- the template


def test_only_one_job_can_be_scheduled() -> None:
    step = task.bind()
    for several in (chain(step, task), group(step, step)):
        with pytest.raises(InvalidOption, match=r"adds one job each time, and .* is several; schedule a task that"):
            ScheduleSpec("a", Every(60), several)


def test_a_template_is_a_bound_task() -> None:
    wrong: list[Any] = [task, None, "t", test_a_template_is_a_bound_task]
    with pytest.raises(InvalidOption, match=r"give it t\.bind\(…\)"):
        ScheduleSpec("a", Every(60), wrong[0])
    for each in wrong[1:]:
        with pytest.raises(InvalidOption, match="adds jobs of a bound task"):
            ScheduleSpec("a", Every(60), each)


def test_a_template_does_not_say_when() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"delay": 60}, "leave out delay and run_at"),
        ({"run_at": START}, "leave out delay and run_at"),
        ({"expires": START}, "expires of a schedule's jobs is a duration"),
        ({"tx": object()}, "has no transaction of its own"),
    ]
    for options, said in wrong:
        with pytest.raises(InvalidOption, match=said):
            ScheduleSpec("a", Every(60), task.options(**options).bind())

        @app.task(name=f"with-{min(options)}")
        async def work() -> None: ...

        with pytest.raises(InvalidOption, match=said):
            app.every(60)(work.options(**options))


def test_a_template_has_all_other_options() -> None:
    async def main(app: App) -> None:
        @app.task(name="work", timeout=5)
        async def work(a: int) -> int:
            return a

        bound = work.options(
            queue="q", priority=3, tags=["x"], metadata={"m": 1}, correlation="c", expires=60, delay=0, unique="u"
        ).bind(4)
        await app.schedules.put("a", Every(60), bound)
        job = await app.schedules.trigger("a")
        assert job is not None
        record = await job.refresh()
        assert (record.queue, record.priority, record.tags, record.correlation) == ("q", 3, ("x",), "c")
        assert (record.metadata, record.payload, record.unique) == (b'{"m":1}', b'{"a":4}', "u")
        assert record.expires == record.created + 60
        assert record.schedule == "a"

    run(main)


# --- triggers of one's own


@dataclass(frozen=True, slots=True)
class Doubling(Trigger):
    """Waits twice as long each time."""

    kind: ClassVar[str] = "doubling"
    start: float

    def next_after(self, t: float, /) -> float | None:
        step = 1.0
        while self.start + step <= t:
            step *= 2
        return self.start + step


def test_S3_27_an_own_trigger_is_stored_and_fires() -> None:
    async def main(app: App) -> None:
        @app.task(name="work")
        async def work() -> None: ...

        put = await app.schedules.put("a", Doubling(START.timestamp()) | Once(START), work.bind())
        assert put.trigger == Doubling(START.timestamp()) | Once(START)
        async with app.running():
            await asyncio.sleep(20)
        seconds = [(run.slot - START).total_seconds() for run in await app.schedules.runs("a") if run.slot]
        assert seconds == [0, 1, 2, 4, 8, 16]

    run(main, triggers=[Doubling])


@dataclass(frozen=True, slots=True)
class Forgetful(Doubling):
    """Loses what it is made of on its way to the store."""

    kind: ClassVar[str] = "forgetful"

    def to_plain(self) -> dict[str, object]:
        return {"start": 0.0}


@dataclass(frozen=True, slots=True)
class Unreadable(Doubling):
    """Writes what it does not take."""

    kind: ClassVar[str] = "unreadable"

    def to_plain(self) -> dict[str, object]:
        return {"begin": self.start}


def test_an_own_trigger_that_no_worker_could_read_is_refused() -> None:
    async def main(app: App) -> None:
        work = app.remote("t").bind()
        await app.schedules.put("a", Every(60), work)
        for wrong in (Forgetful(5.0), Forgetful(5.0) | Every(60), Every(60).except_(Forgetful(5.0))):
            with pytest.raises(InvalidTrigger, match=r"is read from a store as .*see to_plain and from_plain"):
                await app.schedules.put("b", wrong, work)
            with pytest.raises(InvalidTrigger, match="is read from a store as"):
                await app.schedules.replace("a", wrong)
        with pytest.raises(InvalidTrigger, match="cannot be read from a store again"):
            await app.schedules.put("b", Unreadable(5.0), work)
        assert [each.trigger for each in await app.schedules.list()] == [Every(60)]

    run(main, triggers=[Forgetful, Unreadable])


def test_SCH_019_a_trigger_of_an_unknown_kind_is_refused() -> None:
    async def main(app: App) -> None:
        with pytest.raises(InvalidTrigger, match="Doubling is no known kind of trigger"):
            await app.schedules.put("a", Doubling(0.0), app.remote("t").bind())
        with pytest.raises(InvalidTrigger, match="no known kind"):
            app.scheduled(Doubling(0.0))(app.task(name="work")(nothing))
        with pytest.raises(InvalidTrigger, match="is no class of triggers"):
            App(triggers=[str])  # type: ignore[list-item]  # what an unchecked caller does

    run(main)


def test_S3_44_a_stored_trigger_of_an_unknown_kind_hurts_no_others(caplog: pytest.LogCaptureFixture) -> None:
    """It is listed, can be paused and removed, and says what is wrong when it is asked for its trigger."""

    async def main(app: App) -> None:
        await app.schedules.put("a", Doubling(START.timestamp()), app.remote("t").bind())
        stranger = App(store=await app.store(), clock=app.connection.clock)

        @stranger.task(name="work")
        async def work() -> None: ...

        await stranger.schedules.put("b", Every(60), work.bind())
        async with stranger.running():
            await asyncio.sleep(61)
            first, second = await stranger.schedules.list()
            assert (first.id, first.state, first.runs, second.runs) == ("a", "active", 0, 2)
            with pytest.raises(InvalidTrigger, match="unknown kind of trigger 'doubling'"):
                _ = first.trigger
            assert repr(first).startswith("<Schedule a active of an unknown trigger next ")
            assert (await stranger.schedules.pause("a")).state == "paused"
            assert await stranger.schedules.remove("a")
        assert [each.message for each in caplog.records if each.levelname == "ERROR"] != []

    run(main, triggers=[Doubling])


async def nothing() -> None: ...

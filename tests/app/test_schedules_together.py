"""Schedules that many callers change at the same time: read and written together, each answered on its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mainspring import App, Every, ScheduleExists
from mainspring.errors import StoreFull, StoreUnavailable
from mainspring.ids import new_id
from mainspring.model.schedule import Fire, ScheduleRecord, SlotJob
from mainspring.store.base import PutAnswer, SchedulePut, SchedulesSeen
from mainspring.store.sqlite import SqliteStore

HOUR = 3600.0


class Counting(SqliteStore):
    """Counts what it is asked, can refuse one schedule, and can let somebody else be faster."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reads = 0
        self.puts: list[int] = []
        self.faster: set[str] = set()
        self.full_for = ""

    async def get_schedules(self, ids: Sequence[str]) -> SchedulesSeen:
        self.reads += 1
        return await super().get_schedules(ids)

    async def put_schedules(self, puts: Sequence[SchedulePut]) -> list[PutAnswer]:
        self.puts.append(len(puts))
        if any(put.record.id == self.full_for for put in puts):
            raise ValueError("this definition cannot be written")
        lost = {put.record.id for put in puts} & self.faster
        self.faster -= lost
        answers = iter(await super().put_schedules([put for put in puts if put.record.id not in lost]))
        return ["conflict" if put.record.id in lost else next(answers) for put in puts]


@pytest.fixture
def store(tmp_path: Path) -> Counting:
    return Counting(tmp_path / "work.db")


async def put_all(app: App, names: Sequence[str]) -> list[object]:
    work = app.remote("t").bind()
    return list(
        await asyncio.gather(*(app.schedules.put(name, Every(HOUR), work) for name in names), return_exceptions=True)
    )


async def test_H7_many_callers_share_a_read_and_a_commit(store: Counting) -> None:
    names = [f"s{number}" for number in range(100)]
    async with App(store=store) as app:
        answers = await put_all(app, names)
        assert [getattr(each, "id", each) for each in answers] == names
        assert (store.reads, store.puts) == (1, [100])
        assert {each.id for each in await app.schedules.list()} == set(names)


async def test_one_put_alone_is_one_read_and_one_commit_and_none_when_nothing_changes(store: Counting) -> None:
    async with App(store=store) as app:
        await put_all(app, ["a"])
        assert (store.reads, store.puts) == (1, [1])
        await put_all(app, ["a"])
        assert (store.reads, store.puts) == (2, [1])


async def test_who_was_too_late_looks_again_and_holds_up_no_other(store: Counting) -> None:
    async with App(store=store) as app:
        store.faster = {"b"}
        await put_all(app, ["a", "b", "c"])
        assert store.puts == [3, 1]
        assert [each.id for each in await app.schedules.list()] == ["a", "b", "c"]


async def test_what_one_decision_raises_is_raised_to_that_caller_alone(store: Counting) -> None:
    async with App(store=store) as app:
        await put_all(app, ["there"])
        work = app.remote("t").bind()
        added = await asyncio.gather(
            app.schedules.add("there", Every(60), work),
            app.schedules.add("new", Every(60), work),
            app.schedules.pause("there"),
            return_exceptions=True,
        )
        assert isinstance(added[0], ScheduleExists)
        assert [getattr(each, "state", None) for each in added] == [None, "active", "paused"]


async def test_several_changes_of_one_schedule_follow_each_other(store: Counting) -> None:
    """Each is decided on what the one before has made of it, and all are one commit."""
    async with App(store=store) as app:
        work = app.remote("t").bind()
        added = await asyncio.gather(
            app.schedules.add("a", Every(60), work),
            app.schedules.add("a", Every(60), work),
            app.schedules.replace("a", Every(90)),
            app.schedules.pause("a"),
            return_exceptions=True,
        )
        assert isinstance(added[1], ScheduleExists)
        assert store.puts == [1]
        stored = await app.schedules.get("a")
        assert (stored.trigger, stored.state) == (Every(90), "paused")


async def test_an_error_decided_on_what_was_never_written_is_decided_again(store: Counting) -> None:
    """The second `add` sees the first one's row; when that is not written, it is nobody's, and both try again."""
    async with App(store=store) as app:
        store.faster = {"a"}
        work = app.remote("t").bind()
        added = await asyncio.gather(
            *(app.schedules.add("a", Every(60), work) for _ in range(2)), return_exceptions=True
        )
        assert sorted(type(each).__name__ for each in added) == ["Schedule", "ScheduleExists"]


async def test_C10_one_that_cannot_be_written_fails_alone(store: Counting) -> None:
    async with App(store=store) as app:
        store.full_for = "s2"
        answers = await put_all(app, [f"s{number}" for number in range(5)])
        assert [isinstance(each, ValueError) for each in answers] == [False, False, True, False, False]
        assert [each.id for each in await app.schedules.list()] == ["s0", "s1", "s3", "s4"]


async def test_a_full_store_is_told_to_all(store: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_: object) -> list[PutAnswer]:
        raise StoreFull("the disk is full")

    async with App(store=store) as app:
        monkeypatch.setattr(store, "put_schedules", full)
        answers = await put_all(app, ["a", "b"])
        assert [type(each) for each in answers] == [StoreFull, StoreFull]


async def test_closing_writes_what_was_asked_for(store: Counting) -> None:
    app = App(store=store)
    async with app:
        work = app.remote("t").bind()
        asking = [asyncio.create_task(app.schedules.put(f"s{each}", Every(HOUR), work)) for each in range(3)]
        await asyncio.sleep(0)
    assert len(await asyncio.gather(*asking)) == 3


async def test_a_caller_that_gives_up_stops_no_other(store: Counting) -> None:
    async with App(store=store) as app:
        work = app.remote("t").bind()
        asking = [asyncio.create_task(app.schedules.put(f"s{each}", Every(HOUR), work)) for each in range(3)]
        await asyncio.sleep(0)
        asking[0].cancel()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert {each.id for each in await app.schedules.list()} >= {"s1", "s2"}


def test_a_grid_that_starts_is_what_it_would_be_if_it_were_made_so() -> None:
    for every in (Every(90), Every(0.5, first="after")):
        made = every.starting(1_767_225_600.25)
        again = Every(every.interval, every.anchor, every.first, datetime.fromtimestamp(1_767_225_600.25, UTC))
        assert (made, hash(made), repr(made), made.to_plain()) == (again, hash(again), repr(again), again.to_plain())
        assert made.next_after(1_767_225_700.0) == again.next_after(1_767_225_700.0)
        assert made.slots_between(1_767_225_600.0, 1_767_229_200.0) == again.slots_between(
            1_767_225_600.0, 1_767_229_200.0
        )


async def test_C3_add_knows_its_own_schedule_when_the_answer_was_lost_and_it_has_fired(store: Counting) -> None:
    put = store.put_schedules
    lost: list[ScheduleRecord] = []

    async def losing(puts: Sequence[SchedulePut]) -> list[PutAnswer]:
        answers = await put(puts)
        if lost:
            return answers
        lost.append(puts[0].record)
        record = puts[0].record
        assert record.due is not None
        fire = Fire(
            schedule="a",
            revision=1,
            expected=record.due,
            slots=(SlotJob(record.due, new_id(), ""),),
            to=record.due,
            next=record.due + HOUR,
            due=record.due + HOUR,
        )
        assert await store.fire([fire]) == ["fired"]
        raise StoreUnavailable("the answer is lost")

    store.put_schedules = losing  # type: ignore[method-assign]
    async with App(store=store) as app:
        assert (await app.schedules.add("a", Every(HOUR), app.remote("t").bind())).runs == 1
        with pytest.raises(ScheduleExists):
            await app.schedules.add("a", Every(HOUR), app.remote("t").bind())

"""Schedules in PostgreSQL: times that come back exactly, what a batch costs, and what is told to whom."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from dataclasses import replace as with_other

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mainspring.ids import new_id
from mainspring.model.record import NewJob, Settlement
from mainspring.model.schedule import Definition, Fire, Overlap, ScheduleRecord, SlotJob
from mainspring.store.base import Claim, DueSchedule, Lane, RunNow, SchedulePut, Worker
from mainspring.store.postgres.claims import LONGEST, Ration
from mainspring.store.postgres.connect import time_from_tuple, time_to_tuple
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.schedule_sql import schedule_sql
from mainspring.store.postgres.store import PostgresStore
from tests.store.postgres.test_explain import Watch

HANDFUL = 20
"""Statements of a batch, however large it is."""


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(Place.parse(postgres_url))
    await store.open()
    yield store
    await store.close()


def record(name: str, due: float, overlap: Overlap = "skip", **more: object) -> ScheduleRecord:
    definition = Definition(trigger=b"{}", template=NewJob(id="", task="tick", payload=b'{"a":1.0}'), overlap=overlap)
    given = ScheduleRecord(
        id=name, definition=definition, begin=due - 1, next=due, due=due, created=due - 1, changed=due - 1
    )
    return replace(given, **more)


async def put(store: PostgresStore, *records: ScheduleRecord) -> None:
    assert set(await store.put_schedules([SchedulePut(each, None) for each in records])) == {"put"}


def fires(seen: list[DueSchedule], step: float = 1e-6) -> list[Fire]:
    """Each with its next slot, which is due as well."""
    decided: list[Fire] = []
    for each in seen:
        schedule = each.schedule
        assert schedule.due is not None
        following = round(schedule.due + step, 6)
        slot = SlotJob(schedule.due, new_id(), new_id())
        decided.append(
            Fire(
                schedule=schedule.id,
                revision=schedule.revision,
                expected=schedule.due,
                slots=(slot,),
                to=schedule.due,
                next=following,
                due=following,
            )
        )
    return decided


# --- times


@given(st.floats(0, 4e9).map(lambda at: round(at, 6)))
def test_a_time_of_whole_microseconds_comes_back_as_it_was(at: float) -> None:
    assert time_from_tuple(time_to_tuple(at)) == at


async def test_every_field_comes_back_exactly(store: PostgresStore) -> None:
    """By the reads, and by a fire, whose compare-and-set would be stale for ever if one bit were lost."""
    times = [round(1.7e9 + number * 0.123457 + 1e-6, 6) for number in range(200)]
    records = [
        record(
            f"s{number:03}", at, begin=round(at / 2, 6), fired_to=round(at / 3, 6), created=at, changed=at, runs=number,
            missed=1, skipped=2, number=number, declared_by="code", revision=number + 1,
        )
        for number, at in enumerate(times)
    ]  # fmt: skip
    await put(store, *records)
    names = [each.id for each in records]
    assert (await store.get_schedules(names)).schedules == records
    assert (await store.list_schedules(declared_by=["code"])).schedules == records
    assert (
        sorted((each.schedule for each in (await store.due_schedules()).schedules), key=lambda each: each.id) == records
    )
    for _ in range(3):
        seen = (await store.due_schedules()).schedules
        assert await store.fire(fires(seen)) == ["fired" if _ == 0 else "skipped"] * 200


async def test_what_is_endless_comes_back(store: PostgresStore) -> None:
    """`unique_for` without an end."""
    endless = record("s", 1.7e9)
    template = replace(endless.definition.template, unique="k", unique_for=math.inf)
    endless = replace(endless, definition=replace(endless.definition, template=template))
    await put(store, endless)
    assert (await store.get_schedules(["s"])).schedules == [endless]


# --- how much


async def test_a_batch_is_a_handful_of_statements_however_large(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 fires with whatever they can meet: runs that go on and runs that ended, groups, keys, records to merge."""
    await store.join(Worker("w"))
    due = (await store.get_schedules([])).now - 3600
    overlaps: tuple[Overlap, ...] = ("skip", "allow", "queue")
    records = [record(f"s{number:04}", due, overlaps[number % 3]) for number in range(1000)]
    keyed = [
        replace(each, definition=replace(each.definition, template=replace(each.definition.template, unique=each.id)))
        for each in records[::7]
    ]
    stopping = [replace(each, definition=replace(each.definition, stop_after=3)) for each in records[1::7]]
    changed = {each.id: each for each in (*keyed, *stopping)}
    watch = Watch(store, monkeypatch)
    await put(store, *(changed.get(each.id, each) for each in records))
    assert len(watch.sent) == 1
    for turn in range(5):
        watch.sent.clear()
        seen = (await store.due_schedules()).schedules
        assert len(asked(watch)) == 1
        watch.sent.clear()
        answers = await store.fire(fires(seen))
        assert len(answers) == 1000
        assert len(asked(watch)) <= HANDFUL, asked(watch)
        if turn % 2:
            claimed = await store.claim(Claim("w", turn, [Lane("default", "tick", "", 500)], 500))
            await store.settle([Settlement(job=job.id, lease=job.lease, kind="complete") for job in claimed.jobs])
    watch.sent.clear()
    names = [each.id for each in records]
    await store.get_schedules(names)
    await store.list_schedules()
    await store.runs("s0001")
    assert len(asked(watch)) == 3


def asked(watch: Watch) -> list[str]:
    """What verbs have sent; notices go out beside them."""
    return [each.text for each in watch.sent if "pg_notify($1, $2)" not in each.text]


async def test_replaying_many_runs_asks_for_them_at_once(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    due = (await store.get_schedules([])).now - 3600
    await put(store, *(record(f"s{number:04}", due) for number in range(100)))
    await store.fire(fires((await store.due_schedules()).schedules))
    jobs = [(await store.runs(f"s{number:04}"))[0].job or "" for number in range(100)]
    assert set(await store.cancel(jobs)) == {"cancelled"}
    await store.prune_runs()
    watch = Watch(store, monkeypatch)
    assert set(await store.replay(jobs)) == {"replayed"}
    assert len([each for each in watch.sent if each.text == schedule_sql(store._place)["runs_of"]]) <= 2
    assert [run.ended for number in range(100) for run in await store.runs(f"s{number:04}")] == [None] * 100


async def test_a_prune_goes_round_all_schedules(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few one call looks at."""
    monkeypatch.setattr("mainspring.store.postgres.schedules.PAGE", 3)
    monkeypatch.setattr("mainspring.store.postgres.schedules.PAGES", 2)
    due = (await store.get_schedules([])).now - 3600
    names = [f"s{number:02}" for number in range(20)]
    await put(store, *(record(name, due) for name in names))
    for _ in range(3):
        await store.fire(fires((await store.due_schedules()).schedules))
        jobs = [run.job for name in names for run in await store.runs(name) if run.open and run.job]
        await store.cancel(jobs)
    await store.prune_runs()
    for each in (await store.get_schedules(names)).schedules:
        after = replace(each, definition=replace(each.definition, keep=1), revision=2)
        assert await store.put_schedules([SchedulePut(after, each)]) == ["put"]
    removed = [await store.prune_runs(limit=5) for _ in range(20)]
    assert sum(removed) == 40
    assert max(removed) == 5
    assert [len(await store.runs(name)) for name in names] == [1] * 20


async def test_H4_a_look_at_what_is_due_does_not_walk_over_dead_entries(
    store: PostgresStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's transaction keeps them; as soon as a look costs something, it begins where the last one ended."""
    now = (await store.get_schedules([])).now
    await put(store, *(record(f"s{number:03}", now - 3600) for number in range(200)))
    other = PostgresStore(Place.parse(postgres_url))
    await other.open()
    monkeypatch.setattr(Ration, "allows", lambda ration, now: now - ration._at >= LONGEST)
    async with other._pool.transaction() as connection:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await connection.fetchval(f"SELECT count(*) FROM {store._place.quoted}.schedules")
        for _ in range(10):
            await store.fire(fires((await store.due_schedules()).schedules))
        watch = Watch(store, monkeypatch)
        await store.due_schedules()
        [sent] = [each for each in watch.sent if "pg_notify($1, $2)" not in each.text]
        floor = sent.parameters[2]
        assert isinstance(floor, float)
        assert floor > now - 3600  # the first one that is alive
        late = record("late", now - 7200)
        await put(store, late)
        async with asyncio.timeout(20):
            while not any(each.schedule == late for each in (await store.due_schedules()).schedules):
                await asyncio.sleep(0.1)  # found by a look from the bottom, after 5 s at the latest
    await other.close()


# --- who is told


async def told(waiting: PostgresStore, store: PostgresStore) -> list[float]:
    """Seconds until the waiting store hears of a put, a change, and a drop of another one."""
    await asyncio.sleep(0.2)  # it begins to listen
    await waiting.wait_schedules(0.2)
    new = record("s", 1.7e9)
    changed = replace(new, revision=2)
    waits: list[float] = []
    for change in (
        lambda: store.put_schedules([SchedulePut(new, None)]),
        lambda: store.put_schedules([SchedulePut(changed, new)]),
        lambda: store.drop_schedules(["s"]),
    ):
        hearing = asyncio.create_task(waiting.wait_schedules(5))
        await asyncio.sleep(0.02)
        began = time.monotonic()
        await change()
        assert await hearing
        waits.append(time.monotonic() - began)
    return waits


async def test_another_process_hears_of_a_change_at_once(store: PostgresStore, postgres_url: str) -> None:
    other = PostgresStore(Place.parse(postgres_url))
    await other.open()
    await other.wait_schedules(0.05)
    assert max(await told(other, store)) < 2
    await other.close()


async def test_without_notices_the_own_process_hears_of_it_and_a_fire_tells_nobody(postgres_url: str) -> None:
    store = PostgresStore(with_other(Place.parse(postgres_url), notify=False))
    await store.open()
    assert max(await told(store, store)) < 2
    now = (await store.get_schedules([])).now
    await put(store, record("t", now - 1))
    assert await store.wait_schedules(5)
    assert await store.fire(fires((await store.due_schedules()).schedules)) == ["fired"]
    began = time.monotonic()
    assert not await store.wait_schedules(0.05)
    assert time.monotonic() - began >= 0.04
    await store.close()


# --- behind a pooler


async def test_all_of_it_through_a_pooler_in_transaction_mode(pgbouncer_url: str) -> None:
    store = PostgresStore(Place.parse(f"{pgbouncer_url}&prepared=off&notify=off"))
    await store.open()
    now = (await store.get_schedules([])).now
    await put(store, *(record(f"s{number}", now - 1, "queue") for number in range(20)))
    for _ in range(3):
        await store.fire(fires((await store.due_schedules()).schedules))
    assert await store.trigger([RunNow("s1", SlotJob(0.0, new_id(), new_id()))]) == ["skipped"]
    assert [run.kind for run in await store.runs("s1")] == ["slot", "slot", "skipped"]
    [job, *_] = [run.job for run in await store.runs("s1") if run.job]
    assert await store.cancel([job]) == ["cancelled"]
    await store.prune_runs()
    assert await store.replay([job]) == ["replayed"]
    assert len((await store.list_schedules()).schedules) == 20
    assert await store.drop_schedules(["s1", "s2", "none"]) == [True, True, False]
    assert len((await store.list_schedules(declared_by=[""])).schedules) == 18
    await store.close()

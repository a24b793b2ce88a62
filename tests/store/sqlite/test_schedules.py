"""What SQLite does about schedules beyond the contract: news of changes, several stores on one file, upgrades, faults."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from mainspring.clock import FakeClock
from mainspring.errors import EncodingError, StoreFull, StoreUnsuitable
from mainspring.ids import new_id
from mainspring.model.record import FOREVER, NewJob
from mainspring.model.schedule import Definition, Fire, Run, ScheduleRecord, SlotJob
from mainspring.store.base import Filter, SchedulePut
from mainspring.store.definitions import definition_of, definition_text, read_definition
from mainspring.store.serial.add import add
from mainspring.store.sql import migrations
from mainspring.store.sqlite import SqliteStore, connect
from mainspring.store.sqlite.rows import SqliteRows

NOW = 1_800_000_000.0
QUIET = 0.15  # real seconds in which nothing must be heard; a look at what others commit comes every 10 ms


def record(name: str = "s", *, due: float = NOW, **fields: object) -> ScheduleRecord:
    definition = Definition(trigger=b'{"every":60}', template=NewJob(id="", task="t"))
    made = ScheduleRecord(id=name, definition=definition, begin=NOW, next=due, due=due, created=NOW, changed=NOW)
    return replace(made, **fields)


def decided(schedule: ScheduleRecord, step: float = 60.0) -> Fire:
    assert schedule.due is not None
    following = schedule.due + step
    slot = SlotJob(schedule.due, new_id(), new_id())
    return Fire(
        schedule=schedule.id,
        revision=schedule.revision,
        expected=schedule.due,
        slots=(slot,),
        to=schedule.due,
        next=following,
        due=following,
    )


async def put(store: SqliteStore, *records: ScheduleRecord) -> None:
    answers = await store.put_schedules([SchedulePut(each, None) for each in records])
    assert set(answers) == {"put"}


async def heard(store: SqliteStore) -> bool:
    """Whether there is news; what an earlier change has left is not."""
    return await store.wait_schedules(QUIET)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def other(store: SqliteStore, tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteStore]:
    """Another store on the same file: as another process sees it, it hears of the first by the file alone."""
    other = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await other.open()
    yield other
    await other.close()


async def test_a_change_is_heard_in_another_store(store: SqliteStore, other: SqliteStore) -> None:
    assert not await heard(other)
    waiting = asyncio.create_task(other.wait_schedules(20.0))
    await asyncio.sleep(QUIET)
    assert not waiting.done()
    await put(store, record())
    assert await waiting
    assert not await heard(other), "told once"


async def test_what_workers_and_schedulers_commit_wakes_no_scheduler(store: SqliteStore, other: SqliteStore) -> None:
    """A busy fleet commits a thousand times a second; a scheduler that looked each time would do nothing else."""
    await put(store, *(record(f"s{n}") for n in range(10)))
    await heard(store)
    await heard(other)
    waiting = [asyncio.create_task(each.wait_schedules(20.0)) for each in (store, other)]
    await store.add([NewJob(id=f"j{n}", task="t") for n in range(10)])
    for each in (store, other):
        due = await each.due_schedules(5)
        assert await each.fire([decided(seen.schedule) for seen in due.schedules]) == ["fired"] * 5
    await store.prune_runs()
    await asyncio.sleep(QUIET)
    assert not any(each.done() for each in waiting)
    await store.drop_schedules(["s3"])
    assert await asyncio.gather(*waiting) == [True, True]


async def test_a_change_between_the_look_and_the_wait_is_not_missed(store: SqliteStore, other: SqliteStore) -> None:
    await heard(store)
    await heard(other)
    await put(store, record())
    assert await store.wait_schedules(20.0)
    assert await other.wait_schedules(20.0)
    assert not await heard(store)
    assert not await heard(other)


async def test_a_private_database_misses_no_change_either() -> None:
    store = SqliteStore("")
    await store.open()
    assert not await store.wait_schedules(0.01)
    await put(store, record())
    assert await store.wait_schedules(20.0)
    waiting = asyncio.create_task(store.wait_schedules(20.0))
    await asyncio.sleep(0)
    await put(store, record("later"))
    assert await waiting
    assert not await store.wait_schedules(0.01)
    await store.close()


async def test_a_store_that_is_closed_wakes_who_waits(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    await store.open()
    waiting = asyncio.create_task(store.wait_schedules(20.0))
    await asyncio.sleep(0)
    await store.close()
    assert await waiting


async def test_a_call_that_fails_does_not_hide_the_change_of_another(store: SqliteStore) -> None:
    """Both in one batch: what was written by the one is taken back, and that the other has changed something stays."""
    await heard(store)
    waiting = asyncio.create_task(store.wait_schedules(20.0))
    await asyncio.sleep(0)
    good = store.put_schedules([SchedulePut(record("good"), None)])
    bad = store.put_schedules([SchedulePut(record("bad", paused="\ud800"), None)])
    answers = await asyncio.gather(good, bad, return_exceptions=True)
    assert answers[0] == ["put"]
    assert isinstance(answers[1], (EncodingError, UnicodeEncodeError))
    assert await waiting
    assert [each.id for each in (await store.list_schedules()).schedules] == ["good"]


async def test_H13_two_stores_that_fire_at_once_fire_each_slot_once(
    store: SqliteStore, other: SqliteStore, clock: FakeClock
) -> None:
    await put(store, *(record(f"s{n}", due=NOW + 1 + n) for n in range(20)))

    async def schedule(mine: SqliteStore) -> Counter[str]:
        answers: Counter[str] = Counter()
        while (due := await mine.due_schedules(7)).schedules:
            answers.update(await mine.fire([decided(each.schedule) for each in due.schedules]))
        return answers

    for _ in range(6):
        clock.advance(60.0)
        mine, theirs = await asyncio.gather(schedule(store), schedule(other))
        assert set(mine | theirs) <= {"fired", "skipped", "stale"}
    for n in range(20):
        runs = await store.runs(f"s{n}")
        slots = [slot for run in runs for slot in slots_of(run)]
        assert slots == [NOW + 1 + n + 60.0 * k for k in range(6)]
    found = await store.find(Filter(), limit=1000)
    assert sorted((job.schedule, job.slot) for job in found.jobs) == [
        (f"s{n}", NOW + 1 + n) for n in sorted(range(20), key=str)
    ], "a second job of a schedule would run beside the first"


def slots_of(run: Run) -> list[float]:
    assert run.slot is not None
    return [run.slot + 60.0 * k for k in range(run.count)]


async def test_what_a_fire_writes_leaves_the_definition_alone(store: SqliteStore) -> None:
    await put(store, record())
    await store._open().writer.call(lambda rows: rows._db.execute("UPDATE schedules SET declared_by = 'untouched'"))
    [due] = (await store.due_schedules()).schedules
    assert await store.fire([decided(due.schedule)]) == ["fired"]
    [seen] = (await store.get_schedules(["s"])).schedules
    assert (seen.declared_by, seen.runs, seen.next) == ("untouched", 1, NOW + 60.0)


@pytest.mark.parametrize("unique_for", [None, 0.0, 3.5, FOREVER])
def test_a_definition_comes_back_from_its_text(unique_for: float | None) -> None:
    """JSON has no infinity, so `msgspec` alone would make None of a key that is held for ever."""
    template = NewJob(id="", task="t", payload=b"\xff\x00", unique="k", unique_for=unique_for)
    definition = Definition(trigger=b"{}", template=template, misfire_grace=0.1, keep=7)
    assert definition_of(definition_text(definition)) == definition


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "null", "[]", "\x00", '{"nope":1}', '{"trigger":"e30="}', "[" * 100_000, b"{\xff}", b'{"\xff":1}',
        '{"trigger":"?","template":{"id":"","task":"t"}}', '{"trigger":"","template":{"id":"","task":"t"},"keep":"9"}',
        '{"trigger":"","template":{"id":"","task":"t"},"jitter":1e999}',
    ],
)  # fmt: skip
def test_what_is_no_definition_is_a_value_with_a_reason(text: str | bytes) -> None:
    """S3-44, C10: whatever stands there, the rows beside it are read."""
    definition, reason = read_definition(text)
    assert 0 < len(reason) <= 200
    assert (definition.trigger, definition.template.task) == (b"", "")


def test_fields_of_a_newer_version_are_passed_over() -> None:
    definition, reason = read_definition('{"trigger":"e30=","template":{"id":"","task":"t","mood":1},"mood":{"a":[]}}')
    assert (definition.trigger, definition.template.task, reason) == (b"{}", "t", "")


async def test_a_removal_leaves_a_definition_that_cannot_be_read_as_it_is(tmp_path: Path) -> None:
    """Whoever can read it may still want it: nothing but a put writes it."""
    path, newer = tmp_path / "work.db", '{"overlap":"shuffle"}'
    store = SqliteStore(str(path))
    await store.open()
    await put(store, record(declared_by="shop"), record("other"))
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE schedules SET definition = ?, keep = 7 WHERE id = 's'", (newer,))
    before = (await store.get_schedules(["s"])).schedules[0]
    assert (before.definition.keep, before.declared_by) == (7, "shop")
    await heard(store)
    assert await store.drop_schedules(["s"]) == [True]
    assert await heard(store)
    await store.close()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT definition, keep, dropped > 0 FROM schedules WHERE id = 's'").fetchall() == [
            (newer, 7, 1)
        ]


async def test_a_file_of_schema_1_is_brought_up_to_date(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its jobs are still there, and schedules can be put."""
    path = tmp_path / "jobs.db"
    first = migrations(connect.PACKAGE)[:1]
    monkeypatch.setattr(connect, "migrations", lambda package: first)
    with closing(connect.connect(place := connect.Place(str(path)))) as db:
        assert connect.prepare(db, place) == ["0001_jobs"]
        rows = SqliteRows(db)
        rows.begin()
        add(rows, NOW, new_id, [NewJob(id="old", task="t")], ())
        rows.flush()
    monkeypatch.undo()
    store = SqliteStore(path, clock=clock)
    assert await store.pending() == [each.name for each in migrations(connect.PACKAGE)[1:]]
    await store.open()
    assert await store.pending() == []
    [job] = await store.get(["old"])
    assert job is not None
    await put(store, record())
    assert [each.schedule.id for each in (await store.due_schedules()).schedules] == ["s"]
    assert {each.subject: each.level for each in await store.check()}["counts"] == "ok"
    await store.close()
    monkeypatch.setattr(connect, "migrations", lambda package: first)
    before = path.read_bytes()
    with pytest.raises(StoreUnsuitable, match="upgrade Mainspring"):
        await SqliteStore(path).open()
    assert path.read_bytes() == before, "a newer file is refused, and left as it is"


async def test_two_that_upgrade_a_file_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "jobs.db"
    first = migrations(connect.PACKAGE)[:1]
    monkeypatch.setattr(connect, "migrations", lambda package: first)
    with closing(connect.connect(place := connect.Place(str(path)))) as db:
        connect.prepare(db, place)
    monkeypatch.undo()
    stores = [SqliteStore(path) for _ in range(4)]
    ran = await asyncio.gather(*(each.migrate() for each in stores))
    assert sorted(ran, key=len) == [[], [], [], [each.name for each in migrations(connect.PACKAGE)[1:]]]
    await asyncio.gather(*(each.close() for each in stores))


async def test_a_full_disk_fires_nothing_by_halves(store: SqliteStore, clock: FakeClock) -> None:
    """The batch is refused whole, and is fired when there is room again: no slot is lost, and none comes twice."""
    big = b'"' + b"x" * 3000 + b'"'
    definition = Definition(trigger=b"{}", template=NewJob(id="", task="t", payload=big))
    await put(store, *(record(f"s{n}", definition=definition) for n in range(100)))
    connection = store._open().writer.connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 20}")
    due = await store.due_schedules()
    fires = [decided(each.schedule) for each in due.schedules]
    before = await store.list_schedules()
    with pytest.raises(StoreFull, match="disk"):
        await store.fire(fires)
    with pytest.raises(StoreFull, match="disk"):
        await put(store, *(record(f"more{n}", definition=definition) for n in range(100)))
    assert (await store.list_schedules()) == before
    assert (await store.find(Filter(), limit=1000)).jobs == []
    assert await store.runs("s0") == []
    connection.execute("PRAGMA max_page_count = 1000000")
    assert await store.fire(fires) == ["fired"] * 100
    assert await store.fire(fires) == ["fired"] * 100, "an answer that was lost is given again"
    assert len((await store.find(Filter(), limit=1000)).jobs) == 100
    assert {each.subject: each.level for each in await store.check()}["counts"] == "ok"


async def test_a_file_that_cannot_be_written_any_more_fires_nothing(store: SqliteStore) -> None:
    await put(store, record())
    [due] = (await store.due_schedules()).schedules
    connection = store._open().writer.connection
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreUnsuitable, match="cannot be written"):
        await store.fire([decided(due.schedule)])
    with pytest.raises(StoreUnsuitable, match="cannot be written"):
        await put(store, record("new"))
    connection.execute("PRAGMA query_only = OFF")
    assert [each.id for each in (await store.list_schedules()).schedules] == ["s"]
    assert await store.fire([decided(due.schedule)]) == ["fired"]


async def test_what_is_kept_follows_the_schedule(store: SqliteStore, clock: FakeClock) -> None:
    """Which runs are to be removed is written down with them, so that pruning never walks all schedules."""
    definition = Definition(trigger=b"{}", template=NewJob(id="", task="t"), overlap="allow", keep=5)
    await put(store, record(definition=definition))
    for _ in range(5):
        [due] = (await store.due_schedules()).schedules
        assert await store.fire([decided(due.schedule, 1.0)]) == ["fired"]
        clock.advance(1.0)
    await store.cancel([job.id for job in (await store.find(Filter(), limit=10)).jobs])
    await store.prune_runs()
    assert until(store) == {None}
    for fields, wanted in (
        ({"keep": 3}, {-1.0, None}),
        ({"keep": 5, "keep_for": 10.0}, {NOW + 10.0 + n for n in range(5)}),
        ({"keep": 5}, {None}),
    ):
        [stored] = (await store.get_schedules(["s"])).schedules
        changed = Definition(trigger=b"{}", template=definition.template, overlap="allow", **fields)
        after = replace(stored, definition=changed, revision=stored.revision + 1)
        assert await store.put_schedules([SchedulePut(after, stored)]) == ["put"]
        assert until(store) == wanted
    assert await store.prune_runs() == 0


def until(store: SqliteStore) -> set[float | None]:
    with closing(sqlite3.connect(store._open().place.path)) as db:
        return {row[0] for row in db.execute("SELECT until FROM schedule_runs")}

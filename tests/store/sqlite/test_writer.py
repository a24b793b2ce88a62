"""The writing thread: group commit, and that nobody suffers for another's call."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from mainspring.errors import EncodingError, StoreClosed, StoreUnavailable, StoreUnsuitable
from mainspring.model.record import JobRecord, NewJob
from mainspring.store.base import Filter
from mainspring.store.sqlite import SqliteStore
from mainspring.store.sqlite.rows import SqliteRows
from mainspring.testing.virtual import VirtualLoop


class Gate:
    """A call that holds the writing thread until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, rows: SqliteRows) -> None:
        self.entered.set()
        assert self.opened.wait(30)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "jobs.db", busy_limit=0.3)
    await store.open()
    yield store
    await store.close()


async def hold(store: SqliteStore) -> tuple[Gate, asyncio.Task[None]]:
    """Keep the thread busy, so that what is asked for next gathers into one batch."""
    gate = Gate()
    task = asyncio.create_task(store._open().writer.call(gate))
    await asyncio.to_thread(gate.entered.wait)
    return gate, task


def start(store: SqliteStore, verb: Callable[[SqliteRows], object]) -> asyncio.Task[object]:
    return asyncio.create_task(store._open().writer.call(verb))


async def ids(store: SqliteStore) -> set[str]:
    page = await store.find(Filter(), limit=1000)
    return {job.id for job in page.jobs}


def counting(store: SqliteStore) -> list[str]:
    """Every statement that the writing thread starts, from now on."""
    said: list[str] = []
    store._open().writer.connection.set_trace_callback(said.append)
    return said


async def test_H7_what_waits_during_a_commit_is_the_next_batch(store: SqliteStore) -> None:
    gate, held = await hold(store)
    said = counting(store)
    adds = [asyncio.create_task(store.add([NewJob(id=f"j{n:03}", task="t")])) for n in range(200)]
    await asyncio.sleep(0)
    gate.opened.set()
    await asyncio.gather(held, *adds)
    assert said.count("COMMIT") == 2
    assert len(await ids(store)) == 200


async def test_C10_one_bad_call_hurts_nobody_in_its_batch(store: SqliteStore) -> None:
    def bad(rows: SqliteRows) -> None:
        rows.insert([record("spoiled")])
        raise ValueError("a verb failed")

    gate, held = await hold(store)
    first = asyncio.create_task(store.add([NewJob(id="a", task="t")]))
    await asyncio.sleep(0)
    second = start(store, bad)
    await asyncio.sleep(0)
    third = asyncio.create_task(store.add([NewJob(id="b", task="t")]))
    await asyncio.sleep(0)
    gate.opened.set()
    await held
    assert (await first)[0].created
    assert (await third)[0].created
    with pytest.raises(ValueError, match="a verb failed"):
        await second
    assert await ids(store) == {"a", "b"}
    assert [(count.state, count.number) for count in await store.counts()] == [("ready", 2)]


def record(id_: str) -> JobRecord:
    return JobRecord(id=id_, task="t", state="ready", created=1.0, due=1.0)


async def test_an_error_of_sqlite_itself_hurts_nobody_either(store: SqliteStore) -> None:
    gate, held = await hold(store)
    good = asyncio.create_task(store.add([NewJob(id="a", task="t")]))
    bad = start(store, lambda rows: rows._db.execute("INSERT INTO jobs (id) VALUES ('half')"))
    await asyncio.sleep(0)
    gate.opened.set()
    await held
    await good
    with pytest.raises(EncodingError, match="NOT NULL"):
        await bad
    assert await ids(store) == {"a"}


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("INSERT INTO jobs (id) VALUES ('half')", EncodingError),
        ("INSERT INTO jobs (seq) VALUES ('no number')", EncodingError),
        ("INSERT INTO paused_queues VALUES (zeroblob(2000000000))", EncodingError),
        ("SELECT * FROM no_such_table", StoreUnsuitable),
    ],
)
async def test_C10_what_a_repeat_cannot_mend_is_not_unavailable(
    store: SqliteStore, statement: str, kind: type[Exception]
) -> None:
    """Else it would be asked again for ever, and nothing behind it be written."""
    with pytest.raises(kind):
        await store._open().writer.call(lambda rows: rows._db.execute(statement))


async def test_C10_a_value_that_cannot_be_bound_is_not_unavailable(store: SqliteStore) -> None:
    with pytest.raises(EncodingError):
        await store._open().writer.call(lambda rows: rows._db.execute("SELECT ?", (object(),)))


async def test_cancelled_while_queued_is_not_run(store: SqliteStore) -> None:
    gate, held = await hold(store)
    gone = asyncio.create_task(store.add([NewJob(id="gone", task="t")]))
    kept = asyncio.create_task(store.add([NewJob(id="kept", task="t")]))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    gate.opened.set()
    await asyncio.gather(held, kept)
    assert await ids(store) == {"kept"}
    assert gone.cancelled()


async def test_cancelled_in_flight_is_run_and_its_answer_dropped(store: SqliteStore) -> None:
    gate = Gate()

    def verb(rows: SqliteRows) -> None:
        gate(rows)
        rows.insert([record("a")])

    call = start(store, verb)
    await asyncio.to_thread(gate.entered.wait)
    call.cancel()
    await asyncio.sleep(0)
    gate.opened.set()
    assert await ids(store) <= {"a"}
    await store.add([NewJob(id="b", task="t")])
    assert await ids(store) == {"a", "b"}


async def test_closing_drains(store: SqliteStore, tmp_path: Path) -> None:
    gate, held = await hold(store)
    adds = [asyncio.create_task(store.add([NewJob(id=f"j{n}", task="t")])) for n in range(50)]
    await asyncio.sleep(0)
    closing_ = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    gate.opened.set()
    await asyncio.gather(held, closing_, *adds)
    with pytest.raises(StoreClosed, match="not open"):
        await store.add([NewJob(id="late", task="t")])
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as db:
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (50,)


async def test_closing_goes_on_when_it_is_cancelled(store: SqliteStore, tmp_path: Path) -> None:
    """A time limit around an app's end, while somebody holds the file: no thread and no lock may stay behind."""
    opened = store._open()
    gate, held = await hold(store)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await store.close()
    gate.opened.set()
    await held
    async with asyncio.timeout(10):
        await store.close()
    assert opened.turn is not None
    assert opened.turn._lock._fd == -1
    assert not opened.writer._thread.is_alive()
    assert not (tmp_path / "jobs.db-wal").exists()


async def test_C9_a_lock_of_another_program_is_waited_for(store: SqliteStore, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        said = counting(store)
        add = asyncio.create_task(store.add([NewJob(id="a", task="t")]))
        while not said:
            await asyncio.sleep(0)
        shell.execute("COMMIT")
        assert (await add)[0].created


async def test_a_lock_that_is_never_given_up_ends_in_a_clear_error(store: SqliteStore, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match=r"another program has held a lock.*end its transaction"):
            await store.add([NewJob(id="a", task="t")])
        assert await store.get(["a"]) == [None], "reads go on"
        shell.execute("COMMIT")
    assert (await store.add([NewJob(id="a", task="t")]))[0].created


async def test_a_read_sees_what_was_acknowledged(store: SqliteStore) -> None:
    for n in range(100):
        await store.add([NewJob(id=f"j{n}", task="t")])
        assert (await store.get([f"j{n}"]))[0] is not None


async def test_a_read_does_not_wait_for_the_writer(store: SqliteStore) -> None:
    await store.add([NewJob(id="a", task="t")])
    gate, held = await hold(store)
    assert (await store.get(["a"]))[0] is not None
    gate.opened.set()
    await held


def test_H10_virtual_time_stands_still_while_the_thread_works(tmp_path: Path) -> None:
    loop = VirtualLoop()

    async def main() -> None:
        store = SqliteStore(tmp_path / "jobs.db", clock=loop.clock)
        await store.open()
        start = loop.time()
        async with asyncio.timeout(0.001):
            for n in range(20):
                await store.add([NewJob(id=f"j{n}", task="t")])
        assert loop.time() == start
        assert await store.wait(["default"], 3600) is False
        assert loop.time() == start + 3600
        await store.close()
        while loop.outside:  # the thread that ended may not have said so yet
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    loop.close()


async def test_news_wakes_who_waits_in_this_process(store: SqliteStore) -> None:
    waiting = asyncio.create_task(store.wait(["mail"], 30))
    other = asyncio.create_task(store.wait(["images"], 30))
    anything = asyncio.create_task(store.wait([], 30))
    await asyncio.sleep(0)
    await store.add([NewJob(id="a", task="t", queue="mail")])
    assert await waiting
    assert await anything
    assert not other.done()
    other.cancel()


async def test_closing_wakes_who_waits(store: SqliteStore) -> None:
    watch = store._open().watch
    waiting = asyncio.create_task(store.wait(["mail"], 30))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(10):
        await store.close()
        assert await waiting
    assert watch._thread is not None
    assert not watch._thread.is_alive()


async def test_closing_is_not_held_up_by_a_wait_that_ended(store: SqliteStore) -> None:
    """The waiter that is woken may be the last, and puts the looking thread to sleep when it goes."""
    watch = store._open().watch
    waiting = asyncio.create_task(store.wait(["mail"], 30))
    await asyncio.sleep(0)
    watch.stop()
    assert await waiting
    async with asyncio.timeout(10):
        await store.close()

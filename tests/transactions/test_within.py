"""Jobs in the caller's own transaction: `task.options(tx=…)`, over every driver that is known (API.md D35)."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from mainspring import App, Job, JobNotFound, chain, group
from mainspring.errors import AppError, InvalidOption, KeyBusy, WrongTransaction
from tests.transactions.connections import (
    BLOCKING,
    Blocks,
    asyncpg_connection,
    asyncpg_pool,
    django_connection,
    dsn_of,
    engine,
    psycopg_async_connection,
    psycopg_connection,
    sqlalchemy_async_scoped,
    sqlalchemy_async_session,
    sqlalchemy_asyncpg,
    sqlite_connection,
    sqlite_that_begins_by_hand,
)

LONG = 30.0


def make(url: str) -> App:
    app = App(url)

    @app.task(name="other")
    async def other(n: int) -> int:
        return n + 1

    @app.task(name="total")
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    return app


# --- connections that block


class Blocking:
    """What holds of every connection that blocks, over a `url`."""

    @pytest.fixture
    def app(self, url: str) -> Iterator[App]:
        app = make(url)
        app.sync.idle()
        yield app
        app.sync.close()

    def test_a_commit_makes_it_visible_a_rollback_leaves_nothing(self, app: App, url: str, opens: Blocks) -> None:
        other = app.remote("other")
        with opens(url) as db:
            tx = getattr(db, "tx", db)
            first = other.options(tx=tx, tags=["a", "b"], metadata={"x": 1}, priority=3, expires=60).sync.enqueue(n=1)
            later = other.options(tx=tx, delay=3600).sync.enqueue(n=2)
            assert (first.created, first.state, later.state) == (True, "ready", "scheduled")
            with pytest.raises(JobNotFound):
                first.sync.refresh()
            db.commit()
            record = first.sync.refresh()
            assert (record.state, record.tags, record.priority) == ("ready", ("a", "b"), 3)
            assert later.sync.refresh().state == "scheduled"
            gone = other.options(tx=tx).sync.enqueue(n=3)
            flow = app.sync.enqueue(chain(group(other.bind(n=1), other.bind(n=2)), app.remote("total")), tx=tx)
            db.rollback()
        for job in (gone, flow):
            with pytest.raises(JobNotFound):
                job.sync.result(timeout=LONG)
        counts = {(each.task, each.state): each.number for each in app.jobs.sync.counts()}
        assert counts == {("other", "ready"): 1, ("other", "scheduled"): 1}

    def test_keys_and_flows(self, app: App, url: str, opens: Blocks) -> None:
        other = app.remote("other")
        with opens(url) as db:
            tx = getattr(db, "tx", db)
            held = other.options(unique="held").sync.enqueue(n=0)
            more: dict[str, Any] = {"tags": ["a"], "metadata": {"b": 1}, "timeout": 5, "correlation": "c"}
            old = other.options(unique="old", unique_for=0.001, delay=60, **more).sync.enqueue(n=1)
            time.sleep(0.01)
            assert other.options(tx=tx, unique="held").sync.enqueue(n=1) == held
            mine = other.options(tx=tx, unique="mine", unique_for="ever").sync.enqueue(n=1)
            again = other.options(tx=tx, unique="mine").sync.enqueue(n=2)
            assert (mine.created, again.created, again == mine) == (True, False, True)
            assert other.options(tx=tx, unique="old").sync.enqueue(n=2) == old, "it is over its time, and lives"
            many = app.sync.enqueue_many([other.bind(n=n) for n in range(5)], tx=tx)
            flow = app.sync.enqueue(chain(group(other.bind(n=1), other.bind(n=2)), app.remote("total")), tx=tx)
            assert flow.state == "waiting"
            db.commit()
        assert not other.options(unique="mine").sync.enqueue(n=1).created
        assert [job.sync.refresh().state for job in many] == ["ready"] * 5
        results = asyncio.run(worked(url, [mine.id, *(job.id for job in many), flow.id]))
        assert results == [2, 1, 2, 3, 4, 5, 5]

    def test_one_that_blocks_wants_sync(self, app: App, url: str, opens: Blocks) -> None:
        async def main() -> None:
            async with app:
                await app.remote("other").options(tx=tx).enqueue(n=1)

        app.sync.close()
        with opens(url) as db:
            tx = getattr(db, "tx", db)
            with pytest.raises(WrongTransaction, match=r"blocks: say `task\.options\(tx=…\)\.sync\.enqueue"):
                asyncio.run(main())

    def test_it_works_in_the_thread_of_a_loop(self, app: App, url: str, opens: Blocks) -> None:
        """A blocking session in an async function blocks for a moment, as everything that it does; it does not hang."""
        if opens is django_connection:
            return  # Django refuses that itself
        app.sync.close()
        other = app.remote("other")

        async def main() -> int:
            with opens(url) as db:
                tx = getattr(db, "tx", db)
                with pytest.raises(AppError, match="async with app"):
                    other.options(tx=tx).sync.enqueue(n=1)
                async with app:
                    job = other.options(tx=tx).sync.enqueue(n=1)
                    db.commit()
                    return (await job.refresh()).attempt

        assert asyncio.run(main()) == 0


@pytest.mark.parametrize("opens", [sqlite_connection, sqlite_that_begins_by_hand, *BLOCKING])
class TestBlockingOnSqlite(Blocking):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'work.db'}"


@pytest.mark.parametrize("opens", [psycopg_connection, *BLOCKING])
class TestBlockingOnPostgres(Blocking):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url


# --- connections that are awaited


@pytest.mark.parametrize(
    "opens",
    [
        asyncpg_connection,
        asyncpg_pool,
        psycopg_async_connection,
        sqlalchemy_asyncpg,
        sqlalchemy_async_session,
        sqlalchemy_async_scoped,
    ],
)
class TestAwaitedOnPostgres:
    async def test_a_commit_makes_it_visible_a_rollback_leaves_nothing(self, postgres_url: str, opens: Any) -> None:
        app = make(postgres_url)
        other = app.remote("other")
        async with app, opens(postgres_url) as db:
            tx = getattr(db, "tx", db)
            first = await other.options(tx=tx, tags=["a"], metadata={"x": 1}, expires=60).enqueue(n=1)
            later = await other.options(tx=tx, delay=3600).enqueue(n=2)
            with pytest.raises(JobNotFound):
                await first.refresh()
            await db.commit()
            assert ((await first.refresh()).state, (await later.refresh()).state) == ("ready", "scheduled")
            assert (await first.refresh()).tags == ("a",)
            gone = await other.options(tx=tx, unique="k").enqueue(n=3)
            await db.rollback()
            with pytest.raises(JobNotFound):
                await gone.result(timeout=LONG)
            assert (await other.options(unique="k").enqueue(n=3)).created

    async def test_keys_and_flows(self, postgres_url: str, opens: Any) -> None:
        app = make(postgres_url)
        other = app.remote("other")
        async with app, opens(postgres_url) as db:
            tx = getattr(db, "tx", db)
            held = await other.options(unique="held", unique_for=3600).enqueue(n=0)
            assert await other.options(tx=tx, unique="held").enqueue(n=1) == held
            mine = await other.options(tx=tx, unique="mine", unique_for="ever").enqueue(n=1)
            again = await other.options(tx=tx, unique="mine").enqueue(n=2)
            assert (mine.created, again.created, again == mine) == (True, False, True)
            with pytest.raises(KeyBusy):
                await (await app.store()).add([(await busy(app))])
            more: dict[str, Any] = {"tags": ["a"], "metadata": {"b": 1}, "timeout": 5, "correlation": "c"}
            old = await other.options(unique="old", unique_for=0.001, delay=60, **more).enqueue(n=1)
            await asyncio.sleep(0.01)
            assert await other.options(tx=tx, unique="old").enqueue(n=2) == old, "it is over its time, and lives"
            many = await app.enqueue_many((other.bind(n=n) for n in range(5)), tx=tx)
            flow = await app.enqueue(chain(group(other.bind(n=1), other.bind(n=2)), app.remote("total")), tx=tx)
            await db.commit()
            ids = [mine.id, *(job.id for job in many), flow.id]
        assert await worked(postgres_url, ids) == [2, 1, 2, 3, 4, 5, 5]

    async def test_one_that_is_awaited_wants_no_sync(self, postgres_url: str, opens: Any) -> None:
        app = make(postgres_url)
        async with app, opens(postgres_url) as db:
            tx = getattr(db, "tx", db)
            with pytest.raises(WrongTransaction, match=r"is awaited: say `await task\.options\(tx=…\)\.enqueue"):
                app.remote("other").options(tx=tx).sync.enqueue(n=1)


# --- waking, and what is refused


async def test_M6_the_commit_wakes_a_worker_elsewhere(postgres_url: str) -> None:
    mine, elsewhere = make(postgres_url), make(postgres_url)
    async with mine, elsewhere.running(poll=LONG, grace=1), asyncpg_connection(postgres_url) as db:
        waited: list[float] = []
        for _ in range(2):  # the first one also finds out about the lane
            job = await mine.remote("other").options(tx=db.tx).enqueue(n=1)
            await asyncio.sleep(0.05)
            began = time.monotonic()
            await db.commit()
            assert await job.result(timeout=LONG) == 2
            waited.append(time.monotonic() - began)
        assert waited[1] < 1


async def test_H9_a_delay_counts_from_the_call_and_not_from_the_begin(postgres_url: str) -> None:
    app = make(postgres_url)
    async with app, asyncpg_connection(postgres_url) as db:
        await asyncio.sleep(0.3)
        job = await app.remote("other").options(tx=db.tx, delay=60).enqueue(n=1)
        begun = (await db.tx.fetchval("SELECT now()")).timestamp()
        await db.commit()
        assert (await job.refresh()).due - begun > 60.25


async def test_the_commit_wakes_a_worker_on_sqlite(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'work.db'}"
    mine, elsewhere = make(url), make(url)
    async with mine, elsewhere.running(poll=LONG, grace=1):
        with sqlite_connection(url) as db:
            job = mine.remote("other").options(tx=db).sync.enqueue(n=1)
            db.commit()
        began = time.monotonic()
        assert await job.result(timeout=LONG) == 2
        assert time.monotonic() - began < 5


async def test_a_connection_without_a_transaction_is_refused(postgres_url: str) -> None:
    app = make(postgres_url)
    other = app.remote("other")
    db = await asyncpg.connect(dsn_of(postgres_url))
    engine_ = create_async_engine(dsn_of(postgres_url).replace("postgresql://", "postgresql+asyncpg://"))
    async with app, engine_.connect() as autocommit:
        for tx in (db, await autocommit.execution_options(isolation_level="AUTOCOMMIT")):
            with pytest.raises(WrongTransaction, match="no open transaction"):
                await other.options(tx=tx).enqueue(n=1)
        with psycopg.connect(dsn_of(postgres_url), autocommit=True) as blocking:
            with pytest.raises(WrongTransaction, match=r"with connection\.transaction"):
                other.options(tx=blocking).sync.enqueue(n=1)
            with blocking.transaction():
                assert other.options(tx=blocking).sync.enqueue(n=1).created
        assert len((await app.jobs.find()).jobs) == 1
    await db.close()
    await engine_.dispose()


async def test_another_database_is_refused(postgres_url: str) -> None:
    app = make(postgres_url)
    db = await asyncpg.connect(dsn_of(postgres_url), database="template1")
    async with app, db.transaction():
        with pytest.raises(WrongTransaction, match=r"database 'template1', which has no tables of Mainspring"):
            await app.remote("other").options(tx=db).enqueue(n=1)
    await db.close()


def test_another_file_is_refused(tmp_path: Path) -> None:
    app = make(f"sqlite:///{tmp_path / 'work.db'}")
    make(f"sqlite:///{tmp_path / 'other.db'}").sync.idle()
    other = app.remote("other").options
    with sqlite_connection(f"sqlite:///{tmp_path / 'other.db'}") as db, engine("sqlite:///:memory:") as made:
        with pytest.raises(WrongTransaction, match=r"other\.db, and the jobs of this app are in .*work\.db"):
            other(tx=db).sync.enqueue(n=1)
        with Session(made) as session, pytest.raises(WrongTransaction, match="a database in memory"):
            other(tx=session).sync.enqueue(n=1)
        with (
            closing(sqlite3.connect(tmp_path / "work.db", isolation_level=None)) as bare,
            pytest.raises(WrongTransaction, match="BEGIN IMMEDIATE"),
        ):
            other(tx=bare).sync.enqueue(n=1)
        (tmp_path / "link.db").symlink_to(tmp_path / "work.db")
        with sqlite_connection(f"sqlite:///{tmp_path / 'link.db'}") as link:
            assert other(tx=link).sync.enqueue(n=1).created
    app.sync.close()


async def test_another_kind_of_database_is_refused(postgres_url: str, tmp_path: Path) -> None:
    on_sqlite, on_postgres = make(f"sqlite:///{tmp_path / 'work.db'}"), make(postgres_url)
    async with on_sqlite, on_postgres, asyncpg_connection(postgres_url) as db:
        with pytest.raises(WrongTransaction, match=r"asyncpg\.Connection is connected to postgresql, and .*/work\.db"):
            await on_sqlite.remote("other").options(tx=db.tx).enqueue(n=1)
        with (
            sqlite_connection(str(on_sqlite.url)) as file,
            pytest.raises(WrongTransaction, match="connected to sqlite"),
        ):
            on_postgres.remote("other").options(tx=file).sync.enqueue(n=1)


@pytest.mark.parametrize("tx", [3, "postgresql://x", object()], ids=["int", "str", "object"])
async def test_what_is_no_connection_is_refused(tmp_path: Path, tx: object) -> None:
    app = make(f"sqlite:///{tmp_path / 'work.db'}")
    async with app:
        with pytest.raises(TypeError, match=r"tx= takes an open connection of asyncpg.*, not \w+"):
            await app.remote("other").options(tx=tx).enqueue(n=1)
        with pytest.raises(TypeError, match="tx= takes an open connection"):
            app.remote("other").options(tx=tx).sync.enqueue(n=1)


def test_a_template_has_no_transaction() -> None:
    app = make("memory://")
    db = sqlite3.connect(":memory:")
    db.close()
    task = app.remote("other").options(tx=db)
    with pytest.raises(InvalidOption, match=r"app\.enqueue\(…, tx=…\)"):
        task.bind(n=1)
    with pytest.raises(InvalidOption, match=r"app\.enqueue\(…, tx=…\)"):
        chain(app.remote("other").bind(n=1), task)
    task.options(tx=None).bind(n=1)


# --- what they share


async def busy(app: App) -> Any:
    from mainspring.ids import new_id
    from mainspring.model.record import NewJob

    return NewJob(id=new_id(), task="other", unique="mine")


async def worked(url: str, ids: list[str]) -> list[object]:
    """The results of these jobs, after a worker has had them."""
    app = make(url)
    async with app.running(grace=1):
        jobs: list[Job[object]] = [await app.jobs.get(each) for each in ids]
        return [await job.result(timeout=LONG) for job in jobs]

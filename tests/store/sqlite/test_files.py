"""Which files the SQLite store takes, and that it leaves the others as they are."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mainspring.errors import StoreClosed, StoreUnsuitable
from mainspring.model.record import NewJob
from mainspring.store.base import Worker
from mainspring.store.sql import migrations
from mainspring.store.sqlite import SqliteStore, connect

Make = Callable[[Path], None]


def seen(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def text_file(path: Path) -> None:
    path.write_text("This is a shopping list and no database.\n" * 50)


def short_file(path: Path) -> None:
    path.write_bytes(b"x")


def foreign_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, name TEXT)")
        db.commit()


def foreign_wal(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, name TEXT)")
        db.commit()


def foreign_application(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA application_id = 4711")
        db.execute("PRAGMA user_version = 1")
        db.commit()


def newer_schema(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA application_id = {connect.APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {migrations(connect.PACKAGE)[-1].number + 1}")
        db.execute("CREATE TABLE things_to_come (id)")
        db.commit()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (text_file, "no SQLite database"),
        (short_file, "no SQLite database"),
        (foreign_tables, "another program"),
        (foreign_wal, "another program"),
        (foreign_application, "another program"),
        (newer_schema, "upgrade Mainspring"),
    ],
)
async def test_what_is_not_ours_is_refused_and_left_as_it_is(tmp_path: Path, make: Make, says: str) -> None:
    path = tmp_path / "jobs.db"
    make(path)
    before = seen(tmp_path)
    store = SqliteStore(path)
    with pytest.raises(StoreUnsuitable, match=says) as refusal:
        await store.open()
    assert str(path) in str(refusal.value)
    assert seen(tmp_path) == before
    assert names(tmp_path) == ["jobs.db"]
    with pytest.raises(StoreClosed):
        await store.get(["a"])


async def test_a_foreign_database_in_use_is_refused(tmp_path: Path) -> None:
    """All that it holds is still in its write-ahead log."""
    path = tmp_path / "jobs.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("PRAGMA wal_autocheckpoint = 0")
        other.execute("CREATE TABLE theirs (id)")
        other.execute("INSERT INTO theirs VALUES (1)")
        before = seen(tmp_path)
        with pytest.raises(StoreUnsuitable, match="another program"):
            await SqliteStore(path).open()
        after = seen(tmp_path)
        assert {name: after[name] for name in ("jobs.db", "jobs.db-wal")} == {
            name: before[name] for name in ("jobs.db", "jobs.db-wal")
        }
        assert sorted(after) == sorted(before)


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnsuitable, match="does not exist; create it"):
        await SqliteStore(tmp_path / "nowhere" / "jobs.db").open()
    assert names(tmp_path) == []


async def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreUnsuitable, match="no regular file"):
        await SqliteStore(tmp_path).open()


async def test_an_empty_file_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    path.touch()
    store = SqliteStore(path)
    await store.open()
    assert await store.counts() == []
    await store.close()


async def test_a_second_name_is_refused_and_a_link_followed(tmp_path: Path) -> None:
    """Through each hard link SQLite would keep another log, and the database would be lost."""
    path, name, link = tmp_path / "jobs.db", tmp_path / "other.db", tmp_path / "link.db"
    store = SqliteStore(path)
    await store.open()
    name.hardlink_to(path)
    with pytest.raises(StoreUnsuitable, match="has a second name"):
        await SqliteStore(name).open()
    found = {each.subject: each for each in await store.check()}
    assert found["name"].level == "error"
    assert "second name" in found["name"].message
    name.unlink()
    link.symlink_to(path)
    linked = SqliteStore(link)
    await linked.open()
    await store.add([NewJob(id="a", task="t")])
    assert (await linked.get(["a"])) != [None]
    assert {each.subject: each.level for each in await linked.check()}["name"] == "ok"
    await linked.close()
    await store.close()
    assert names(tmp_path) == ["jobs.db", "jobs.db-turn", "jobs.db-workers", "link.db"]


async def test_C9_a_relative_path_outlives_a_change_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that calls `os.chdir` made every other worker look dead."""
    monkeypatch.chdir(tmp_path)
    here, there = SqliteStore("jobs.db"), SqliteStore("jobs.db")
    await here.open()
    await there.open()
    await there.join(Worker("there"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    await here.join(Worker("here"))
    await here.sweep("here")
    await there.sweep("there")
    assert [seen.worker.id for seen in await here.workers()] == ["here", "there"]
    assert names(tmp_path / "jobs.db-workers") == ["here", "there"]
    assert names(tmp_path / "elsewhere") == []
    there._open().liveness.free("there")
    await here.sweep("here")
    assert [seen.worker.id for seen in await here.workers()] == ["here"]
    await here.close()
    await there.close()


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_a_file_that_goes_away_under_an_open_store_is_noticed(tmp_path: Path, how: str) -> None:
    path, aside = tmp_path / "jobs.db", tmp_path / "aside.db"
    store = SqliteStore(path)
    await store.open()
    await store.join(Worker("w"))
    path.rename(aside)
    if how == "replaced":
        path.write_bytes(aside.read_bytes())
    for call in (lambda: store.add([NewJob(id="a", task="t")]), lambda: store.get(["a"]), lambda: store.sweep("w")):
        with pytest.raises(StoreUnsuitable, match=r"deleted or replaced while it was open.*put the file back"):
            await call()
    path.unlink(missing_ok=True)
    aside.rename(path)
    assert await store.get(["a"]) == [None], "what was refused is not stored"
    assert (await store.add([NewJob(id="a", task="t")]))[0].created
    await store.close()


async def test_a_file_that_goes_away_during_a_commit_is_not_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SqliteStore(path)
    await store.open()
    with pytest.raises(StoreUnsuitable, match="deleted or replaced"):
        await store._write(lambda rows: path.unlink())
    await store.close()


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    """A folder that cannot be written. For root only a mount is read-only."""
    folder = tmp_path / "fixed"
    folder.mkdir()
    return folder


async def test_a_read_only_place_is_refused_and_left_as_it_is(read_only: Path) -> None:
    path = read_only / "jobs.db"
    store = SqliteStore(path)
    await store.open()
    await store.close()
    for name in ("jobs.db-wal", "jobs.db-shm"):
        assert not (read_only / name).exists(), "closing takes SQLite's files away"
    undo = forbid(read_only)
    try:
        before = seen(read_only)
        for name in ("jobs.db", "new.db"):
            with pytest.raises(StoreUnsuitable, match="cannot be written; make"):
                await SqliteStore(read_only / name).open()
        assert seen(read_only) == before
    finally:
        undo()


def forbid(folder: Path) -> Callable[[], object]:
    if os.geteuid() != 0:
        folder.chmod(0o555)
        return lambda: folder.chmod(0o755)
    bound = subprocess.run(["mount", "--bind", str(folder), str(folder)], capture_output=True, check=False)
    if bound.returncode != 0:
        if os.environ.get("CI"):
            pytest.fail(f"root may not mount here, run as another user: {bound.stderr.decode()}")
        pytest.skip("root may write everywhere and may not mount: run as another user")
    subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
    return lambda: subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_opening_is_repeatable_and_keeps_everything(tmp_path: Path) -> None:
    """STO-007, STO-014."""
    path = tmp_path / "jobs.db"
    store = SqliteStore(path)
    assert await store.migrate() == [each.name for each in migrations(connect.PACKAGE)]
    await store.open()
    assert await store.migrate() == []
    await store.add([NewJob(id="a", task="t")])
    await store.close()
    await store.close()
    again = SqliteStore(path)
    assert await again.migrate() == []
    (job,) = await again.get(["a"])
    assert job is not None
    await again.close()


async def test_the_file_says_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SqliteStore(path)
    await store.open()
    await store.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (connect.APPLICATION_ID,)
        assert db.execute("PRAGMA user_version").fetchone() == (migrations(connect.PACKAGE)[-1].number,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_STO_016_an_empty_path_is_a_private_database_in_memory() -> None:
    first, second = SqliteStore(""), SqliteStore(":memory:")
    await first.open()
    await second.open()
    await first.add([NewJob(id="a", task="t")])
    assert (await second.get(["a"])) == [None]
    assert first.features.survives == "nothing"
    assert not first.features.shared
    await first.close()
    await second.close()


async def test_a_failed_migration_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "jobs.db"
    good = migrations(connect.PACKAGE)
    broken = good[-1]._replace(
        number=good[-1].number + 1, name="broken", script="CREATE TABLE a (b);\nCREATE nonsense;"
    )
    monkeypatch.setattr(connect, "migrations", lambda package: (*good, broken))
    with pytest.raises(StoreUnsuitable, match="nonsense"):
        await SqliteStore(path).open()
    monkeypatch.undo()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        assert db.execute("PRAGMA user_version").fetchone() == (0,)
    store = SqliteStore(path)
    await store.open()
    await store.close()


async def test_M15_synchronous_is_full_unless_asked(tmp_path: Path) -> None:
    full, normal = SqliteStore(tmp_path / "full.db"), SqliteStore(tmp_path / "normal.db", synchronous="NORMAL")
    assert full.features.survives == "power"
    assert normal.features.survives == "process"
    for store, value in ((full, 2), (normal, 1)):
        await store.open()
        grade = await store._open().writer.call(lambda rows: rows._db.execute("PRAGMA synchronous").fetchone()[0])
        assert grade == value
        await store.close()


async def test_check_tells_what_a_place_keeps(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db", synchronous="NORMAL")
    await store.open()
    await store.add([NewJob(id="a", task="t")])
    found = {each.subject: each for each in await store.check()}
    assert found["durability"].level == "warning"
    assert "power cut" in found["durability"].message
    assert {found[name].level for name in ("journal", "counts", "file")} == {"ok"}
    await store._open().writer.call(lambda rows: rows._db.execute("DELETE FROM jobs"))
    assert {each.subject: each.level for each in await store.check()}["counts"] == "error"
    await store.close()


def test_importing_the_backend_reads_no_clock_and_starts_no_thread() -> None:
    code = "import threading, mainspring.store.sqlite; print(threading.active_count())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"

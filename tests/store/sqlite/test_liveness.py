"""Who is alive by its locked file: never dead by mistake, whatever people do to the files (RULES C9)."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mainspring.clock import FakeClock
from mainspring.errors import StoreUnavailable, StoreUnsuitable
from mainspring.model.record import NewJob
from mainspring.store.base import Beat, Claim, Lane, Worker
from mainspring.store.sqlite import SqliteStore
from mainspring.store.sqlite.liveness import FileLiveness, LocalLiveness

LANE = Lane("default", "t", "", 10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "w"


@pytest.fixture
def here(folder: Path) -> FileLiveness:
    return FileLiveness(str(folder))


@pytest.fixture
def there(folder: Path) -> FileLiveness:
    return FileLiveness(str(folder))


def test_the_dead_are_those_whose_file_is_free(here: FileLiveness, there: FileLiveness, folder: Path) -> None:
    here.hold("a")
    here.hold("a")
    there.hold("b/../c")
    assert [here.look(each) for each in ("a", "b/../c", "never")] == ["lives", "lives", "unknown"]
    assert [there.look(each) for each in ("a", "b/../c")] == ["lives", "lives"]
    there.free("b/../c")
    there.free("b/../c")
    assert here.look("b/../c") == "died"
    assert here.look("b/../c") == "died", "looking takes nothing away"
    with pytest.raises(StoreUnsuitable, match="worker a runs elsewhere"):
        there.hold("a")
    here.free("a")
    for each in ("a", "b/../c", "never"):
        here.forget(each)
    assert list(folder.iterdir()) == []


def test_who_lives_is_not_forgotten(here: FileLiveness, there: FileLiveness) -> None:
    here.hold("a")
    there.forget("a")
    here.forget("a")
    assert there.look("a") == "lives"


def test_C9_closing_does_not_free_a_worker_that_has_not_left(here: FileLiveness, there: FileLiveness) -> None:
    """A thread of its may still run in this process, so nobody may take its jobs before the process ends."""
    here.hold("a")
    here.close()
    assert there.look("a") == "lives"


def test_C9_a_removed_file_is_no_death_and_is_made_again(
    here: FileLiveness, there: FileLiveness, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here.hold("a")
    shutil.rmtree(folder)
    assert there.look("a") == "unknown"
    here.keep()
    assert there.look("a") == "lives"
    assert "somebody removed the lock file of worker a" in caplog.text
    (folder / "a").unlink()
    here.hold("a")
    assert there.look("a") == "lives"
    here.free("a")
    assert there.look("a") == "died"


def test_C9_a_copy_of_the_file_is_no_death(here: FileLiveness, there: FileLiveness, folder: Path) -> None:
    """Restored from a backup, say: it is free, and its worker lives."""
    here.hold("a")
    shutil.copytree(folder, folder.with_name("copy"))
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)
    assert there.look("a") == "unknown"
    here.keep()
    assert there.look("a") == "lives"


def test_a_file_that_cannot_be_made_again_is_tried_each_time(
    here: FileLiveness, there: FileLiveness, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here.hold("a")
    shutil.rmtree(folder)
    folder.write_text("in the way")
    here.keep()
    here.keep()
    assert caplog.text.count("cannot be made again") == 1
    folder.unlink()
    here.keep()
    assert there.look("a") == "lives"


def test_names_of_any_kind(here: FileLiveness, there: FileLiveness, folder: Path) -> None:
    for name in ("..", "x" * 255, "ünïcödé" * 30, "a b\nc"):
        here.hold(name)
        assert there.look(name) == "lives"
    assert len(list(folder.iterdir())) == 4
    here.close()


async def test_liveness_can_be_given_so_that_one_process_holds_two_workers(tmp_path: Path) -> None:
    liveness = LocalLiveness()
    store = SqliteStore(tmp_path / "jobs.db", liveness=liveness)
    await store.open()
    await store.join(Worker("one"))
    await store.join(Worker("two"))
    await store.add([NewJob(id="a", task="t")])
    await store.claim(Claim("one", 1, [LANE], 1))
    assert (await store.sweep("two")).rescued == 0
    liveness.free("one")
    assert (await store.sweep("two")).rescued == 1
    await store.close()


# --- in a store -------------------------------------------------------------------------------


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def one(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteStore]:
    """A store whose worker `one` runs job `a`."""
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    await store.join(Worker("one", lease_time=30.0))
    await store.add([NewJob(id="a", task="t")])
    await store.claim(Claim("one", 1, [LANE], 1))
    yield store
    await store.close()


@pytest.fixture
async def two(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    await store.join(Worker("two", lease_time=30.0))
    yield store
    await store.close()


async def test_a_worker_that_left_leaves_nothing(one: SqliteStore, tmp_path: Path) -> None:
    assert FileLiveness(f"{tmp_path}/jobs.db-workers").look("one") == "lives"
    await one.leave("one")
    assert list((tmp_path / "jobs.db-workers").iterdir()) == []


async def test_what_a_dead_worker_left_goes_when_its_jobs_are_rescued(
    one: SqliteStore, two: SqliteStore, tmp_path: Path
) -> None:
    one._open().liveness.free("one")
    assert (await two.sweep("two")).rescued == 1
    assert [each.name for each in (tmp_path / "jobs.db-workers").iterdir()] == ["two"]


async def test_C9_who_removes_the_folder_kills_nobody(
    one: SqliteStore, two: SqliteStore, tmp_path: Path, clock: FakeClock
) -> None:
    shutil.rmtree(tmp_path / "jobs.db-workers")
    assert (await two.sweep("two")).rescued == 0, "nothing is known of it, and its last beat is young"
    await one.sweep("one")
    clock.advance(3600)
    assert (await two.sweep("two")).rescued == 0, "a sweep has made the file again"
    shutil.rmtree(tmp_path / "jobs.db-workers")
    await one.beat(Beat("one"))
    clock.advance(3600)
    assert (await two.sweep("two")).rescued == 0, "so does a beat"


async def test_C9_a_worker_without_a_file_is_judged_by_its_beats(
    one: SqliteStore, two: SqliteStore, tmp_path: Path, clock: FakeClock
) -> None:
    """By somebody who has been there for a lease time, so that a suspended machine wakes without a rescue (C1)."""
    (tmp_path / "jobs.db-workers" / "one").unlink()
    clock.advance(31)
    assert (await two.sweep("two")).rescued == 0, "we have not been steady either"
    for _ in range(4):
        await two.beat(Beat("two"))
        clock.advance(10)
    await two.beat(Beat("two"))
    assert (await two.sweep("two")).rescued == 1


async def test_a_lock_file_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    await store.open()
    (tmp_path / "jobs.db-workers").rmdir()
    (tmp_path / "jobs.db-workers").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="no lock file for worker one"):
        await store.join(Worker("one"))
    await store.close()

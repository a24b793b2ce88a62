"""Counts of failures that are kept: in memory, and in a file that outlives the process."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.errors import InvalidOption, StoreUnavailable, StoreUnsuitable
from mainspring.retries import attempt_file
from mainspring.retries.attempt_file import SQLiteAttempts
from mainspring.retries.attempt_store import AttemptStore, MemoryAttempts, policies_of, unstable_rule
from mainspring.retries.classify import TRANSPORT, Baseline
from mainspring.retries.policy import Retry, Rule


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "attempts.db"


@pytest.fixture(params=["memory", "file"])
def attempts(request: pytest.FixtureRequest, path: Path) -> AttemptStore:
    return MemoryAttempts() if request.param == "memory" else SQLiteAttempts(path)


# --- what every store does ---------------------------------------------------------------------------


async def test_ATT_003_adding_returns_the_value_before(attempts: AttemptStore) -> None:
    assert await attempts.add("poll", "rule") == 0
    assert await attempts.load("poll") == {"rule": 1}
    assert await attempts.add("poll", "rule") == 1
    assert await attempts.load("poll") == {"rule": 2}


async def test_ATT_004_what_is_unknown_is_0(attempts: AttemptStore) -> None:
    assert await attempts.load("nobody") == {}
    assert (await attempts.load("nobody")).get("rule", 0) == 0


async def test_ATT_002_after_a_reset_it_begins_anew(attempts: AttemptStore) -> None:
    for key in ("a", "b", "a"):
        await attempts.add("poll", key)
    await attempts.reset("poll")
    assert await attempts.load("poll") == {}
    await attempts.reset("poll")
    assert await attempts.add("poll", "a") == 0


async def test_ATT_011_owners_and_keys_are_apart(attempts: AttemptStore) -> None:
    for owner, key in (("a", "x"), ("a", "y"), ("b", "x"), ("a x", ""), ("", "a x")):
        await attempts.add(owner, key)
    await attempts.reset("a")
    assert await attempts.load("b") == {"x": 1}
    assert await attempts.load("a x") == {"": 1}
    assert await attempts.load("") == {"a x": 1}
    assert await attempts.load("a") == {}


async def test_what_was_loaded_does_not_change(attempts: AttemptStore) -> None:
    await attempts.add("poll", "rule")
    loaded = await attempts.load("poll")
    await attempts.add("poll", "rule")
    assert loaded == {"rule": 1}


async def test_many_tasks_at_once_lose_nothing(attempts: AttemptStore) -> None:
    befores = await asyncio.gather(*(attempts.add("poll", "rule") for _ in range(200)))
    assert sorted(befores) == list(range(200))
    assert await attempts.load("poll") == {"rule": 200}


Steps = st.lists(st.tuples(st.sampled_from(["add", "reset"]), st.sampled_from("ab"), st.text(max_size=3)), max_size=30)


@given(Steps)
def test_the_file_does_what_memory_does(steps: list[tuple[str, str, str]]) -> None:
    async def both() -> None:
        memory = MemoryAttempts()
        with TemporaryDirectory() as folder:
            await compare(memory, SQLiteAttempts(f"{folder}/attempts.db"))

    async def compare(memory: MemoryAttempts, opened: SQLiteAttempts) -> None:
        async with opened as file:
            for what, owner, key in steps:
                if what == "reset":
                    await memory.reset(owner)
                    await file.reset(owner)
                elif "\ud800" <= max(key, default="") <= "\udfff" or any("\ud800" <= each <= "\udfff" for each in key):
                    continue  # half a character: no key of ours has one
                else:
                    assert await memory.add(owner, key) == await file.add(owner, key)
                assert await memory.load(owner) == await file.load(owner)

    asyncio.run(both())


# --- the file ----------------------------------------------------------------------------------------


async def test_it_outlives_the_object(path: Path) -> None:
    async with SQLiteAttempts(path) as first:
        await first.add("poll", "rule")
    assert await SQLiteAttempts(str(path)).load("poll") == {"rule": 1}


async def test_closing_is_not_the_end(path: Path) -> None:
    attempts = SQLiteAttempts(path)
    await attempts.close()
    await attempts.add("poll", "rule")
    await attempts.close()
    await attempts.close()
    assert list(path.parent.iterdir()) == [path]  # the log of SQLite is gone
    assert await attempts.load("poll") == {"rule": 1}


async def test_one_that_is_dropped_closes_its_file(path: Path) -> None:
    """Warnings are errors here: Python tells of a connection that nobody closed."""
    attempts = SQLiteAttempts(path)
    await attempts.add("poll", "rule")
    del attempts
    gc.collect()
    assert list(path.parent.iterdir()) == [path]


def test_it_may_be_used_from_one_loop_after_the_other(path: Path) -> None:
    attempts = SQLiteAttempts(path)
    assert [asyncio.run(attempts.add("poll", "rule")) for _ in range(3)] == [0, 1, 2]


def test_nothing_is_made_before_it_is_used(path: Path) -> None:
    SQLiteAttempts(path)
    assert not path.exists()


async def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    attempts = SQLiteAttempts(tmp_path / "missing" / "attempts.db")
    with pytest.raises(StoreUnsuitable, match=r"folder of .* does not exist; create it"):
        await attempts.add("poll", "rule")
    (tmp_path / "missing").mkdir()
    assert await attempts.add("poll", "rule") == 0  # it is looked for at each use until it is there


def make_other(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE mine (x)")


def make_newer(path: Path) -> None:
    asyncio.run(SQLiteAttempts(path).add("poll", "rule"))
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


def make_text(path: Path) -> None:
    path.write_text("once upon a time " * 100, encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "says"),
    [(make_other, "holds something else"), (make_newer, "newer Mainspring"), (make_text, "no SQLite database")],
)
def test_a_file_that_is_not_ours_is_refused_and_left_as_it_was(make: object, says: str, path: Path) -> None:
    assert callable(make)
    make(path)
    before = path.read_bytes()
    with pytest.raises(StoreUnsuitable, match=says):
        asyncio.run(SQLiteAttempts(path).add("poll", "rule"))
    assert path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_cannot_be_written_is_told(path: Path) -> None:
    asyncio.run(SQLiteAttempts(path).add("poll", "rule"))
    gc.collect()
    path.chmod(stat.S_IRUSR)
    path.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(StoreUnsuitable, match="cannot be written"):
            asyncio.run(SQLiteAttempts(path).add("poll", "rule"))
    finally:
        path.parent.chmod(stat.S_IRWXU)


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield db


async def test_a_lock_of_another_program_is_waited_for_then_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_file, "BUSY_LIMIT", 0.05)
    attempts = SQLiteAttempts(path)
    await attempts.add("poll", "rule")
    with locked(path):
        with pytest.raises(StoreUnavailable, match="holds a lock"):
            await attempts.add("poll", "rule")
        with pytest.raises(StoreUnavailable, match="holds a lock"):
            await SQLiteAttempts(path).load("poll")
    assert await attempts.add("poll", "rule") == 1


async def test_a_lock_that_is_let_go_in_time_is_not_even_noticed(path: Path) -> None:
    attempts = SQLiteAttempts(path)
    await attempts.add("poll", "rule")
    with locked(path) as db:
        adding = asyncio.create_task(attempts.add("poll", "rule"))
        assert not (await asyncio.wait({adding}, timeout=0.05))[0]
        db.execute("COMMIT")
        assert await adding == 1


async def test_what_is_refused_at_once_while_the_file_is_opened_is_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite does not wait where two would wait for each other: many processes, one new file."""
    refused: list[str] = []
    real = attempt_file.opened

    def opened(path: str) -> sqlite3.Connection:
        if len(refused) < 3:
            refused.append(path)
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        return real(path)

    monkeypatch.setattr(attempt_file, "opened", opened)
    assert await SQLiteAttempts(path).add("poll", "rule") == 0
    assert len(refused) == 3


async def test_a_cancelled_caller_leaves_the_file_in_order(path: Path) -> None:
    attempts = SQLiteAttempts(path)
    for _ in range(20):
        adding = asyncio.create_task(attempts.add("poll", "rule"))
        await asyncio.sleep(0)
        adding.cancel()
        await asyncio.wait({adding})
    before = await attempts.add("poll", "rule")
    assert 0 <= before <= 20
    assert await attempts.load("poll") == {"rule": before + 1}


async def test_an_error_of_the_work_itself_rolls_back(path: Path) -> None:
    attempts = SQLiteAttempts(path)
    with pytest.raises(UnicodeEncodeError):
        await attempts.add("half a character \ud800", "rule")
    assert await attempts.add("poll", "rule") == 0


def count_in_a_process(path: str, times: int) -> None:
    async def main() -> None:
        async with SQLiteAttempts(path) as attempts:
            for _ in range(times):
                await attempts.add("poll", "rule")

    asyncio.run(main())


def test_two_processes_on_one_file_lose_nothing(path: Path) -> None:
    """They make it at the same moment, too."""
    spawn = multiprocessing.get_context("spawn")
    children = [spawn.Process(target=count_in_a_process, args=(str(path), 100)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert asyncio.run(SQLiteAttempts(path).load("poll")) == {"rule": 200}


def test_many_that_open_it_at_the_same_moment(path: Path) -> None:
    """The table is made once, and the change to a log beside the file is not refused to anybody."""
    barrier = threading.Barrier(8)
    failed: list[BaseException] = []

    def one() -> None:
        try:
            barrier.wait(10)
            count_in_a_process(str(path), 3)
        except BaseException as error:
            failed.append(error)

    for _ in range(5):
        threads = [threading.Thread(target=one) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failed == []
        assert asyncio.run(SQLiteAttempts(path).load("poll")) == {"rule": 24}
        gc.collect()
        for each in path.parent.iterdir():
            each.unlink()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12 and newer warn of threads and fork
def test_a_forked_child_takes_a_connection_of_its_own(path: Path) -> None:
    attempts = SQLiteAttempts(path)
    asyncio.run(attempts.add("poll", "rule"))
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # with what it has inherited it would wait for ever
        try:
            os._exit(asyncio.run(attempts.add("poll", "rule")))
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert asyncio.run(attempts.add("poll", "rule")) == 2


# --- keys --------------------------------------------------------------------------------------------


def is_odd(error: BaseException) -> bool:
    return bool(error.args)


def test_S1_19_rules_with_a_key_that_stays() -> None:
    assert unstable_rule(Retry(Rule(OSError), Rule(is_odd), Rule(lambda error: True, key="any"))) is None
    nameless = Rule(lambda error: True)
    found = unstable_rule(Retry(Rule(OSError), nameless))
    assert found is not None
    assert found.on is nameless.on


def test_the_policies_of_a_baseline() -> None:
    one, other = Retry(on=OSError), Retry(on=ValueError)
    assert list(policies_of(Baseline({TRANSPORT: one}, unknown=other))) == [one, other]
    assert list(policies_of(Baseline({TRANSPORT: one}))) == [one]
    assert list(policies_of(None)) == []


@pytest.mark.parametrize("path", ["", ":memory:", Path(":memory:"), "file:attempts.db?mode=memory", "file::memory:"])
def test_a_path_under_which_nothing_is_kept_is_refused_and_says_what_to_use(path: str | Path) -> None:
    with pytest.raises(InvalidOption, match=r"would be lost.*MemoryAttempts\(\)"):
        SQLiteAttempts(path)


@pytest.mark.parametrize("path", [b"attempts.db", 3, None, "with\0nul"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(InvalidOption, match="must be a text or a Path without NUL, not "):
        SQLiteAttempts(path)


def test_a_folder_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(StoreUnsuitable, match="is a folder; give the path of a file in it"):
        SQLiteAttempts(tmp_path)
    with pytest.raises(StoreUnsuitable, match="is a folder"):
        SQLiteAttempts(Path())

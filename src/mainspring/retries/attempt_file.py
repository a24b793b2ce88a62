"""Counts of failures in a SQLite file of their own, which outlive the process."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar, cast

from mainspring.errors import InvalidOption, StoreError, StoreFull, StoreUnavailable, StoreUnsuitable
from mainspring.retries import pace
from mainspring.retries.backoff import constant, jittered
from mainspring.retries.decorate import attempts_sync
from mainspring.retries.failures import Failures, Terms
from mainspring.retries.policy import Retry

T = TypeVar("T")

APPLICATION_ID: Final = 0x4D737061  # "Mspa", in the header of every file of ours
SCHEMA: Final = 1
BUSY_LIMIT: Final = 3.0
"""Seconds to wait for a lock that another process holds."""

TABLE: Final = """
CREATE TABLE attempts (
    owner TEXT NOT NULL, key TEXT NOT NULL, failures INTEGER NOT NULL, PRIMARY KEY (owner, key)
) WITHOUT ROWID"""


class SQLiteAttempts:
    """An `AttemptStore` in a small SQLite file, which is made when it is missing.

    What was counted survives the death of the process, not surely a power cut. Several processes may use one file;
    those that count for the same owner share its counts. All work is done in a thread, and a lock of another process
    is waited for 3 seconds. The file is opened at the first use and closed by `close()`, by leaving `async with`, or
    with the object; it opens again when it is used again.

    Raises InvalidOption for a path that is no text or `os.PathLike` of text, and for what is no file to SQLite: `""`,
    `":memory:"`, `"file:…"`; StoreUnsuitable for a folder. Raises, when it is used: StoreUnsuitable for a file in a
    folder that does not exist and for a file that is not ours, StoreUnavailable when it is locked for too long or
    cannot be read now, StoreFull.

    >>> import tempfile
    >>> async def main(path: str) -> int:
    ...     async with SQLiteAttempts(path) as attempts:
    ...         await attempts.add("poll", "builtins.OSError")
    ...         return await attempts.add("poll", "builtins.OSError")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     asyncio.run(main(f"{folder}/attempts.db"))
    1
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = checked_path(path)
        self._connected = Connected()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="mainspring-attempts")
        weakref.finalize(self, self._connected.close)

    async def load(self, owner: str, /) -> Mapping[str, int]:
        """The counts of this owner, by key."""
        return await self._do(partial(read, owner=owner))

    async def add(self, owner: str, key: str, /) -> int:
        """Count one failure more, and return how many there were before it."""
        return await self._do(partial(count, owner=owner, key=key))

    async def reset(self, owner: str, /) -> None:
        """Forget the counts of this owner."""
        await self._do(partial(forget, owner=owner))

    async def close(self) -> None:
        """Let go of the file. Closing twice is fine."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._connected.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._connected.forked:  # the threads and the connection belong to the parent
            self._connected = Connected()
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="mainspring-attempts")
            weakref.finalize(self, self._connected.close)
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, self._connected.transaction, self._path, work
        )


def checked_path(path: object) -> str:
    """The path of a file. Raises InvalidOption for what names none, StoreUnsuitable for a folder."""
    found = os.fspath(cast("os.PathLike[str]", path)) if isinstance(path, os.PathLike) else path
    if not isinstance(found, str) or "\0" in found:
        raise InvalidOption(f"the path of the attempts must be a text or a Path without NUL, not {path!r}")
    # What SQLite takes for a database in memory, or may, depending on how it was built.
    if not found or found == ":memory:" or found.startswith("file:"):
        raise InvalidOption(
            f"SQLite keeps nothing, or not in a file, under the path {found!r}, and the counts would be lost without a "
            "word: give the path of a file, as in SQLiteAttempts('attempts.db'), or use MemoryAttempts()"
        )
    if Path(found).is_dir():
        raise StoreUnsuitable(f"{found} is a folder; give the path of a file in it, which is made when it is missing")
    return found


class Connected:
    """The connection, if there is one; used by one thread at a time."""

    def __init__(self) -> None:
        self._db: sqlite3.Connection | None = None
        self._pid = os.getpid()

    @property
    def forked(self) -> bool:
        """Whether this is a copy in a child process."""
        return self._pid != os.getpid()

    def transaction(self, path: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` returns, committed; errors as ours."""
        try:
            if self._db is None:
                self._db = patiently_opened(path)
            self._db.execute("BEGIN IMMEDIATE")
            answer = work(self._db)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self.close()  # which rolls back; the next use begins anew
            raise translated(error, path) from error
        except BaseException:
            self.close()
            raise
        return answer

    def close(self) -> None:
        """Let go of the connection; in a child process it is only forgotten."""
        db, self._db = self._db, None
        if db is not None and not self.forked:
            db.close()


def is_busy(error: BaseException) -> bool:
    """Whether another connection holds a lock."""
    return code_of(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def patiently_opened(path: str) -> sqlite3.Connection:
    """`opened`, again when it is refused at once: SQLite does not wait where two would wait for each other.

    That happens when several processes make the file at the same moment, and change to the log beside it.
    """
    again = Retry(on=is_busy, attempts=None, backoff=jittered(constant(0.02)), give_up_after=BUSY_LIMIT)
    failures = Failures(Terms(again, "open the attempts", inner=True), pace.monotonic())
    return attempts_sync(opened, failures, 0.0, None, path)


def opened(path: str) -> sqlite3.Connection:
    """A connection to a file of ours, with its table. Raises StoreUnsuitable, and what `sqlite3` raises."""
    if not Path(path).absolute().parent.is_dir():
        raise StoreUnsuitable(f"the folder of {path} does not exist; create it, or give another path")
    db = sqlite3.connect(path, timeout=BUSY_LIMIT, isolation_level=None, check_same_thread=False)
    try:
        db.execute("BEGIN")  # what is looked at belongs together: another process may make the table just now
        ours = is_ours(db, path)
        db.execute("COMMIT")
        if not ours:
            db.execute("BEGIN IMMEDIATE")
            if not is_ours(db, path):  # else another process was first
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {SCHEMA}")
                db.execute(TABLE)
            db.execute("COMMIT")
        if db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        db.close()
        raise
    return db


def is_ours(db: sqlite3.Connection, path: str) -> bool:
    """Whether the table is there; False for an empty file. Raises StoreUnsuitable for what is not ours or newer."""
    application = db.execute("PRAGMA application_id").fetchone()[0]
    schema = db.execute("PRAGMA user_version").fetchone()[0]
    if application == APPLICATION_ID:
        if schema != SCHEMA:
            raise StoreUnsuitable(f"{path} was made by a newer Mainspring; upgrade this one, or give another path")
        return True
    if application or schema or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StoreUnsuitable(f"{path} holds something else; give the attempts a file of their own")
    return False


def read(db: sqlite3.Connection, *, owner: str) -> dict[str, int]:
    """The counts of an owner."""
    return dict(db.execute("SELECT key, failures FROM attempts WHERE owner = ?", (owner,)))


def count(db: sqlite3.Connection, *, owner: str, key: str) -> int:
    """One failure more; how many there were."""
    found = db.execute("SELECT failures FROM attempts WHERE owner = ? AND key = ?", (owner, key)).fetchone()
    before: int = 0 if found is None else found[0]
    db.execute("INSERT OR REPLACE INTO attempts (owner, key, failures) VALUES (?, ?, ?)", (owner, key, before + 1))
    return before


def forget(db: sqlite3.Connection, *, owner: str) -> None:
    """Nothing of this owner is left."""
    db.execute("DELETE FROM attempts WHERE owner = ?", (owner,))


def translated(error: sqlite3.Error, path: str) -> StoreError:
    """The error of ours that says what happened, and what to do."""
    code = code_of(error)
    if is_busy(error):
        return StoreUnavailable(f"another program holds a lock on {path}; end its transaction and repeat")
    if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
        return StoreUnsuitable(f"{path} is no SQLite database, or a damaged one ({error}); give another path")
    if code == sqlite3.SQLITE_READONLY:
        return StoreUnsuitable(f"{path} cannot be written; make the file and its folder writable for this user")
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"the disk of {path} is full; free space and repeat")
    return StoreUnavailable(f"SQLite cannot use {path} now: {error}")


def code_of(error: BaseException) -> int:
    """SQLite's primary result code, which an extended one holds in its low byte; 0 when the error carries none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF

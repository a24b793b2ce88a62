"""Opening the file: is it ours, can it be written, which schema has it. What is refused is left untouched.

The file is only ever looked at through SQLite. Opening it ourselves, and closing it again, would drop the POSIX locks
of every other connection to it in this process.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

from mainspring.errors import StoreUnsuitable
from mainspring.store.sql import migrations
from mainspring.store.sqlite import faults

APPLICATION_ID: Final = 0x4D737067  # "Mspg", in the header of every file of ours
PACKAGE: Final = "mainspring.store.sqlite"
MEMORY: Final = ":memory:"
Synchronous = Literal["FULL", "NORMAL"]

_CACHE_KIB: Final = 32 * 1024
_CHECKPOINT_PAGES: Final = 4000
_SMALLEST_BYTES: Final = 512
_WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024


class Place(NamedTuple):
    """Where a store is, and how hard it holds on: FULL survives a power cut, NORMAL a crash of the process."""

    path: str
    synchronous: Synchronous = "FULL"

    @property
    def private(self) -> bool:
        """Whether this is a database in memory, which only this store sees."""
        return self.path == MEMORY

    def real(self) -> Place:
        """The place by the one name that everybody finds, whatever links lead there: locks are named after it."""
        return self if self.private else self._replace(path=os.path.realpath(self.path))


def inspect(path: str) -> bool:
    """Look at a place before anything is written. True: a database is there; False: it is to be made.

    Raises StoreUnsuitable for a folder that is missing or read-only, a read-only file, a file that is no SQLite
    database, another program's, one of a newer version of ours, or one with a second name (hard link).
    """
    file = Path(path)
    folder = file.parent
    if not folder.is_dir():
        raise StoreUnsuitable(f"the folder {folder} of {file.name} does not exist; create it, or give another path")
    try:
        found = file.stat()
    except FileNotFoundError:
        if not os.access(folder, os.W_OK | os.X_OK):
            raise faults.read_only(path) from None
        return False
    if not stat.S_ISREG(found.st_mode):
        raise StoreUnsuitable(f"{path} is no regular file; give the path of a database file")
    if found.st_nlink > 1:
        raise faults.second_name(path)
    if 0 < found.st_size < _SMALLEST_BYTES:  # SQLite would take it for an empty database, and write over it
        raise StoreUnsuitable(f"{path} is no SQLite database; give another path")
    if found.st_size > 0:
        _look_inside(path)
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(folder, os.W_OK | os.X_OK):
        raise faults.read_only(path)
    return found.st_size > 0


def pending(path: str) -> list[str]:
    """The names of the migrations that this place lacks; nothing is written. Raises as `inspect`."""
    number = _look_inside(path) if inspect(path) else 0
    return [migration.name for migration in migrations(PACKAGE) if migration.number > number]


def connect(place: Place, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection, used by one thread at a time. It never waits for a lock: `Writer` does that, and says for how long.

    Raises what `sqlite3` raises.
    """
    mode = "ro" if read_only else "rwc"
    target = MEMORY if place.private else f"{_uri(place.path)}?mode={mode}"
    connection = sqlite3.connect(
        target, uri=not place.private, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute("PRAGMA temp_store = MEMORY")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def prepare(connection: sqlite3.Connection, place: Place) -> list[str]:
    """Make the file ours and bring its schema up to date; returns the names of the migrations that ran.

    The caller holds the turn lock. Raises StoreUnsuitable, with nothing written, for what is not ours or is newer.
    """
    check_schema(connection, place.path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {place.synchronous}")
    connection.execute("PRAGMA secure_delete = OFF")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
    return _migrate(connection)


def check_schema(connection: sqlite3.Connection, path: str) -> int:
    """The number of the schema, 0 for an empty database. Raises StoreUnsuitable for what is not ours or is newer."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    number: int = connection.execute("PRAGMA user_version").fetchone()[0]
    known = migrations(PACKAGE)[-1].number
    if application != APPLICATION_ID:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application or number or tables:
            raise StoreUnsuitable(f"{path} is a database of another program; give Mainspring a file of its own")
        return 0
    if number > known:
        raise StoreUnsuitable(
            f"{path} has schema {number}, this Mainspring knows {known}; upgrade Mainspring, or give another file"
        )
    return number


def _look_inside(path: str) -> int:
    """The number of the schema, read without a lock, a journal or any other trace.

    What a crash left in the log alone is looked at when it is opened; while somebody locks the file whole, what the
    file itself says counts.
    """
    number = 0
    try:
        with closing(sqlite3.connect(f"{_uri(path)}?mode=ro&immutable=1", uri=True, timeout=0)) as connection:
            number = check_schema(connection, path)
        if Path(path + "-wal").exists() and Path(path + "-shm").exists():
            with closing(sqlite3.connect(f"{_uri(path)}?mode=ro", uri=True, timeout=0)) as connection:
                number = check_schema(connection, path)
    except sqlite3.Error as error:
        if not faults.is_busy(error):
            raise faults.translated(error, path) from error
    return number


def _migrate(connection: sqlite3.Connection) -> list[str]:
    """All migrations that are missing, in one transaction; the number is written first."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        number = connection.execute("PRAGMA user_version").fetchone()[0]
        missing = [migration for migration in migrations(PACKAGE) if migration.number > number]
        if missing:
            connection.execute(f"PRAGMA user_version = {missing[-1].number}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for migration in missing:
            for statement in _split(migration.script):
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return [migration.name for migration in missing]


def _split(script: str) -> list[str]:
    """The statements of a script; `executescript` would commit what is open."""
    found: list[str] = []
    rest = ""
    for line in script.splitlines(keepends=True):
        rest += line
        if sqlite3.complete_statement(rest):
            found.append(rest)
            rest = ""
    return found


def _uri(path: str) -> str:
    return "file:" + quote(str(Path(path).absolute()))

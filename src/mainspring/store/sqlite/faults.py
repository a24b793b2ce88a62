"""SQLite's errors as ours: what happened to which file, and what to do next."""

from __future__ import annotations

import sqlite3

from mainspring.errors import (
    AppError,
    EncodingError,
    MainspringError,
    StoreClosed,
    StoreFull,
    StoreUnavailable,
    StoreUnsuitable,
)

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_NOT_OURS = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
_DATA = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE})
_PRIMARY = 0xFF
"""An extended result code holds the primary one in its low byte."""


def code_of(error: BaseException) -> int:
    """SQLite's primary result code; 0 when the error carries none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & _PRIMARY


def is_busy(error: BaseException) -> bool:
    """Whether another connection holds a lock: a repeat may succeed."""
    return isinstance(error, sqlite3.OperationalError) and code_of(error) in _BUSY


def is_for_data(error: BaseException) -> bool:
    """Whether SQLite refuses what it was given: a repeat would be refused again, without it the rest is taken."""
    binding = isinstance(error, (sqlite3.ProgrammingError, sqlite3.InterfaceError)) and "bind" in str(error)
    return code_of(error) in _DATA or isinstance(error, (sqlite3.DataError, sqlite3.IntegrityError)) or binding


def translated(error: sqlite3.Error, path: str) -> MainspringError:
    """The error of ours that says what SQLite meant."""
    code = code_of(error)
    if is_for_data(error):
        return EncodingError(f"SQLite cannot hold a value of this call in {path}: {error}; nothing of it was stored")
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"the disk of {path} is full; nothing of this call was stored: free space and repeat it")
    if code == sqlite3.SQLITE_READONLY:
        return read_only(path)
    if code in _NOT_OURS:
        return StoreUnsuitable(
            f"{path} is no SQLite database, or a damaged one ({error}); give another path, or restore it"
        )
    if code == sqlite3.SQLITE_ERROR:
        return StoreUnsuitable(f"the tables of {path} are not as Mainspring made them ({error}); restore a backup")
    if code in _BUSY:
        return StoreUnavailable(f"another program holds a lock on {path}; end its transaction and repeat")
    return StoreUnavailable(f"SQLite cannot use {path} now: {error}; every verb may be repeated")


def read_only(path: str) -> StoreUnsuitable:
    """The file or its folder cannot be written."""
    return StoreUnsuitable(f"{path} cannot be written; make the file and its folder writable for this user")


def second_name(path: str) -> StoreUnsuitable:
    """A hard link: through each name SQLite keeps another log, and we other locks."""
    return StoreUnsuitable(
        f"{path} has a second name (a hard link): opened by both, the database is lost; remove the other name, and link"
        " with `ln -s` if there must be one"
    )


def moved(path: str) -> StoreUnsuitable:
    """The file was deleted, moved or replaced while it was open."""
    return StoreUnsuitable(
        f"{path} was deleted or replaced while it was open, what this process writes would be lost; put the file back,"
        " or restart every process that uses it"
    )


def closed(path: str) -> StoreClosed:
    """A verb after `close`, or before `open`."""
    return StoreClosed(f"the store {path} is not open; open it before use, and do not use it after it was closed")


def forked(path: str) -> AppError:
    """A verb in a child process that inherited the store."""
    return AppError(f"{path} was opened before this process was forked; open the store again in the child process")

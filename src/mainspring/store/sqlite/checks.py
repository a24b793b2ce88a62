"""What `check` says about a place: does it keep what it promises?"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from mainspring.store.base import Finding
from mainspring.store.sqlite import faults
from mainspring.store.sqlite.connect import Place
from mainspring.store.sqlite.rows import SqliteRows

_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "glusterfs"})
_VOLATILE: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})


def findings(connection: sqlite3.Connection, rows: SqliteRows, place: Place) -> list[Finding]:
    """Durability, file system, counts and the file's own consistency. Reads the whole file: seconds for gigabytes."""
    if place.private:
        return [Finding("warning", "durability", "a database in memory: everything is lost when the store is closed")]
    return [
        _durability(place),
        _journal(connection),
        _file_system(place.path),
        _names(place.path),
        _tallies(rows),
        _pages(connection),
    ]


def _durability(place: Place) -> Finding:
    if place.synchronous == "FULL":
        return Finding("ok", "durability", "synchronous=FULL: acknowledged work survives a power cut")
    return Finding(
        "warning",
        "durability",
        "synchronous=NORMAL: acknowledged work survives a crash of the process, but the last commits may be lost in a"
        " power cut; use synchronous=FULL to keep them",
    )


def _journal(connection: sqlite3.Connection) -> Finding:
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    if mode == "wal":
        return Finding("ok", "journal", "write-ahead log: readers and the writer do not wait for each other")
    return Finding("error", "journal", f"journal_mode={mode}: open the store again; another program has changed it")


def _file_system(path: str) -> Finding:
    kind = file_system_of(path)
    if kind in _NETWORK:
        message = f"{kind} is a network file system: locks and shared memory are not safe there; use a local disk"
        return Finding("error", "file system", message)
    if kind in _VOLATILE:
        return Finding("warning", "file system", f"{kind} is in memory: everything is lost when the machine stops")
    return Finding("ok", "file system", f"{kind or 'unknown kind'}; locks work")


def _names(path: str) -> Finding:
    try:
        names = Path(path).stat().st_nlink
    except FileNotFoundError:
        return Finding("error", "name", str(faults.moved(path)))
    if names > 1:
        return Finding("error", "name", str(faults.second_name(path)))
    return Finding("ok", "name", "one name; symbolic links to it are followed")


def _tallies(rows: SqliteRows) -> Finding:
    wrong = rows.miscounted()
    if wrong:
        return Finding("error", "counts", f"{wrong} counts differ from the jobs; has another program written?")
    return Finding("ok", "counts", "as many jobs as counted")


def _pages(connection: sqlite3.Connection) -> Finding:
    said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said == "ok":
        return Finding("ok", "file", "its pages are consistent")
    return Finding("error", "file", f"it is damaged ({said}); stop the workers and restore a backup")


def file_system_of(path: str, mounts: str = "/proc/self/mounts") -> str:
    """The kind of file system that a path is on; empty where the system does not say."""
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    where = os.path.realpath(path)
    best, kind = "", ""
    for line in lines:
        _, point, each, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        inside = point in ("/", where) or where.startswith(point + "/")
        if inside and len(point) >= len(best):
            best, kind = point, each
    return kind

"""The stores that rows are named after, and what the disk under them can do."""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal
from uuid import uuid4

Synchronous = Literal["FULL", "NORMAL"]
PROBE = b"x" * 8192


@dataclass(frozen=True, slots=True)
class Place:
    """Where the jobs of one run are kept."""

    url: str
    path: Path | None = None
    synchronous: Synchronous = "FULL"


def memory() -> Place:
    return Place("memory://")


def sqlite(folder: Path, synchronous: Synchronous = "FULL") -> Place:
    """A file that is not there yet."""
    path = folder / f"{uuid4().hex}.db"
    suffix = "" if synchronous == "FULL" else f"?synchronous={synchronous}"
    return Place(f"sqlite:///{path}{suffix}", path, synchronous)


def place_for(store: str, folder: Path) -> Place:
    """The place for a row of this store: `memory`, `sqlite` or `normal.sqlite`."""
    if store == "memory":
        return memory()
    return sqlite(folder, "NORMAL" if store.startswith("normal.") else "FULL")


def fdatasync_ms(folder: Path, times: int = 100) -> float:
    """What one fdatasync of 8 kB takes on this disk: the median, in milliseconds."""
    sync = getattr(os, "fdatasync", os.fsync)
    file = os.open(folder / "probe", os.O_WRONLY | os.O_CREAT, 0o600)
    took: list[float] = []
    try:
        for _ in range(times):
            os.pwrite(file, PROBE, 0)
            begin = time.perf_counter()
            sync(file)
            took.append((time.perf_counter() - begin) * 1000)
    finally:
        os.close(file)
    return median(took)


def states(path: Path) -> dict[str, int]:
    """How many jobs the file holds in each state, read by plain SQL: the store is not asked about itself."""
    with sqlite3.connect(path) as connection:
        return dict(connection.execute("select state, count(*) from jobs group by state").fetchall())

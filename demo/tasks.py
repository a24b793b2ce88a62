"""The app: one task that indexes a file in a process of its own, one that folds the facts of all files.

Which database and which ledger is told by the environment, as in production: MAINSPRING_URL and DEMO_LEDGER.
"""

from __future__ import annotations

import os
import time
import zlib
from pathlib import Path
from typing import NamedTuple

from demo.source import Facts, Index, examine, index_of
from mainspring import App, Context, Retry, constant

LEDGER = "DEMO_LEDGER"

app = App()  # MAINSPRING_URL


class Stumble(OSError):
    """What goes wrong now and then, as it does with disks and networks."""


@app.task(name="demo.index", process=True, retry=Retry(on=OSError, attempts=6, backoff=constant(0.05)))
def index(ctx: Context, path: str) -> Facts:
    """One file. It says in the ledger that it runs before it does anything else."""
    stumbles = fails(path, ctx.attempt)
    note(Path(os.environ[LEDGER]), path, ctx.attempt, stumbles)
    if stumbles:
        raise Stumble(f"{path} is not to be had at the moment")
    return examine(path)


@app.task(name="demo.fold")
def fold(facts: list[Facts]) -> Index:
    """All files: runs once, when every one of them has been indexed."""
    return index_of(facts)


def fails(path: str, attempt: int) -> bool:
    """About one attempt in twenty, always the same ones; the fourth attempt never.

    >>> fails("ast.py", 4)
    False
    """
    return attempt < 4 and zlib.crc32(f"{path}:{attempt}".encode()) % 20 == 0


class Entry(NamedTuple):
    """A line of the ledger: this attempt began at this time, in this worker."""

    path: str
    attempt: int
    stumbled: bool
    worker: int
    began: float


def note(ledger: Path, path: str, attempt: int, stumbles: bool) -> None:
    """Append a line, in one write: lines of several processes do not mix, and a killed one leaves no half."""
    line = f"{path}\t{attempt}\t{int(stumbles)}\t{os.getppid()}\t{time.time()}\n".encode()
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line)
    finally:
        os.close(file)


class Ledger:
    """What the ledger says. It is read on from where the last look ended."""

    def __init__(self, path: Path) -> None:
        self.entries: list[Entry] = []
        self.begun: set[str] = set()
        self._path = path
        self._read = 0

    def look(self) -> int:
        """How many files have begun without a stumble; nothing while there is no ledger."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                news = file.read()
        except FileNotFoundError:
            return 0
        self._read += len(news)
        fresh = [_entry(line) for line in news.decode().splitlines()]
        self.entries += fresh
        self.begun.update(entry.path for entry in fresh if not entry.stumbled)
        return len(self.begun)


def _entry(line: str) -> Entry:
    path, attempt, stumbled, worker, began = line.split("\t")
    return Entry(path, int(attempt), stumbled == "1", int(worker), float(began))

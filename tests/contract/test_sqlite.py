"""The public contract suite over SQLite: a file with real locks, and a private database in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

from mainspring.clock import FakeClock
from mainspring.store.serial.rows import Rows
from mainspring.store.sqlite.liveness import FileLiveness, Liveness, LocalLiveness
from mainspring.store.sqlite.rows import SqliteRows
from mainspring.store.sqlite.store import SqliteStore
from mainspring.testing.contract import StoreContract, StoreHarness


class SqliteHarness:
    """Two workers in one process hold two locks; to let go of one is what the kernel does when a process dies."""

    liveness: Literal["beats", "locks"] = "locks"

    def __init__(self, path: str, locks: Liveness) -> None:
        self.clock = FakeClock()
        self.path = path
        self.locks = locks
        self.store = self.new()

    def new(self) -> SqliteStore:
        # NORMAL: nobody pulls the plug here, and a thousand real syncs take their time.
        return SqliteStore(self.path, synchronous="NORMAL", clock=self.clock, liveness=self.locks)

    async def lapse(self, worker: str) -> None:
        self.locks.free(worker)

    async def spoil(self, schedule: str) -> None:
        def verb(rows: Rows) -> None:
            assert isinstance(rows, SqliteRows)
            rows._db.execute(  # the harness may
                "UPDATE schedules SET definition = json_set(definition, '$.overlap', 'shuffle') WHERE id = ?",
                (schedule,),
            )

        await self.store._write(verb)

    async def reopen(self) -> None:
        await self.store.close()
        self.store = self.new()
        await self.store.open()


class TestSqliteFile(StoreContract):
    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[StoreHarness]:
        path = tmp_path / "work.db"
        harness = SqliteHarness(str(path), FileLiveness(f"{path}-workers"))
        await harness.store.open()
        yield harness
        await harness.store.close()


class TestSqliteInMemory(StoreContract):
    @pytest.fixture
    async def harness(self) -> AsyncIterator[StoreHarness]:
        harness = SqliteHarness("", LocalLiveness())
        await harness.store.open()
        yield harness
        await harness.store.close()

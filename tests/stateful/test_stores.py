"""Stores beside the model, under random verbs and lost answers."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from mainspring.clock import FakeClock
from mainspring.ids import IdSource
from mainspring.store.base import Store
from mainspring.store.serial.rows import Rows
from mainspring.store.serial.upkeep import Lapsed
from mainspring.store.sqlite.liveness import LocalLiveness
from mainspring.store.sqlite.store import SqliteStore
from tests.stateful.machine import SideBySide
from tests.stateful.pair import Dead, ModelStore, Pair
from tests.stateful.timetable import Timetable


class SqliteBesideModel(SqliteStore):
    """SQLite, which is told who is dead."""

    def __init__(self, path: str, clock: FakeClock, ids: IdSource, dead: Dead) -> None:
        super().__init__(path, synchronous="NORMAL", clock=clock, ids=ids, liveness=LocalLiveness(), poll=None)
        self._dead = dead

    def _lapsed(self, rows: Rows, worker: str, now: float) -> Lapsed | None:
        return self._dead.lapsed(worker)


class InTurns:
    """Several stores on one file, as of several processes; each call goes to the next of them."""

    def __init__(self, *stores: Store) -> None:
        self._stores = stores
        self._turns = cycle(stores)

    async def open(self) -> None:
        for store in self._stores:
            await store.open()

    async def close(self) -> None:
        for store in self._stores:
            await store.close()

    def __getattr__(self, verb: str) -> object:
        return getattr(next(self._turns), verb)


class MemoryBesideMemory(SideBySide):
    """Two of the same: what is left are the invariants."""

    def other(self, clock: FakeClock, ids: IdSource, dead: Dead) -> Store:
        return ModelStore(clock, ids, dead)


class SqlitePair(Pair):
    """SQLite in memory: the same statements as on a file, without its syncs."""

    def other(self, clock: FakeClock, ids: IdSource, dead: Dead) -> Store:
        return SqliteBesideModel("", clock, ids, dead)


class TwoOnOneFilePair(Pair):
    """What one process remembers of a job must not outlive what another one does to it."""

    def other(self, clock: FakeClock, ids: IdSource, dead: Dead) -> Store:
        self.folder = TemporaryDirectory(prefix="mainspring-")
        path = str(Path(self.folder.name) / "work.db")
        stores = [SqliteBesideModel(path, clock, ids, dead) for _ in range(2)]
        return cast("Store", InTurns(*stores))

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


class SqliteBesideMemory(SqlitePair, SideBySide):
    pass


class TwoOnOneFile(TwoOnOneFilePair, SideBySide):
    pass


class SqliteTimetable(SqlitePair, Timetable):
    pass


class TwoOnOneFileTimetable(TwoOnOneFilePair, Timetable):
    pass


def bounded(examples: int, steps: int = 40) -> settings:
    """So many sequences of so many verbs."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=slow)


TestMemory = MemoryBesideMemory.TestCase
TestMemory.settings = bounded(100)

TestSqlite = SqliteBesideMemory.TestCase
TestSqlite.settings = bounded(60)

TestTwoOnOneFile = TwoOnOneFile.TestCase
TestTwoOnOneFile.settings = bounded(40)

TestSqliteTimetable = SqliteTimetable.TestCase
TestSqliteTimetable.settings = bounded(30, 30)

TestTwoOnOneFileTimetable = TwoOnOneFileTimetable.TestCase
TestTwoOnOneFileTimetable.settings = bounded(15, 30)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("machine", [SqliteBesideMemory, TwoOnOneFile, SqliteTimetable, TwoOnOneFileTimetable])
def test_for_long(machine: type[Pair]) -> None:
    run_state_machine_as_test(machine, settings=bounded(2000, 80))

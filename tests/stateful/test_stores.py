"""Stores beside the model, under random verbs and lost answers."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from mainspring.clock import FakeClock
from mainspring.ids import IdSource
from mainspring.store.base import Store
from mainspring.store.serial.rows import Rows
from mainspring.store.serial.upkeep import Lapsed
from mainspring.store.sqlite.store import SqliteStore
from tests.stateful.machine import SideBySide
from tests.stateful.pair import Dead, ModelStore


class SqliteBesideModel(SqliteStore):
    """SQLite, which is told who is dead."""

    def __init__(self, clock: FakeClock, ids: IdSource, dead: Dead) -> None:
        super().__init__("", clock=clock, ids=ids, poll=None)
        self._dead = dead

    def _lapsed(self, rows: Rows, worker: str, now: float) -> Lapsed | None:
        return self._dead.lapsed(worker)


class MemoryBesideMemory(SideBySide):
    """Two of the same: what is left are the invariants."""

    def other(self, clock: FakeClock, ids: IdSource, dead: Dead) -> Store:
        return ModelStore(clock, ids, dead)


class SqliteBesideMemory(SideBySide):
    """SQLite in memory: the same statements as on a file, without its syncs."""

    def other(self, clock: FakeClock, ids: IdSource, dead: Dead) -> Store:
        return SqliteBesideModel(clock, ids, dead)


TestMemory = MemoryBesideMemory.TestCase
TestMemory.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)

TestSqlite = SqliteBesideMemory.TestCase
TestSqlite.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

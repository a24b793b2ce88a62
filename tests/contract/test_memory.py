"""The public contract suite over the store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal

import pytest
from msgspec.structs import replace

from mainspring.clock import FakeClock
from mainspring.store.definitions import read_definition
from mainspring.store.memory import MemoryStore
from mainspring.testing.contract import StoreContract, StoreHarness, fall_silent


class MemoryHarness:
    """The store in memory knows the dead by their silence, and keeps nothing."""

    liveness: Literal["beats", "locks"] = "beats"

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)

    async def lapse(self, worker: str) -> None:
        await fall_silent(self.store, self.clock, worker)

    async def spoil(self, schedule: str) -> None:
        """Nothing is written here, so nothing can be misread: the row is made what it would be read as."""
        assert self.store._rows is not None  # the harness may
        [record] = self.store._rows.schedules([schedule])
        assert record is not None
        empty, reason = read_definition("{}")
        definition = replace(empty, keep=record.definition.keep, keep_for=record.definition.keep_for)
        self.store._rows.put_schedules([replace(record, definition=definition, unreadable=reason)])

    async def reopen(self) -> None:
        await self.store.close()
        await self.store.open()


class TestMemory(StoreContract):
    @pytest.fixture
    async def harness(self) -> AsyncIterator[StoreHarness]:
        harness = MemoryHarness()
        await harness.store.open()
        yield harness
        await harness.store.close()
